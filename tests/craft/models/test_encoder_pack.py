"""Packs are restored bit for bit, and refuse models they do not belong to."""

import json
import os
import resource
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from craft.adapters.installation import heba_parameters
from craft.codebook import Codebook, CodebookMismatchError, CodebookSubset
from craft.models.encoder_pack import EncoderMismatchError, EncoderPack
from craft.models.vision_tower import DiscreteVisionTower
from craft.prior import TokenPrior
from craft.runtime.json_cards import with_checksum
from craft.runtime.stored_files import StoredFileError
from craft.runtime.tensor_hash import tensor_hash
from craft.runtime.whole_file import write_json
from craft.settings.heba import PRESETS
from tests.craft.runtime.broken_files import DAMAGE


@pytest.fixture
def pack_dir(tiny_models, tmp_path):
    return EncoderPack.of(tiny_models.pretrained_tower(), domain="handwriting").save(
        tmp_path / "pack"
    )


def test_round_trip_gives_the_same_codes(tiny_models, pack_dir):
    pack = EncoderPack.load(pack_dir)
    images = torch.rand(2, 3, 24, 24)
    before = tiny_models.pretrained_tower().encode(images)
    after = pack.tower(tiny_models.codebook).encode(images)
    assert torch.equal(before.codes, after.codes)
    assert torch.equal(before.quantized, after.quantized)
    assert pack.notes == {"domain": "handwriting", "precision": "fp32"}


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
    tower = tiny_models.pretrained_tower().requires_grad_(True)
    pack = EncoderPack.of(tower)
    known = pack.encoder_hash
    with torch.no_grad():
        next(tower.parameters()).add_(1)
    assert pack.encoder_hash == known


def test_a_pack_remembers_which_codewords_were_used(tiny_models, tmp_path):
    tower = tiny_models.pretrained_tower()
    tower.codebook = tower.codebook.restrict(CodebookSubset(0.25, seed=3))
    images = torch.rand(2, 3, 24, 24)
    before = tower.encode(images)
    EncoderPack.of(tower).save(tmp_path)
    again = EncoderPack.load(tmp_path).tower(tiny_models.codebook)
    assert torch.equal(again.encode(images).codes, before.codes)
    assert torch.isin(before.codes, tower.codebook.used).all()
    assert not torch.equal(tiny_models.pretrained_tower().encode(images).codes, before.codes)


@pytest.fixture
def adapted(tiny_models):
    """The tower with adapters that have an effect."""
    tower = tiny_models.pretrained_tower()
    tower.adopt_adapters(PRESETS["heba_discrete"])
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        for parameter in heba_parameters(tower).values():
            parameter.normal_()
    return tower


@pytest.fixture
def adapter_dir(tiny_models, adapted, tmp_path):
    pack = EncoderPack.of(adapted, base=tiny_models.pretrained_tower(), domain="flags")
    return pack.save(tmp_path / "adapters")


def test_adapters_are_saved_alone_and_come_back_on_their_encoder(tiny_models, adapted, adapter_dir):
    files = {path.name for path in adapter_dir.iterdir()}
    assert files == {"pack.json", "adapters.safetensors"}
    assert load_file(adapter_dir / "adapters.safetensors").keys() == heba_parameters(adapted).keys()
    pack = EncoderPack.load(adapter_dir, tiny_models.pretrained_tower)
    assert pack.encoder_hash == tensor_hash(adapted.state_dict())
    assert pack.base is not None
    assert pack.base.hash == tensor_hash(tiny_models.pretrained_tower().state_dict())
    images = torch.rand(2, 3, 24, 24)
    found = pack.tower(tiny_models.codebook).encode(images).codes
    assert torch.equal(found, adapted.encode(images).codes)
    assert not torch.equal(found, tiny_models.pretrained_tower().encode(images).codes)
    again = EncoderPack.load(
        pack.save(adapter_dir.with_name("again")), tiny_models.pretrained_tower
    )
    assert again.encoder_hash == pack.encoder_hash


def test_adapters_are_refused_by_another_encoder_and_without_one(tiny_models, adapter_dir):
    def other():
        tower = tiny_models.pretrained_tower()
        with torch.no_grad():
            next(tower.parameters()).view(-1)[0] += 1e-3
        return tower

    with pytest.raises(EncoderMismatchError) as error:
        EncoderPack.load(adapter_dir, other)
    for tower in (other(), tiny_models.pretrained_tower()):
        assert tensor_hash(tower.state_dict()) in str(error.value)
    with pytest.raises(ValueError, match="holds only adapters"):
        EncoderPack.load(adapter_dir)


