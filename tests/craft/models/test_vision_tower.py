"""The tower: read-out, the one-way class token, and what reaches the encoder's gradients."""

import pytest
import torch

from craft.codebook import Codebook
from craft.models.vision_tower import DiscreteVisionTower


@pytest.fixture
def pixels():
    return torch.rand(3, 3, 24, 24, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_features_are_the_penultimate_hidden_state(tiny_models, pixels):
    tower = tiny_models.base_tower()
    z, _ = tower.features(pixels)
    states = tiny_models.siglip.vision_model(pixels, output_hidden_states=True).hidden_states
    assert torch.equal(z, states[-2])
    assert z.shape[1] == tower.grid[0] * tower.grid[1] == 9


def test_class_token_changes_no_patch(tiny_models, pixels):
    tower = tiny_models.base_tower()
    plain, nothing = tower.features(pixels)
    token = torch.randn(plain.shape[-1])
    read, output = tower.features(pixels, token)
    assert nothing is None
    assert torch.equal(plain, read)
    assert output.shape == (3, plain.shape[-1])


def test_class_token_reads_like_an_extra_position_that_no_patch_sees(tiny_models, pixels):
    """Against one masked forward pass in float64 over [token, patches]."""
    tower = tiny_models.base_tower().double()
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
    tower = tiny_models.base_tower().requires_grad_(True)
    z, _ = tower.features(pixels)
    z.retain_grad()
    weight = torch.randn_like(z)
    from craft.quantize import quantize

    (quantize(z, tower.codebook).quantized * weight).sum().backward()
    assert torch.equal(z.grad, weight)
    missing = [name for name, p in tower.named_parameters() if p.grad is None]
    assert not missing


def test_encode_does_not_depend_on_the_batch(tiny_models):
    images = torch.rand(7, 3, 24, 24)
    tower = tiny_models.base_tower()
    whole, parts = tower.encode(images, 7), tower.encode(images, 2)
    assert torch.equal(whole.codes, parts.codes)


def test_a_codebook_of_another_width_is_refused(tiny_models):
    vision = tiny_models.siglip.vision_model
    with pytest.raises(ValueError, match=r"dimension 8.*width is 16"):
        DiscreteVisionTower(vision, Codebook(torch.randn(4, 8), 2))


@pytest.mark.parametrize("layer", [0, -3, 5])
def test_a_block_that_does_not_exist_is_refused(tiny_models, layer):
    vision = tiny_models.siglip.vision_model
    with pytest.raises(ValueError, match=f"read_layer must be in .*got {layer}"):
        DiscreteVisionTower(vision, tiny_models.codebook, layer)
