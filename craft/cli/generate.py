"""``craft generate``: one question about one image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from craft.cli import checks, data_options, process
from craft.cli.options import Device, Force, KeepRatio, Models, SelectorName, console
from craft.cli.run_directory import require_new_file
from craft.cli.terminal import errors
from craft.errors import CraftError

if TYPE_CHECKING:
    from craft.data.readers import PixelRange


def generate(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="any size")],
    question: Annotated[str, typer.Option(help="such as 'What object is shown in the image?'")],
    option: Annotated[
        list[str] | None, typer.Option(help="offer a choice of answers by letter; repeat")
    ] = None,
    pack: Annotated[
        Path | None, typer.Option(help="encoder pack [default: the pretrained encoder]")
    ] = None,
    llm: Annotated[
        str | None,
        typer.Option(help="language model that answers [default: qwen2, or the only one there is]"),
    ] = None,
    laser: Annotated[
        bool, typer.Option("--laser", help="look closer at what the question points to")
    ] = False,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="a setting of LASER; repeat"),
    ] = None,
    picture: Annotated[Path | None, typer.Option(help="draw LASER's trace (PNG, SVG)")] = None,
    trace: Annotated[Path | None, typer.Option(help="write LASER's trace (JSON)")] = None,
    keep_ratio: KeepRatio = 1.0,
    selector: Annotated[SelectorName, typer.Option(help="how tokens are chosen")] = "full",
    instruction: Annotated[
        str | None,
        typer.Option(
            help="how to answer an open question; '' for nothing [default: as succinctly as "
            "possible, or nothing with --max-new-tokens over 5]"
        ),
    ] = None,
    max_new_tokens: Annotated[
        int | None,
        typer.Option(
            min=1, help="where an answer is cut off [default: 5, or 64 with --instruction]"
        ),
    ] = None,
    pixel_range: data_options.PixelRange = None,
    device: Device = None,
    models: Models = None,
    force: Force = False,
) -> None:
    """Answer a question about an image, plainly or with LASER (docs/laser.md)."""
    process.prepare()
    for name, value in {"--set": settings, "--picture": picture, "--trace": trace}.items():
        if value and not laser:
            raise CraftError(f"{name} belongs to LASER; add --laser")
    require_new_file(picture, "--picture", force)
    require_new_file(trace, "--trace", force)
    if picture is not None and picture.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise CraftError(f"--picture {picture} must end in .png, .svg or .pdf")
    checks.require_effect_of_pruning([keep_ratio], selector)
    from craft.settings.reading import laser_settings

    chosen = laser_settings(settings or ()) if laser else None
    from craft.data import readers
    from craft.data.readers.decoding import decode_rgb
    from craft.data.readers.image import ImageFile
    from craft.family.family import ModelFamily
    from craft.report.figures import save_figure
    from craft.report.laser_picture import laser_figure
    from craft.runtime.whole_file import whole_file, write_json
    from craft.workbench import generate

    used = readers.PixelRange.parse(pixel_range) if pixel_range else _range_of(pack)
    encoded = ImageFile(image).read()
    try:
        pixels = decode_rgb(encoded, used)
    except CraftError as error:
        raise CraftError(f"{image}: {error}") from error
    family = ModelFamily.load(models, device=device)
    name = checks.language_model(family, "--llm", llm)
    reader = generate.open_reader(family, pack, name=name, keep_ratio=keep_ratio, selector=selector)
    given = generate.generate(
        reader,
        pixels,
        question,
        option or (),
        settings=chosen,
        max_new_tokens=max_new_tokens,
        instruction=instruction,
    )
    console.print(given.text, markup=False, highlight=False)
    if given.outside:
        errors.print(
            f"the model wrote {given.written!r}, which is none of the options; the answer is the "
            "option whose letter it finds likeliest",
            soft_wrap=True,
        )
    if given.trace is not None:
        if trace is not None:
            write_json(trace, given.trace.to_dict())
        if picture is not None:
            figure = laser_figure(pixels, given.trace, question, given.text)
            with whole_file(picture) as written:
                save_figure(figure, written, picture.suffix.lower().removeprefix("."))


def _range_of(pack: Path | None) -> PixelRange | None:
    """The range that the pack's own data was read with."""
    from craft.data.domains.manifest import MANIFEST, DomainManifest

    if pack is None or not (pack / MANIFEST).is_file():
        return None
    return DomainManifest.load(pack / MANIFEST).reading.pixel_range
