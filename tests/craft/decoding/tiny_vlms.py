"""Random vision-language models from transformers with minimal processors."""

from __future__ import annotations

from typing import Any

import torch
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLImageProcessorPil,
)

WORDS = ["what", "is", "in", "the", "picture", "?", "answer", "word", "user", ":", *"abcdefgh"]
SPECIAL = ["<pad>", "</s>", "<image>", "<unk>", "<start>", "<end>", "<video>"]
IMAGE_TOKEN = SPECIAL.index("<image>")
TEXT = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": len(SPECIAL) + len(WORDS),
    "initializer_range": 0.5,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": 1,
}
CHAT = (
    "{% for message in messages %}user :{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %} <image>{% else %} {{ part['text'] }}{% endif %}"
    "{% endfor %}{% endfor %} answer :"
)


def tokenizer() -> PreTrainedTokenizerFast:
    vocabulary = {word: i for i, word in enumerate([*SPECIAL, *WORDS])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, **special, extra_special_tokens={"image_token": "<image>"}
    )


def llava() -> tuple[LlavaForConditionalGeneration, LlavaProcessor]:
    """Images of 24 x 24 pixels in 4 x 4 patches, encoded by CLIP without its class token."""
    vision = CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=24,
        patch_size=6,
    )
    config = LlavaConfig(
        vision_config=vision, text_config=LlamaConfig(**TEXT), image_token_index=IMAGE_TOKEN
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LlavaForConditionalGeneration(config)
    processor = LlavaProcessor(
        CLIPImageProcessorPil(size={"shortest_edge": 24}, crop_size=24),
        tokenizer(),
        patch_size=6,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT,
    )
    return model.eval(), processor


def qwen2_vl() -> Qwen2VLForConditionalGeneration:
    """Patches of 4 pixels, of which 2 x 2 make a visual token."""
    text = TEXT | {
        "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e4}
    }
    vision = {"depth": 2, "embed_dim": 16, "hidden_size": 32, "num_heads": 2, "patch_size": 4}
    config = Qwen2VLConfig(
        text_config=text,
        vision_config=vision | {"mlp_ratio": 2},
        image_token_id=IMAGE_TOKEN,
        video_token_id=SPECIAL.index("<video>"),
        vision_start_token_id=SPECIAL.index("<start>"),
        vision_end_token_id=SPECIAL.index("<end>"),
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Qwen2VLForConditionalGeneration(config).eval()


def prepare_qwen2_vl(images: Any, text: str) -> dict[str, Tensor]:
    """Does what Qwen2VLProcessor does, which needs torchvision for videos."""
    process = Qwen2VLImageProcessorPil(patch_size=4, merge_size=2, min_pixels=64, max_pixels=4096)
    pixels = process(list(images), return_tensors="pt")
    counts = (pixels["image_grid_thw"].prod(1) // 4).tolist()
    sentence = " ".join(f"<start> {' '.join(['<image>'] * count)} <end>" for count in counts)
    ids = tokenizer()(f"user : {sentence} {text} answer :", return_tensors="pt")["input_ids"]
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "mm_token_type_ids": (ids == IMAGE_TOKEN).long(),
        **pixels,
    }


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    """Coloured noise, coarse enough to survive resizing."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randint(0, 256, (height // 4, width // 4, 3), generator=generator)
    return Image.fromarray(noise.to(torch.uint8).numpy()).resize((width, height))
