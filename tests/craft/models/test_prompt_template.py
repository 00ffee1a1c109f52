"""The text around image and question, and its place in the models' input."""

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from craft.models.aligned_language_model import AlignedLanguageModel
from craft.models.prompt_template import VICUNA, PromptTemplate


@pytest.fixture
def tokenizer():
    words = ["<s>", "</s>", "<unk>", "<user>", "<bot>", "look", "please", "what", "\n"]
    bare = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    bare.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=bare,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        additional_special_tokens=["<user>", "<bot>"],
    )


def test_places(tokenizer):
    template = PromptTemplate("look ", " {question} please", begin=True)
    assert template.ask("what {x}") == " what {x} please"
    assert template.prefix_ids(tokenizer) == [0, 5]
    assert PromptTemplate().prefix_ids(tokenizer) == []
    assert PromptTemplate(**VICUNA.to_dict()) == VICUNA
    with pytest.raises(ValueError, match=r"must hold \{question\}"):
        PromptTemplate(question="what?")


def test_chat_templates_are_split_at_the_image(tokenizer):
    assert PromptTemplate.of_chat(tokenizer) == PromptTemplate(
        question="\n{question}\n", begin=True
    )
    tokenizer.chat_template = (
        "{% for m in messages %}<user> {{ m['content'] }} {% endfor %}"
        "{% if add_generation_prompt %}<bot>{% endif %}"
    )
    template = PromptTemplate.of_chat(tokenizer)
    assert template == PromptTemplate("<user> ", "\n{question} <bot>")
    assert template.prefix_ids(tokenizer) == [3]
    text = template.ask("what")
    assert tokenizer(text, add_special_tokens=False)["input_ids"][-2:] == [7, 4]


def test_the_prefix_stands_before_the_image(tiny_models, tmp_path):
    plain = tiny_models.language_model("qwen2")
    template = PromptTemplate("what ", "{question} thing", begin=True)
    language_model = AlignedLanguageModel(
        plain.language_model,
        plain.projector,
        plain.tokenizer,
        plain.codebook_fingerprint,
        "worded",
        template,
    )
    visual = torch.randn(2, 9, 16, generator=torch.Generator().manual_seed(0))
    questions = ["object", "what object thing"]
    embeds, mask = language_model.embed(visual, language_model.prompt_batch(questions))
    prefix = [language_model.tokenizer.bos_token_id, *language_model.tokenizer("what")["input_ids"]]
    assert language_model.prefix_ids == prefix
    words = language_model.language_model.get_input_embeddings().weight
    for row, pad in zip(embeds, (mask == 0).sum(1), strict=True):
        assert torch.equal(row[pad : pad + len(prefix)], words[prefix])
    spelled = plain.prompt_batch([f"{q} thing" for q in questions])
    before = words[prefix].expand(2, -1, -1)
    with torch.no_grad():
        image = torch.cat([before, plain.projector(visual)], 1)
        assert language_model.answer(visual, language_model.prompt_batch(questions)) == _answer(
            plain, image, spelled
        )
        lesson = language_model.training_batch(questions, ["A", "thing aa"])
        same = plain.training_batch([f"{q} thing" for q in questions], ["A", "thing aa"])
        found = language_model.answer_logits(visual, lesson)
        expected = plain.answer_logits(image, same, projected=True)
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])
    language_model.save_pretrained(tmp_path)
    assert AlignedLanguageModel.from_pretrained(tmp_path).template == template


def _answer(plain, image, text):
    embeds, mask = plain.embed(image, text, projected=True)
    ids = plain.language_model.generate(
        inputs_embeds=embeds,
        attention_mask=mask,
        max_new_tokens=5,
        do_sample=False,
        pad_token_id=plain.tokenizer.pad_token_id,
        eos_token_id=plain.tokenizer.eos_token_id,
    )
    return plain.tokenizer.batch_decode(ids, skip_special_tokens=True)
