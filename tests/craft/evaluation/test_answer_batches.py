"""Batches of questions fit into memory, whatever the size of the model."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, Qwen2Config

from craft.data.questions import Question
from craft.evaluation.answer_batches import CACHE_BYTES, by_window, questions_together
from tests.craft.evaluation.fixed_tokens import FixedTokens


def model(config: Any, dtype: torch.dtype) -> Any:
    return SimpleNamespace(language_model=SimpleNamespace(config=config, dtype=dtype))


@pytest.mark.parametrize(
    ("config", "dtype", "shown", "together"),
    [
        (LlamaConfig(), torch.bfloat16, 256, 10),  # 7B: 512 KiB per token
        (LlamaConfig(), torch.float32, 256, 5),
        (LlamaConfig(), torch.bfloat16, 1 << 20, 1),
        (Qwen2Config(num_hidden_layers=24, hidden_size=896, num_attention_heads=14,
                     num_key_value_heads=2), torch.float32, 2304, 35),  # 0.5B: 24 KiB
        (Qwen2Config(num_hidden_layers=2, hidden_size=64, num_attention_heads=2,
                     num_key_value_heads=1), torch.float32, 36, 128),
    ],
)  # fmt: skip
def test_keys_and_values_fit(config, dtype, shown, together):
    assert questions_together(model(config, dtype), shown) == together
    bytes_each = (
        2 * config.num_hidden_layers * config.num_key_value_heads * dtype.itemsize
        * (config.hidden_size // config.num_attention_heads) * (shown + 128)
    )  # fmt: skip
    assert together == 1 or together * bytes_each <= CACHE_BYTES


def test_small_models_reach_the_upper_limit(tiny_models):
    assert questions_together(tiny_models.language_model("qwen2"), 36) == 128


def test_questions_go_by_the_windows_of_their_images():
    asked = [Question(str(i), row, "", "", "") for i, row in enumerate([6, 0, 2, 3, 2, 5])]
    visual = FixedTokens(torch.zeros(7, 1, 1), together=3)
    assert by_window(visual, asked) == [[1, 2, 4], [3, 5], [0]]
