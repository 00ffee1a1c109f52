"""How many questions a language model is asked in one batch."""

from __future__ import annotations

from craft.models.aligned_language_model import AlignedLanguageModel

#: Upper limit, however small the model.
MOST = 128
#: Most bytes that a batch's keys and values may take, with :data:`TEXT` tokens of question and
#: answer.
CACHE_BYTES, TEXT = 2 << 30, 128


def questions_together(language_model: AlignedLanguageModel, shown: int) -> int:
    """As many questions as have keys and values that fit into :data:`CACHE_BYTES`, at least one.

    The number depends only on the model, not on the device: the rounding of answers depends on
    their batch, and answers should be the same on every machine. For a 7B model with 256 visual
    tokens in bfloat16 it is 10.

    Args:
        shown: visual tokens per image.
    """
    model = language_model.language_model
    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    per_token = 2 * config.num_hidden_layers * heads * width * model.dtype.itemsize
    return max(1, min(MOST, CACHE_BYTES // (per_token * (shown + TEXT))))
