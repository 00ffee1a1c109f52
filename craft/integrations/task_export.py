"""Export a domain's test questions in the formats of two evaluation suites.

lmms-eval takes a folder of task files (``--include_path``), VLMEvalKit a table in its data folder.
Both contain the images, so that no other files are needed.
"""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Sequence
from pathlib import Path

import yaml
from PIL import Image
from torch import Tensor

from craft.data import prompts
from craft.data.images.store import ImageStore
from craft.data.questions import Question
from craft.errors import CraftError, MissingPackageError
from craft.integrations.table_text import require_same_when_read
from craft.runtime.whole_file import open_whole, whole_file, write_text

#: Token limit of an answer, as in our own evaluation (methods F6).
NEW_TOKENS = 5

_FUNCTIONS = '''\
"""Functions that this task's YAML refers to."""

import io

from PIL import Image


def image(doc):
    return [Image.open(io.BytesIO(doc["image"]["bytes"]), formats=["PNG"]).convert("RGB")]


def question(doc, settings=None):
    return doc["question"]


def answer(doc):
    return doc["answer"]
'''


def export_lmms_eval(
    name: str,
    images: ImageStore,  # uint8
    questions: Sequence[Question],
    directory: Path,
) -> Path:
    """Write ``<name>.yaml``, the functions it refers to and a Parquet file; return the YAML's path.

    Run it with ``lmms_eval --include_path DIRECTORY --tasks NAME`` from anywhere: its paths are
    absolute. Answers are scored by exact match, ignoring case, like our strict match.

    Raises:
        MissingPackageError: the datasets package is not installed.
        CraftError: no questions, or an invalid name.
    """
    _check(name, questions)
    try:
        from datasets import Dataset
    except ImportError:
        raise MissingPackageError(
            "the lmms-eval export writes Parquet: pip install 'datasets>=4'"
        ) from None
    directory.mkdir(parents=True, exist_ok=True)
    table = directory / f"{name}.parquet"
    rows = [
        {
            "id": q.id,
            "image": {"bytes": png(images.pixels([q.row])[0]), "path": None},
            "question": q.prompt,
            "answer": q.answer,
            "label": q.label,
            "heldout": q.heldout,
        }
        for q in questions
    ]
    with whole_file(table) as written:
        Dataset.from_list(rows).to_parquet(str(written))
    module = f"{name}_functions"
    write_text(directory / f"{module}.py", _FUNCTIONS)
    task = {
        "task": name,
        "dataset_path": "parquet",
        "dataset_kwargs": {"data_files": {"test": str(table.resolve())}},
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_visual": _Function(f"{module}.image"),
        "doc_to_text": _Function(f"{module}.question"),
        "doc_to_target": _Function(f"{module}.answer"),
        "generation_kwargs": {
            "max_new_tokens": NEW_TOKENS,
            "do_sample": False,
            "temperature": 0,
            "until": ["\n"],
        },
        "metric_list": [
            {
                "metric": "exact_match",
                "aggregation": "mean",
                "higher_is_better": True,
                "ignore_case": True,
            }
        ],
        "metadata": [{"version": 1}],
    }
    path = directory / f"{name}.yaml"
    write_text(path, yaml.dump(task, Dumper=_TaskDumper, sort_keys=False))
    return path


def export_vlmevalkit(
    name: str,
    images: ImageStore,  # uint8
    questions: Sequence[Question],
    directory: Path,
) -> Path:
    """Write ``<name>.tsv``: index, image (base64), question, options, answer, category, split.

    Questions are written without their options, because the suite adds them.

    Raises:
        CraftError: no questions, an invalid name, options for only some questions, more than 26
            options, or a text that the suite would not read back unchanged.
    """
    _check(name, questions)
    most = max(len(q.options) for q in questions)
    if most and any(not q.options for q in questions):
        open_ones = [q.id for q in questions if not q.options]
        raise CraftError(
            f"{len(open_ones)} of {len(questions)} questions have no options, {open_ones[0]!r} "
            "first; a table holds only one kind: export them separately"
        )
    letters = [prompts.letter(i) for i in range(most)]
    columns = ["index", "image", "question", *letters, "answer", "category", "split"]
    texts = [
        {
            "question": _without_options(q),
            **dict(zip(letters, q.options, strict=False)),
            "answer": q.answer,
            **({"category": q.label} if q.label else {}),
        }
        for q in questions
    ]
    for column in ("question", *letters, "answer", "category"):
        what = f"option {column}" if column in letters else f"the {column}"
        require_same_when_read(
            [(f"{what} of {q.id!r}", t.get(column)) for q, t in zip(questions, texts, strict=True)]
        )
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{name}.tsv"
    with open_whole(path, newline="") as file:
        # All quoted: a carriage return outside quotes would begin a row.
        writer = csv.DictWriter(
            file, columns, delimiter="\t", lineterminator="\n", restval="", quoting=csv.QUOTE_ALL
        )
        writer.writeheader()
        for index, (q, text) in enumerate(zip(questions, texts, strict=True)):
            image = base64.b64encode(png(images.pixels([q.row])[0])).decode("ascii")
            split = "heldout" if q.heldout else "seen"
            writer.writerow({"index": index, "image": image, "split": split, **text})
    return path


def png(image: Tensor) -> bytes:  # uint8 [3, S, S]
    buffer = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(buffer, "PNG")
    return buffer.getvalue()


def require_task_name(name: str) -> str:
    """Raises CraftError unless the name is valid for both suites and for files; returns it."""
    if not name.isidentifier():
        raise CraftError(
            f"the task's name must be letters, digits and underscores, not beginning with a digit, "
            f"got {name!r}"
        )
    return name


def _check(name: str, questions: Sequence[Question]) -> None:
    require_task_name(name)
    if not questions:
        raise CraftError("there are no questions to export: the test split is empty")


def _without_options(question: Question) -> str:
    if not question.options:
        return question.prompt
    return question.prompt.split("\n" + prompts.option_lines(question.options))[0]


class _Function(str):
    """The name of a function, which is written with the suite's own YAML tag."""


class _TaskDumper(yaml.SafeDumper):
    pass


_TaskDumper.add_representer(
    _Function, lambda dumper, name: dumper.represent_scalar("!function", str(name))
)
