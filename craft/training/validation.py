"""Fast four-option scores during training, from the most likely first token of the answer."""

from __future__ import annotations

from typing import NamedTuple

import torch

from craft.data.questions import QuestionSet
from craft.evaluation.answer_batches import questions_together
from craft.evaluation.visual_tokens import VisualTokens
from craft.models.aligned_language_model import AlignedLanguageModel
from craft.models.vision_tower import DiscreteVisionTower


class LetterScores(NamedTuple):
    """Scores over questions, in per cent.

    ``confidence`` is the mean probability of the right letter: it tells two encoders apart on far
    fewer questions than ``accuracy`` does. ``right`` says for each question whether its letter was
    the most likely one.
    """

    accuracy: float
    confidence: float
    right: tuple[bool, ...]


# Not inference_mode: a sharded language model keeps the tensors it gathers first for training.
@torch.no_grad()
def letter_scores(
    tower: DiscreteVisionTower,
    language_model: AlignedLanguageModel,
    asked: QuestionSet,
    quantized: bool = True,
) -> LetterScores:
    """Measure how often, and how confidently, the right letter is the answer's first token.

    Args:
        quantized: whether the language model reads codes or the encoder's plain features.
    """
    questions = asked.questions
    tokens = VisualTokens(tower, asked.images, quantized=quantized)
    right: list[bool] = []
    probability = 0.0
    batch = questions_together(language_model, tokens.view().length)
    for start in range(0, len(questions), batch):
        chosen = questions[start : start + batch]
        text = language_model.training_batch([q.prompt for q in chosen], [q.answer for q in chosen])
        visual = tokens.view().show([q.row for q in chosen])
        logits, targets = language_model.answer_logits(visual, text)
        logits, targets = logits[text.first_answers].float(), targets[text.first_answers]
        right += (logits.argmax(1) == targets).tolist()
        probability += float(logits.softmax(1).gather(1, targets[:, None]).sum())
    accuracy, confidence = (100 * x / len(questions) for x in (sum(right), probability))
    return LetterScores(accuracy, confidence, tuple(right))
