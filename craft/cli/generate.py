"""``craft generate``: one question about one image."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from craft.cli import process
from craft.cli.options import Device, Force, Models, SelectorName, console
from craft.errors import CraftError

if TYPE_CHECKING:
    pass


def generate(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="any size")],
    question: Annotated[str, typer.Option(help="such as 'What object is shown in the image?'")],
    option: Annotated[
        list[str] | None, typer.Option(help="offer a choice of answers by letter; repeat")
    ] = None,
    pack: Annotated[
        Path | None, typer.Option(help="encoder pack [default: the pretrained encoder]")
    ] = None,
    llm: Annotated[str, typer.Option(help="language model that answers")] = "qwen2",
    laser: Annotated[
        bool, typer.Option("--laser", help="look closer at what the question points to")
    ] = False,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="a setting of LASER; repeat"),
    ] = None,
    picture: Annotated[Path | None, typer.Option(help="draw LASER's trace (PNG, SVG)")] = None,
    trace: Annotated[Path | None, typer.Option(help="write LASER's trace (JSON)")] = None,
    keep_ratio: Annotated[float, typer.Option(help="share of the visual tokens to keep")] = 1.0,
    selector: Annotated[SelectorName, typer.Option(help="how tokens are chosen")] = "full",
    max_new_tokens: Annotated[int, typer.Option(min=1, help="where an answer is cut off")] = 5,
    device: Device = None,
    models: Models = None,
    force: Force = False,
) -> None:
    """Answer a question about an image, plainly or with LASER (docs/laser.md)."""
    process.prepare()
    for name, value in {"--set": settings, "--picture": picture, "--trace": trace}.items():
        if value and not laser:
            raise CraftError(f"{name} belongs to LASER; add --laser")
    for path in (picture, trace):
        if path is not None and path.exists() and not force:
            raise CraftError(f"{path} exists; choose another file, or --force to replace it")
    from craft.settings.reading import laser_settings

    chosen = laser_settings(settings or ()) if laser else None
    from craft.data.readers.image import decode_rgb
    from craft.family.family import ModelFamily
    from craft.report.laser_picture import laser_figure
    from craft.workbench import generate

    pixels = decode_rgb(image.read_bytes())
    reader = generate.open_reader(
        ModelFamily.load(models, device=device),
        pack,
        name=llm,
        keep_ratio=keep_ratio,
        selector=selector,
    )
    given = generate.generate(
        reader, pixels, question, option or (), settings=chosen, max_new_tokens=max_new_tokens
    )
    console.print(given.text, markup=False, highlight=False)
    if given.trace is not None:
        if trace is not None:
            trace.write_text(json.dumps(given.trace.to_dict(), indent=2) + "\n")
        if picture is not None:
            laser_figure(pixels, given.trace, question, given.text).savefig(picture, dpi=120)
