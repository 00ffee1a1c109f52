"""Splits are kept as given or drawn class by class, and drawn ones never share an image."""

from pathlib import Path

import pytest

from craft.data.domains.splitting import split_records
from craft.data.readers import DataError, Place, Record, RecordSet


class NoImage:
    named = ""

    def read(self):
        raise OSError("never read here")


def records(labels, splits=None):
    splits = splits or [None] * len(labels)
    return RecordSet(
        Path("x"),
        "drawn",
        [
            Record(str(i), NoImage(), Place(Path("x"), i), label, split=split)
            for i, (label, split) in enumerate(zip(labels, splits, strict=True))
        ],
    )


LABELS = [name for name in "abcde" for _ in range(20)]
DIGESTS = [str(i) for i in range(100)]


def test_parts_are_drawn_class_by_class():
    data = records(LABELS)
    train, val, test, _, notes = split_records(data, DIGESTS)
    assert sorted(train + val + test) == list(range(100))
    for part, fewest, most, whole in ((train, 14, 15, 72), (val, 1, 2, 8), (test, 4, 4, 20)):
        counts = [sum(LABELS[row] == name for row in part) for name in "abcde"]
        assert (min(counts), max(counts), len(part)) == (fewest, most, whole)
    assert "test: 20% of every class, drawn with seed 0" in notes
    assert split_records(data, DIGESTS)[:3] == (train, val, test)
    assert split_records(data, DIGESTS, seed=1).test != test


def test_many_small_classes_give_a_tenth_for_validation():
    labels = [f"class {i // 4:03}" for i in range(1200)]
    train, val, test, _, _ = split_records(records(labels), [str(i) for i in range(1200)])
    assert (len(train), len(val), len(test)) == (810, 90, 300)
    assert {labels[row] for row in train} == set(labels)
    assert len({labels[row] for row in val}) == 90


def test_equal_files_stay_together():
    digests = [str(i // 2) for i in range(100)]
    train, val, test, _, notes = split_records(records(LABELS), digests)
    parts = [{digests[row] for row in part} for part in (train, val, test)]
    assert not parts[0] & parts[1] | parts[0] & parts[2] | parts[1] & parts[2]
    assert not any("are in both test and" in note for note in notes)


def test_given_splits_are_kept_and_shared_images_reported():
    splits = ["train"] * 60 + ["test"] * 40
    digests = [*DIGESTS[:60], *DIGESTS[:1], *DIGESTS[61:]]
    train, val, test, _, notes = split_records(records(LABELS, splits), digests)
    assert test == list(range(60, 100))
    assert sorted(train + val) == list(range(60))
    assert len(val) == 6
    assert any("1 images are in both test and training" in note for note in notes)


def test_a_validation_split_serves_as_test_if_there_is_none():
    splits = ["train"] * 80 + ["val"] * 20
    train, val, test, _, notes = split_records(records(LABELS, splits), DIGESTS)
    assert test == list(range(80, 100))
    assert set(val) <= set(range(80))
    assert any("since it has no test split" in note for note in notes)
    assert train


def test_only_a_training_split_is_like_none():
    assert (
        split_records(records(LABELS, ["train"] * 100), DIGESTS)[:3]
        == (split_records(records(LABELS), DIGESTS)[:3])
    )


def test_what_cannot_be_split_is_refused():
    with pytest.raises(DataError, match=r"x:100: class 'z' has a single image.*define the splits"):
        split_records(records([*LABELS, "z"]), [*DIGESTS, "z"])
    with pytest.raises(DataError, match=r"x:99: names no split, but others do"):
        split_records(records(LABELS, ["train"] * 99 + [None]), DIGESTS)
    with pytest.raises(DataError, match=r"no training split, only \['test'\]"):
        split_records(records(LABELS, ["test"] * 100), DIGESTS)


def test_held_out_classes_neither_train_nor_validate():
    whole = split_records(records(LABELS), DIGESTS)
    parts = split_records(records(LABELS), DIGESTS, {"b"})
    assert parts.test == whole.test
    assert {LABELS[row] for row in parts.unused} == {"b"}
    assert sorted(parts.train + parts.val + parts.unused) == sorted(whole.train + whole.val)
    assert "b" not in {LABELS[row] for row in parts.train + parts.val}


def test_classes_validate_where_each_has_a_single_training_image():
    labels = [f"class {i:02}" for i in range(20)] * 2
    splits = ["train"] * 20 + ["test"] * 20
    train, val, test, _, notes = split_records(records(labels, splits), DIGESTS[:40])
    assert (len(train), len(val), len(test)) == (16, 4, 20)
    assert not {labels[row] for row in train} & {labels[row] for row in val}
    assert any(
        "of the classes left for training, since each has a single image" in n for n in notes
    )
    few = labels[:7] + labels[20:27]
    assert split_records(records(few, ["train"] * 7 + ["test"] * 7), DIGESTS[:14]).val == []
