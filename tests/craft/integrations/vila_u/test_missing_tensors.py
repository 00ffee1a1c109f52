"""No used tensor of a VILA-U checkpoint may be missing."""

import pytest
import torch
from safetensors.torch import load_file

from craft.errors import CraftError
from craft.integrations.vila_u import load_tower
from craft.integrations.vila_u.checkpoint import VISION
from craft.integrations.vila_u.convert import convert
from tests.craft.integrations.vila_u.released import Released, write_released
from tests.craft.models.test_missing_weights import kinds, rewritten


@pytest.fixture
def plain(tmp_path):
    return write_released(tmp_path / "vila-u-7b-256", Released())


def refused(load, path, name):
    with pytest.raises(CraftError) as error:
        load()
    told = str(error.value)
    assert name in told
    assert str(path.parent) in told
    assert "\n" not in told


@pytest.mark.parametrize("change", ["left out", "whole numbers", "another shape"])
def test_towers(plain, change):
    path = plain / "vision_tower" / "model.safetensors"
    whole = path.read_bytes()
    tower = load_tower(plain)
    last = f"{VISION}encoder.layers.{len(tower.blocks)}."  # the block that is not read
    unused = (last, f"{VISION}head.", f"{VISION}post_layernorm.")
    names = [n for n in load_file(path) if n.startswith(VISION) and not n.startswith(unused)]
    assert len(list(kinds(names))) > 14
    for name in kinds(names):

        def changed(tensors, name=name):
            x = tensors.pop(name)
            if change == "whole numbers":
                tensors[name] = x.view(torch.int32 if x.dtype == torch.float32 else torch.int16)
            elif change == "another shape":
                tensors[name] = x[..., None]

        rewritten(path, changed)
        # Some are read before all are checked, because their shapes determine the config.
        refused(lambda: load_tower(plain), path, "" if change == "another shape" else name)
        path.write_bytes(whole)


@pytest.mark.parametrize("part", ["llm", "mm_projector", "vision_tower"])
def test_conversions(plain, tmp_path, part):
    used = (
        VISION,
        "rqvaesiglip.quantizer.codebooks.0.weight",
        "rqvaesiglip.siglip_model.text_model",
    )
    for path in (plain / part).glob("*.safetensors"):
        whole = path.read_bytes()
        names = [n for n in load_file(path) if part != "vision_tower" or n.startswith(used)]
        for name in kinds(names):
            rewritten(path, lambda tensors, name=name: tensors.pop(name))
            refused(lambda: convert(plain, tmp_path / "models"), path.parent, "")
            assert not (tmp_path / "models").exists()
            path.write_bytes(whole)
    convert(plain, tmp_path / "models")