def test_changed_adapters_are_refused(tiny_models, adapter_dir):
    path = adapter_dir / "adapters.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match="weights were changed after the pack was saved"):
        EncoderPack.load(adapter_dir, tiny_models.pretrained_tower)


def test_a_pack_of_adapters_asks_for_the_codebook_too(tiny_models, adapter_dir):
    table = tiny_models.codebook.table
    table.view(torch.int32)[3, 5] ^= 1
    pack = EncoderPack.load(adapter_dir, tiny_models.pretrained_tower)
    with pytest.raises(CodebookMismatchError):
        pack.tower(Codebook(table, tiny_models.codebook.levels))


def test_what_else_changed_is_saved_with_the_adapters(tiny_models, adapted, tmp_path):
    with torch.no_grad():
        adapted.embeddings.patch_embedding.bias.add_(1)
    pack = EncoderPack.of(adapted, base=tiny_models.pretrained_tower())
    loaded = EncoderPack.load(pack.save(tmp_path / "pack"), tiny_models.pretrained_tower)
    assert "embeddings.patch_embedding.bias" in loaded.own
    assert loaded.encoder_hash == tensor_hash(adapted.state_dict())


def test_one_kind_of_pack_replaces_the_other(tiny_models, pack_dir, adapter_dir):
    EncoderPack.load(pack_dir).save(adapter_dir)
    assert {path.name for path in adapter_dir.iterdir()} == {"pack.json", "encoder.safetensors"}
    assert EncoderPack.load(adapter_dir).base is None


def test_a_whole_checkpoint_has_its_adapters(adapted, tmp_path):
    """`save_pretrained` needs no base encoder."""
    adapted.save_pretrained(tmp_path)
    again = DiscreteVisionTower.from_pretrained(tmp_path)
    images = torch.rand(2, 3, 24, 24)
    assert torch.equal(again.continuous(images), adapted.continuous(images))
    assert heba_parameters(again).keys() == heba_parameters(adapted).keys()


def test_a_full_disk_costs_no_earlier_pack_and_names_path_and_room(tiny_models, pack_dir):
    earlier = EncoderPack.load(pack_dir)
    tower = tiny_models.pretrained_tower()
    with torch.no_grad():
        next(tower.parameters()).add_(1)
    other = EncoderPack.of(tower)
    assert other.encoder_hash != earlier.encoder_hash
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
        wanted = rf"^{pack_dir}/encoder.safetensors could not be written: File too large; it "
        with pytest.raises(OSError, match=wanted):
            other.save(pack_dir)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert EncoderPack.load(pack_dir).encoder_hash == earlier.encoder_hash
    assert sorted(x.name for x in pack_dir.iterdir()) == ["encoder.safetensors", "pack.json"]


def test_others_may_read_a_pack_as_the_umask_says(tiny_models, pack_dir):
    modes = {stat.S_IMODE(path.stat().st_mode) for path in pack_dir.iterdir()}
    (pack_dir / "plain").write_text("")
    assert modes == {stat.S_IMODE((pack_dir / "plain").stat().st_mode)}


def test_a_pack_that_replaces_another_keeps_nothing_of_it(tiny_models, tmp_path):
    tower = tiny_models.pretrained_tower()
    prior = TokenPrior.empty(tiny_models.codebook, encoder_hash="x")
    first = {
        "language_model": tiny_models.language_model("llama").save_pretrained,
        "domain.json": lambda path: write_json(path, {"of": "the first"}),
    }
    EncoderPack.of(tower, prior).save(tmp_path, first)
    (tmp_path / "train.jsonl").write_text("belongs to no pack")
    (tmp_path / "checkpoints").mkdir()
    assert (tmp_path / "language_model" / "craft.json").is_file()
    assert EncoderPack.load(tmp_path).prior is not None
    EncoderPack.of(tower, domain="second").save(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        *("pack.json", "encoder.safetensors", "train.jsonl", "checkpoints")
    }
    assert EncoderPack.load(tmp_path).prior is None


