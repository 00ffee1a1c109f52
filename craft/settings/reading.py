"""Settings from where users write them: a preset, then a YAML file, then ``KEY=VALUE``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from craft.errors import CraftError
from craft.settings.laser import LaserSettings
from craft.settings.presets import PRESETS, PresetName, preset
from craft.settings.training import CraftConfig


def read_settings(
    preset_name: PresetName = "craft",
    file: Path | None = None,
    assignments: Sequence[str] = (),
) -> CraftConfig:
    """Each later source overrides the ones before it, key by key, also within sections.

    Args:
        file: YAML, as ``config.yaml`` of an earlier run, or any part of one.
        assignments: such as ``lr=1e-4`` or ``checkpoint.every=50``.

    Raises:
        CraftError: no such preset, file or setting, or a value it cannot have; one line a mistake,
            which says where it stands.
    """
    values: dict[str, Any] = {}
    origin: dict[str, str] = {}
    preset(preset_name)  # refuses a wrong name
    _merge(values, PRESETS[preset_name], f"preset {preset_name}", origin)
    if file is not None:
        try:
            written = yaml.safe_load(file.read_text())
        except yaml.YAMLError as error:
            raise CraftError(f"{file} is not YAML: {error}") from error
        if not isinstance(written, dict | None):
            raise CraftError(f"{file} must hold settings as KEY: VALUE, got {type(written)}")
        _merge(values, written or {}, str(file), origin)
    for text in assignments:
        key, equals, value = text.partition("=")
        if not equals:
            raise CraftError(f"--set takes KEY=VALUE, got {text!r}")
        nested: Any = _scalar(value)
        for part in reversed(key.split(".")):
            nested = {part: nested}
        _merge(values, nested, f"--set {text}", origin)
    unknown = [key for key in origin if key not in setting_names()]
    if unknown:
        top = ", ".join(CraftConfig.model_fields)
        raise CraftError(f"{origin[unknown[0]]}: no such setting {unknown[0]!r}; there are {top}")
    try:
        return CraftConfig(**values)
    except ValidationError as error:
        lines = {}
        for problem in error.errors():
            parts = [str(part) for part in problem["loc"]]
            known = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
            key = next((name for name in known if name in origin), "")
            # What is wrong with a section as a whole comes from what was set in it.
            inside = {origin[name]: None for name in origin if name.startswith(f"{parts[0]}.")}
            where = origin.get(key) or ", ".join(inside) or parts[0]
            said = problem["msg"].removeprefix("Value error, ")
            lines[f"{where}: {said}"] = None
        raise CraftError("; ".join(lines)) from error


def setting_names(model: type[BaseModel] = CraftConfig, prefix: str = "") -> dict[str, Any]:
    """Every setting by its dotted name, with pydantic's field; sections are spelled out."""
    names: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            names |= setting_names(field.annotation, f"{prefix}{name}.")
        else:
            names[prefix + name] = field
    return names


def _scalar(text: str) -> Any:
    """YAML's reading, but 1e-4 is a number, as everywhere outside YAML 1.1."""
    try:
        return float(text) if "e" in text.lower() else yaml.safe_load(text)
    except ValueError:
        return yaml.safe_load(text)


def _merge(
    into: dict[str, Any], new: dict[str, Any], source: str, origin: dict[str, str], prefix: str = ""
) -> None:
    sections = {name.split(".")[0] for name in setting_names() if "." in name}
    for key, value in new.items():
        if prefix == "" and key in sections and isinstance(value, dict):
            section = into.setdefault(key, {})
            _merge(section, value, source, origin, f"{key}.")
        else:
            into[key] = value
            origin[prefix + str(key)] = source


def laser_settings(assignments: list[str] | tuple[str, ...]) -> LaserSettings:
    """LASER's settings from ``KEY=VALUE``, values as in YAML.

    Raises:
        CraftError: no such setting, or a value it cannot have; one line a mistake.
    """
    import yaml
    from pydantic import ValidationError

    values = {}
    for text in assignments:
        key, equals, value = text.partition("=")
        if not equals:
            raise CraftError(f"--set takes KEY=VALUE, got {text!r}")
        if key not in LaserSettings.model_fields:
            known = ", ".join(LaserSettings.model_fields)
            raise CraftError(f"--set {text}: no such setting {key!r}; there are {known}")
        values[key] = yaml.safe_load(value)
    try:
        return LaserSettings(**values)
    except ValidationError as error:
        lines = [
            f"{'.'.join(map(str, e['loc'])) or '--set'}: {e['msg'].removeprefix('Value error, ')}"
            for e in error.errors()
        ]
        raise CraftError("; ".join(lines)) from error
