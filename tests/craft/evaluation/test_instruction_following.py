import pytest

from craft.data import prompts
from craft.data.questions import Question
from craft.evaluation.instruction_following import ask_for_reasons, examine, summarize

QUESTION = Question(
    id="q",
    row=0,
    label="red panda",
    prompt="",
    answer="B",
    options=("cat", "red panda", "dog", "panda"),
)


@pytest.mark.parametrize(
    ("given", "correct", "present", "relevant", "faithful"),
    [
        (prompts.justification("B", "red panda", "animals"), True, True, True, True),
        ("B. Because the image shows a red panda.", True, True, True, True),
        ("red panda, since it shows the red panda of the group", True, True, True, True),
        ("b", True, False, False, False),
        ("B, because.", True, False, False, False),
        ("B, because of its ringed tail.", True, True, False, False),
        ("A, because the image shows cat, which belongs to animals.", False, True, True, True),
        ("A, because the image shows dog, which belongs to animals.", False, True, True, False),
        ("A, because the image shows red panda, an animal.", False, True, True, False),
        ("", False, False, False, False),
        ("because the image shows red panda", False, True, True, False),
    ],
)
def test_rules(given, correct, present, relevant, faithful):
    mark = examine(QUESTION, given)
    assert (mark.correct, mark.present, mark.relevant, mark.faithful) == (
        correct,
        present,
        relevant,
        faithful,
    )


def test_a_name_inside_another_is_not_a_mention():
    mark = examine(QUESTION, "D, because the image shows catalogue pages")
    assert not mark.relevant
    mark = examine(QUESTION, "D, because the image shows red panda, which belongs to animals.")
    assert mark.relevant
    assert not mark.faithful


def test_summary():
    marks = [examine(QUESTION, g) for g in ("B", "B, because the image shows red panda")]
    summary = summarize(marks)
    assert summary["correct"] == 100
    assert summary["present"] == summary["faithful"] == 50
    assert summary["words"] == 4.0
    assert summary["n"] == 2
    assert summarize([])["correct"] is None


def test_open_questions_are_refused():
    with pytest.raises(ValueError, match="'open' has no options"):
        examine(Question("open", 0, "cat", "", "cat"), "cat")


def test_the_same_questions_ask_for_reasons():
    plain = Question("a", 3, "cat", prompts.multiple_choice("pet", ["cat", "dog"]), "A", ("cat",))
    (asked,) = ask_for_reasons([plain, Question("open", 0, "cat", "What?", "cat")])
    assert asked.prompt == prompts.multiple_choice("pet", ["cat", "dog"], prompts.JUSTIFY)
    assert (asked.row, asked.answer) == (3, "A")