@pytest.mark.parametrize("name", ["prior.safetensors", "domain.json", "language_model/config.json"])
def test_a_part_of_another_pack_is_refused(tiny_models, pack_dir, tmp_path, name):
    """This happens if somebody copies one pack over another."""
    other = tmp_path / "other"
    prior = TokenPrior.empty(tiny_models.codebook, encoder_hash="x")
    parts = {
        "language_model": tiny_models.language_model("llama").save_pretrained,
        "domain.json": lambda path: write_json(path, {"of": "another"}),
    }
    EncoderPack.of(tiny_models.pretrained_tower(), prior).save(other, parts)
    (pack_dir / name).parent.mkdir(exist_ok=True)
    shutil.copy(other / name, pack_dir / name)
    with pytest.raises(StoredFileError, match=rf"{name} is not named in pack.json beside it"):
        EncoderPack.load(pack_dir)
    path = other / name
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(StoredFileError, match=rf"{name}, part of .*, is not what was saved"):
        EncoderPack.load(other)


def test_equal_packs_have_equal_bytes(tiny_models, tmp_path):
    """The order of safetensors metadata must not matter either."""
    found = []
    for number in range(4):
        prior = TokenPrior.empty(tiny_models.codebook, encoder_hash="x")
        out = tmp_path / str(number)
        parts = {"language_model": tiny_models.language_model("llama").save_pretrained}
        EncoderPack.of(tiny_models.pretrained_tower(), prior, domain="flags").save(out, parts)
        found.append({p.relative_to(out): p.read_bytes() for p in out.rglob("*") if p.is_file()})
    assert all(files == found[0] for files in found)


@pytest.mark.slow
def test_a_kill_at_any_instant_leaves_the_old_pack_the_new_one_or_none(tiny_models_dir, tmp_path):
    """Processes die around every call to the disk while a pack replaces one with other parts."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.craft.models.killed_packs", tiny_models_dir, tmp_path],
        cwd=Path(__file__).parents[3],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    assert found["instants"] > 50
    assert set(found["there"]) == {"old", "new", "refused"}


@pytest.mark.parametrize("damage", [name for name in DAMAGE if name != "missing"])
@pytest.mark.parametrize("file", ["pack.json", "encoder.safetensors", "prior.safetensors"])
def test_damaged_files_are_one_line(tiny_models, tmp_path, file, damage):
    tower = tiny_models.pretrained_tower()
    prior = TokenPrior.empty(tiny_models.codebook, encoder_hash="x")
    path = EncoderPack.of(tower, prior).save(tmp_path / "pack") / file
    break_it, message = DAMAGE[damage]
    break_it(path)
    with pytest.raises(StoredFileError) as error:
        EncoderPack.load(path.parent)
    assert str(error.value).startswith(f"{path}, ")
    assert message in str(error.value)


def test_missing_weights_are_one_line(pack_dir):
    (pack_dir / "encoder.safetensors").unlink()
    with pytest.raises(StoredFileError, match="the weights of an encoder pack, is missing"):
        EncoderPack.load(pack_dir)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"read_layer": -1}, "is damaged or was edited"),
        ({"checksum": None}, "is damaged or was edited"),
        ({"format": 2}, "is damaged or was edited"),
    ],
)
def test_cards_that_were_changed_are_refused(pack_dir, changes, message):
    card = json.loads((pack_dir / "pack.json").read_text())
    (pack_dir / "pack.json").write_text(json.dumps(card | changes))
    with pytest.raises(StoredFileError, match=message):
        EncoderPack.load(pack_dir)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"read_layer": "-2"}, "read_layer: Input should be a valid integer"),
        ({"vision_config": []}, "vision_config: Input should be an object"),
        ({"base_hash": "0" * 64}, "has format 5 and base 000"),
        ({"more": 1}, "more: Extra inputs are not permitted"),
    ],
)
def test_cards_of_wrong_types_are_refused(pack_dir, changes, message):
    card = json.loads((pack_dir / "pack.json").read_text())
    (pack_dir / "pack.json").write_text(json.dumps(with_checksum(card | changes)))
    with pytest.raises(StoredFileError, match=message):
        EncoderPack.load(pack_dir)


def test_packs_of_earlier_versions_are_read(pack_dir):
    card = json.loads((pack_dir / "pack.json").read_text())
    del card["checksum"], card["files"]
    write_json(pack_dir / "pack.json", with_checksum(card | {"format": 3}))
    assert EncoderPack.load(pack_dir).notes == card["notes"]
    del card["base_hash"], card["notes"]["precision"]
    write_json(pack_dir / "pack.json", card | {"format": 1})
    pack = EncoderPack.load(pack_dir)
    assert pack.notes == {"domain": "handwriting"}
    assert pack.precision == "fp32"
