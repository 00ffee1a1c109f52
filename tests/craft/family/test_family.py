"""The shipped models are intact, share one codebook, and are as good as their manifest says."""

import json
import shutil

import pytest

from craft.codebook import Codebook, CodebookMismatchError
from craft.errors import CraftError
from craft.family.family import ModelFamily
from craft.family.layout import CODEBOOK, MANIFEST, PRIOR
from craft.family.manifest import write_anew
from craft.pocket.retention import general_probe
from craft.prior import TokenPrior
from craft.runtime.json_cards import with_checksum
from craft.runtime.stored_files import require_unchanged
from craft.training.validation import letter_scores
from craft.workbench.listener import Listener
from craft.workbench.opening import retention_probe


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
    listed = {"files": {CODEBOOK: "0" * 64, "gone": "1" * 64}}
    (tmp_path / MANIFEST).write_text(json.dumps(with_checksum(listed)))
    assert ModelFamily(tmp_path).changed_files() == [CODEBOOK, "gone"]


def test_a_manifest_lists_no_files_elsewhere(tmp_path):
    (tmp_path / "models" / "siglip").mkdir(parents=True)
    (tmp_path / "models" / "siglip" / "config.json").write_text("{}")
    (tmp_path / "models" / CODEBOOK).write_bytes(b"")
    (tmp_path / "models" / MANIFEST).write_text(
        json.dumps(with_checksum({"files": {"../secret": "0" * 64}}))
    )
    with pytest.raises(CraftError, match=r"names '../secret', which leads out of"):
        ModelFamily(tmp_path / "models").changed_files()


@pytest.mark.parametrize("named", ["../secret.csv", "/etc/passwd", "secret.csv"])
def test_models_name_no_general_data_elsewhere(tmp_path, named):
    """Links do not help either, and nothing of the target is shown."""
    (tmp_path / "models" / "siglip").mkdir(parents=True)
    (tmp_path / "models" / "siglip" / "config.json").write_text("{}")
    (tmp_path / "models" / CODEBOOK).write_bytes(b"")
    (tmp_path / "secret.csv").write_text("s3cr3t\n")
    (tmp_path / "models" / "secret.csv").symlink_to(tmp_path / "secret.csv")
    (tmp_path / "models" / MANIFEST).write_text(json.dumps({"retention": named}))
    with pytest.raises(CraftError, match="leads out of") as error:
        retention_probe(None, ModelFamily(tmp_path / "models"), [], Listener())
    assert "s3cr3t" not in str(error.value)


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
    """Views differ from the manifest's, so the tolerance is four standard errors."""
    tower = models.pretrained_tower()
    asked = general_probe(300, tower.image_size, seed=11)
    language_model = models.language_model(name)
    found = letter_scores(tower, language_model, asked).accuracy
    claimed = manifest["general_four_option_accuracy"][name]
    error = 100 * (claimed / 100 * (1 - claimed / 100) / 300) ** 0.5
    assert abs(found - claimed) < 4 * error


def test_a_language_model_of_another_codebook_is_refused(models, tmp_path):
    shutil.copytree(models.directory, tmp_path / "models")
    table = models.codebook.table
    table[0, 0] += 1
    (tmp_path / "models" / CODEBOOK).unlink()
    Codebook(table, 4).save(tmp_path / "models" / CODEBOOK)
    write_anew(tmp_path / "models")
    with pytest.raises(CodebookMismatchError):
        ModelFamily(tmp_path / "models").language_model("qwen2")


def test_unknown_models_and_directories_are_refused(models, tmp_path):
    with pytest.raises(ValueError, match=r"must be one of \['qwen2', 'llama', 'phi'\].*got 'gpt'"):
        models.language_model("gpt")
    with pytest.raises(ValueError, match="holds no models"):
        ModelFamily.load(tmp_path)


def flipped_in_the_last_byte(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))


