"""Checks that need only the options."""

from __future__ import annotations

import math
from typing import Any

import typer

from craft.errors import CraftError


def require_finite(param: typer.CallbackParam, value: float | None) -> float | None:
    """Option callback that refuses NaN and infinity, which typer's bounds let pass."""
    if value is not None and not math.isfinite(value):
        least = getattr(param, "min", None)
        bound = "" if least is None else f" >= {least:g}"
        raise CraftError(f"{param.opts[0]} must be a finite number{bound}, got {value}")
    return value


def require_shares(ratio: float | list[float] | None) -> float | list[float] | None:
    """Option callback that refuses keep ratios that are not shares."""
    from craft.settings.exams import require_share  # not needed to list options

    for share in ratio if isinstance(ratio, list) else [ratio]:
        if share is not None:
            require_share(share)
    return ratio


def require_owner(owner: str, given: dict[str, Any]) -> None:
    """Raises CraftError if an option was given that has no effect without ``owner``."""
    idle = [name for name, value in given.items() if value]
    if idle:
        raise CraftError(f"{idle[0]} belongs to {owner}, which is not given; leave {idle[0]} out")
