"""The language model that reads codes: loss positions, padding, saving."""

import pytest
import torch
import torch.nn.functional as F

from craft.models.aligned_language_model import AlignedLanguageModel
from craft.models.text_batch import prompt_batch, training_batch

PROMPTS = ["What object is shown in the image?", "Answer as succinctly as possible.", "A"]
ANSWERS = ["A", "thing aa", "B, because"]


@pytest.fixture
def visual():
    return torch.randn(3, 5, 16, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", ["qwen2", "llama"])
def test_answer_logits_are_those_of_each_row_alone(tiny_models, visual, name):
    """Compared with one unpadded sequence at a time, all logits, sliced by hand."""
    language_model = tiny_models.language_model(name)
    logits, targets = language_model.answer_logits(
        visual, training_batch(language_model.tokenizer, PROMPTS, ANSWERS)
    )
    expected_logits, expected_targets = [], []
    for i in range(3):
        asked = language_model.tokenizer(PROMPTS[i], add_special_tokens=False)["input_ids"]
        given = language_model.tokenizer(ANSWERS[i], add_special_tokens=False)["input_ids"]
        given = [*given, language_model.tokenizer.eos_token_id]
        words = language_model.language_model.get_input_embeddings()(torch.tensor([asked + given]))
        embeds = torch.cat([language_model.projector(visual[i : i + 1]), words], 1)
        row = language_model.language_model(inputs_embeds=embeds).logits[0]
        first = 5 + len(asked) - 1
        expected_logits.append(row[first : first + len(given)])
        expected_targets += given
    assert targets.tolist() == expected_targets
    torch.testing.assert_close(logits, torch.cat(expected_logits), rtol=1e-4, atol=1e-4)


def test_loss_is_the_token_mean(tiny_models, visual):
    language_model = tiny_models.language_model("llama")
    batch = training_batch(language_model.tokenizer, PROMPTS, ANSWERS)
    logits, targets = language_model.answer_logits(visual, batch)
    picked = F.log_softmax(logits.double(), -1)[torch.arange(len(targets)), targets]
    assert float(language_model.answer_loss(visual, batch)) == pytest.approx(
        -float(picked.mean()), abs=1e-5
    )


@pytest.mark.parametrize("name", ["qwen2", "llama"])
def test_answers_do_not_depend_on_padding(tiny_models, visual, name):
    language_model = tiny_models.language_model(name)
    together = language_model.answer(visual, prompt_batch(language_model.tokenizer, PROMPTS))
    alone = [
        language_model.answer(
            visual[i : i + 1], prompt_batch(language_model.tokenizer, [PROMPTS[i]])
        )[0]
        for i in range(3)
    ]
    assert together == alone


def test_padding_goes_in_front_of_the_image(tiny_models, visual):
    language_model = tiny_models.language_model("llama")
    embeds, mask = language_model.embed(visual, prompt_batch(language_model.tokenizer, PROMPTS))
    assert (mask.diff(dim=1) >= 0).all()
    image = language_model.projector(visual)
    for row, start in enumerate((mask == 0).sum(1).tolist()):
        assert torch.equal(embeds[row, start : start + 5], image[row])


def test_round_trip(tiny_models, visual, tmp_path):
    language_model = tiny_models.language_model("qwen2")
    language_model.save_pretrained(tmp_path)
    back = AlignedLanguageModel.from_pretrained(tmp_path)
    batch = training_batch(language_model.tokenizer, PROMPTS, ANSWERS)
    assert torch.equal(
        back.answer_logits(visual, batch)[0], language_model.answer_logits(visual, batch)[0]
    )
    assert back.codebook_fingerprint == language_model.codebook_fingerprint
    assert back.tokenizer.tokenize(PROMPTS[0]) == language_model.tokenizer.tokenize(PROMPTS[0])
    assert not any(p.requires_grad for p in back.parameters())


def test_a_batch_without_labels_has_no_loss(tiny_models, visual):
    language_model = tiny_models.language_model("llama")
    with pytest.raises(ValueError, match="build the batch with training_batch"):
        language_model.answer_logits(visual, prompt_batch(language_model.tokenizer, PROMPTS))
