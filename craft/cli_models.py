"""``craft convert`` and ``craft align``: models that come from elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from craft import cli_data, cli_options, cli_training
from craft.cli_options import Force, Models, console

app = typer.Typer(no_args_is_help=True, help="Checkpoints of other projects as ours, and back.")


@app.command("vila-u")
def convert_vila_u(
    path: Annotated[
        Path, typer.Argument(help="a VILA-U checkpoint; with --back, what was converted from one")
    ],
    out: Annotated[Path, typer.Argument(help="new directory")],
    back: Annotated[
        bool, typer.Option("--back", help="write a VILA-U checkpoint, with its old bytes")
    ] = False,
    pack: Annotated[
        Path | None, typer.Option(help="with --back: an encoder pack to put into it")
    ] = None,
    name: Annotated[str, typer.Option(help="what its language model is called")] = "vila-u",
    siglip_config: Annotated[
        Path | None,
        typer.Option(help="folder with SigLIP's config.json; the two releases need none"),
    ] = None,
    siglip_tokenizer: Annotated[
        Path | None,
        typer.Option(help="folder of SigLIP's tokenizer, for the contrastive loss"),
    ] = None,
) -> None:
    """Make a released checkpoint a directory for --models: encoder, codebook, language model.

    Depth, size and sharing of the codebook are read from the files. Nothing is lost: what our
    models do not use is kept aside, for the way back.
    """
    cli_options.prepare()
    if pack is not None and not back:
        raise ValueError("--pack goes with --back: it puts an adapted encoder into a checkpoint")
    if back:
        from craft.integrations.vila_u.restore import restore
        from craft.models.encoder_pack import EncoderPack

        restore(path, out, pack=None if pack is None else EncoderPack.load(pack))
        console.print(f"{out}: ready for vila_u.load", highlight=False)
        return
    from craft.integrations.vila_u.convert import convert

    done = convert(
        path, out, name=name, siglip_config=siglip_config, siglip_tokenizer=siglip_tokenizer
    )
    book = done.codebook
    kind = "shared by the levels" if book.shared else "one a level"
    console.print(f"codebook: {book.levels} levels, {book.size} x {book.dim}, {kind}")
    used = ", ".join(f"{count} {escape(part)}" for part, count in done.used.items())
    console.print(f"tensors used: {used}", highlight=False)
    console.print(f"kept aside in {out / 'vila_u'}: {len(done.aside)}", highlight=False)
    for group in sorted({".".join(tensor.split(".")[:2]) for tensor in done.aside}):
        count = sum(tensor.startswith(group) for tensor in done.aside)
        console.print(f"  {escape(group)}: {count}", highlight=False)
    console.print(f"next: craft adapt --models {out} --surrogate {name} ...", highlight=False)


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
    images: cli_data.Images = None,
    format: cli_data.Format = None,
    skip_corrupt: cli_data.SkipCorrupt = False,
    settings_file: cli_training.SettingsFile = None,
    settings: cli_training.Settings = None,
    resume: cli_training.Resume = "never",
    models: Models = None,
    force: Force = False,
) -> None:
    """Align a language model of your own to a frozen encoder, to be a surrogate or to be served.

    First the projector learns from captions, then projector and language model from instructions;
    each in any format that `craft data check` understands. The settings are `craft adapt`'s, but
    one epoch and lr 1e-4. Give --out a place in the directory of --models, and it can be named as
    --surrogate.
    """
    cli_options.prepare()
    given = {"captions": captions, "instructions": instructions}
    paths = {stage: path for stage, path in given.items() if path is not None}
    if not paths:
        raise ValueError("name what to learn from: --captions, --instructions, or both")
    from craft.data.building import build_domain
    from craft.models.aligned_language_model import CARD, AlignedLanguageModel
    from craft.pocket.zoo import PocketModels
    from craft.report.progress import ProgressDisplay
    from craft.report.run_directory import open_run_directory
    from craft.training import align as aligning
    from craft.training.settings import read_settings

    config = read_settings("align", settings_file, settings or ())
    zoo = PocketModels.load(models)
    encoder = aligning.Encoder(zoo.base_tower(), zoo.siglip)
    data: dict[str, Any] = {}
    with console.status("reading the data"):
        for stage, path in paths.items():
            asked = cli_data.request(
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
    command = {"command": "align", "language_model": str(language_model), "stages": list(paths)}
    main = cli_options.is_main_process()
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
