"""``craft align``: a language model of one's own learns to read the codes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from craft.cli import data_options, process, training_options
from craft.cli.options import (
    Device,
    Force,
    Models,
    console,
)
from craft.errors import CraftError


def align(
    language_model: Annotated[
        Path,
        typer.Argument(help="directory of a causal language model of transformers, or of --out"),
    ],
    out: Annotated[Path, typer.Option(help="where the aligned model goes")],
    captions: Annotated[
        Path | None, typer.Option(help="data that the projector learns from, alone")
    ] = None,
    instructions: Annotated[
        Path | None, typer.Option(help="data that projector and language model learn from")
    ] = None,
    name: Annotated[str | None, typer.Option(help="[default: that of --out]")] = None,
    images: data_options.Images = None,
    format: data_options.Format = None,
    skip_corrupt: data_options.SkipCorrupt = False,
    settings_file: training_options.SettingsFile = None,
    settings: training_options.Settings = None,
    resume: training_options.Resume = "never",
    device: Device = None,
    models: Models = None,
    force: Force = False,
) -> None:
    """Align a language model of your own to a frozen encoder, to be a surrogate or to be served.

    First the projector learns from captions, then projector and language model from instructions;
    each in any format that `craft data check` understands. The settings are `craft adapt`'s, but
    one epoch and lr 1e-4. Give --out a place in the directory of --models, and it can be named as
    --surrogate.
    """
    process.prepare()
    given = {"captions": captions, "instructions": instructions}
    paths = {stage: path for stage, path in given.items() if path is not None}
    if not paths:
        raise CraftError("name what to learn from: --captions, --instructions, or both")
    from craft.cli.progress import ProgressDisplay
    from craft.cli.run_directory import open_run_directory
    from craft.data.domains.building import build_domain
    from craft.family.family import ModelFamily
    from craft.models.aligned_language_model import CARD, AlignedLanguageModel
    from craft.settings.reading import read_settings
    from craft.training import align as aligning

    config = read_settings("align", settings_file, settings or ())
    zoo = ModelFamily.load(models, device=device)
    encoder = aligning.Encoder(zoo.pretrained_tower(), zoo.siglip)
    data: dict[str, Any] = {}
    with console.status("reading the data"):
        for stage, path in paths.items():
            asked = data_options.request(
                path, None, None, format, images, None, None, skip_corrupt, False
            )
            records = asked.read()
            data[stage] = build_domain(records, asked.manifest(records), zoo.image_size)
    if (language_model / CARD).is_file():
        import torch

        reader = AlignedLanguageModel.from_pretrained(language_model, dtype=torch.float32)
        reader.name = name or reader.name
    else:
        reader = aligning.new_reader(
            language_model, encoder.tower, name=name or out.name, seed=config.seed
        )
    reader.to(zoo.device)
    command = {"command": "align", "language_model": str(language_model), "stages": list(paths)}
    main = process.is_main_process()
    console.quiet = not main
    if main:
        open_run_directory(out, command | {"config": config.model_dump()}, force)
    with ProgressDisplay(console) as progress:
        aligning.align(
            reader,
            encoder,
            data,
            config,
            out,
            resume=resume == "auto",
            on_start=lambda table: console.print(str(table), highlight=False),
            on_step=lambda stage, step, steps: progress(f"aligning: {stage}", step, steps),
        )
    if main:
        reader.save_pretrained(out)
    here = models is not None and out.resolve().parent == models.resolve()
    then = f"craft adapt --models {models} --surrogate {out.name} ..."
    then = then if here else "move it into a directory of --models, to use it as --surrogate"
    book = zoo.codebook.fingerprint[:12]
    console.print(f"{out}: aligned to codebook {book}; next: {then}", highlight=False)
