"""Allowed values of numeric settings in words, from the bounds of their fields."""

from __future__ import annotations

from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic.fields import FieldInfo


def allowed(field: FieldInfo) -> str | None:
    """Such as "a finite number > 0" or "a whole number >= 1 or 'all'"; None if not numeric."""
    kinds, bounds, others = _parts(field.annotation)
    bounds += field.metadata
    if not kinds:
        return None
    what = "a finite number" if float in kinds else "a whole number"
    return " or ".join([f"{what}{_spelled(bounds)}", *map(repr, others)])


def _parts(annotation: Any) -> tuple[set[type], list[Any], list[str]]:
    """The number types in an annotation, their bounds, and words that are also allowed."""
    origin = get_origin(annotation)
    if annotation in (int, float):
        return {annotation}, [], []
    if origin is Literal:
        return set(), [], list(get_args(annotation))
    if origin is Annotated:
        kinds, bounds, others = _parts(get_args(annotation)[0])
        for extra in annotation.__metadata__:
            bounds += extra.metadata if isinstance(extra, FieldInfo) else [extra]
        return kinds, bounds, others
    kinds, bounds, others = set[type](), list[Any](), list[str]()
    if origin in (Union, UnionType):
        for choice in get_args(annotation):
            if choice is not NoneType:
                more = _parts(choice)
                kinds, bounds, others = kinds | more[0], bounds + more[1], others + more[2]
    return kinds, bounds, others


def _spelled(bounds: list[Any]) -> str:
    low = high = ""
    for bound in bounds:
        if isinstance(bound, annotated_types.Ge):
            low = f"[{bound.ge}"
        elif isinstance(bound, annotated_types.Gt):
            low = f"({bound.gt}"
        elif isinstance(bound, annotated_types.Le):
            high = f"{bound.le}]"
        elif isinstance(bound, annotated_types.Lt):
            high = f"{bound.lt})"
    if low and high:
        return f" in {low}, {high}"
    if low:
        return f" {'>=' if low[0] == '[' else '>'} {low[1:]}"
    return ""
