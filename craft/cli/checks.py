"""What can be refused by a look at the options alone."""

from __future__ import annotations

import math
from typing import Any

import typer

from craft.errors import CraftError


def require_finite(param: typer.CallbackParam, value: float | None) -> float | None:
    """A callback for options that are numbers; their bounds let NaN and infinity pass."""
    if value is not None and not math.isfinite(value):
        least = getattr(param, "min", None)
        bound = "" if least is None else f" >= {least:g}"
        raise CraftError(f"{param.opts[0]} must be a finite number{bound}, got {value}")
    return value


def require_shares(ratio: float | list[float] | None) -> float | list[float] | None:
    """A callback for keep ratios; raises CraftError for one that is not a share."""
    from craft.settings.exams import require_share  # not while options are only listed

    for share in ratio if isinstance(ratio, list) else [ratio]:
        if share is not None:
            require_share(share)
    return ratio


def require_owner(owner: str, given: dict[str, Any]) -> None:
    """Raises CraftError if an option was given that does nothing without ``owner``."""
    idle = [name for name, value in given.items() if value]
    if idle:
        raise CraftError(f"{idle[0]} belongs to {owner}, which is not given; leave {idle[0]} out")
