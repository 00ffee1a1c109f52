"""``craft align``: a language model of one's own learns to read the codes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from craft.cli import checks, data_options, process, training_options
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
    pixel_range: data_options.PixelRange = None,
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
    from craft.cli.interrupt import checkpoint_kept, telling_what_is_kept
    from craft.cli.next_steps import resuming
    from craft.cli.progress import ProgressDisplay
    from craft.cli.run_directory import open_run_directory, require_run_directory
    from craft.data.domains.building import build_domain
    from craft.family.family import ModelFamily
    from craft.models.aligned_language_model import CARD, AlignedLanguageModel
    from craft.settings.reading import read_settings
    from craft.training import align as aligning
    from craft.training.adapt import CHECKPOINTS

    config = read_settings("align", settings_file, settings or ())
    checks.require_trainable(config)
    going_on = resume == "auto"
    require_run_directory(out, "align", resume=going_on, force=force)
    zoo = ModelFamily.load(models, device=device)
    encoder = aligning.Encoder(zoo.pretrained_tower(), zoo.siglip)
    data: dict[str, Any] = {}
    with console.status("reading the data"):
        for stage, path in paths.items():
            asked = data_options.request(
                path,
                format=format,
                images=images,
                skip_corrupt=skip_corrupt,
                pixel_range=pixel_range,
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
    noted = command | {"config": config.model_dump()}
    opened: list[bool] = []

    def ready() -> None:
        if not opened:  # by an earlier stage
            opened.append(open_run_directory(out, noted, resume=going_on, force=force))

    directories = {stage: out / stage / CHECKPOINTS for stage in aligning.STAGES if stage in paths}

    def begin(stage: str, step: int, steps: int) -> None:
        if going_on:
            said = resuming(directories[stage], step, steps)
            console.print(f"{stage}: {said}", soft_wrap=True, highlight=False)
        if step < steps:
            progress(f"aligning: {stage}", step, steps)

    def kept() -> str:
        return checkpoint_kept(list(directories.values()), config.checkpoint.every)

    with telling_what_is_kept(kept, main), ProgressDisplay(console) as progress:
        for stage in paths:
            progress.count_images(f"aligning: {stage}", config.batch)
        aligning.align(
            reader,
            encoder,
            data,
            config,
            out,
            resume=going_on,
            on_ready=ready,
            on_start=lambda table: console.print(str(table), highlight=False),
            on_begin=begin,
            on_step=lambda stage, step, steps: progress(f"aligning: {stage}", step, steps),
            on_phase=progress,
        )
    if main:
        reader.save_pretrained(out)
    here = models is not None and out.resolve().parent == models.resolve()
    then = f"craft adapt --models {models} --surrogate {out.name} ..."
    then = then if here else "move it into a directory of --models, to use it as --surrogate"
    book = zoo.codebook.fingerprint[:12]
    console.print(f"{out}: aligned to codebook {book}; next: {then}", highlight=False)
