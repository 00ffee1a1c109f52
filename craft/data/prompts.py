"""Templates of questions and answers: letter, short answer, group, justification."""

from __future__ import annotations

import string
from collections.abc import Sequence

from craft.errors import CraftError

#: The letters of four options; questions from a data set may have up to 26 options.
LETTERS = ("A", "B", "C", "D")

QUESTION = "What {subject} is shown in the image?"
GROUP_QUESTION = "What group does the {subject} in the image belong to?"
ONE_LETTER = "Answer in one letter only."
SHORT_ANSWER = "Answer as succinctly as possible."
JUSTIFY = "Justify your answer."
JUSTIFICATION = "{answer}, because the image shows {label}, which belongs to {group}."
#: The contrastive text of an image with a class (paper, sec. 4).
CAPTION = "An image of a {subject}, specifically a {label}."
#: The contrastive text of an image with a question (methods C10).
STATEMENT = "Question: {question} Answer: {answer}."


def letter(index: int) -> str:
    """Return the letter of option ``index``, counted from 0.

    Raises:
        CraftError: ``index`` is not from 0 to 25.
    """
    if not 0 <= index < 26:
        raise CraftError(f"options have letters A to Z, got option number {index + 1}")
    return string.ascii_uppercase[index]


def option_lines(options: Sequence[str]) -> str:
    """List options, one per line, each with its letter."""
    return "\n".join(f"{letter(i)}. {option}" for i, option in enumerate(options))


def ask(question: str, options: Sequence[str] = ()) -> str:
    """Add the answer format to a question: one letter if there are options, else a short answer."""
    if options:
        return "\n".join([question, option_lines(options), ONE_LETTER])
    return f"{question}\n{SHORT_ANSWER}"


def multiple_choice(subject: str, options: Sequence[str], suffix: str = ONE_LETTER) -> str:
    """Format a multiple-choice question: the question, its options, and ``suffix``."""
    return "\n".join([QUESTION.format(subject=subject), option_lines(options), suffix])


def short_answer(subject: str) -> str:
    """Format the open question that is answered with the class name."""
    return ask(QUESTION.format(subject=subject))


def group_question(subject: str) -> str:
    """Format the open question that is answered with the group of the class."""
    return ask(GROUP_QUESTION.format(subject=subject))


def justification(answer: str, label: str, group: str) -> str:
    """Format the answer to a question that ends with "Justify your answer."."""
    return JUSTIFICATION.format(answer=answer, label=label, group=group)


def caption(subject: str, label: str) -> str:
    """Format the contrastive text of a class."""
    return CAPTION.format(subject=subject, label=label)