#: Part of a family -> function that reads it.
PARTS = {
    CODEBOOK: lambda models: models.codebook,
    PRIOR: lambda models: models.general_prior(),
    "siglip/model.safetensors": lambda models: models.pretrained_tower(),
    "siglip/tokenizer_config.json": lambda models: models.tokenizer,
    "siglip/config.json": lambda models: models.image_size,
    "qwen2/model.safetensors": lambda models: models.language_model("qwen2"),
    "qwen2/projector.safetensors": lambda models: models.language_model("qwen2"),
    "qwen2/generation_config.json": lambda models: models.language_model("qwen2"),
    "qwen2/tokenizer/tokenizer.json": lambda models: models.language_model("qwen2"),
}


@pytest.fixture(params=["manifest", "cards alone"])
def listed(request, three_models, tmp_path):
    """A family whose manifest or language-model cards list its files."""
    directory = shutil.copytree(three_models.directory, tmp_path / "models")
    if request.param == "manifest":
        write_anew(directory)
        assert set(ModelFamily(directory).manifest.files) > set(PARTS)
    return directory


@pytest.mark.parametrize("part", PARTS)
def test_one_flipped_bit_is_found_where_the_file_is_read(listed, part):
    PARTS[part](ModelFamily(listed))
    unlisted = not ModelFamily(listed).manifest.files and part.startswith("siglip")
    if part.endswith(".json"):  # blanks, which mean nothing in JSON
        (listed / part).write_text((listed / part).read_text() + " ")
    else:
        flipped_in_the_last_byte(listed / part)
    if unlisted:
        PARTS[part](ModelFamily(listed))  # unknown without a manifest
        return
    with pytest.raises(CraftError) as error:
        PARTS[part](ModelFamily(listed))
    assert str(listed / part) in str(error.value)
    assert "\n" not in str(error.value)
    if part not in (CODEBOOK, PRIOR):  # their hashes are in the files themselves
        write_anew(listed)
        PARTS[part](ModelFamily(listed))


def test_another_prior_is_not_taken_for_the_listed_one(listed):
    models = ModelFamily(listed)
    TokenPrior.empty(models.codebook, encoder_hash="x").save(listed / PRIOR)
    if models.manifest.files:
        with pytest.raises(CraftError, match=r"general_prior.safetensors is not the file that man"):
            models.general_prior()


def test_a_file_that_is_listed_and_gone_is_missed(three_models, tmp_path):
    directory = shutil.copytree(three_models.directory, tmp_path / "models")
    write_anew(directory)
    (directory / PRIOR).unlink()
    (directory / "qwen2" / "generation_config.json").unlink()
    models = ModelFamily(directory)
    with pytest.raises(CraftError, match=r"general_prior.safetensors, which .* lists, is missing"):
        models.general_prior()
    with pytest.raises(CraftError, match=r"generation_config.json, which craft.json lists, is mis"):
        models.language_model("qwen2")
    assert models.language_model("llama").name == "llama"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"files": {"../x": "0"}}, "lies outside"),
        ({"files": {"/etc/passwd": "0"}}, "lies outside"),
        ({"files": ["a"]}, "manifest of the models: files: "),
        ({"language_models": "qwen2"}, "manifest of the models: language_models: "),
        ({"retention": 1}, "manifest of the models: retention: "),
    ],
)
def test_manifests_of_other_kinds_are_one_line(three_models, tmp_path, change, message):
    directory = shutil.copytree(three_models.directory, tmp_path / "models")
    path = directory / MANIFEST
    content = with_checksum(json.loads(path.read_text()) | change)
    path.write_text(json.dumps(content))

    def opened() -> None:
        require_unchanged(directory, ModelFamily(directory).manifest.files, MANIFEST)

    with pytest.raises(CraftError, match=message) as error:
        opened()
    assert str(directory) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_list_of_files_needs_a_checksum(three_models, tmp_path):
    directory = shutil.copytree(three_models.directory, tmp_path / "models")
    write_anew(directory)
    path = directory / MANIFEST
    for before, after in (('"checksum"', '"checksun"'), ('"files"', '"filez"')):
        text = path.read_text()
        path.write_text(text.replace(before, after))
        with pytest.raises(CraftError, match=r"has no checksum|damaged or was edited"):
            ModelFamily(directory)
        path.write_text(text)
