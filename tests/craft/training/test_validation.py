"""Validation scores each question by its own image, whatever the order of the questions."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from craft.data import prompts
from craft.data.images.store import TensorStore
from craft.data.questions import Question, QuestionSet
from craft.evaluation import visual_tokens
from craft.evaluation.four_option import answer_questions
from craft.evaluation.visual_tokens import VisualTokens
from craft.family.family import ModelFamily
from craft.training.validation import letter_scores


def test_plain_features_are_made_once_a_window(
    tiny_models: ModelFamily, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = torch.rand(150, 3, 24, 24, generator=torch.Generator().manual_seed(6))
    names = ["thing aa", "thing bb", "object", "image"]
    prompt = prompts.multiple_choice("object", names)
    asked = [
        Question(str(i), 37 * i % 150, names[i % 4], prompt, "ABCD"[i % 4], tuple(names))
        for i in range(60)
    ]
    tower, language_model = tiny_models.pretrained_tower(), tiny_models.language_model("llama")
    visible = VisualTokens(tower, TensorStore(images), quantized=False).view()
    said = answer_questions(language_model, visible, asked, max_new_tokens=1)
    # Every third question asks for what the model says, the others for what it does not.
    asked[::3] = [replace(q, answer=p.given) for q, p in zip(asked[::3], said[::3], strict=True)]
    questions = QuestionSet(TensorStore(images), asked)
    whole = letter_scores(tower, language_model, questions, quantized=False)
    made: list[range] = []
    encoded = VisualTokens._encoded

    def counted(self: VisualTokens, window: range) -> torch.Tensor:
        made.append(window)
        return encoded(self, window)

    monkeypatch.setattr(VisualTokens, "_encoded", counted)
    monkeypatch.setattr(visual_tokens, "FEATURE_BYTES", 1)  # 64 images a window
    found = letter_scores(tower, language_model, questions, quantized=False)
    assert made == [range(64), range(64, 128), range(128, 150)]
    assert whole.right == tuple(i % 3 == 0 for i in range(60))
    assert found.right == whole.right
    assert found.confidence == pytest.approx(whole.confidence, abs=1e-3)
