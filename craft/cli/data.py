"""``craft data``: check your own data, list the known data sets, show the cache of images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from craft.cli import cache, data_options, process, training_options
from craft.cli.options import Force, console
from craft.workbench.outputs import require_new_file

app = typer.Typer(no_args_is_help=True, help="Check your own data; list the known data sets.")
app.command("cache")(cache.cache)


@app.command()
def check(
    path: Annotated[Path | None, typer.Argument(metavar="[PATH]", help="folder or file")] = None,
    dataset: data_options.Dataset = None,
    hub_id: data_options.HubId = None,
    format: data_options.Format = None,
    images: data_options.Images = None,
    class_names: data_options.ClassNames = None,
    subject: data_options.Subject = None,
    skip_corrupt: data_options.SkipCorrupt = False,
    pixel_range: data_options.PixelRange = None,
    min_images: data_options.MinImages = 1,
    numbers: data_options.Numbers = None,
    any_size: data_options.AnySize = False,
    quick: Annotated[bool, typer.Option("--quick", help="decode only the samples")] = False,
    out: Annotated[Path | None, typer.Option(help="PNG file for the samples")] = None,
    force: Force = False,
    surrogate: Annotated[
        str | None,
        typer.Option(help="language model that will read it [default: as for `craft adapt`]"),
    ] = None,
    settings: training_options.Settings = None,
    models: Annotated[
        Path | None,
        typer.Option(help="directory of the models that will read it [default: the package's]"),
    ] = None,
) -> None:
    """Show how data is understood, with three samples as the models will see them.

    Every record is checked and every image decoded. Mistakes are reported with file and line,
    several at once; skipped records are listed with the reason. As in `craft adapt`, words that the
    surrogate or SigLIP do not know end with exit code 2.
    """
    process.prepare()
    config = training_options.config(settings=settings)
    from craft.cli.data_check import (
        Sample,
        print_account,
        print_records,
        print_samples,
        print_way_out,
        sample_sheet,
    )
    from craft.data.images.record_store import inspect_images
    from craft.data.readers import DataError, ImageReport
    from craft.data.wording import Wording
    from craft.family.family import ModelFamily
    from craft.runtime.whole_file import whole_file
    from craft.workbench.requirements import language_model
    from craft.workbench.words import require_readable

    require_new_file(out, "--out", force)
    family = ModelFamily.load(models)
    texts = family.text_tokenizer(config)  # fails before data is read if it is missing
    names = [language_model(family, surrogate, "surrogate")] if family.names else []
    asked = data_options.request(
        path,
        dataset,
        hub_id,
        format,
        images,
        class_names,
        subject,
        skip_corrupt,
        any_size,
        pixel_range,
        min_images=min_images,
        numbers=numbers,
    )
    try:
        with console.status("reading"):
            records = asked.read()
    except DataError as error:
        print_account(console, error.account)
        raise
    report = ImageReport(records.account)
    if not quick:
        with console.status(f"decoding {len(records)} images"):
            inspect_images(records.records, report)
    report.warn()
    try:
        manifest = asked.manifest(records)
    except DataError:  # such as a missing image: decoding reports all of them at once
        print_account(console, records.account.summary(len(records)))
        print_way_out(console, report)
        report.raise_failures()
        raise
    print_records(console, records, manifest)
    ranges = report.ranges()
    if ranges is not None:
        console.print(ranges)
    print_account(console, records.account.summary(len(records)))
    print_way_out(console, report)
    report.raise_failures()
    samples = Sample.of(records, manifest, family.image_size)
    print_samples(console, samples, family.image_size)
    if out is not None:
        with whole_file(out) as written:
            sample_sheet(samples).save(written, "PNG")
        console.print(f"{out}: the samples as the encoder sees them")
    require_readable(Wording.of_records(records, manifest), family, names, texts)


@app.command("list")
def list_datasets() -> None:
    """List the known public data sets: where they are, how large, and under which licence."""
    from craft.cli.data_check import registry_table
    from craft.data.known.registry import REGISTRY

    console.print(registry_table(REGISTRY.values()))
