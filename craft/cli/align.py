"""``craft align``: teach a user's own language model to read the codes."""

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
from craft.runtime.rank import is_main_process


def align(
    language_model: Annotated[
        Path,
        typer.Argument(help="directory of a transformers causal language model, or of an --out"),
    ],
    out: Annotated[Path, typer.Option(help="directory for the aligned model")],
    captions: Annotated[
        Path | None, typer.Option(help="data that trains the projector alone")
    ] = None,
    instructions: Annotated[
        Path | None, typer.Option(help="data that trains projector and language model")
    ] = None,
    name: Annotated[str | None, typer.Option(help="[default: that of --out]")] = None,
    images: data_options.Images = None,
    format: data_options.Format = None,
    skip_corrupt: data_options.SkipCorrupt = False,
    pixel_range: data_options.PixelRange = None,
    settings_file: training_options.SettingsFile = None,
    settings: training_options.Settings = None,
    resume: training_options.Resume = "never",
    device: Device = None,
    models: Models = None,
    force: Force = False,
) -> None:
    """Align your own language model to the frozen encoder, to serve it or to use it as a surrogate.

    The projector learns from the captions first, then projector and language model from the
    instructions; both in any format that `craft data check` understands. The settings are those of
    `craft adapt`, except for one epoch and lr 1e-4. An --out inside the directory of --models can
    be used as --surrogate.
    """
    process.prepare()
    from craft.settings.reading import read_align_settings

    config = read_align_settings(settings_file, settings or ())
    from craft.cli.interrupt import checkpoint_kept, telling_what_is_kept
    from craft.cli.told import ConsoleListener
    from craft.family.family import ModelFamily
    from craft.settings.methods import ALIGN_STAGES
    from craft.training.admission import CHECKPOINTS
    from craft.workbench import alignment

    given = {"captions": captions, "instructions": instructions}
    data: dict[Any, Any] = {
        stage: data_options.request(
            given[stage],
            format=format,
            images=images,
            skip_corrupt=skip_corrupt,
            pixel_range=pixel_range,
        )
        for stage in ALIGN_STAGES
        if given[stage] is not None
    }
    family = ModelFamily.load(models, device=device)

    def kept() -> str:
        stages = [out / stage / CHECKPOINTS for stage in data]
        return checkpoint_kept(stages, config.checkpoint.every)

    resumed = out if resume == "auto" else None
    with (
        telling_what_is_kept(kept, is_main_process()),
        ConsoleListener(console, resumed) as told,
    ):
        aligned = alignment.align(
            language_model,
            out,
            data,
            family=family,
            name=name,
            settings=config,
            resume=resume == "auto",
            force=force,
            listener=told,
        )
    here = models is not None and out.resolve().parent == models.resolve()
    then = f"craft adapt --models {models} --surrogate {out.name} ..."
    then = then if here else "move it into the directory of --models to use it as --surrogate"
    book = aligned.codebook_fingerprint[:12]
    console.print(f"{out}: aligned to codebook {book}; next: {then}")
