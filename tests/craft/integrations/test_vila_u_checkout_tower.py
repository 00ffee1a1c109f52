"""load_tower and convert compared with VILA-U's encoder, which runs on transformers 5 too.

Skipped unless CRAFT_VILA_U names a checkout; see docs/vila_u.md.
"""

import os

import pytest
import torch

from craft.family.family import ModelFamily
from craft.integrations.vila_u import load_tower
from craft.integrations.vila_u.convert import convert
from craft.integrations.vila_u.restore import restore
from craft.runtime.stored_tensors import tensor_files
from tests.craft.integrations.vila_u import checkout
from tests.craft.integrations.vila_u.agreement import agreeing
from tests.craft.integrations.vila_u.checkout import whole_model_runs
from tests.craft.integrations.vila_u.tiny_checkpoint import BF16, LAYOUTS, write_checkpoint

pytestmark = [
    pytest.mark.skipif("CRAFT_VILA_U" not in os.environ, reason="CRAFT_VILA_U names no checkout"),
    pytest.mark.skipif(whole_model_runs(), reason="this package's models need transformers 5"),
    pytest.mark.filterwarnings("ignore"),
]
ALL = LAYOUTS | BF16


def stored_bytes(folder):
    """Dtype, shape and bytes of every tensor in a folder."""
    return {
        name: (x.dtype, x.shape, x.path.read_bytes()[x.start : x.end])
        for file in tensor_files(folder).values()
        for name, x in file.tensors.items()
    }


@pytest.mark.parametrize("layout", [*LAYOUTS, "shared, 16 levels, bf16"])
def test_6_our_tower_has_their_codes(layout, tmp_path):
    root = write_checkpoint(tmp_path / "vila-u-7b-256", ALL[layout])
    real = checkout.load_vision_tower(root).rqvaesiglip
    tower = load_tower(root, dtype=torch.float32)
    generator = torch.Generator().manual_seed(1)
    pixels = torch.rand(2, 3, 256, 256, generator=generator) * 2 - 1
    with torch.no_grad():
        features, _ = tower.features(pixels)
        ours = tower(pixels).codes
        theirs = real.encode_image(pixels)[0].flatten(1, 2)
        reference = checkout.features(real, pixels).flatten(1, 2)
    apart = (features - reference).norm(dim=-1)
    assert (apart <= 1e-4 * reference.norm(dim=-1)).all()
    book = tower.codebook
    table = book.table.expand(book.levels, book.size, book.dim)
    assert agreeing(theirs, ours, features, table, apart).float().mean() > 0.9
    assert len(ours[..., 0].unique()) > 20
    convert(root, tmp_path / "models")
    base = ModelFamily(tmp_path / "models").pretrained_tower()
    with torch.no_grad():
        assert torch.equal(base(pixels).codes, ours)
    restore(tmp_path / "models", tmp_path / "back")
    for folder in ("vision_tower", "mm_projector", "llm"):
        before, after = stored_bytes(root / folder), stored_bytes(tmp_path / "back" / folder)
        assert before == after
