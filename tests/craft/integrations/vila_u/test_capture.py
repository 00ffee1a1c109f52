"""Training through a VILA-U model: what is captured, and that the codebook stays."""

import pytest
import torch

from craft.integrations.vila_u import capture
from tests.craft.integrations.vila_u.stand_in import StandIn, pixels, question


@pytest.mark.parametrize("shared", [True, False])
def test_captures_features_codes_and_commitment(shared):
    model = StandIn(shared=shared)
    images = pixels(2)
    with capture(model) as encodings:
        model(question(2), images)
        model.vision_tower(images[:1], 40)
    first, second = encodings
    quantized, loss, codes = model.encoder.quantizer(first.features)
    assert torch.equal(first.codes, codes)
    assert torch.equal(first.quantized, quantized)
    assert first.commitment.item() == pytest.approx(loss.item(), rel=1e-6)
    gradient = torch.autograd.grad(first.commitment, first.features, retain_graph=True)[0]
    expected = torch.autograd.grad(loss, first.features)[0]
    torch.testing.assert_close(gradient, expected)
    words = model.encoder.quantizer.codebooks[0].weight[codes[..., 0]]
    e = (first.features - words).double().square().sum(-1).flatten(1)
    torch.testing.assert_close(first.residual_sq, e.float())
    assert second.grid == (4, 4)
    model.vision_tower(images, 40)
    assert len(encodings) == 2  # the hook is removed


def test_a_training_step_moves_the_encoder_alone():
    model = StandIn()
    for part in (model.llm, model.mm_projector, model.encoder.quantizer):
        part.requires_grad_(False)
    vision = model.encoder.siglip_model.vision_model
    trained = [p for n, p in vision.named_parameters() if "layers.2." not in n]
    optimizer = torch.optim.SGD(trained[:3], lr=0.1)
    codebook = model.encoder.quantizer.codebooks[0].weight.clone()
    model.train()
    for _ in range(10):
        with capture(model) as encodings:
            logits = model(question(2), pixels(2)).logits
            model.encoder.quantizer.train()  # as the next model.train() would
            model.vision_tower(pixels(1), 40)
        loss = torch.logsumexp(logits, -1).mean() + 0.1 * encodings[0].commitment
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert torch.equal(model.encoder.quantizer.codebooks[0].weight, codebook)
    blocks = {n.split(".")[2] for n, p in vision.named_parameters() if p.grad is not None}
    assert {"0", "1"} <= blocks
    assert "2" not in blocks
    assert all(p.grad is None for p in model.llm.parameters())
