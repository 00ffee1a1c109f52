"""The models that ship: intact, of one codebook, and as good as their manifest says."""

import json
import shutil

import pytest

from craft.codebook import Codebook, CodebookMismatchError
from craft.family.family import ModelFamily
from craft.family.layout import CODEBOOK, MANIFEST
from craft.pocket.retention import general_probe
from craft.training.validation import letter_scores


@pytest.fixture(scope="module")
def models():
    return ModelFamily.load()


@pytest.fixture(scope="module")
def manifest(models):
    return json.loads((models.directory / MANIFEST).read_text())


def test_every_file_is_the_one_that_was_built(models):
    assert models.changed_files() == []


def test_a_changed_file_is_named(models, tmp_path):
    (tmp_path / "siglip").mkdir()
    (tmp_path / "siglip" / "config.json").write_text("{}")
    (tmp_path / CODEBOOK).write_bytes(b"")
    (tmp_path / MANIFEST).write_text(json.dumps({"files": {CODEBOOK: "0" * 64, "gone": "1" * 64}}))
    assert ModelFamily(tmp_path).changed_files() == [CODEBOOK, "gone"]


def test_all_models_speak_the_shipped_codebook(models, manifest):
    assert models.codebook.fingerprint == manifest["codebook_fingerprint"]
    assert models.codebook.size >= 512
    assert models.codebook.levels == 4
    assert models.codebook.shared
    rows, columns = models.pretrained_tower().grid
    assert rows * columns >= 36
    assert {models.language_model(name).codebook_fingerprint for name in models.names} == {
        models.codebook.fingerprint
    }
    assert models.general_prior().codebook_fingerprint == models.codebook.fingerprint


def test_language_models_differ_in_family_and_width(models):
    configs = [models.language_model(name).language_model.config for name in models.names]
    assert {config.model_type for config in configs} == {"qwen2", "llama", "phi"}
    assert len({config.hidden_size for config in configs}) == 3


@pytest.mark.parametrize("name", ["qwen2", "llama", "phi"])
def test_accuracy_is_what_the_manifest_says(models, manifest, name):
    """On other views than the manifest's, so within four standard errors of it."""
    tower = models.pretrained_tower()
    asked = general_probe(300, tower.image_size, seed=11)
    reader = models.language_model(name)
    found = letter_scores(tower, reader, asked).accuracy
    claimed = manifest["general_four_option_accuracy"][name]
    error = 100 * (claimed / 100 * (1 - claimed / 100) / 300) ** 0.5
    assert abs(found - claimed) < 4 * error


def test_a_language_model_of_another_codebook_is_refused(models, tmp_path):
    shutil.copytree(models.directory, tmp_path / "models")
    table = models.codebook.table
    table[0, 0] += 1
    (tmp_path / "models" / CODEBOOK).unlink()
    Codebook(table, 4).save(tmp_path / "models" / CODEBOOK)
    with pytest.raises(CodebookMismatchError):
        ModelFamily(tmp_path / "models").language_model("qwen2")


def test_unknown_models_and_directories_are_refused(models, tmp_path):
    with pytest.raises(ValueError, match=r"must be one of \['qwen2', 'llama', 'phi'\].*got 'gpt'"):
        models.language_model("gpt")
    with pytest.raises(ValueError, match="holds no models"):
        ModelFamily.load(tmp_path)
