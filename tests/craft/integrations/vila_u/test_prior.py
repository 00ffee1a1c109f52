"""Priors counted with a VILA-U model's own arithmetic."""

import pytest
import torch

from craft.integrations.vila_u import codebook_of, count_prior, patch
from craft.models import DiscreteVisionTower
from craft.runtime.tensor_hash import tensor_hash
from tests.craft.integrations.vila_u.stand_in import StandIn, pixels


@pytest.mark.parametrize("levels", [4, 16])
def test_counts_first_level_codes_only(levels):
    model = StandIn(levels)
    images = pixels(5)
    codes, _ = model.encoder.encode_image(images)
    prior = count_prior(model, images, batch=2)
    assert torch.equal(prior.counts, codes[..., 0].flatten().bincount(minlength=24))
    assert prior.total == 5 * 16
    assert prior.codebook_fingerprint == codebook_of(model.encoder.quantizer).fingerprint
    again = count_prior(model.vision_tower, [images[:3], images[3:]])
    assert torch.equal(again.counts, prior.counts)
    with pytest.raises(ValueError, match="no images"):
        count_prior(model, [])


def test_says_which_encoder_and_precision(tmp_path):
    model = StandIn()
    vision = model.encoder.siglip_model.vision_model
    tower = DiscreteVisionTower.from_siglip(vision, codebook_of(model.encoder.quantizer))
    prior = count_prior(model, pixels(2))
    assert prior.encoder_hash == tensor_hash(tower.state_dict())
    assert prior.precision == "vila-u float32"
    prior.save(tmp_path / "prior.safetensors")
    assert type(prior).load(tmp_path / "prior.safetensors").precision == "vila-u float32"
    assert count_prior(StandIn().bfloat16(), pixels(2)).precision == "vila-u bfloat16"
    patch(model, keep_ratio=1.0, precision="exact")
    exact = count_prior(model, pixels(2))
    assert exact.precision == "exact"
    assert torch.equal(
        exact.counts, tower(pixels(2)).codes[..., 0].flatten().bincount(minlength=24)
    )
    with pytest.raises(ValueError, match="the same precision"):
        _ = prior + exact
