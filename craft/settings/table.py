"""Tables of settings for the command line and the documents, generated from the settings."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args, get_origin

from craft.settings.laser import LaserSettings
from craft.settings.presets import PRESETS
from craft.settings.reading import setting_names


def settings_table() -> str:
    """Every training setting with its type, default, value in craft_paper, and description."""
    paper = PRESETS["craft_paper"]
    lines = [
        "| setting | type | default | craft_paper | what it does |",
        "|---|---|---|---|---|",
    ]
    for name, field in setting_names().items():
        other = _value(paper[name]) if name in paper else ""
        kind = _kind(field.annotation).replace("|", r"\|")
        lines.append(
            f"| `{name}` | {kind} | {_value(field.default)} | {other} | {field.description} |"
        )
    return "\n".join(lines)


def laser_table() -> str:
    """Every setting of LASER with its type, default and description."""
    lines = ["| setting | type | default | what it does |", "|---|---|---|---|"]
    for name, field in LaserSettings.model_fields.items():
        kind = _kind(field.annotation).replace("|", r"\|")
        lines.append(f"| `{name}` | {kind} | {_value(field.default)} | {field.description} |")
    return "\n".join(lines)


def _kind(annotation: Any) -> str:
    origin = get_origin(annotation)
    if origin is Literal:
        return ", ".join(f"`{x}`" for x in get_args(annotation))
    if origin is Annotated:
        return _kind(get_args(annotation)[0])
    if origin is tuple:
        return f"{len(get_args(annotation))} x {_kind(get_args(annotation)[0])}"
    if origin is list:
        return f"list of {_kind(get_args(annotation)[0])}"
    if origin is not None:
        return " | ".join(_kind(x) for x in get_args(annotation))
    return "none" if annotation is type(None) else annotation.__name__


def _value(value: Any) -> str:
    if value is None:
        return "none"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"
