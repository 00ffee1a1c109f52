"""Fast four-option accuracy while training: the most likely first token of the answer."""

from __future__ import annotations

import torch
from torch import Tensor

from craft.data.dialogues import training_batch
from craft.data.questions import Question
from craft.models.lvlm import DiscreteLVLM
from craft.models.vision_tower import DiscreteVisionTower


@torch.inference_mode()
def letter_accuracy(
    tower: DiscreteVisionTower,
    lvlm: DiscreteLVLM,
    images: Tensor,  # [n, 3, S, S] in [0, 1]
    questions: list[Question],
    batch: int = 128,
) -> float:
    """Per cent of the questions whose letter is the most likely first token of the answer."""
    features = tower.encode(images).quantized
    right = 0
    for start in range(0, len(questions), batch):
        asked = questions[start : start + batch]
        text = training_batch(lvlm.tokenizer, [q.prompt for q in asked], [q.answer for q in asked])
        visual = features[[q.row for q in asked]]
        logits, targets = lvlm.answer_logits(visual, text)
        first = text.first_answers
        right += int((logits[first].argmax(1) == targets[first]).sum())
    return 100 * right / len(questions)
