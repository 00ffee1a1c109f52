"""Exact codes equal those of VILA-U's arithmetic, except for ties that float32 cannot decide."""

from typing import Any

import pytest
import torch

from craft.integrations.vila_u.exact_quantizer import ExactQuantizer
from tests.craft.integrations.vila_u.agreement import agreeing, decided
from tests.craft.integrations.vila_u.stand_in import CODES, WIDTH, Quantizer

LAYOUTS = [(4, True), (4, False), (16, True), (16, False)]


def build(levels, shared, seed=0) -> tuple[Any, Any]:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        quantizer = Quantizer(levels, shared).eval()
        with torch.no_grad():
            for words in quantizer.codebooks:
                words.weight[-1] = 0  # padding; the nearest row to any small residual
        x = torch.randn(5, 4, 4, WIDTH)
        first = quantizer.codebooks[0].weight
        x[0, 0] = (first[:4] + first[4:8]) / 2 + 1e-7 * torch.randn(4, WIDTH)  # all but ties
        x[0, 1] = 1e-4 * torch.randn(4, WIDTH)
    return quantizer, x.requires_grad_()


@pytest.mark.parametrize(("levels", "shared"), LAYOUTS)
def test_codes_agree_but_for_certified_ties(levels, shared):
    quantizer, x = build(levels, shared)
    _, _, theirs = quantizer(x)
    _, _, ours = ExactQuantizer(quantizer).forward(x)
    assert ours.dtype == theirs.dtype == torch.int64
    assert ours.max() < CODES  # never the padding row
    table = torch.stack([words.weight[:-1] for words in quantizer.codebooks])
    same = agreeing(theirs, ours, x.detach(), table)
    assert (~same).sum() < 10
    assert same.float().mean() > 0.85


@pytest.mark.parametrize(("levels", "shared"), LAYOUTS)
def test_features_loss_and_gradients_agree(levels, shared):
    quantizer, x = build(levels, shared)
    exact = ExactQuantizer(quantizer)
    # All rows, not only those whose codes agree: with fewer rows, products may round differently.
    table = torch.stack([words.weight[:-1] for words in quantizer.codebooks])
    clear = decided(exact.forward(x)[2], x.detach(), table)
    assert clear.float().mean() > 0.85
    x = x.detach()[clear][None, :, None].requires_grad_()
    theirs, ours = quantizer(x), exact.forward(x)
    assert torch.equal(theirs[2], ours[2])
    # x + (sum - x) rounds twice.
    scale = (x.abs() + theirs[0].abs()).detach()
    assert ((theirs[0] - ours[0]).abs() <= 2.0**-22 * scale).all()
    assert ours[1].item() == pytest.approx(theirs[1].item(), rel=1e-5)
    weights = torch.randn_like(x)
    for out in (theirs, ours):
        gradient = torch.autograd.grad((out[0] * weights).sum(), x, retain_graph=True)[0]
        assert torch.equal(gradient, weights)  # straight through
    expected, found = (torch.autograd.grad(out[1], x)[0] for out in (theirs, ours))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-7)


def test_codebook_stays_in_training_mode():
    quantizer, x = build(4, True)
    before = quantizer.codebooks[0].weight.clone()
    exact = ExactQuantizer(quantizer)
    quantizer.train()
    codes = exact.forward(x)[2]
    assert torch.equal(quantizer.codebooks[0].weight, before)
    quantizer(x)
    assert not torch.equal(quantizer.codebooks[0].weight, before)  # theirs moves: the trap
    assert torch.equal(exact.forward(x)[2], codes)


def test_low_precision_keeps_dtype_and_computes_in_float32():
    quantizer, x = build(4, True)
    half = x.detach().bfloat16()
    features, loss, codes = ExactQuantizer(quantizer).forward(half)
    assert features.dtype == loss.dtype == torch.bfloat16
    assert torch.equal(codes, ExactQuantizer(quantizer).forward(half.float())[2])
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(ExactQuantizer(quantizer).forward(half)[2], codes)
    with pytest.raises(ValueError, match="z"):
        ExactQuantizer(quantizer).forward(half * float("nan"))
