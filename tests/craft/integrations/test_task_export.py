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
from craft.data.questions import Question, four_options
from craft.integrations.task_export import export_lmms_eval, export_vlmevalkit

IMAGES = torch.randint(0, 256, (3, 3, 8, 8), generator=torch.Generator().manual_seed(0)).byte()
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
    path = export_lmms_eval("pets", IMAGES, questions, tmp_path)
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
    path = export_vlmevalkit("pets", IMAGES, questions, tmp_path)
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
    path = export_vlmevalkit("opens", IMAGES, [OPEN], tmp_path)
    assert path.read_text().splitlines()[0].split("\t") == [
        "index", "image", "question", "answer", "category", "split",
    ]  # fmt: skip
    assert "What is it?" in path.read_text()


def test_a_question_of_several_lines_stays_whole(tmp_path):
    prompt = prompts.ask("Look closely.\nWhat is it?", ["cat", "dog"])
    asked = Question("two", 0, "", prompt, "A", ("cat", "dog"))
    path = export_vlmevalkit("lines", IMAGES, [asked], tmp_path)
    with path.open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file, delimiter="\t")
    assert row["question"] == "Look closely.\nWhat is it?"


def test_what_cannot_be_exported(questions, tmp_path):
    with pytest.raises(ValueError, match="letters, digits and underscores"):
        export_vlmevalkit("../pets", IMAGES, questions, tmp_path)
    with pytest.raises(ValueError, match="there are no questions"):
        export_vlmevalkit("pets", IMAGES, [], tmp_path)
    with pytest.raises(ValueError, match="1 of 4 questions have no options, 'open' first"):
        export_vlmevalkit("pets", IMAGES, [*questions, OPEN], tmp_path)
    assert list(tmp_path.iterdir()) == []
