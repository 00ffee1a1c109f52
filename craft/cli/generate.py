"""``craft generate``: answer one question about one image."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from craft.cli import data_options, process
from craft.cli.options import Device, Force, KeepRatio, Models, console
from craft.cli.terminal import errors
from craft.errors import CraftError
from craft.settings.choices import Selector
from craft.workbench.outputs import require_new_file


def generate(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="image file of any size")],
    question: Annotated[str, typer.Option(help="such as 'What object is shown in the image?'")],
    option: Annotated[
        list[str] | None, typer.Option(help="an answer to choose from by letter; repeat")
    ] = None,
    pack: Annotated[
        Path | None, typer.Option(help="encoder pack [default: the pretrained encoder]")
    ] = None,
    llm: Annotated[
        str | None,
        typer.Option(help="language model that answers [default: qwen2, or the only one there is]"),
    ] = None,
    laser: Annotated[
        bool, typer.Option("--laser", help="use LASER to look closer at what the question is about")
    ] = False,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="a LASER setting; may be repeated"),
    ] = None,
    picture: Annotated[Path | None, typer.Option(help="draw LASER's trace (PNG, SVG)")] = None,
    trace: Annotated[Path | None, typer.Option(help="write LASER's trace (JSON)")] = None,
    keep_ratio: KeepRatio = 1.0,
    selector: Annotated[Selector, typer.Option(help="how tokens are chosen")] = "full",
    instruction: Annotated[
        str | None,
        typer.Option(
            help="how to answer an open question; '' for no instruction [default: as succinctly as "
            "possible, or none with --max-new-tokens over 5]"
        ),
    ] = None,
    max_new_tokens: Annotated[
        int | None,
        typer.Option(
            min=1, help="length limit of an answer [default: 5, or 64 with --instruction]"
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
    from craft.settings.exams import require_effect_of_pruning, require_share
    from craft.settings.reading import laser_settings

    require_effect_of_pruning([require_share(keep_ratio)], selector)
    chosen = laser_settings(settings or ()) if laser else None
    from craft.data.readers import PixelRange
    from craft.family.family import ModelFamily
    from craft.report.figures import save_figure
    from craft.report.laser_picture import laser_figure
    from craft.runtime.whole_file import whole_file, write_json
    from craft.workbench import generate

    values = PixelRange.parse(pixel_range) if pixel_range else None
    pixels = generate.read_image(image, pack, values)
    family = ModelFamily.load(models, device=device)
    reader = generate.open_reader(family, pack, name=llm, keep_ratio=keep_ratio, selector=selector)
    given = generate.generate(
        reader,
        pixels,
        question,
        option or (),
        settings=chosen,
        max_new_tokens=max_new_tokens,
        instruction=instruction,
    )
    console.print(given.text)
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
