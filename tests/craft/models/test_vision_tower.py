"""The tower: its output block, its one-way class token, and the encoder's gradients."""

import copy

import pytest
import torch
from transformers import AutoModel

from craft.codebook import Codebook, CodebookMismatchError
from craft.models.attention import available_attention
from craft.models.configuration import DiscreteVisionConfig
from craft.models.discrete_lvlm import DiscreteLVLM
from craft.models.vision_tower import DiscreteVisionTower
from craft.runtime.tensor_hash import tensor_hash


@pytest.fixture
def pixels():
    return torch.rand(3, 3, 24, 24, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_features_are_the_penultimate_hidden_state(tiny_models, pixels):
    tower = tiny_models.pretrained_tower()
    z, _ = tower.features(pixels)
    states = tiny_models.siglip.vision_model(pixels, output_hidden_states=True).hidden_states
    assert torch.equal(z, states[-2])
    assert z.shape[1] == tower.grid[0] * tower.grid[1] == 9


def test_class_token_changes_no_patch(tiny_models, pixels):
    tower = tiny_models.pretrained_tower()
    plain, nothing = tower.features(pixels)
    token = torch.randn(plain.shape[-1])
    read, output = tower.features(pixels, token)
    assert nothing is None
    assert torch.equal(plain, read)
    assert output.shape == (3, plain.shape[-1])


def test_class_token_reads_like_an_extra_position_that_no_patch_sees(tiny_models, pixels):
    """Compared with one masked forward pass in float64 over [token, patches]."""
    tower = tiny_models.pretrained_tower().double()
    token = torch.randn(tower.config.hidden_size, dtype=torch.float64)
    _, output = tower.features(pixels.double(), token)
    hidden = tower.embeddings(pixels.double())
    hidden = torch.cat([token.expand(len(hidden), 1, -1), hidden], 1)
    mask = torch.zeros(1, 1, hidden.shape[1], hidden.shape[1], dtype=torch.float64)
    mask[..., 1:, 0] = float("-inf")
    for block in tower.blocks:
        hidden = block(hidden, mask)
    torch.testing.assert_close(output, hidden[:, 0], rtol=1e-10, atol=1e-10)


def test_gradient_passes_straight_through_to_the_encoder(tiny_models, pixels):
    tower = tiny_models.pretrained_tower().requires_grad_(True)
    z, _ = tower.features(pixels)
    z.retain_grad()
    weight = torch.randn_like(z)
    from craft.quantization import quantize

    (quantize(z, tower.codebook).quantized * weight).sum().backward()
    assert torch.equal(z.grad, weight)
    missing = [name for name, p in tower.named_parameters() if p.grad is None]
    assert not missing


def test_encode_does_not_depend_on_the_batch(tiny_models):
    images = torch.rand(7, 3, 24, 24)
    tower = tiny_models.pretrained_tower()
    whole, parts = tower.encode(images, 7), tower.encode(images, 2)
    assert torch.equal(whole.codes, parts.codes)


def test_a_codebook_of_another_width_is_refused(tiny_models):
    vision = tiny_models.siglip.vision_model
    with pytest.raises(ValueError, match=r"dimension 8.*width is 16"):
        DiscreteVisionTower.from_siglip(vision, Codebook(torch.randn(4, 8), 2))


@pytest.mark.parametrize("layer", [0, -3, 5])
def test_a_block_that_does_not_exist_is_refused(tiny_models, layer):
    vision = tiny_models.siglip.vision_model
    with pytest.raises(ValueError, match=f"read_layer must be in .*got {layer}"):
        DiscreteVisionTower.from_siglip(vision, tiny_models.codebook, layer)


def test_a_checkpoint_comes_back_bit_for_bit_through_automodel(tiny_models, pixels, tmp_path):
    tower = tiny_models.pretrained_tower()
    tower.save_pretrained(tmp_path)
    assert {x.name for x in tmp_path.iterdir()} == {
        "config.json",
        "model.safetensors",
        "codebook.safetensors",
    }
    back = AutoModel.from_pretrained(tmp_path)
    assert isinstance(back, DiscreteVisionTower)
    assert not back.training
    assert tensor_hash(back.state_dict()) == tensor_hash(tower.state_dict())
    assert back.codebook == tower.codebook
    with torch.no_grad():
        assert all(torch.equal(a, b) for a, b in zip(back(pixels), tower(pixels), strict=True))


def test_a_checkpoint_refuses_another_codebook(tiny_models, tmp_path):
    tiny_models.pretrained_tower().save_pretrained(tmp_path)
    other = Codebook(tiny_models.codebook.table + 1, 2)
    with pytest.raises(CodebookMismatchError):
        DiscreteVisionTower.from_pretrained(tmp_path, codebook=other)
    other.save(tmp_path / "codebook.safetensors")
    with pytest.raises(CodebookMismatchError):
        DiscreteVisionTower.from_pretrained(tmp_path)


@pytest.mark.parametrize(("depth", "layer"), [(1, -1), (3, -1), (3, -3), (6, -2)])
def test_any_depth_and_read_out(depth, layer):
    config = DiscreteVisionConfig(
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=depth,
        num_attention_heads=2,
        image_size=16,
        patch_size=8,
        read_layer=layer,
    )
    tower = DiscreteVisionTower(config, Codebook(torch.randn(3, 8, 16)))
    assert len(tower.blocks) == depth + layer + 1
    assert tower(torch.rand(2, 3, 16, 16)).codes.shape == (2, 4, 3)


@pytest.mark.parametrize("place", ["autocast", "weights"])
def test_codes_are_those_of_float32_arithmetic(tiny_models, pixels, place):
    tower = tiny_models.pretrained_tower()
    codebook = tower.codebook
    if place == "weights":
        tower = tower.to(torch.bfloat16)
        pixels = pixels.to(torch.bfloat16)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=place == "autocast"):
        z, _ = tower.features(pixels)
        found = tower(pixels)
    # All squared distances in float64, from the features' values.
    distances = torch.cdist(z.double().flatten(0, 1), codebook.table.double())
    assert torch.equal(found.codes[..., 0].flatten(), distances.argmin(1))
    assert found.residual_sq_norms.dtype == torch.float32


