"""``craft generate``: one question about one image."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from craft.cli import data_options, options
from craft.cli.options import Force, Models, SelectorName, console
from craft.errors import CraftError

if TYPE_CHECKING:
    from craft.data.readers import PixelRange
    from craft.decoding import LaserSettings


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
    pixel_range: data_options.PixelRange = None,
    models: Models = None,
    force: Force = False,
) -> None:
    """Answer a question about an image, plainly or with LASER (docs/laser.md)."""
    options.prepare()
    for name, value in {"--set": settings, "--picture": picture, "--trace": trace}.items():
        if value and not laser:
            raise CraftError(f"{name} belongs to LASER; add --laser")
    for path in (picture, trace):
        if path is not None and path.exists() and not force:
            raise CraftError(f"{path} exists; choose another file, or --force to replace it")
    chosen = laser_settings(settings or ()) if laser else None
    from craft.data import readers
    from craft.data.readers.decoding import decode_rgb
    from craft.family.family import ModelFamily
    from craft.report.laser_picture import laser_figure
    from craft.workbench import generate

    used = readers.PixelRange.parse(pixel_range) if pixel_range else _range_of(pack)
    try:
        pixels = decode_rgb(image.read_bytes(), used)
    except CraftError as error:
        raise CraftError(f"{image}: {error}") from error
    reader = generate.open_reader(
        ModelFamily.load(models), pack, name=llm, keep_ratio=keep_ratio, selector=selector
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


def _range_of(pack: Path | None) -> PixelRange | None:
    """The range that the pack's own data was read with."""
    from craft.data.domains.manifest import MANIFEST, DomainManifest

    if pack is None or not (pack / MANIFEST).is_file():
        return None
    return DomainManifest.load(pack / MANIFEST).reading.pixel_range


def laser_settings(assignments: list[str] | tuple[str, ...]) -> LaserSettings:
    """LASER's settings from ``KEY=VALUE``, values as in YAML.

    Raises:
        CraftError: no such setting, or a value it cannot have; one line a mistake.
    """
    import yaml
    from pydantic import ValidationError

    from craft.decoding import LaserSettings

    values = {}
    for text in assignments:
        key, equals, value = text.partition("=")
        if not equals:
            raise CraftError(f"--set takes KEY=VALUE, got {text!r}")
        if key not in LaserSettings.model_fields:
            known = ", ".join(LaserSettings.model_fields)
            raise CraftError(f"--set {text}: no such setting {key!r}; there are {known}")
        values[key] = yaml.safe_load(value)
    try:
        return LaserSettings(**values)
    except ValidationError as error:
        lines = [
            f"{'.'.join(map(str, e['loc'])) or '--set'}: {e['msg'].removeprefix('Value error, ')}"
            for e in error.errors()
        ]
        raise CraftError("; ".join(lines)) from error
