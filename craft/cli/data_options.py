"""Options about data, shared by ``craft data`` and other commands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from craft.settings import choices

if TYPE_CHECKING:
    from craft.data.domains.user_data import DataRequest

_PANEL = "Your own data"

Data = Annotated[
    Path | None,
    typer.Option(help="folder or file of your own data, see `craft data`", rich_help_panel=_PANEL),
]
MovedData = Annotated[
    Path | None,
    typer.Option("--data", help="where the pack's own data is now, if it was moved"),
]
Dataset = Annotated[
    str | None,
    typer.Option(help="a known data set, see `craft data list`", rich_help_panel=_PANEL),
]
HubId = Annotated[
    str | None,
    typer.Option(help="hub repository instead of the known one", rich_help_panel=_PANEL),
]
Format = Annotated[
    choices.Format | None, typer.Option(help="[default: detected]", rich_help_panel=_PANEL)
]
Images = Annotated[
    Path | None,
    typer.Option(
        help="folder that image paths are relative to [default: that of the file]",
        rich_help_panel=_PANEL,
    ),
]
ClassNames = Annotated[
    Path | None,
    typer.Option(
        help="names of classes: one per line for the labels 0, 1, ..., or a .csv, .tsv or .json "
        "table of label and name",
        rich_help_panel=_PANEL,
    ),
]
Subject = Annotated[
    str | None,
    typer.Option(
        help='noun in "What ... is shown in the image?" [default: object]', rich_help_panel=_PANEL
    ),
]
Distractors = Annotated[
    choices.Distractors,
    typer.Option(help="wrong options of the test questions", rich_help_panel=_PANEL),
]
OptionFile = Annotated[
    Path | None,
    typer.Option(
        help="file with the options of the test questions, in FOCI's layout",
        rich_help_panel=_PANEL,
    ),
]
SkipCorrupt = Annotated[
    bool,
    typer.Option(
        "--skip-corrupt",
        help="skip and list missing and damaged images",
        rich_help_panel=_PANEL,
    ),
]
PixelRange = Annotated[
    str | None,
    typer.Option(
        metavar="BLACK:WHITE",
        help="values of 16-bit images that become black and white, such as 0:4095 for 12-bit data",
        rich_help_panel=_PANEL,
    ),
]
MinImages = Annotated[
    int,
    typer.Option(
        "--min-images",
        min=1,
        help="leave out classes with fewer images",
        rich_help_panel=_PANEL,
    ),
]
Numbers = Annotated[
    Literal["text", "0", "1"] | None,
    typer.Option(
        "--numbers",
        help="meaning of a number as an answer: an option's text, or its number from 0 or 1 "
        "[default: the one that fits all answers]",
        rich_help_panel=_PANEL,
    ),
]
AnySize = Annotated[
    bool,
    typer.Option("--any-size", help="accept a --dataset of unknown size", rich_help_panel=_PANEL),
]


#: Values of --numbers -> values of the library.
_NUMBERS: dict[str, Any] = {"text": "text", "0": 0, "1": 1}


def request(
    path: Path | None,
    dataset: str | None = None,
    hub_id: str | None = None,
    format: choices.Format | None = None,
    images: Path | None = None,
    class_names: Path | None = None,
    subject: str | None = None,
    skip_corrupt: bool = False,
    any_size: bool = False,
    pixel_range: str | None = None,
    min_images: int = 1,
    numbers: Literal["text", "0", "1"] | None = None,
) -> DataRequest:
    """The request that the options describe."""
    from craft.data import readers
    from craft.data.domains.user_data import DataRequest

    names = None
    if class_names is not None:
        names = readers.read_class_names(class_names)
    reading = readers.ReadOptions(
        format=format,
        images=images.resolve() if images else None,
        class_names=names,
        numbers=_NUMBERS.get(numbers or ""),
        skip_corrupt=skip_corrupt,
        pixel_range=readers.PixelRange.parse(pixel_range) if pixel_range else None,
        min_images=min_images,
    )
    return DataRequest(path, dataset, hub_id, subject, reading, any_size)
