"""Exact codes compared with the real VILA-U's quantiser, on features of its encoder.

Skipped unless CRAFT_VILA_U names a checkout; runs on transformers 4 and 5, see docs/vila_u.md.
"""

import os

import pytest
import torch

from craft.integrations.vila_u import codebook_of
from craft.integrations.vila_u.encoding import recorded
from craft.integrations.vila_u.exact_quantizer import ExactQuantizer
from tests.craft.integrations.vila_u import checkout
from tests.craft.integrations.vila_u.agreement import agreeing
from tests.craft.integrations.vila_u.tiny_checkpoint import LAYOUTS, write_checkpoint

pytestmark = [
    pytest.mark.skipif("CRAFT_VILA_U" not in os.environ, reason="CRAFT_VILA_U names no checkout"),
    pytest.mark.filterwarnings("ignore"),
]


@pytest.fixture(scope="module", params=LAYOUTS)
def seen(request, tmp_path_factory):
    """The real quantiser, and its results on the features of two images."""
    root = tmp_path_factory.mktemp("checkpoint") / "vila-u-7b-256"
    encoder = checkout.load_vision_tower(write_checkpoint(root, LAYOUTS[request.param])).rqvaesiglip
    pixels = torch.rand(2, 3, 256, 256, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.no_grad(), recorded(encoder.quantizer) as encodings:
        encoder.encode_image(pixels)
    return encoder.quantizer, encodings[0]


def test_codes_agree_but_for_certified_ties(seen):
    quantizer, theirs = seen
    quantized, loss, codes = ExactQuantizer(quantizer).forward(theirs.features)
    book = codebook_of(quantizer)
    assert codes.max() < book.size == 1024  # not the padding row
    assert len(codes[..., 0].unique()) > 20  # not one code for all
    table = book.table.expand(book.levels, book.size, book.dim)
    same = agreeing(theirs.codes, codes, theirs.features, table)
    assert same.float().mean() > 0.98
    scale = (theirs.quantized.abs() + theirs.features.abs())[same]
    assert ((theirs.quantized - quantized).abs()[same] <= 2.0**-22 * scale).all()
    assert loss.item() == pytest.approx(theirs.commitment.item(), rel=1e-3)


def test_gradients_agree(seen):
    quantizer, theirs = seen
    x = theirs.features.clone().requires_grad_()
    both = quantizer(x), ExactQuantizer(quantizer).forward(x)
    same = (both[0][2] == both[1][2]).all(-1)
    weights = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    for out in both:
        gradient = torch.autograd.grad((out[0] * weights).sum(), x, retain_graph=True)[0]
        assert torch.equal(gradient, weights)
    expected, found = (torch.autograd.grad(out[1], x)[0][same] for out in both)
    scale = expected.abs().max()
    torch.testing.assert_close(found / scale, expected / scale, rtol=1e-4, atol=1e-5)
    assert both[0][1].item() == pytest.approx(both[1][1].item(), rel=1e-3)
