"""Read settings from a preset, then a YAML file, then ``KEY=VALUE`` assignments."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from craft.errors import CraftError
from craft.runtime.strict_text import Fault
from craft.runtime.yaml_files import parse_yaml, read_yaml
from craft.settings.choices import PresetName
from craft.settings.closest import did_you_mean
from craft.settings.idle import why_idle
from craft.settings.laser import LaserSettings
from craft.settings.methods import ALIGN_STAGES, METHODS, Recipe
from craft.settings.presets import ALIGNING, PRESETS, preset
from craft.settings.ranges import allowed
from craft.settings.training import CraftConfig

log = logging.getLogger(__name__)

_PRESET, _FILE, _SET = range(3)


@dataclass
class _Sources:
    """Values from all sources, and where each setting's value came from."""

    values: dict[str, Any] = dataclasses.field(default_factory=dict)
    origin: dict[str, str] = dataclasses.field(default_factory=dict)
    level: dict[str, int] = dataclasses.field(default_factory=dict)
    #: The value a setting would have without its last source.
    before: dict[str, Any] = dataclasses.field(default_factory=dict)

    def value(self, name: str) -> Any:
        """The value of a setting by dotted name; its default if no source gives one."""
        found: Any = self.values
        for part in name.split("."):
            if part not in found:
                return setting_names()[name].default
            found = found[part]
        return found

    def merge(self, new: dict[str, Any], source: str, level: int, prefix: str = "") -> None:
        sections = {name.split(".")[0] for name in setting_names() if "." in name}
        into = self.values.setdefault(prefix.rstrip("."), {}) if prefix else self.values
        for key, value in new.items():
            name = prefix + str(key)
            if not prefix and key in sections:
                if not isinstance(value, dict):
                    inside = ", ".join(n for n in setting_names() if n.startswith(f"{key}."))
                    raise CraftError(f"{source}: {key} is a section; its settings are {inside}")
                self.merge(value, source, level, f"{key}.")
                continue
            if name not in setting_names():
                top = ", ".join(CraftConfig.model_fields)
                meant = did_you_mean(name, setting_names())
                raise CraftError(f"{source}: no such setting {name!r}{meant}; there are {top}")
            if level == _SET and self.level.get(name) == _SET and self.value(name) != value:
                raise CraftError(f"{name} is set twice, by {self.origin[name]} and by {source}")
            self.before[name] = self.value(name)
            into[key] = value
            self.origin[name], self.level[name] = source, level


def read_settings(
    preset_name: PresetName = "craft",
    file: Path | None = None,
    assignments: Sequence[str] = (),
) -> CraftConfig:
    """Read the settings of an adaptation; later sources override earlier ones.

    They do so key by key, also within sections. ``steps`` and ``epochs`` both set the length of
    training, so the later source decides. An assignment without effect given the other settings is
    refused; such a line in a file is only logged, since a file may serve several methods.

    Args:
        file: YAML, such as the ``config.yaml`` of an earlier run, or a part of one.
        assignments: such as ``lr=1e-4`` or ``checkpoint.every=50``.

    Raises:
        CraftError: there is no such preset, file or setting, a value is invalid, or a setting is
            given twice or has no effect; every mistake is listed with its source.
    """
    preset(preset_name)  # refuses a wrong name
    sources = _gathered(PRESETS[preset_name], f"preset {preset_name}", file, assignments)
    config = _checked(sources)
    _check_effects(sources, config, METHODS[config.method])
    return config


def read_align_settings(file: Path | None = None, assignments: Sequence[str] = ()) -> CraftConfig:
    """Read the settings of `craft align`, which trains for one epoch unless a source differs.

    The data determines its stages, so ``method`` must not be given; in a file written by an earlier
    stage, the line that names the stage is ignored.

    Raises:
        CraftError: as for :func:`read_settings`, or a method is given.
    """
    sources = _gathered(ALIGNING, "craft align", file, assignments)
    if "method" in sources.origin:
        raise CraftError(
            f"{sources.origin['method']}: `craft align` has no methods but stages, chosen by "
            "--captions, --instructions, or both; leave method out"
        )
    config = _checked(sources)
    # The last stage trains everything that the first one does, and more.
    _check_effects(sources, config, ALIGN_STAGES["instructions"])
    return config


def as_assignments(settings: Mapping[str, Any] | None) -> list[str]:
    """Settings by dotted name as ``KEY=VALUE``; values are JSON, which YAML includes."""
    return [f"{name}={json.dumps(value)}" for name, value in (settings or {}).items()]


def _gathered(
    base: dict[str, Any], base_name: str, file: Path | None, assignments: Sequence[str]
) -> _Sources:
    sources = _Sources()
    sources.merge(base, base_name, _PRESET)
    if file is not None:
        written = read_yaml(file, "settings")
        if base is ALIGNING:
            written.pop("stage", None)
        sources.merge(written, str(file), _FILE)
    for text in assignments:
        key, equals, value = text.partition("=")
        if not equals:
            raise CraftError(f"--set takes KEY=VALUE, got {text!r}")
        nested: Any = _scalar(value, text)
        for part in reversed(key.split(".")):
            nested = {part: nested}
        sources.merge(nested, f"--set {text}", _SET)
    _settle_length(sources)
    return sources


