"""Adapters in transformers' own towers: counted, hooked, copied and removed."""

import copy
from typing import Any

import pytest
import torch
from torch import nn
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    SiglipVisionConfig,
    SiglipVisionModel,
)

from craft.adapters.installation import (
    BlockAdapters,
    has_heba,
    heba_parameters,
    idle_state,
    install_heba,
    remove_heba,
)
from craft.models.configuration import DiscreteVisionConfig
from craft.models.vision_tower import DiscreteVisionTower
from craft.settings.heba import PRESETS, HebaConfig

LITERAL, DISCRETE = PRESETS["heba"], PRESETS["heba_discrete"]
VIT_B: dict[str, Any] = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "image_size": 224,
    "patch_size": 16,
}
SIGLIP_L: dict[str, Any] = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 256,
    "patch_size": 16,
}
SMALL: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
}
VISION: dict[str, Any] = {**SMALL, "image_size": 24, "patch_size": 8}
TEXT: dict[str, Any] = {
    **SMALL,
    "vocab_size": 40,
    "max_position_embeddings": 8,
    "eos_token_id": 39,
    "bos_token_id": 1,
    "pad_token_id": 0,
}


@pytest.fixture
def clip():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=16)
        return CLIPModel(config).eval().requires_grad_(False)


@pytest.fixture
def siglip():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return SiglipVisionModel(SiglipVisionConfig(**VISION)).eval()


@pytest.fixture
def pixels():
    return torch.rand(2, 3, 24, 24, generator=torch.Generator().manual_seed(0)) * 2 - 1


def count(parameters):
    return sum(p.numel() for p in parameters.values())


def test_the_number_of_weights_is_as_counted_by_hand():
    """Acceptance tests (ii) and (iii), on the meta device."""
    with torch.device("meta"):
        vision = CLIPVisionModel(CLIPVisionConfig(**VIT_B))
        text = CLIPTextModel(
            CLIPTextConfig(
                hidden_size=512,
                intermediate_size=2048,
                num_hidden_layers=12,
                num_attention_heads=8,
                vocab_size=49408,
            )
        )
        assert count(install_heba(vision, LITERAL, grid=(14, 14))) == 60_357_888
        assert count(install_heba(text, LITERAL)) == 26_800_128

        def large(config):
            tower = DiscreteVisionTower(DiscreteVisionConfig(**SIGLIP_L))
            whole = sum(p.numel() for p in tower.parameters())
            assert whole == pytest.approx(290.8e6, rel=2e-4)
            tower.adopt_adapters(config)
            return count(heba_parameters(tower))

        assert large(LITERAL) == 205_497_088
        assert large(DISCRETE) == 23 * 131_648 == 3_027_904
        assert large(HebaConfig(bottleneck="quarter", post_norm=True)) == 12_158_720


@pytest.mark.parametrize("preset", ["heba", "heba_discrete"])
def test_adapters_are_installed_in_a_siglip_tower_and_removed(siglip, pixels, preset):
    before = siglip(pixels).last_hidden_state
    names, kind = list(siglip.state_dict()), type(siglip)
    parameters = install_heba(siglip, PRESETS[preset], grid=(3, 3))
    assert all(name.startswith("encoder.layers.") for name in parameters)
    assert torch.equal(siglip(pixels).last_hidden_state, before) == (preset == "heba_discrete")
    with torch.no_grad():
        for parameter in parameters.values():
            parameter.add_(0.1)
    assert not torch.allclose(siglip(pixels).last_hidden_state, before, atol=1e-4)
    remove_heba(siglip)
    assert torch.equal(siglip(pixels).last_hidden_state, before)
    assert list(siglip.state_dict()) == names
    assert type(siglip) is kind
    assert not has_heba(siglip)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in siglip.modules())


def test_every_site_changes_what_it_names(siglip, pixels):
    """The inputs of attention and of the activation, recorded by separate hooks."""
    seen: dict[str, Any] = {}
    block = siglip.encoder.layers[1]
    block.self_attn.register_forward_pre_hook(
        lambda _m, _a, kwargs: seen.__setitem__("attn_in", kwargs["hidden_states"]),
        with_kwargs=True,
    )
    block.mlp.activation_fn.register_forward_pre_hook(
        lambda _m, inputs: seen.__setitem__("ffn_hidden", inputs[0])
    )
    siglip(pixels)
    plain = dict(seen)
    for site in ("attn_in", "ffn_hidden"):
        config = HebaConfig(sites=(site,), init_up="kaiming_fan_out")
        install_heba(siglip, config, grid=(3, 3), blocks=[1])
        siglip(pixels)
        adapter = block.heba.sites[site]
        torch.testing.assert_close(seen[site], adapter(plain[site]))
        assert not torch.allclose(seen[site], plain[site], atol=1e-4)
        other = "ffn_hidden" if site == "attn_in" else "attn_in"
        assert torch.equal(seen[other], plain[other]) == (site == "ffn_hidden")
        remove_heba(siglip)


