"""NaN and infinity are refused in every number a user sets, by name and with its range."""

import re
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import pytest
import typer
from pydantic import ValidationError
from typer.testing import CliRunner

from craft.cli.app import app
from craft.errors import CraftError
from craft.settings.heba import HebaConfig, HebaSettings
from craft.settings.laser import LaserSettings
from craft.settings.reading import laser_settings, read_settings, setting_names
from craft.settings.training import CraftConfig

NOT_FINITE = {".nan": float("nan"), ".inf": float("inf"), "-.inf": float("-inf")}


def is_number(annotation: Any) -> bool:
    if get_origin(annotation) is Annotated:
        return is_number(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return any(is_number(a) for a in get_args(annotation) if a is not NoneType)
    return annotation in (int, float)


def numbers(fields) -> list[str]:
    return [name for name, field in fields.items() if is_number(field.annotation)]


def test_all_numbers_are_covered():
    assert len(numbers(setting_names())) == 32
    assert len(numbers(LaserSettings.model_fields)) == 7
    assert len(numbers(HebaSettings.model_fields)) == 5
    assert len(float_options()) >= 7


@pytest.mark.parametrize("value", NOT_FINITE)
@pytest.mark.parametrize("name", numbers(setting_names()))
def test_settings(name, value, tmp_path):
    number = NOT_FINITE[value]
    with pytest.raises(CraftError) as error:
        read_settings("craft", None, [f"{name}={value}"])
    text = str(error.value)
    assert text.startswith(f"--set {name}={value}: {name} must be a ")
    assert text.endswith(f", got {number}")
    nested: Any = number
    for part in reversed(name.split(".")):
        nested = {part: nested}
    with pytest.raises(ValidationError):
        CraftConfig(**nested)


@pytest.mark.parametrize("value", NOT_FINITE)
@pytest.mark.parametrize("name", numbers(LaserSettings.model_fields))
def test_settings_of_laser(name, value):
    with pytest.raises(CraftError, match=f"--set {name}={value}: {name} must be a .*, got"):
        laser_settings([f"{name}={value}"])
    values: dict[str, Any] = {name: NOT_FINITE[value]}
    with pytest.raises(ValidationError):
        LaserSettings(**values)


@pytest.mark.parametrize("value", NOT_FINITE)
@pytest.mark.parametrize("name", numbers(HebaSettings.model_fields))
def test_settings_of_adapters(name, value):
    values: dict[str, Any] = {name: NOT_FINITE[value]}
    with pytest.raises(ValidationError):
        HebaSettings(**values)
    with pytest.raises(CraftError, match=f"{name} must be .*, got"):
        HebaConfig(**values)


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("lr=0", "lr must be a finite number > 0, got 0"),
        ("lr=fast", "lr must be a finite number > 0, got 'fast'"),
        ("lambda_con=-1", "lambda_con must be a finite number >= 0 or 'task', got -1"),
        ("lambda_con=taks", "lambda_con must be a finite number >= 0 or 'task', got 'taks'"),
        ("epochs=1e308", r"epochs must be a finite number in \(0, 1000000\], got 1e\+308"),
        ("warmup=1", r"warmup must be a finite number in \[0, 1\), got 1"),
        ("batch=1", "batch must be a whole number >= 2, got 1"),
        ("batch=2.5", "batch must be a whole number >= 2, got 2.5"),
        ("seed=-1", r"seed must be a whole number in \[0, 9223372036854775807\], got -1"),
        ("heba.bottleneck=0", "heba.bottleneck must be a whole number >= 1 or 'quarter', got 0"),
        ("codebook.fraction=0", r"codebook.fraction must be a finite number in \(0, 1\], got 0"),
    ],
)
def test_messages_state_the_range(assignment, said):
    with pytest.raises(CraftError, match=f"^--set {assignment}: {said}"):
        read_settings("craft", None, [assignment])


def float_options(command: Any = None, path: tuple[str, ...] = ()) -> list[list[str]]:
    """The arguments that lead to each command-line option of type float."""
    command = command or typer.main.get_command(app)
    found = [
        [*path, option.opts[0]]
        for option in command.params
        if re.search(r"\bfloat\b", str(option.type_descriptor.annotation))
    ]
    for name, inner in getattr(command, "commands", {}).items():
        found += float_options(inner, (*path, name))
    return found


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
@pytest.mark.parametrize("arguments", float_options(), ids=" ".join)
def test_options(arguments, value):
    result = CliRunner().invoke(app, [*arguments, value])
    said = " ".join(f"{result.output} {result.exception}".split())
    assert result.exit_code == 2
    assert arguments[-1] in said or "keep_ratio" in said
    assert "must be" in said or "should be" in said
