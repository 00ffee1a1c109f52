"""Rows recomputed from queries and keys, compared with the weights that transformers returns."""

import copy

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    LlamaConfig,
    MistralConfig,
    Qwen2Config,
    Qwen3Config,
)
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from craft.decoding.attention_capture import last_row, last_row_attention
from tests.craft.decoding.tiny_vlms import TEXT, llava, picture, prepare_qwen2_vl, qwen2_vl

#: Softmax weights are at most 1, and float32 sums of 8 to 32 products differ by a few roundings;
#: scores reach a few tens with these wide initialisations, so exp turns 1e-6 into 1e-5 at worst.
ROUNDING = 2e-5
DECODERS = {
    "llama": LlamaConfig(**TEXT),
    "qwen2": Qwen2Config(**TEXT),
    "qwen3": Qwen3Config(**TEXT, head_dim=8),
    "mistral, sliding window": MistralConfig(**TEXT, sliding_window=3),
    "gemma2, soft cap and window": Gemma2Config(
        **TEXT, head_dim=8, sliding_window=3, attn_logit_softcapping=5.0
    ),
}


def eager_rows(model, inputs):
    """Weights [L, B, heads, T] as transformers computes them."""
    eager = copy.deepcopy(model)
    eager.set_attn_implementation("eager")
    with torch.no_grad():
        weights = eager(**inputs, output_attentions=True, use_cache=False).attentions
    return torch.stack(weights)[:, :, :, -1]


def captured(model, inputs):
    with torch.no_grad():
        return last_row_attention(
            model.get_decoder(), lambda: model.base_model(**inputs, use_cache=False)
        ).weights


def build(config, attention="sdpa"):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return AutoModelForCausalLM.from_config(config, attn_implementation=attention).eval()


@pytest.mark.parametrize("name", DECODERS)
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_rows_are_the_weights_of_eager_attention(name, attention):
    if "gemma" in name and attention == "sdpa":
        pytest.skip("SDPA has no soft cap")
    model = build(DECODERS[name], attention)
    ids = torch.randint(3, 20, (3, 9), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[1, :4] = 0
    mask[2, :8] = 0
    inputs = {"input_ids": ids, "attention_mask": mask}
    rows = captured(model, inputs)
    assert rows.shape == (3, 3, 4, 9)
    assert rows.dtype == torch.float32
    torch.testing.assert_close(rows, eager_rows(model, inputs), rtol=0, atol=ROUNDING)
    assert (rows[:, 1, :, :4] == 0).all()
    assert (rows[:, 2, :, :8] == 0).all()
    alone = captured(model, {"input_ids": ids[1:2, 4:]})
    torch.testing.assert_close(rows[:, 1, :, 4:], alone[:, 0], rtol=0, atol=ROUNDING)


def test_rows_of_llava_and_qwen2_vl_skip_their_vision_towers():
    model, processor = llava()
    inputs = processor(
        text="user : <image> what answer :", images=picture(30, 24), return_tensors="pt"
    )
    rows = captured(model, inputs)
    assert rows.shape[:3] == (3, 1, 4)
    torch.testing.assert_close(rows, eager_rows(model, inputs), rtol=0, atol=ROUNDING)
    other = qwen2_vl()
    inputs = prepare_qwen2_vl([picture(48, 32)], "what ?")
    rows = captured(other, inputs)
    assert rows.shape[:3] == (3, 1, 4)
    torch.testing.assert_close(rows, eager_rows(other, inputs), rtol=0, atol=ROUNDING)


def test_half_precision_is_accumulated_in_float32():
    generator = torch.Generator().manual_seed(0)
    query = (8 * torch.randn(1, 4, 5, 64, generator=generator)).bfloat16()
    key = torch.randn(1, 2, 700, 64, generator=generator).bfloat16()
    row = last_row(query, key).weights[0]
    exact = query[0, :, -1].double().unflatten(0, (2, 2)) @ key[0].double().transpose(1, 2) / 8
    exact = exact.flatten(0, 1).softmax(-1)
    assert float((row - exact).abs().max()) < 1e-5  # sums in bfloat16 are off by 0.02


def test_other_models_are_not_recorded_and_the_interface_is_restored():
    """A model run within another's forward is not recorded, and nothing is left behind."""
    model, other = build(DECODERS["llama"]), build(DECODERS["qwen2"])
    ids = torch.randint(3, 20, (1, 6))
    before = dict(ALL_ATTENTION_FUNCTIONS._local_mapping)

    def both():
        other(input_ids=ids)
        return model(input_ids=ids)

    with torch.no_grad():
        assert len(last_row_attention(model.get_decoder(), both).weights) == 3
    with pytest.raises(RuntimeError, match="on purpose"):
        last_row_attention(
            model.get_decoder(), lambda: (_ for _ in ()).throw(RuntimeError("on purpose"))
        )
    assert ALL_ATTENTION_FUNCTIONS._local_mapping == before


def test_nan_weights_are_an_error():
    model = build(DECODERS["llama"])
    with torch.no_grad():
        model.model.layers[1].self_attn.q_proj.weight[0, 0] = torch.nan
        with pytest.raises(ValueError, match="attention of layer 1 is NaN"):
            captured(model, {"input_ids": torch.tensor([[3, 4, 5]])})


def test_unreadable_attention_is_reported():
    model = build(DECODERS["llama"])
    with pytest.raises(ValueError, match="does not call attention"):
        last_row_attention(model.get_decoder(), lambda: None)
    one = torch.ones(1, 1, 2, 4)
    with pytest.raises(ValueError, match="s_aux"):
        last_row(one, one, s_aux=torch.ones(1))
    with pytest.raises(ValueError, match="mask is a BlockMask"):
        last_row(one, one, type("BlockMask", (), {})())


def test_a_padding_mask_equals_one_of_pairs():
    """Flash attention gets [B, T], the other kernels [B, 1, Q, T]."""
    query, key = torch.randn(2, 4, 5, 8), torch.randn(2, 2, 5, 8)
    padding = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]])
    pairs = padding.bool()[:, None, None].expand(2, 1, 5, 5)
    looks = last_row(query, key, padding), last_row(query, key, pairs)
    for ours, theirs in zip(*looks, strict=True):
        assert torch.equal(ours, theirs)
        assert (ours[0, :, :2] == 0).all()