def test_clip_keeps_its_class_token_and_causal_text(clip, pixels):
    install_heba(clip.vision_model, LITERAL, grid=(3, 3))
    install_heba(clip.text_model, LITERAL)
    read: dict[str, Any] = {}
    block = clip.vision_model.encoder.layers[0]
    block.layer_norm1.register_forward_hook(
        lambda _m, _i, out: read.__setitem__("before", out), prepend=True
    )
    block.layer_norm1.register_forward_hook(lambda _m, _i, out: read.__setitem__("after", out))
    clip.get_image_features(pixels)
    assert torch.equal(read["after"][:, :1], read["before"][:, :1])
    assert not torch.allclose(read["after"][:, 1:], read["before"][:, 1:], atol=1e-4)
    ids = torch.tensor([[1, 5, 6, 7, 39, 0, 0, 0]])
    later = ids.clone()
    later[0, 4:] = 9
    states = [clip.text_model(x).last_hidden_state[:, :4] for x in (ids, later)]
    assert torch.equal(*states)


def test_blocks_can_be_left_out(siglip):
    parameters = install_heba(siglip, DISCRETE, grid=(3, 3), blocks=range(2))
    assert {name.split(".")[2] for name in parameters} == {"0", "1"}


def test_a_copy_has_its_own_adapters(siglip, pixels):
    install_heba(siglip, LITERAL, grid=(3, 3))
    twin = copy.deepcopy(siglip)
    before = siglip(pixels).last_hidden_state
    with torch.no_grad():
        for parameter in heba_parameters(twin).values():
            parameter.add_(1)
    assert torch.equal(siglip(pixels).last_hidden_state, before)
    assert not torch.allclose(twin(pixels).last_hidden_state, before, atol=1e-3)
    remove_heba(twin)
    assert has_heba(siglip)
    remove_heba(siglip)
    assert torch.equal(siglip(pixels).last_hidden_state, twin(pixels).last_hidden_state)


def adapters(tower):
    return [module for module in tower.modules() if isinstance(module, BlockAdapters)]


def test_the_larger_scale_is_drawn_per_block_and_pass_only_in_training(siglip, pixels):
    config = HebaConfig(
        sites=("attn_in", "ffn_hidden"), init_up="kaiming_fan_out", fast_prob=0.5, fast_mult=3
    )
    install_heba(siglip, config, grid=(3, 3))
    used: dict[int, list[bool]] = {}
    blocks = adapters(siglip)

    def record(number: int) -> Any:
        return lambda _module, inputs: used.setdefault(number, []).append(inputs[1])

    for number, block in enumerate(blocks):
        for adapter in block.sites.values():
            adapter.register_forward_pre_hook(record(number))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for _ in range(5):
            used.clear()
            siglip.train()(pixels)
            assert used == {n: [block.fast] * 2 for n, block in enumerate(blocks)}
        draws = []
        for _ in range(300):
            siglip.embeddings(pixels[:1])
            draws.append(tuple(block.fast for block in blocks))
        assert torch.tensor(draws).float().mean().item() == pytest.approx(0.5, abs=0.06)
        assert len(set(draws)) == 8  # blocks are drawn independently
        used.clear()
        siglip.eval()(pixels)
        assert used == {n: [False, False] for n in range(3)}


def test_recomputed_activations_keep_the_draw(siglip, pixels):
    """Gradients with and without checkpointing are the same, whatever was drawn."""
    install_heba(siglip, HebaConfig(**{**vars(LITERAL), "fast_prob": 0.5}), grid=(3, 3))
    siglip.train()
    generator, seed = torch.Generator(), 0
    while len(set((torch.rand(3, generator=generator.manual_seed(seed)) < 0.5).tolist())) < 2:
        seed += 1
    found = []
    for recompute in (False, True):
        if recompute:
            siglip.activation_checkpointing_enable({"use_reentrant": False})
        siglip.zero_grad()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            siglip(pixels).last_hidden_state.square().sum().backward()
        assert {block.fast for block in adapters(siglip)} == {True, False}
        found.append([p.grad.clone() for p in siglip.parameters() if p.grad is not None])
    for kept, again in zip(*found, strict=True):
        torch.testing.assert_close(kept, again)


@pytest.mark.parametrize(
    "config", [LITERAL, DISCRETE, HebaConfig(init_up="kaiming_fan_out", gate=True)]
)
def test_zeros_in_the_closing_weights_make_adapters_idle(siglip, pixels, config):
    before = siglip(pixels).last_hidden_state
    parameters = install_heba(siglip, config, grid=(3, 3))
    with torch.no_grad():
        for parameter in parameters.values():
            parameter.normal_()
    assert not torch.allclose(siglip(pixels).last_hidden_state, before, atol=1e-4)
    siglip.load_state_dict(siglip.state_dict() | idle_state(siglip))
    assert torch.equal(siglip(pixels).last_hidden_state, before)


def test_other_modules_are_refused(clip, siglip):
    with pytest.raises(ValueError, match=r"2 such lists.*vision_model or text_model"):
        install_heba(clip, DISCRETE, grid=(3, 3))
    with pytest.raises(ValueError, match="Linear is not built like"):
        install_heba(nn.Linear(2, 2), DISCRETE)
    with pytest.raises(ValueError, match="some of 0 to 2"):
        install_heba(siglip, DISCRETE, grid=(3, 3), blocks=[3])
    with pytest.raises(ValueError, match="no adapters"):
        remove_heba(siglip)
    install_heba(siglip, DISCRETE, grid=(3, 3))
    with pytest.raises(ValueError, match="already"):
        install_heba(siglip, DISCRETE, grid=(3, 3))
