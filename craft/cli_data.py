"""``craft data``, and the options that other commands share with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.markup import escape

if TYPE_CHECKING:
    from craft.data.user_data import DataRequest

console = Console()

app = typer.Typer(no_args_is_help=True, help="Check your own data; list the known data sets.")

_PANEL = "Your own data"
FormatName = Literal["llava", "image_folder", "table", "parquet", "hf_disk", "webdataset"]

Data = Annotated[
    Path | None,
    typer.Option(help="folder or file of your own data, see craft data", rich_help_panel=_PANEL),
]
MovedData = Annotated[
    Path | None,
    typer.Option("--data", help="where the pack's own data lies now, if it was moved"),
]
Dataset = Annotated[
    str | None,
    typer.Option(help="it is this one of `craft data list`", rich_help_panel=_PANEL),
]
HubId = Annotated[
    str | None,
    typer.Option(help="hub repository instead of the known one", rich_help_panel=_PANEL),
]
Format = Annotated[
    FormatName | None, typer.Option(help="[default: detected]", rich_help_panel=_PANEL)
]
Images = Annotated[
    Path | None,
    typer.Option(
        help="folder that image paths begin at [default: beside the file]", rich_help_panel=_PANEL
    ),
]
ClassNames = Annotated[
    Path | None,
    typer.Option(
        help="text file, one name a line, of classes that are numbers", rich_help_panel=_PANEL
    ),
]
Subject = Annotated[
    str | None,
    typer.Option(
        help='what "What ... is shown in the image?" asks for [object]', rich_help_panel=_PANEL
    ),
]
Distractors = Annotated[
    Literal["random", "hard"],
    typer.Option(help="wrong options of the test questions", rich_help_panel=_PANEL),
]
OptionFile = Annotated[
    Path | None,
    typer.Option(help="options of the test questions, as FOCI's", rich_help_panel=_PANEL),
]
SkipCorrupt = Annotated[
    bool,
    typer.Option(
        "--skip-corrupt", help="leave out and count unreadable images", rich_help_panel=_PANEL
    ),
]
AnySize = Annotated[
    bool,
    typer.Option("--any-size", help="accept a --dataset of unknown size", rich_help_panel=_PANEL),
]


def request(
    path: Path | None,
    dataset: str | None,
    hub_id: str | None,
    format: FormatName | None,
    images: Path | None,
    class_names: Path | None,
    subject: str | None,
    skip_corrupt: bool,
    any_size: bool,
) -> DataRequest:
    """What the options ask for."""
    from craft.data.readers import ReadOptions
    from craft.data.user_data import DataRequest

    names = None
    if class_names is not None:
        lines = class_names.read_text(encoding="utf-8-sig").splitlines()
        names = tuple(line.strip() for line in lines if line.strip())
    reading = ReadOptions(
        format=format,
        images=images.resolve() if images else None,
        class_names=names,
        skip_corrupt=skip_corrupt,
    )
    return DataRequest(path, dataset, hub_id, subject, reading, any_size)


@app.command()
def check(
    path: Annotated[Path | None, typer.Argument(metavar="[PATH]", help="folder or file")] = None,
    dataset: Dataset = None,
    hub_id: HubId = None,
    format: Format = None,
    images: Images = None,
    class_names: ClassNames = None,
    subject: Subject = None,
    skip_corrupt: SkipCorrupt = False,
    any_size: AnySize = False,
    quick: Annotated[bool, typer.Option("--quick", help="decode only the samples")] = False,
    out: Annotated[Path | None, typer.Option(help="PNG file for the samples")] = None,
    models: Annotated[
        Path | None, typer.Option(help="whose image size and vocabulary [default: the package's]")
    ] = None,
) -> None:
    """Show how data is understood, with three samples as the model will see them.

    Every record is checked and every image decoded; the first mistake ends with file and line.
    """
    from craft.data.vocabulary import unknown_answers
    from craft.pocket.zoo import PocketModels
    from craft.report.data_check import Sample, print_records, print_samples, sample_sheet

    zoo = PocketModels.load(models)
    asked = request(
        path, dataset, hub_id, format, images, class_names, subject, skip_corrupt, any_size
    )
    with console.status("reading"):
        records = asked.read()
    manifest = asked.manifest(records)
    print_records(console, records, manifest)
    if not quick:
        with console.status(f"decoding {len(records)} images"):
            for record in records:
                record.rgb()
    answers = [entry.name for entry in manifest.classes]
    answers = answers or sorted({turn.target for record in records for turn in record.turns})
    unknown = unknown_answers(zoo.tokenizer, answers)
    if unknown:
        shown = ", ".join(unknown[:5])
        console.print(
            f"[yellow]the models have no words for {len(unknown)} of {len(answers)} answers:[/] "
            f"{escape(shown)}",
            highlight=False,
        )
    samples = Sample.of(records, manifest, zoo.image_size)
    print_samples(console, samples, zoo.image_size)
    if out is not None:
        sample_sheet(samples).save(out, "PNG")
        console.print(f"{out}: the samples as the encoder sees them", highlight=False)


@app.command("list")
def list_datasets() -> None:
    """The known public data sets: where they are, how large, under which licence."""
    from craft.data.registry import REGISTRY
    from craft.report.data_check import registry_table

    console.print(registry_table(REGISTRY.values()))