WIDE = {
    "hidden_size": 128,
    "intermediate_size": 344,
    "num_hidden_layers": 8,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 30,
}


@pytest.mark.parametrize("spread", [0.02, 0.06])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", [LlamaConfig, Qwen2Config])
def test_the_rounding_estimate_covers_the_errors(kind, dtype, spread):
    """Compared with the same model in float64: no error exceeds its estimate, and the estimates are
    on average less than a hundred times the errors."""
    model = build(kind(**WIDE, initializer_range=spread)).to(dtype)
    exact = copy.deepcopy(model).double()
    embeds = torch.randn(4, 40, 128, generator=torch.Generator().manual_seed(1)).to(dtype)
    with torch.no_grad():
        look = last_row_attention(
            model.get_decoder(), lambda: model.get_decoder()(inputs_embeds=embeds, use_cache=False)
        )
    exact.set_attn_implementation("eager")
    with torch.no_grad():
        truth = exact(inputs_embeds=embeds.double(), output_attentions=True).attentions
    error = (look.weights - torch.stack(truth)[:, :, :, -1]).abs()
    assert (error <= look.rounding).all()
    for layer in range(8):
        assert error[layer].square().mean() > look.rounding[layer].square().mean() / 100**2


def test_lowered_precision_of_float32_products_counts():
    query, key = torch.randn(1, 1, 1, 8), torch.randn(1, 1, 5, 8)
    backend = getattr(torch.backends, "mkldnn").matmul  # noqa: B009 - pyright does not know it
    before = backend.fp32_precision
    full = last_row(query, key).rounding
    try:
        backend.fp32_precision = "bf16"
        lowered = last_row(query, key).rounding
    finally:
        backend.fp32_precision = before
    assert (lowered > 1000 * full).all()