def _checked(sources: _Sources) -> CraftConfig:
    try:
        return CraftConfig(**sources.values)
    except ValidationError as error:
        raise CraftError(_mistakes(error, sources.origin, setting_names())) from error


def _settle_length(sources: _Sources) -> None:
    """Let the later of ``steps`` and ``epochs`` decide."""
    if sources.value("epochs") is None or "steps" not in sources.level:
        return
    steps, epochs = sources.level["steps"], sources.level.get("epochs", _PRESET)
    if steps == epochs == _SET:
        raise CraftError(
            f"{sources.origin['steps']} and {sources.origin['epochs']} both say how long training "
            "takes; give one of them"
        )
    if steps > epochs:
        sources.values["epochs"] = None
        if sources.level.get("min_steps", steps) < steps:
            sources.values["min_steps"] = setting_names()["min_steps"].default


def _check_effects(sources: _Sources, config: CraftConfig, recipe: Recipe) -> None:
    """Refuse assignments, and report lines of a file, that have no effect."""
    refused = []
    for name, source in sources.origin.items():
        value, default = sources.value(name), setting_names()[name].default
        if sources.level[name] == _PRESET or value in (sources.before[name], default):
            continue  # nothing that the user asked for is lost
        reason = why_idle(name, config, recipe)
        if reason is None:
            continue
        if sources.level[name] == _SET:
            refused.append(f"{source} has no effect: {reason}; leave it out")
        else:
            log.warning("%s: %s has no effect: %s", source, name, reason)
    if refused:
        raise CraftError("; ".join(refused))


def _mistakes(
    error: ValidationError, origin: dict[str, str], fields: Mapping[str, FieldInfo]
) -> str:
    lines: dict[str, None] = {}
    for problem in error.errors():
        parts = [str(part) for part in problem["loc"]]
        known = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
        key = next((name for name in known if name in origin), "")
        # A mistake in a section as a whole is caused by the settings in it.
        inside = {origin[name]: None for name in origin if name.startswith(f"{parts[0]}.")}
        where = origin.get(key) or ", ".join(inside) or parts[0]
        numbers = allowed(fields[key]) if key in fields else None
        if numbers:
            said = f"{key} must be {numbers}, got {problem['input']!r}"
        else:
            said = _said(problem)
        lines[f"{where}: {said}"] = None
    return "; ".join(lines)


def _said(problem: ErrorDetails) -> str:
    said = problem["msg"].removeprefix("Value error, ")
    if problem["type"] != "literal_error":
        return said
    choices = re.findall(r"'([^']*)'", problem.get("ctx", {}).get("expected", ""))
    return said + did_you_mean(str(problem["input"]), choices)


def setting_names(model: type[BaseModel] = CraftConfig, prefix: str = "") -> dict[str, Any]:
    """Every setting's pydantic field by dotted name, including those in sections."""
    names: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            names |= setting_names(field.annotation, f"{prefix}{name}.")
        else:
            names[prefix + name] = field
    return names


def _scalar(value: str, text: str) -> Any:
    """Parse a value as YAML, except that 1e-4 is a number, as everywhere outside YAML 1.1.

    NaN and infinity are passed on to the setting, whose error states the allowed range.
    """
    if re.fullmatch(r"[-+]?\.(inf|nan)", value.lower()):
        return float(value.replace(".", ""))
    if "e" in value.lower():
        with contextlib.suppress(ValueError):
            return float(value)
    try:
        return parse_yaml(value)
    except Fault as error:
        raise CraftError(f"--set {text}: the value cannot be read as YAML: {error}") from error


def laser_settings(assignments: Sequence[str]) -> LaserSettings:
    """Read LASER's settings from ``KEY=VALUE``, with values as in YAML.

    Raises:
        CraftError: a setting is unknown, given twice, or has an invalid value; every mistake is
            listed.
    """
    values: dict[str, Any] = {}
    origin: dict[str, str] = {}
    for text in assignments:
        key, equals, value = text.partition("=")
        if not equals:
            raise CraftError(f"--set takes KEY=VALUE, got {text!r}")
        if key not in LaserSettings.model_fields:
            known = ", ".join(LaserSettings.model_fields)
            meant = did_you_mean(key, LaserSettings.model_fields)
            raise CraftError(f"--set {text}: no such setting {key!r}{meant}; there are {known}")
        if key in values:
            raise CraftError(f"{key} is set twice, by {origin[key]} and by --set {text}")
        values[key], origin[key] = _scalar(value, text), f"--set {text}"
    try:
        return LaserSettings(**values)
    except ValidationError as error:
        raise CraftError(_mistakes(error, origin, LaserSettings.model_fields)) from error
