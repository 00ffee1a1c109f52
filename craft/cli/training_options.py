"""Options about training, shared by several commands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from craft.settings import choices
from craft.settings.choices import MethodName, PresetName

if TYPE_CHECKING:
    from craft.settings.training import CraftConfig

_PANEL = "Training"

Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="a training setting, such as lr=1e-4 or checkpoint.every=50; may be repeated; `craft "
        "settings` lists all",
        rich_help_panel=_PANEL,
    ),
]
Preset = Annotated[
    PresetName,
    typer.Option(help="settings to start from", rich_help_panel=_PANEL),
]
SettingsFile = Annotated[
    Path | None,
    typer.Option(
        "--config", help="YAML file of settings that override the preset", rich_help_panel=_PANEL
    ),
]
Method = Annotated[
    MethodName | None,
    typer.Option(help="short for --set method=...", rich_help_panel=_PANEL),
]
EncoderMode = Annotated[
    choices.EncoderMode | None,
    typer.Option("--encoder", help="short for --set encoder=...", rich_help_panel=_PANEL),
]
Resume = Annotated[
    Literal["auto", "never"],
    typer.Option(
        help="auto: resume from the newest checkpoint in --out, if there is one",
        rich_help_panel=_PANEL,
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="load everything, compute one step, write nothing",
        rich_help_panel=_PANEL,
    ),
]


def config(
    preset: PresetName = "craft",
    file: Path | None = None,
    settings: list[str] | None = None,
) -> CraftConfig:
    """The training settings of a preset, a file and ``--set``; raises CraftError for mistakes."""
    from craft.settings.reading import read_settings

    return read_settings(preset, file, settings or ())
