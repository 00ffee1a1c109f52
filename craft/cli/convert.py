"""``craft convert`` and ``craft align``: models that come from elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from craft.cli import process
from craft.cli.options import console
from craft.errors import CraftError

if TYPE_CHECKING:
    from craft.models.encoder_pack import EncoderPack

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
    process.prepare()
    if pack is not None and not back:
        raise CraftError("--pack goes with --back: it puts an adapted encoder into a checkpoint")
    if back:
        from craft.integrations.vila_u.restore import restore

        restore(path, out, pack=None if pack is None else _mergeable(path, pack))
        console.print(f"{out}: ready for vila_u.load", highlight=False)
        return
    from craft.integrations.vila_u.convert import convert

    done = convert(
        path, out, name=name, siglip_config=siglip_config, siglip_tokenizer=siglip_tokenizer
    )
    book = done.codebook
    kind = "shared by the levels" if book.shared else "one a level"
    console.print(f"codebook: {book.levels} levels, {book.size} x {book.dim}, {kind}")
    used = ", ".join(f"{count} {part}" for part, count in done.used.items())
    console.print(f"tensors used: {used}", highlight=False)
    console.print(f"kept aside in {out / 'vila_u'}: {len(done.aside)}", highlight=False)
    for group in sorted({".".join(tensor.split(".")[:2]) for tensor in done.aside}):
        count = sum(tensor.startswith(group) for tensor in done.aside)
        console.print(f"  {group}: {count}", highlight=False)
    console.print(f"next: craft adapt --models {out} --surrogate {name} ...", highlight=False)


def _mergeable(models: Path, directory: Path) -> EncoderPack:
    """A pack whose weights VILA-U's encoder has a place for."""
    from craft.family.family import ModelFamily

    pack = ModelFamily.load(models).plug(directory)
    if pack.own is not None or pack.pack is None:
        raise CraftError(
            f"{directory} trained a projector or language model and no encoder, so there is "
            "nothing to put into VILA-U's encoder; adapt with method craft, discrete_ft, vision_ft "
            "or ldifs"
        )
    if pack.pack.base is not None:
        raise CraftError(
            f"{directory} holds HeBA adapters, which cannot be merged into VILA-U's encoder; adapt "
            "with --encoder full, lora or norm_only to write a VILA-U checkpoint"
        )
    return pack.pack
