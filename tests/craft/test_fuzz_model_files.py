"""Damaged model files load as saved, or are refused quickly in one line with their path."""

import json

import pytest
import torch

from craft.codebook import Codebook
from craft.errors import CraftError
from craft.models.encoder_pack import EncoderPack
from craft.prior import TokenPrior
from craft.runtime.json_cards import with_checksum
from craft.runtime.tensor_hash import tensor_hash
from craft.runtime.whole_file import write_json
from craft.settings.heba import PRESETS
from tests.craft.fuzzing import ROUNDS, damaged, fuzz_file, retyped


def small_codebook(levels):
    table = torch.rand(levels or 1, 5, 3, generator=torch.Generator().manual_seed(0))
    return Codebook(table if levels else table[0], levels or 4)


def small_prior(codebook):
    prior = TokenPrior.empty(codebook, encoder_hash="0" * 64)
    prior.update(torch.tensor([0, 3, 3]))
    return prior


@ROUNDS
@pytest.mark.parametrize("levels", [None, 2])
def test_codebooks(tmp_path, levels, rounds):
    codebook, path = small_codebook(levels), tmp_path / "codebook.safetensors"
    codebook.save(path)

    def read(case):
        found = Codebook.load(path)
        assert torch.equal(found.table, codebook.table)
        assert found.levels == codebook.levels

    fuzz_file(path, read, rounds)


@ROUNDS
def test_priors(tmp_path, rounds):
    prior, path = small_prior(small_codebook(2)), tmp_path / "prior.safetensors"
    prior.save(path)

    def read(case):
        found = TokenPrior.load(path)
        assert torch.equal(found.counts, prior.counts)
        assert repr(found) == repr(prior)

    fuzz_file(path, read, rounds)


@pytest.fixture(params=["whole", "adapters"])
def pack(request, tiny_models):
    tower, base = tiny_models.pretrained_tower(), None
    if request.param == "adapters":
        base = tiny_models.pretrained_tower()
        tower.adopt_adapters(PRESETS["heba_discrete"])
    notes = {"domain": "flags", "config": {"method": "craft", "seed": 1}, "models": None}
    return EncoderPack.of(tower, small_prior(tiny_models.codebook), base=base, **notes)


@ROUNDS
@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("pack.json", damaged),
        ("pack.json", retyped),
        ("weights", damaged),
        ("prior.safetensors", damaged),
        ("domain.json", damaged),
        ("domain.json", retyped),
        ("language_model/craft.json", damaged),
        ("language_model/projector.safetensors", damaged),
        ("language_model/model.safetensors", damaged),
    ],
)
def test_encoder_packs(tiny_models, tmp_path, pack, file, damage, rounds):
    base = tiny_models.pretrained_tower()
    others = {
        "domain.json": lambda path: write_json(path, {"parts": {"train": ["a"], "test": ["b"]}}),
        "language_model": tiny_models.language_model("llama").save_pretrained,
    }
    pack.save(tmp_path, others)
    whole = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    if file == "weights":
        file = "adapters.safetensors" if pack.base else "encoder.safetensors"

    def read(case):
        found = EncoderPack.load(tmp_path, lambda: base)
        if file not in ("pack.json", "encoder.safetensors", "adapters.safetensors"):
            assert case == whole[tmp_path / file]
        assert found.encoder_hash == pack.encoder_hash
        for name in ("vision_config", "read_layer", "codebook_fingerprint", "notes", "base"):
            assert getattr(found, name) == getattr(pack, name)
        assert found.prior is not None
        assert torch.equal(found.prior.counts, pack.prior.counts)

    fuzz_file(tmp_path / file, read, rounds, damage)


def older(card):
    """The card as the first version wrote it."""
    return {k: v for k, v in card.items() if k != "files"} | {"format": card["format"] - 4}


@ROUNDS
@pytest.mark.parametrize("checked", [False, True])
def test_cards_of_wrong_types(tiny_models, tmp_path, pack, checked, rounds):
    """Without a checksum, as in earlier versions, or with one computed over the wrong types."""
    base = tiny_models.pretrained_tower()
    path = pack.save(tmp_path) / "pack.json"
    card = json.loads(path.read_text())
    del card["checksum"]
    path.write_text(json.dumps(card if checked else older(card)))

    def wrong(data, rng):
        found = retyped(data, rng)
        content = json.loads(found)
        if checked and isinstance(content, dict):
            return json.dumps(with_checksum(content)).encode()
        return found

    def read(case):
        found = EncoderPack.load(tmp_path, lambda: base)
        assert found.reads in ("codes", "features")
        try:
            tower = found.tower(tiny_models.codebook)
        except CraftError as error:  # a pack does not know its path
            raise CraftError(f"{tmp_path}: {error}") from error
        assert tensor_hash(tower.state_dict()) == pack.encoder_hash

    fuzz_file(path, read, rounds, wrong)