def test_checkpointed_blocks_give_the_same_gradients(tiny_models, pixels):
    def gradients(checkpoint):
        tower = tiny_models.pretrained_tower().requires_grad_(True).train()
        if checkpoint:
            tower.activation_checkpointing_enable({"use_reentrant": False})
        z, read = tower.features(pixels, torch.ones(16))
        (z.square().sum() + read.sum()).backward()
        return [p.grad for p in tower.parameters()]

    assert all(torch.equal(a, b) for a, b in zip(gradients(False), gradients(True), strict=True))


def test_a_class_token_of_its_own_is_read_by_patches_and_saved(tiny_models, pixels, tmp_path):
    config = copy.deepcopy(tiny_models.pretrained_tower().config)
    config.class_token = True
    tower = DiscreteVisionTower(config, tiny_models.codebook).eval()
    z, output = tower.features(pixels)
    assert z.shape == (3, 9, 16)
    assert output is not None
    assert output.shape == (3, 16)
    assert tower.class_token is not None
    with torch.no_grad():
        tower.class_token.add_(1)
    assert not torch.equal(tower.features(pixels)[0], z)
    with pytest.raises(ValueError, match="its own class token"):
        tower.features(pixels, torch.ones(16))
    tower.save_pretrained(tmp_path)
    back = DiscreteVisionTower.from_pretrained(tmp_path)
    assert back.class_token is not None
    assert torch.equal(back.class_token, tower.class_token)


def test_a_tower_without_codebook_has_features_but_no_codes(pixels, tiny_models):
    tower = DiscreteVisionTower.from_siglip(tiny_models.siglip.vision_model, None)
    assert tower.features(pixels)[0].shape == (3, 9, 16)
    with pytest.raises(CodebookMismatchError, match="has no codebook"):
        tower(pixels)


def test_flash_attention_falls_back_with_a_line_in_the_log(tiny_models, tmp_path, caplog):
    tiny_models.pretrained_tower().save_pretrained(tmp_path)
    tower = DiscreteVisionTower.from_pretrained(tmp_path, attn_implementation="flash_attention_2")
    assert tower.config._attn_implementation == "sdpa"
    assert "flash_attention_2 was requested but cannot run here" in caplog.text
    with pytest.raises(ValueError, match="attention must be one of"):
        available_attention("fast")
    assert available_attention("eager") == "eager"


def test_a_block_is_not_split_over_devices(tiny_models):
    tower = tiny_models.pretrained_tower()
    name = type(tower.blocks[0]).__name__
    assert name in set(tower._no_split_modules or ())
    assert name in DiscreteLVLM._no_split_modules
