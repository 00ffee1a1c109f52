"""Fast four-option scores during training, from the most likely first token of the answer."""

from __future__ import annotations

from typing import NamedTuple

import torch

from craft.data.questions import QuestionSet
from craft.evaluation.answer_batches import by_window, questions_together
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
    visible = VisualTokens(tower, asked.images, quantized=quantized).view()
    right: dict[int, bool] = {}
    probability = 0.0
    batch = questions_together(language_model, visible.length)
    windows = by_window(visible, questions)
    for numbers in (n[i : i + batch] for n in windows for i in range(0, len(n), batch)):
        chosen = [questions[number] for number in numbers]
        text = language_model.training_batch([q.prompt for q in chosen], [q.answer for q in chosen])
        visual = visible.show([q.row for q in chosen])
        logits, targets = language_model.answer_logits(visual, text)
        logits, targets = logits[text.first_answers].float(), targets[text.first_answers]
        right |= zip(numbers, (logits.argmax(1) == targets).tolist(), strict=True)
        probability += float(logits.softmax(1).gather(1, targets[:, None]).sum())
    marks = tuple(right[number] for number in range(len(questions)))
    accuracy, confidence = (100 * x / len(questions) for x in (sum(marks), probability))
    return LetterScores(accuracy, confidence, marks)
