"""``craft convert``: turn checkpoints of other projects into ours, and back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from craft.cli import checks, data_options, process
from craft.cli.options import Device, Force, console
from craft.errors import CraftError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from craft.data.readers import Record
    from craft.family.plugged import PluggedEncoder

#: Images on which the effect of rounding is measured.
ROUNDED = 16

app = typer.Typer(no_args_is_help=True, help="Convert checkpoints of other projects, and back.")


@app.command("vila-u")
def convert_vila_u(
    path: Annotated[
        Path, typer.Argument(help="a VILA-U checkpoint; with --back, a converted directory")
    ],
    out: Annotated[Path, typer.Argument(help="new directory")],
    back: Annotated[
        bool, typer.Option("--back", help="convert back; unchanged parts keep their bytes")
    ] = False,
    pack: Annotated[
        Path | None, typer.Option(help="with --back: an encoder pack to put into it")
    ] = None,
    name: Annotated[str, typer.Option(help="name for its language model")] = "vila-u",
    siglip_config: Annotated[
        Path | None,
        typer.Option(help="folder with SigLIP's config.json; the two releases need none"),
    ] = None,
    siglip_tokenizer: Annotated[
        Path | None,
        typer.Option(help="folder with SigLIP's tokenizer, for the contrastive loss"),
    ] = None,
    general: Annotated[
        Path | None,
        typer.Option(help="images to count the pretrained encoder's token prior over, for pruning"),
    ] = None,
    dtype: Annotated[
        Literal["stored", "float32"],
        typer.Option(help="with --pack: keep the checkpoint's dtype, or the pack's exact weights"),
    ] = "stored",
    device: Device = None,
) -> None:
    """Convert a released checkpoint to a directory for --models: encoder, codebook, language model.

    Depth, size and sharing of the codebook are read from the files. Nothing is lost: tensors that
    our models do not use are kept aside for --back.
    """
    process.prepare()
    if pack is not None and not back:
        raise CraftError("--pack goes with --back: it puts an adapted encoder into a checkpoint")
    if back:
        given = {"--general": general, "--siglip-config": siglip_config}
        checks.require_owner(
            "conversion from VILA-U", given | {"--siglip-tokenizer": siglip_tokenizer}
        )
    if pack is None:
        checks.require_owner("--pack", {"--dtype": dtype != "stored"})
    if back:
        _restore(path, out, pack, dtype, device)
        return
    from craft.integrations.vila_u.convert import convert

    records = None if general is None else data_options.request(general).read()

    done = convert(
        path, out, name=name, siglip_config=siglip_config, siglip_tokenizer=siglip_tokenizer
    )
    book = done.codebook
    kind = "shared by the levels" if book.shared else "one per level"
    console.print(f"codebook: {book.levels} levels, {book.size} x {book.dim}, {kind}")
    used = ", ".join(f"{count} {part}" for part, count in done.used.items())
    console.print(f"tensors used: {used}")
    console.print(f"kept aside in {out / 'vila_u'}: {len(done.aside)}")
    for group in sorted({".".join(tensor.split(".")[:2]) for tensor in done.aside}):
        count = sum(tensor.startswith(group) for tensor in done.aside)
        console.print(f"  {group}: {count}")
    if records is not None:
        _count_general(out, records.records, device)
    console.print(f"next: craft adapt --models {out} ...")


@app.command("general-prior")
def count_general(
    models: Annotated[Path, typer.Argument(help="directory of models")],
    data: Annotated[Path, typer.Argument(help="anything that `craft data check` understands")],
    images: data_options.Images = None,
    format: data_options.Format = None,
    device: Device = None,
    force: Force = False,
) -> None:
    """Count the pretrained encoder's token prior over general images; converted models lack one.

    Pruning with the pretrained encoder needs it, as `craft transfer --keep-ratio` does.
    """
    process.prepare()
    from craft.family.layout import PRIOR
    from craft.workbench.outputs import require_new_file

    require_new_file(models / PRIOR, "the prior", force)
    records = data_options.request(data, format=format, images=images).read().records
    _count_general(models, records, device)


def _count_general(models: Path, records: Sequence[Record], device: str | None) -> None:
    from craft.cli.progress import ProgressDisplay
    from craft.family.family import ModelFamily
    from craft.family.layout import PRIOR
    from craft.workbench.general_prior import count_general_prior

    family = ModelFamily.load(models, device=device)
    with ProgressDisplay(console) as progress:
        counted = count_general_prior(
            family, records, lambda done, total: progress("shards", done, total)
        )
    used = int((counted.counts > 0).sum())
    console.print(
        f"{models / PRIOR}: {counted.total} tokens of {len(records)} images, {used} of "
        f"{counted.size} codes",
        soft_wrap=True,
    )


def _restore(models: Path, out: Path, pack: Path | None, dtype: str, device: str | None) -> None:
    import torch

    from craft.integrations.vila_u.restore import restore

    encoder = None if pack is None else _mergeable(models, pack, device)
    wanted = torch.float32 if dtype == "float32" else None
    restore(models, out, pack=encoder and encoder.pack, dtype=wanted)
    load = "vila_u.load"
    if pack is not None and encoder is not None:
        stored = _dtype_in(out) if wanted is None else torch.float32
        if wanted is not None:
            load = "vila_u.load(path, model_dtype=torch.float32)"
        if stored != torch.float32:
            said = _rounding(models, pack, encoder, stored, device)
            console.print(said, style="yellow", soft_wrap=True)
    console.print(f"{out}: ready for {load}", soft_wrap=True)


def _dtype_in(checkpoint: Path) -> torch.dtype:
    from craft.integrations.vila_u.checkpoint import VilaUCheckpoint

    return VilaUCheckpoint(checkpoint).dtype


def _rounding(
    models: Path, directory: Path, encoder: PluggedEncoder, dtype: torch.dtype, device: str | None
) -> str:
    """Say how rounding the pack's weights changes its codes on images of its domain."""
    from craft.family.family import ModelFamily
    from craft.integrations.vila_u.rounding import codes_kept
    from craft.pocket.domains import load_domain
    from craft.runtime.device import pixels_on
    from craft.workbench.opening import open_pack

    kind = str(dtype).removeprefix("torch.")
    way_out = "--dtype float32 keeps the weights as they are"
    try:
        family = ModelFamily.load(models, device=device)
        domain = open_pack(directory, family, known=load_domain).domain
    except (CraftError, OSError) as error:
        return (
            f"the pack's float32 weights were rounded to {kind}, which changes codes; how many "
            f"could not be measured: {error}; {way_out}"
        )
    shown = range(min(ROUNDED, len(domain.test)))
    pixels = domain.test.images.pixels(shown, encoder.tower.image_size)
    images = pixels_on(pixels, encoder.tower.device)
    kept = codes_kept(encoder.tower, images, dtype)
    shares = "/".join(f"{100 * share:.0f}" for share in kept)
    return (
        f"the pack's float32 weights were rounded to {kind}: {shares} % of the codes of its "
        f"levels are the same on {len(images)} images of its domain, and fewer in VILA-U's own "
        f"{kind} arithmetic; {way_out}"
    )


def _mergeable(models: Path, directory: Path, device: str | None) -> PluggedEncoder:
    """Open a pack whose weights fit into VILA-U's encoder; raises CraftError for any other."""
    from craft.family.family import ModelFamily

    pack = ModelFamily.load(models, device=device).plug(directory)
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
    return pack
