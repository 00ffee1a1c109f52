"""The wording of questions and answers: letter, short answer, group, justification."""

from __future__ import annotations

import string
from collections.abc import Sequence

from craft.errors import CraftError

#: The letters of four options; questions that bring their own options may have up to 26.
LETTERS = ("A", "B", "C", "D")

QUESTION = "What {subject} is shown in the image?"
GROUP_QUESTION = "What group does the {subject} in the image belong to?"
ONE_LETTER = "Answer in one letter only."
SHORT_ANSWER = "Answer as succinctly as possible."
JUSTIFY = "Justify your answer."
JUSTIFICATION = "{answer}, because the image shows {label}, which belongs to {group}."
#: The text that stands for an image of a class in the contrastive loss (paper, sec. 4).
CAPTION = "An image of a {subject}, specifically a {label}."
#: The text that stands for an image with a question (methods C10).
STATEMENT = "Question: {question} Answer: {answer}."


def letter(index: int) -> str:
    """The letter of option ``index``, counted from 0. Raises CraftError beyond 26 options."""
    if not 0 <= index < 26:
        raise CraftError(f"options have letters A to Z, got option number {index + 1}")
    return string.ascii_uppercase[index]


def option_lines(options: Sequence[str]) -> str:
    """One line an option: its letter and its name."""
    return "\n".join(f"{letter(i)}. {option}" for i, option in enumerate(options))


def ask(question: str, options: Sequence[str] = ()) -> str:
    """A question with how to answer it: in one letter if there are options, else shortly."""
    if options:
        return "\n".join([question, option_lines(options), ONE_LETTER])
    return f"{question}\n{SHORT_ANSWER}"


def multiple_choice(subject: str, options: Sequence[str], suffix: str = ONE_LETTER) -> str:
    """The four-option question: question, options, and how to answer."""
    return "\n".join([QUESTION.format(subject=subject), option_lines(options), suffix])


def short_answer(subject: str) -> str:
    """The open question, answered with the class name."""
    return ask(QUESTION.format(subject=subject))


def group_question(subject: str) -> str:
    """The open question for the group of the class."""
    return ask(GROUP_QUESTION.format(subject=subject))


def justification(answer: str, label: str, group: str) -> str:
    """The answer to a question that ends in "Justify your answer."."""
    return JUSTIFICATION.format(answer=answer, label=label, group=group)


def caption(subject: str, label: str) -> str:
    """The ground-truth text of a class."""
    return CAPTION.format(subject=subject, label=label)
