"""Output of ``craft info``: versions, chosen backends and why, models, content of a pack."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text

from craft.errors import CraftError
from craft.family.family import ModelFamily
from craft.models.encoder_pack import EncoderPack
from craft.runtime.device import choose_device
from craft.runtime.plain_text import on_one_line
from craft.runtime.versions import environment


def installation_facts(directory: Path | None = None, device: str | None = None) -> dict[str, str]:
    """Versions, kernels, devices, and the models of ``directory`` or of the package."""
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    chosen = choose_device(device)
    facts = environment() | {
        "devices": ", ".join(["cpu", *gpus]),
        "device": f"{chosen.device} ({chosen.reason})",
    }
    try:
        models = ModelFamily.load(directory, device=str(chosen.device))
    except CraftError as error:
        return facts | {"models": str(error)}
    return facts | {
        "models": str(models.directory),
        "language models": ", ".join(models.names),
        "codebook": repr(models.codebook),
        "model files": _state_of_files(models),
    }


def _state_of_files(models: ModelFamily) -> str:
    listed = len(models.manifest.files)
    if not listed:
        return "no manifest lists them, so changes cannot be detected"
    changed = models.changed_files()
    if changed:
        return f"{len(changed)} of {listed} not as built: {', '.join(changed)}"
    return f"all {listed} as built"


def pack_facts(directory: Path, models: Path | None = None) -> dict[str, str]:
    """The encoder, its codebook, its prior, and how it was made.

    Args:
        models: directory of the models that a pack of adapters belongs to; by default the
            package's.

    Raises:
        CraftError: not a pack, or a pack of adapters for another encoder.
    """
    pack = EncoderPack.load(directory, lambda: ModelFamily.load(models).pretrained_tower())
    base = {}
    if pack.base is not None:
        weights = sum(x.numel() for x in pack.own.values())
        base["adapters"] = f"{weights:,} weights, added to the encoder {pack.base.hash}"
    config = pack.notes.get("config", {})
    notes = {name: _said(value) for name, value in pack.notes.items() if name != "config"}
    return {
        "encoder": pack.encoder_hash,
        "parameters": f"{sum(x.numel() for x in pack.weights.values()):,}",
        **base,
        "codebook": pack.codebook_fingerprint,
        "prior": "none" if pack.prior is None else repr(pack.prior),
        **{name.replace("_", " "): value for name, value in notes.items()},
        **({"settings": "\n".join(_lines(config))} if config else {}),
    }


def _lines(settings: Mapping[str, Any], before: str = "") -> Iterator[str]:
    """Lines ``name = value``, as ``--set`` takes them, with dotted names for nested settings."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _lines(value, f"{before}{name}.")
        else:
            yield f"{before}{name} = {_said(value)}"


def _said(value: Any) -> str:
    if value is None or value == [] or value == {}:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return "; ".join(_lines(value))
    if isinstance(value, list | tuple):
        return ", ".join(map(_said, value))
    return on_one_line(str(value))


def print_facts(console: Console, title: str, facts: dict[str, str]) -> None:
    """Print one line per fact."""
    table = Table(
        title=Text(title, "table.title"), title_justify="left", show_header=False, box=None
    )
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(Text(name), Text(value))
    console.print(table, highlight=False)
