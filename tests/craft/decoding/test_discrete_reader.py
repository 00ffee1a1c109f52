"""The reader uses the text around image and question that a language model was trained with."""

from __future__ import annotations

import pytest
import torch
from PIL import Image
from transformers import LogitsProcessorList

from craft.data.images.record_store import image_tensor
from craft.decoding import DiscreteReader
from craft.decoding.attention_capture import last_row_attention
from craft.decoding.reader import Stream
from craft.family.family import ModelFamily
from craft.models.aligned_language_model import AlignedLanguageModel
from craft.models.discrete_lvlm import DiscreteLVLM
from craft.models.prompt_template import PromptTemplate

TEMPLATE = PromptTemplate("which thing is shown ", "? {question} answer", begin=True)
PROMPTS = ["thing aa", "what is the thing bb"]


@pytest.fixture
def image() -> Image.Image:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (24, 24, 3), generator=generator, dtype=torch.uint8)
    return Image.fromarray(pixels.numpy())


@pytest.fixture
def wordy(tiny_models: ModelFamily) -> AlignedLanguageModel:
    """A language model with its own text around image and question."""
    bare = tiny_models.language_model("llama")
    parts = (bare.language_model, bare.projector, bare.tokenizer, bare.codebook_fingerprint)
    return AlignedLanguageModel(*parts, "wordy", TEMPLATE).eval()


def test_prompts_use_the_language_models_template(
    tiny_models: ModelFamily, wordy: AlignedLanguageModel, image: Image.Image
) -> None:
    tower = tiny_models.pretrained_tower()
    model = DiscreteLVLM.from_parts(tower, wordy)
    reader = DiscreteReader(model, wordy.tokenizer, template=wordy.template)
    visual = tower.encode(image_tensor(image, 24)[None].float() / 255).quantized.repeat(2, 1, 1)
    text = wordy.prompt_batch(PROMPTS)
    streams = [(Stream((image,)),)] * 2
    given = reader.answer(streams, PROMPTS, LogitsProcessorList(), max_new_tokens=5)
    assert given == wordy.answer(visual, text)
    bare = DiscreteReader(model, wordy.tokenizer, template=PromptTemplate())
    assert given != bare.answer(streams, PROMPTS, LogitsProcessorList(), max_new_tokens=5)
    with torch.inference_mode():
        embeds, mask = wordy.embed(visual, text)
        decoder = wordy.language_model.get_decoder()
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        seen = last_row_attention(
            decoder,
            lambda: decoder(
                inputs_embeds=embeds, attention_mask=mask, position_ids=positions, use_cache=False
            ),
        )
        looks = reader.attend([image], [tuple(PROMPTS)])[0]
    begins = (mask == 0).sum(1) + len(wordy.prefix_ids)
    for row, look in enumerate(looks):
        expected = seen.weights[:, row, :, begins[row] : begins[row] + 9].unflatten(-1, (3, 3))
        torch.testing.assert_close(look.weights, expected)
