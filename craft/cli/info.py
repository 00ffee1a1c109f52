"""``craft info``: what is installed, and what is in a pack."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from craft.cli import process
from craft.cli.options import (
    Device,
    Models,
    console,
)


def info(
    pack: Annotated[
        Path | None, typer.Argument(metavar="[PACK]", help="encoder pack to describe too")
    ] = None,
    device: Device = None,
    models: Models = None,
) -> None:
    """Show what is installed, what will run and why, and what is in an encoder pack."""
    process.prepare()
    from craft.cli.facts import installation_facts, pack_facts, print_facts

    print_facts(console, "installation", installation_facts(models, device))
    if pack is not None:
        print_facts(console, str(pack), pack_facts(pack, models))
