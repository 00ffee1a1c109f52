import base64
import csv
import importlib.util
import io
import sys

import pytest
import torch
import yaml
from PIL import Image

from craft.data import prompts
from craft.data.images.store import TensorStore
from craft.data.questions import Question, four_options
from craft.data.readers import read_records
from craft.integrations.task_export import export_lmms_eval, export_vlmevalkit

IMAGES = torch.randint(0, 256, (3, 3, 8, 8), generator=torch.Generator().manual_seed(0)).byte()
STORE = TensorStore(IMAGES)
NAMES = ["cat", "dog", "red\tpanda", "ox", "bee"]
OPEN = Question("open", 0, "", "What is it?", "a cat")


@pytest.fixture
def questions():
    return four_options(
        ["i0", "i1", "i2"], ["cat", "dog", "red\tpanda"], "pet", NAMES, heldout=["dog"]
    )


def decoded(data: bytes) -> torch.Tensor:
    import numpy as np

    return torch.tensor(np.array(Image.open(io.BytesIO(data)))).permute(2, 0, 1)


def test_lmms_eval_gets_all_it_refers_to(questions, tmp_path):
    datasets = pytest.importorskip("datasets")
    path = export_lmms_eval("pets", STORE, questions, tmp_path)
    functions = {}

    class Loader(yaml.SafeLoader):
        pass

    def load_function(loader, node):
        module, function = loader.construct_scalar(node).split(".")
        if module not in functions:
            spec = importlib.util.spec_from_file_location(module, path.parent / f"{module}.py")
            assert spec is not None
            assert spec.loader is not None
            functions[module] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(functions[module])
        return getattr(functions[module], function)

    Loader.add_constructor("!function", load_function)
    task = yaml.load(path.read_text(), Loader)
    assert task["task"] == "pets"
    data = datasets.load_dataset(
        task["dataset_path"], split=task["test_split"], cache_dir=str(tmp_path / "cache"),
        **task["dataset_kwargs"],
    )  # fmt: skip
    for doc, question in zip(data, questions, strict=True):
        assert task["doc_to_text"](doc) == question.prompt
        assert task["doc_to_target"](doc) == question.answer
        (image,) = task["doc_to_visual"](doc)
        assert image.mode == "RGB"
        assert image.size == (8, 8)
        assert torch.equal(decoded(doc["image"]["bytes"]), IMAGES[question.row])
    assert "pets_functions" not in sys.modules


def test_vlmevalkit_gets_one_table(questions, tmp_path):
    path = export_vlmevalkit("pets", STORE, questions, tmp_path)
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert list(rows[0]) == [
        "index", "image", "question", "A", "B", "C", "D", "answer", "category", "split",
    ]  # fmt: skip
    for row, question in zip(rows, questions, strict=True):
        assert row["question"] == "What pet is shown in the image?"
        assert row[row["answer"]] == question.label == row["category"]
        assert torch.equal(decoded(base64.b64decode(row["image"])), IMAGES[question.row])
    assert [row["split"] for row in rows] == ["seen", "heldout", "seen"]


def test_open_questions_have_no_option_columns(tmp_path):
    path = export_vlmevalkit("opens", STORE, [OPEN], tmp_path)
    assert path.read_text().splitlines()[0].replace('"', "").split("\t") == [
        "index", "image", "question", "answer", "category", "split",
    ]  # fmt: skip
    assert "What is it?" in path.read_text()


def test_a_question_of_several_lines_stays_whole(tmp_path):
    prompt = prompts.ask("Look closely.\nWhat is it?", ["cat", "dog"])
    asked = Question("two", 0, "", prompt, "A", ("cat", "dog"))
    path = export_vlmevalkit("lines", STORE, [asked], tmp_path)
    with path.open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file, delimiter="\t")
    assert row["question"] == "Look closely.\nWhat is it?"


def test_what_cannot_be_exported(questions, tmp_path):
    with pytest.raises(ValueError, match="letters, digits and underscores"):
        export_vlmevalkit("../pets", STORE, questions, tmp_path)
    with pytest.raises(ValueError, match="there are no questions"):
        export_vlmevalkit("pets", STORE, [], tmp_path)
    with pytest.raises(ValueError, match="1 of 4 questions have no options, 'open' first"):
        export_vlmevalkit("pets", STORE, [*questions, OPEN], tmp_path)
    assert list(tmp_path.iterdir()) == []


