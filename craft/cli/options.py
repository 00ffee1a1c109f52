"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from craft.cli.checks import require_shares
from craft.cli.terminal import console as console

DOMAINS = ("handwriting", "lineart", "flags")
DomainName = Literal["handwriting", "lineart", "flags"]

Models = Annotated[
    Path | None,
    typer.Option(help="directory of the models [default: those that come with the package]"),
]
Surrogate = Annotated[
    str | None,
    typer.Option(help="language model to adapt with [default: qwen2, or the only one there is]"),
]
Force = Annotated[
    bool, typer.Option("--force", help="replace an earlier run, or write among other files")
]
KeepRatio = Annotated[
    float, typer.Option(callback=require_shares, help="share of the visual tokens to keep")
]
KeepRatios = Annotated[
    list[float] | None,
    typer.Option(
        "--keep-ratio",
        callback=require_shares,
        help="share of the visual tokens to keep; may be repeated",
    ),
]
TestLimit = Annotated[
    int | None, typer.Option(min=1, help="number of random test images [default: all]")
]
General = Annotated[
    Path | None,
    typer.Option(
        "--general",
        help="data that measures forgetting, see `craft data` [default: what the models name]",
    ),
]
GeneralImages = Annotated[
    int, typer.Option(min=1, help="questions that measure forgetting, at most")
]
Pack = Annotated[Path, typer.Argument(metavar="PACK", help="directory of an encoder pack")]
PackDomain = Annotated[
    DomainName | None, typer.Option("--domain", help="[default: the one the pack was made for]")
]
Device = Annotated[
    str | None,
    typer.Option(
        metavar="auto|cpu|cuda|cuda:1|mps",
        help="where models run [default: CRAFT_DEVICE, else auto]",
    ),
]
LanguageModel = Annotated[str, typer.Option(help="name of a language model, or all")]
Compile = Annotated[
    bool,
    typer.Option(
        "--compile", help="run encoders through torch.compile; codes in near-ties may differ"
    ),
]
