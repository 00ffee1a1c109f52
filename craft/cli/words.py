"""``craft words``: list the words of a user's data that the models do not know."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from craft.cli import data_options, process
from craft.cli.options import Force, LanguageModel, Models, console
from craft.workbench.outputs import require_new_file


def words(
    path: Annotated[Path | None, typer.Argument(metavar="[PATH]", help="folder or file")] = None,
    dataset: data_options.Dataset = None,
    hub_id: data_options.HubId = None,
    format: data_options.Format = None,
    images: data_options.Images = None,
    class_names: data_options.ClassNames = None,
    subject: data_options.Subject = None,
    skip_corrupt: data_options.SkipCorrupt = False,
    any_size: data_options.AnySize = False,
    llm: LanguageModel = "all",
    out: Annotated[Path | None, typer.Option(help="text file for the words, one per line")] = None,
    models: Models = None,
    force: Force = False,
) -> None:
    """List the words of your data that the models do not know, and which models lack them.

    Class names, questions, options and answers are read by the language models, contrastive texts
    by SigLIP. Models that can read any text, as all large ones can, lack no words.
    """
    process.prepare()
    require_new_file(out, "--out", force)
    from craft.data.wording import Wording
    from craft.family.family import ModelFamily
    from craft.runtime.whole_file import open_whole
    from craft.workbench.words import missing_words

    family = ModelFamily.load(models)
    names = family.names if llm == "all" else [llm]
    asked = data_options.request(
        path, dataset, hub_id, format, images, class_names, subject, skip_corrupt, any_size
    )
    with console.status("reading"):
        records = asked.read()
    wording = Wording.of_records(records, asked.manifest(records))
    found = missing_words(wording, family, names)
    for name, missing in found.items():
        lacks = f"lacks {len(missing)}" if missing else "knows every word"
        console.print(f"{name}: {lacks}")
    every = sorted({word for missing in found.values() for word in missing})
    if every:
        table = Table("word", "texts", "unknown to")
        for word in every:
            lacking = [name for name, missing in found.items() if word in missing]
            texts = max(found[name][word] for name in lacking)
            table.add_row(word, str(texts), ", ".join(lacking))
        console.print(table)
    if out is not None:
        with open_whole(out) as file:
            file.writelines(f"{word}\n" for word in every)
        console.print(f"{out}: {len(every)} words")
