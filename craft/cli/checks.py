"""What can be refused by a look at the options alone."""

from __future__ import annotations

from typing import Any

from craft.errors import CraftError


def require_owner(owner: str, given: dict[str, Any]) -> None:
    """Raises CraftError if an option was given that does nothing without ``owner``."""
    idle = [name for name, value in given.items() if value]
    if idle:
        raise CraftError(f"{idle[0]} belongs to {owner}, which is not given; leave {idle[0]} out")