def pandas_reads(path):
    """Read a table as VLMEvalKit does."""
    pandas = pytest.importorskip("pandas")
    return pandas.read_csv(path, sep="\t")


def asked(options, answer="A", number=0):
    return Question(f"q{number}", 0, "", prompts.ask("What?", options), answer, tuple(options))


@pytest.mark.parametrize(
    "text", ["None", "NA", "nan", "null", "007", "3.10", "1e5", " 7", "+7", "true"]
)
def test_what_pandas_would_read_as_another_text_is_refused(text, tmp_path):
    with pytest.raises(ValueError, match=r"option B of 'q0' is .*lmms-eval"):
        export_vlmevalkit("task", STORE, [asked(["cat", text])], tmp_path)
    assert list(tmp_path.iterdir()) == []
    # The same table without the check shows that pandas would.
    read = pandas_reads_text(["cat", text])
    assert read != ["cat", text]


def pandas_reads_text(row):
    pandas = pytest.importorskip("pandas")
    text = "\t".join(f'"{cell}"' for cell in ["A", "B"]) + "\n" + "\t".join(f'"{c}"' for c in row)
    cells = pandas.read_csv(io.StringIO(text), sep="\t").iloc[0]
    return [None if pandas.isna(x) else str(x) for x in cells]


@pytest.mark.parametrize(
    "rows",
    [
        [["a\rb", "c\r\nd"], ["line\nbreak", 'say "no"']],
        [["3", "7"], ["4", "8"]],
        [["2.5", "0.1"], ["x", "-1.5"]],
        [["True", "False"], ["maybe", "no"]],
        [["N.A.", "none"], ["\ttab", " space "]],
    ],
)
def test_what_pandas_reads_is_what_was_written(rows, tmp_path):
    questions = [asked(options, number=i) for i, options in enumerate(rows)]
    table = pandas_reads(export_vlmevalkit("task", STORE, questions, tmp_path))
    assert len(table) == len(rows)
    for row, options in zip(table.itertuples(), rows, strict=True):
        assert [str(row.A), str(row.B)] == options


def test_whole_numbers_beside_blanks_or_fractions_are_refused(tmp_path):
    for rows in ([["2", "3", "5"], ["a", "b"]], [["2", "x", "5"], ["a", "b", "1.5"]]):
        questions = [asked(options, number=i) for i, options in enumerate(rows)]
        with pytest.raises(ValueError, match=r"option C of 'q0' is '5'.* takes for the number 5.0"):
            export_vlmevalkit("task", STORE, questions, tmp_path)


def test_our_own_table_read_back_is_what_was_written(questions, tmp_path):
    records = read_records(export_vlmevalkit("pets", STORE, questions, tmp_path))
    assert records.split_counts == {"test": 3}
    for record, question in zip(records, questions, strict=True):
        (turn,) = record.turns
        assert turn.question == "What pet is shown in the image?"
        assert turn.options == tuple(question.options)
        assert (turn.target, turn.answer) == (question.answer, question.label)
        assert torch.equal(decoded(record.image.read()), IMAGES[question.row])


def test_open_questions_read_back(tmp_path):
    (record,) = read_records(export_vlmevalkit("opens", STORE, [OPEN], tmp_path))
    assert [(t.question, t.answer, t.options) for t in record.turns] == [
        ("What is it?", "a cat", ())
    ]


@pytest.mark.parametrize(
    "rows",
    [
        [["a\rb", "c\r\nd"], ["line\nbreak", 'say "no"']],
        [["3", "7"], ["4", "8"]],
        [["2.5", "0.1", "x"], ["y", "-1.5"]],
    ],
)
def test_texts_that_tables_break_read_back(rows, tmp_path):
    questions = [asked(options, "B", number=i) for i, options in enumerate(rows)]
    records = read_records(export_vlmevalkit("task", STORE, questions, tmp_path))
    assert [list(r.turns[0].options) for r in records] == rows
    assert [r.turns[0].answer for r in records] == [options[1] for options in rows]
