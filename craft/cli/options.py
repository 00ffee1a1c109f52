"""Options that several commands share, and what they do before torch is imported."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

console = Console()

DOMAINS = ("handwriting", "lineart", "flags")
DomainName = Literal["handwriting", "lineart", "flags"]
SelectorName = Literal["full", "quota_residual", "quota_random", "random"]

Models = Annotated[
    Path | None,
    typer.Option(help="directory of the models [default: those that come with the package]"),
]
Surrogate = Annotated[str, typer.Option(help="language model to adapt with")]
Force = Annotated[bool, typer.Option("--force", help="write to --out whatever else is there")]
TestLimit = Annotated[
    int | None, typer.Option(min=1, help="so many random test images instead of all")
]
GeneralImages = Annotated[
    int, typer.Option(min=3, help="views of the general world that measure forgetting")
]
Pack = Annotated[Path, typer.Argument(metavar="PACK", help="directory of an encoder pack")]
PackDomain = Annotated[
    DomainName | None, typer.Option("--domain", help="[default: the one the pack was made for]")
]
LanguageModel = Annotated[str, typer.Option(help="a language model, or all")]


def is_main_process() -> bool:
    """Of those that torchrun starts; a command that runs alone is one."""
    return os.environ.get("RANK", "0") == "0"


def prepare() -> None:
    """What must happen before torch and transformers are imported."""
    from craft.runtime.memory import keep_freed_memory

    keep_freed_memory()
    # transformers warns about token ids of default configurations that nobody uses.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    # transformers would draw a bar of its own for every little model it loads.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
