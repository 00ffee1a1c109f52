"""Option log-likelihood: which letter a model finds most likely, whatever it would have written.

A second score besides exact match (methods F5). It does not depend on the form of the answer, so it
distinguishes a model that knows but does not follow instructions from one that does not know.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from craft.data import prompts
from craft.data.questions import Question
from craft.errors import CraftError
from craft.evaluation.answer_batches import by_window, questions_together, shared_parts
from craft.evaluation.visual_tokens import Visual
from craft.models.aligned_language_model import AlignedLanguageModel
from craft.runtime.memory import freed_memory
from craft.runtime.processes import ALONE, Processes


@torch.inference_mode()
def option_log_likelihoods(
    language_model: AlignedLanguageModel,
    visual: Visual,
    questions: Sequence[Question],
    batch: int | None = None,
    processes: Processes = ALONE,
) -> list[Tensor]:  # one [options] float32 per question
    """Log-probability of each option's letter as the first token of the answer.

    Batches hold neighbours among the questions about the images that ``visual`` shows together.

    Args:
        processes: each of them scores some of the batches, and has all scores afterwards.

    Raises:
        CraftError: a question has fewer than two options, or the tokenizer cannot tell letters
            apart.
    """
    for question in questions:
        if len(question.options) < 2:
            raise CraftError(
                f"question {question.id!r} has {len(question.options)} options; likelihoods "
                "compare two or more"
            )
    scores: dict[int, Tensor] = {}
    batch = batch or questions_together(language_model, visual.length)
    windows = [
        [numbers[i : i + batch] for i in range(0, len(numbers), batch)]
        for numbers in by_window(visual, questions)
    ]
    parts = shared_parts(windows, processes.count)
    for chosen in chain.from_iterable(processes.claimed(parts)):
        asked = [questions[number] for number in chosen]
        letters = letter_tokens(language_model.tokenizer, max(len(q.options) for q in asked))
        text = language_model.training_batch([q.prompt for q in asked], ["A"] * len(asked))
        logits, _ = language_model.answer_logits(visual.show([q.row for q in asked]), text)
        likelihoods = logits[text.first_answers].float().log_softmax(1)[:, letters]
        for number, question, row in zip(chosen, asked, likelihoods, strict=True):
            scores[number] = row[: len(question.options)].clone()
        del logits, likelihoods
        freed_memory.between_batches()
    for found in processes.gathered(scores):
        scores.update(found)
    return [scores[number] for number in range(len(questions))]


def letter_tokens(tokenizer: PreTrainedTokenizerBase, count: int) -> list[int]:
    """The first token of each of the first `count` letters.

    Raises:
        CraftError: two letters begin with the same token.
    """
    letters = [prompts.letter(i) for i in range(count)]
    tokens = [ids[0] for ids in tokenizer(letters, add_special_tokens=False)["input_ids"]]
    if len(set(tokens)) < count:
        raise CraftError(
            f"this tokenizer begins several of {', '.join(letters)} with the same token; "
            "likelihoods cannot tell them apart"
        )
    return tokens


def likelihood_accuracy(scores: Sequence[Tensor], questions: Sequence[Question]) -> float | None:
    """Per cent of questions whose most likely letter is right; None without questions.

    Of equally likely letters, which occur in half precision, the first counts.
    """
    if not questions:
        return None
    right = [
        prompts.letter(int(row.argmax())) == question.answer
        for row, question in zip(scores, questions, strict=True)
    ]
    return 100 * sum(right) / len(right)
