from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from craft.data import prompts
from craft.data.images.store import TensorStore
from craft.data.questions import Question
from craft.evaluation import visual_tokens
from craft.evaluation.four_option import answer_questions
from craft.evaluation.likelihood import likelihood_accuracy, option_log_likelihoods
from craft.evaluation.visual_tokens import VisualTokens
from craft.family.family import ModelFamily
from craft.models.text_batch import training_batch
from tests.craft.evaluation.fixed_tokens import FixedTokens
from tests.perturbed_products import rounding


def question(number: int, options: int = 4) -> Question:
    names = ["thing aa", "thing bb", "object", "image"][:options]
    prompt = "what " * number + prompts.multiple_choice("object", names)
    return Question(str(number), number % 3, names[0], prompt, "A", tuple(names))


@pytest.mark.parametrize("name", ["qwen2", "llama"])
def test_equals_the_loss_of_answering_with_each_letter(tiny_models: ModelFamily, name: str) -> None:
    language_model = tiny_models.language_model(name)
    visual = torch.randn(3, 6, 16, generator=torch.Generator().manual_seed(0))
    asked = [question(i, options=4 - i % 2) for i in range(7)]

    def found() -> list[torch.Tensor]:
        return option_log_likelihoods(language_model, FixedTokens(visual), asked, batch=3)

    scores = found()
    allowed = rounding(lambda: torch.cat(found()))
    assert allowed < 0.01  # compared with differences of one and more
    assert [len(row) for row in scores] == [4, 3, 4, 3, 4, 3, 4]
    for row, q in zip(scores, asked, strict=True):
        for i, score in enumerate(row):
            text = training_batch(language_model.tokenizer, [q.prompt], [prompts.letter(i)])
            logits, targets = language_model.answer_logits(visual[q.row : q.row + 1], text)
            expected = logits.double().log_softmax(1)[0, targets[0]].item()
            assert score.item() == pytest.approx(expected, abs=allowed)


def test_plain_features_are_made_once_a_window(
    tiny_models: ModelFamily, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the order of the questions, and each score is its question's."""
    monkeypatch.setattr(visual_tokens, "FEATURE_BYTES", 1)  # 64 images a window
    images = torch.rand(150, 3, 24, 24, generator=torch.Generator().manual_seed(5))
    visible = VisualTokens(
        tiny_models.pretrained_tower(), TensorStore(images), quantized=False
    ).view()
    asked = [replace(question(i % 5), row=37 * i % 150) for i in range(60)]
    made: list[range] = []
    encoded = VisualTokens._encoded

    def counted(self: VisualTokens, window: range) -> torch.Tensor:
        made.append(window)
        return encoded(self, window)

    monkeypatch.setattr(VisualTokens, "_encoded", counted)
    language_model = tiny_models.language_model("qwen2")
    scores = option_log_likelihoods(language_model, visible, asked, batch=4)
    assert made == list(visible.windows)
    whole = FixedTokens(visible.show(range(150)))
    for number in (0, 1, 2, 31, 59):
        (alone,) = option_log_likelihoods(language_model, whole, [asked[number]])
        torch.testing.assert_close(scores[number], alone, rtol=0, atol=1e-4)
    made.clear()
    answer_questions(language_model, visible, asked, batch=4)
    assert made == list(visible.windows)


def test_accuracy_counts_the_likeliest_letter() -> None:
    asked = [question(0), question(1)]
    scores = [torch.tensor([-1.0, -2, -3, -4]), torch.tensor([-3.0, -1, -2, -9])]
    assert likelihood_accuracy(scores, asked) == 50
    assert likelihood_accuracy([], []) is None


def test_open_questions_have_no_likelihood(tiny_models: ModelFamily) -> None:
    asked = [Question("open", 0, "cat", "what is shown", "cat")]
    visual = FixedTokens(torch.zeros(1, 2, 16))
    with pytest.raises(ValueError, match="'open' has 0 options"):
        option_log_likelihoods(tiny_models.language_model("llama"), visual, asked)
