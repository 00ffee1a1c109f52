"""Packs come back bit for bit, and refuse what they do not belong to."""

import json

import pytest
import torch

from craft.codebook import Codebook, CodebookMismatchError
from craft.codebook_subset import CodebookSubset
from craft.models.encoder_pack import EncoderPack


@pytest.fixture
def pack_dir(tiny_models, tmp_path):
    return EncoderPack.of(tiny_models.base_tower(), domain="handwriting").save(tmp_path / "pack")


def test_round_trip_gives_the_same_codes(tiny_models, pack_dir):
    pack = EncoderPack.load(pack_dir)
    images = torch.rand(2, 3, 24, 24)
    before = tiny_models.base_tower().encode(images)
    after = pack.tower(tiny_models.codebook).encode(images)
    assert torch.equal(before.codes, after.codes)
    assert torch.equal(before.quantized, after.quantized)
    assert pack.notes == {"domain": "handwriting"}


def test_the_tower_of_a_pack_is_frozen(tiny_models, pack_dir):
    tower = EncoderPack.load(pack_dir).tower(tiny_models.codebook)
    assert not any(p.requires_grad for p in tower.parameters())
    assert not tower.training


def test_one_bit_of_the_codebook_is_enough_to_refuse(tiny_models, pack_dir):
    table = tiny_models.codebook.table
    table.view(torch.int32)[3, 5] ^= 1
    other = Codebook(table, tiny_models.codebook.levels)
    with pytest.raises(CodebookMismatchError) as error:
        EncoderPack.load(pack_dir).tower(other)
    assert other.fingerprint[:12] in str(error.value)
    assert tiny_models.codebook.fingerprint[:12] in str(error.value)


def test_changed_weights_are_refused(pack_dir):
    path = pack_dir / "encoder.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match="weights were changed after the pack was saved"):
        EncoderPack.load(pack_dir)


def test_other_directories_and_formats_are_refused(pack_dir, tmp_path):
    with pytest.raises(ValueError, match="is not an encoder pack"):
        EncoderPack.load(tmp_path)
    card = json.loads((pack_dir / "pack.json").read_text())
    (pack_dir / "pack.json").write_text(json.dumps(card | {"format": 99}))
    with pytest.raises(ValueError, match="format 99, this version reads 1"):
        EncoderPack.load(pack_dir)


def test_a_pack_is_a_copy(tiny_models):
    tower = tiny_models.base_tower().requires_grad_(True)
    pack = EncoderPack.of(tower)
    known = pack.encoder_hash
    with torch.no_grad():
        next(tower.parameters()).add_(1)
    assert pack.encoder_hash == known


def test_a_pack_remembers_which_codewords_were_used(tiny_models, tmp_path):
    tower = tiny_models.base_tower()
    tower.codebook = tower.codebook.restrict(CodebookSubset(0.25, seed=3))
    images = torch.rand(2, 3, 24, 24)
    before = tower.encode(images)
    EncoderPack.of(tower).save(tmp_path)
    again = EncoderPack.load(tmp_path).tower(tiny_models.codebook)
    assert torch.equal(again.encode(images).codes, before.codes)
    assert torch.isin(before.codes, tower.codebook.used).all()
    assert not torch.equal(tiny_models.base_tower().encode(images).codes, before.codes)
