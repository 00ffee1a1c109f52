"""Options that are not drawn at random: the hardest by similarity, and those of FOCI files."""

import json

import pytest
import torch

from craft.data.domains.building import build_domain, make_manifest
from craft.data.domains.distractors import hardest, read_foci, with_options
from craft.data.readers import read_records

CLASSES = list("abcdef")


def test_the_hardest_are_the_most_similar_wrong_classes():
    similarity = torch.tensor([[0.9, 0.8, 0.1, 0.7, 0.2, 0.3], [0.5, 0.1, 0.9, 0.2, 0.3, 0.4]])
    assert hardest(similarity, ["a", "b"], CLASSES) == [["b", "d", "f"], ["c", "a", "f"]]
    assert similarity[0, 0] == pytest.approx(0.9)
    assert hardest(torch.ones(1, 6), ["b"], CLASSES) == [["a", "c", "d"]]  # ties in order


@pytest.fixture
def built(class_folder):
    records = read_records(class_folder)
    manifest = make_manifest(records, subject="thing")
    return records, manifest, build_domain(records, manifest, 16)


def foci(domain, folder="things_test"):
    content = {}
    for key, label in zip(domain.test.ids, domain.test.labels, strict=True):
        wrong = [name for name in domain.classes if name != label][:3]
        options = [label.upper(), *wrong]
        entry = {"image": key, "options": options, "groundtruth": label.upper()}
        content.setdefault(label, []).append(entry)
    return content


def test_options_of_a_file_are_asked_and_kept_in_the_manifest(built, tmp_path):
    records, manifest, domain = built
    path = tmp_path / "foci.json"
    path.write_text(json.dumps(foci(domain)))
    with_file, noted = with_options(domain, manifest, read_foci(path, domain), "file")
    assert noted.distractors == "file"
    for question in with_file.questions(with_file.test):
        wrong = [name for name in domain.classes if name != question.label][:3]
        assert sorted(question.options) == sorted([question.label, *wrong])
        assert question.options["ABCD".index(question.answer)] == question.label
    letters = {q.answer for q in with_file.questions(with_file.test)}
    assert len(letters) > 1  # the truth comes first in the file, but not in the questions
    again = build_domain(records, noted, 16)
    assert again.questions(again.test) == with_file.questions(with_file.test)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda entry: entry.update(image="elsewhere.png"), "entries for the test image .*, not 1"),
        (lambda entry: entry.update(groundtruth="unicorn"), "no class of the data is called 'unic"),
        (lambda entry: entry["options"].pop(), "must have four different options"),
        (lambda entry: entry.pop("options"), r"is not an option file"),
        (
            lambda entry: entry.update(groundtruth=entry["options"][1]),
            "there and 'thing .*' in the",
        ),
    ],
)
def test_option_files_must_fit_the_data(built, tmp_path, change, complaint):
    _, _, domain = built
    content = foci(domain)
    change(next(iter(content.values()))[0])
    path = tmp_path / "foci.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=complaint):
        read_foci(path, domain)
