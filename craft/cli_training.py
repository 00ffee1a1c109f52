"""Options of ``craft adapt`` and ``craft demo`` that are about training, and ``craft settings``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console

if TYPE_CHECKING:
    from craft.data.question_domain import AnyDomain
    from craft.pocket.zoo import PocketModels
    from craft.training.config import CraftConfig

_PANEL = "Training"

Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="a training setting, such as lr=1e-4 or checkpoint.every=50; repeat; `craft settings` "
        "lists them",
        rich_help_panel=_PANEL,
    ),
]
Preset = Annotated[
    Literal["craft", "craft_paper"],
    typer.Option(help="settings to begin with", rich_help_panel=_PANEL),
]
SettingsFile = Annotated[
    Path | None,
    typer.Option(
        "--config", help="YAML file of settings, over the preset's", rich_help_panel=_PANEL
    ),
]
Method = Annotated[
    Literal["craft", "discrete_ft", "vision_ft", "ldifs", "projector_ft", "llm_lora", "zero_shot"]
    | None,
    typer.Option(help="short for --set method=...", rich_help_panel=_PANEL),
]
EncoderMode = Annotated[
    Literal["full", "lora", "norm_only", "heba", "heba_discrete"] | None,
    typer.Option("--encoder", help="short for --set encoder=...", rich_help_panel=_PANEL),
]
Resume = Annotated[
    Literal["auto", "never"],
    typer.Option(
        help="auto: go on from the newest checkpoint in --out, if there is one",
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


def list_settings() -> None:
    """Every training setting: its type, its default, and what it does."""
    from craft.training.settings_table import settings_table

    Console().print(settings_table(), highlight=False, markup=False, soft_wrap=True)


def config(
    preset: Literal["craft", "craft_paper"] = "craft",
    file: Path | None = None,
    settings: list[str] | None = None,
) -> CraftConfig:
    """The training settings of a preset, a file and ``--set``; raises ValueError for mistakes."""
    from craft.training.settings import read_settings

    return read_settings(preset, file, settings or ())


def print_rehearsal(
    console: Console, zoo: PocketModels, surrogate: str, domain: AnyDomain, config: CraftConfig
) -> None:
    import copy

    from craft.report.facts import print_facts
    from craft.training.rehearsal import rehearse

    reader = copy.deepcopy(zoo.lvlm(surrogate))
    found = rehearse(
        zoo.base_tower(), reader, zoo.siglip, domain, config, zoo.text_tokenizer(config)
    )
    print_facts(console, "dry run: nothing was written", found.facts())
