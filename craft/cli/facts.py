"""What ``craft info`` says: versions, backends and why, models, and what is in a pack."""

from __future__ import annotations

from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from craft.errors import CraftError
from craft.family.family import ModelFamily
from craft.models.encoder_pack import EncoderPack
from craft.runtime.device import choose_device
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
    changed = models.changed_files()
    return facts | {
        "models": str(models.directory),
        "language models": ", ".join(models.names),
        "codebook": repr(models.codebook),
        "model files": f"not as built: {', '.join(changed)}" if changed else "as built",
    }


def pack_facts(directory: Path, models: Path | None = None) -> dict[str, str]:
    """The encoder, its codebook, its prior, and how it came to be.

    Args:
        models: directory of the models that a pack of adapters belongs to, or the package's.

    Raises:
        CraftError: not a pack, or one of adapters of another encoder.
    """
    pack = EncoderPack.load(directory, lambda: ModelFamily.load(models).pretrained_tower())
    base = {}
    if pack.base is not None:
        weights = sum(x.numel() for x in pack.own.values())
        base["adapters"] = f"{weights:,} of them, added to the encoder {pack.base.hash}"
    config = pack.notes.get("config", {})
    notes = {name: str(value) for name, value in pack.notes.items() if name != "config"}
    return {
        "encoder": pack.encoder_hash,
        "parameters": f"{sum(x.numel() for x in pack.weights.values()):,}",
        **base,
        "codebook": pack.codebook_fingerprint,
        "prior": "none" if pack.prior is None else repr(pack.prior),
        **notes,
        "settings": " ".join(f"{name}={value}" for name, value in config.items()),
    }


def print_facts(console: Console, title: str, facts: dict[str, str]) -> None:
    """One line a fact."""
    table = Table(title=title, title_justify="left", show_header=False, box=None)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(name, value)
    console.print(table, highlight=False)
