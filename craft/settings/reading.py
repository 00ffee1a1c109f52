"""Settings from where users write them: a preset, then a YAML file, then ``KEY=VALUE``."""

from __future__ import annotations

import contextlib
import dataclasses
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
from craft.settings.closest import did_you_mean
from craft.settings.idle import why_idle
from craft.settings.laser import LaserSettings
from craft.settings.presets import PRESETS, PresetName, preset
from craft.settings.ranges import allowed
from craft.settings.training import CraftConfig

log = logging.getLogger(__name__)

_ALIGN_STAGES = ("align_projector", "align")
_PRESET, _FILE, _SET = range(3)


@dataclass
class _Sources:
    """Values from all sources, and where each setting's value came from."""

    values: dict[str, Any] = dataclasses.field(default_factory=dict)
    origin: dict[str, str] = dataclasses.field(default_factory=dict)
    level: dict[str, int] = dataclasses.field(default_factory=dict)
    #: What a setting would be without its last source.
    before: dict[str, Any] = dataclasses.field(default_factory=dict)

    def value(self, name: str) -> Any:
        """The value of a setting by its dotted name; its default if no source gives one."""
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
    """Read settings; each source overrides the earlier ones, key by key, also within sections.

    ``steps`` and ``epochs`` answer the same question, so the later source's answer counts. An
    assignment that has no effect given the other settings is refused; such a line of a file is
    only logged, since a file may serve several methods.

    Args:
        file: YAML, such as the ``config.yaml`` of an earlier run, or a part of one.
        assignments: such as ``lr=1e-4`` or ``checkpoint.every=50``.

    Raises:
        CraftError: there is no such preset, file or setting, a value is not possible, or a setting
            is given twice or has no effect; one line per mistake, which says where it is.
    """
    preset(preset_name)  # refuses a wrong name
    sources = _Sources()
    sources.merge(PRESETS[preset_name], f"preset {preset_name}", _PRESET)
    if file is not None:
        sources.merge(read_yaml(file, "settings"), str(file), _FILE)
    for text in assignments:
        key, equals, value = text.partition("=")
        if not equals:
            raise CraftError(f"--set takes KEY=VALUE, got {text!r}")
        nested: Any = _scalar(value, text)
        for part in reversed(key.split(".")):
            nested = {part: nested}
        sources.merge(nested, f"--set {text}", _SET)
    _settle_length(sources)
    _check_method(sources, aligning=preset_name == "align")
    try:
        config = CraftConfig(**sources.values)
    except ValidationError as error:
        raise CraftError(_mistakes(error, sources.origin, setting_names())) from error
    # What `craft align` trains is not decided by its settings.
    judged = config.model_copy(update={"method": "align"}) if preset_name == "align" else config
    _check_effects(sources, judged)
    return config


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


def _check_method(sources: _Sources, aligning: bool) -> None:
    """Raises CraftError for a stage of `craft align` elsewhere, or for another method there."""
    method = sources.value("method")
    if aligning and "method" in sources.origin and method not in _ALIGN_STAGES:
        raise CraftError(
            f"{sources.origin['method']}: `craft align` has methods of its own, by what it learns "
            "from: --captions, --instructions, or both; leave method out"
        )
    if not aligning and method in _ALIGN_STAGES:
        raise CraftError(
            f"{sources.origin['method']}: {method} is a stage of `craft align`, which makes a "
            "language model read codes and keeps it; run `craft align`, or choose another method"
        )
    if aligning:
        sources.values.pop("method", None)


def _check_effects(sources: _Sources, config: CraftConfig) -> None:
    """Refuse assignments, and log lines of a file, that have no effect given the others."""
    refused = []
    for name, source in sources.origin.items():
        value, default = sources.value(name), setting_names()[name].default
        if sources.level[name] == _PRESET or value in (sources.before[name], default):
            continue  # nothing that somebody wanted is lost
        reason = why_idle(name, config)
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
        # A mistake in a section as a whole is caused by what was set in it.
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
    """Every setting by its dotted name, with pydantic's field; sections are spelled out."""
    names: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            names |= setting_names(field.annotation, f"{prefix}{name}.")
        else:
            names[prefix + name] = field
    return names


def _scalar(value: str, text: str) -> Any:
    """As YAML reads it, except that 1e-4 is a number, as everywhere outside YAML 1.1, and that NaN
    and infinity are left to the setting, which tells its range."""
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
    """LASER's settings from ``KEY=VALUE``, with values as in YAML.

    Raises:
        CraftError: there is no such setting, one is given twice, or a value is not possible; one
            line per mistake.
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
