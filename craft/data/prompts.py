"""The wording of questions and answers: letter, short answer, group, justification."""

from __future__ import annotations

LETTERS = ("A", "B", "C", "D")

QUESTION = "What {subject} is shown in the image?"
GROUP_QUESTION = "What group does the {subject} in the image belong to?"
ONE_LETTER = "Answer in one letter only."
SHORT_ANSWER = "Answer as succinctly as possible."
JUSTIFY = "Justify your answer."
JUSTIFICATION = "{answer}, because the image shows {label}, which belongs to {group}."
#: The text that stands for an image of a class in the contrastive loss (paper, sec. 4).
CAPTION = "An image of a {subject}, specifically a {label}."


def option_lines(options: list[str]) -> str:
    """One line an option: its letter and its name."""
    return "\n".join(f"{x}. {option}" for x, option in zip(LETTERS, options, strict=True))


def multiple_choice(subject: str, options: list[str], suffix: str = ONE_LETTER) -> str:
    """The four-option question: question, options, and how to answer."""
    return "\n".join([QUESTION.format(subject=subject), option_lines(options), suffix])


def short_answer(subject: str) -> str:
    """The open question, answered with the class name."""
    return f"{QUESTION.format(subject=subject)}\n{SHORT_ANSWER}"


def group_question(subject: str) -> str:
    """The open question for the group of the class."""
    return f"{GROUP_QUESTION.format(subject=subject)}\n{SHORT_ANSWER}"


def justification(answer: str, label: str, group: str) -> str:
    """The answer to a question that ends in "Justify your answer."."""
    return JUSTIFICATION.format(answer=answer, label=label, group=group)


def caption(subject: str, label: str) -> str:
    """The ground-truth text of a class."""
    return CAPTION.format(subject=subject, label=label)
