from __future__ import annotations

import pytest
import torch

from craft.data import prompts
from craft.data.questions import Question
from craft.evaluation.likelihood import likelihood_accuracy, option_log_likelihoods
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
