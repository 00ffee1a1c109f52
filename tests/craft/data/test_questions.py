"""Questions are reproducible and fair."""

from collections import Counter

import pytest

from craft.data.questions import four_options, heldout_classes

CLASSES = [f"class {i}" for i in range(12)]
IDS = [f"image-{i}" for i in range(240)]
LABELS = [CLASSES[i % 12] for i in range(240)]


def test_a_question_depends_only_on_its_image_and_seed():
    whole = four_options(IDS, LABELS, "flag", CLASSES, seed=3)
    part = four_options(IDS[50:60][::-1], LABELS[50:60][::-1], "flag", CLASSES[::-1], seed=3)
    assert [q.prompt for q in part] == [q.prompt for q in whole[50:60]][::-1]
    assert four_options(IDS, LABELS, "flag", CLASSES, seed=4) != whole


def test_the_answer_is_the_letter_of_the_label_and_letters_are_balanced():
    questions = four_options(IDS, LABELS, "flag", CLASSES)
    for q in questions:
        assert len(set(q.options)) == 4
        assert q.options["ABCD".index(q.answer)] == q.label
        assert f"{q.answer}. {q.label}" in q.prompt.splitlines()
        assert q.prompt.endswith("Answer in one letter only.")
    counts = Counter(q.answer for q in questions)
    assert all(40 <= counts[letter] <= 80 for letter in "ABCD")


def test_distractors_stay_in_the_pool():
    pool = CLASSES[:5]
    questions = four_options(IDS[:5], LABELS[:5], "flag", pool, heldout=["class 3"])
    assert all(set(q.options) <= set(pool) for q in questions)
    assert [q.heldout for q in questions] == [False, False, False, True, False]


def test_a_pool_too_small_is_refused():
    with pytest.raises(ValueError, match="needs three other classes, the pool has 2"):
        four_options(IDS[:1], LABELS[:1], "flag", CLASSES[:3])


@pytest.mark.parametrize(("count", "expected"), [(10, 2), (225, 45), (4, 0)])
def test_a_fifth_of_the_classes_is_held_out(count, expected):
    names = [f"n{i}" for i in range(count)]
    held = heldout_classes(names)
    assert len(held) == expected
    assert held == heldout_classes(names[::-1] * 2)
    assert set(held) <= set(names)


def test_a_fraction_out_of_range_is_refused():
    with pytest.raises(ValueError, match=r"fraction must be in \[0, 1\), got 1"):
        heldout_classes(CLASSES, 1)
