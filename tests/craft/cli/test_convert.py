"""`craft convert` and `craft align`: from other projects' files to a surrogate."""

import json

import pytest
import torch

from craft.family.family import ModelFamily
from craft.models.aligned_language_model import AlignedLanguageModel
from craft.models.encoder_pack import EncoderPack
from craft.runtime.tensor_hash import tensor_hash
from tests.craft.cli.commands import QUICK, craft_command, done, one_error_line
from tests.craft.conftest import NAMES, picture
from tests.craft.integrations.vila_u.released import Released, write_released

pytestmark = pytest.mark.usefixtures("small_world", "quiet_process")


@pytest.fixture
def converted(tmp_path, tiny_models):
    released = write_released(tmp_path / "vila-u-7b-256", Released())
    out = tmp_path / "models"
    options = ["--siglip-tokenizer", tiny_models.directory / "siglip"]
    return out, done(craft_command("convert", "vila-u", released, out, *options))


@pytest.fixture
def conversations(tmp_path):
    """Twelve pictures with one question each, as a LLaVA file."""
    entries = []
    for i in range(12):
        picture(i).save(tmp_path / f"{i}.png")
        said = [("human", "<image>\nwhat thing"), ("gpt", NAMES[i % 4])]
        turns = [{"from": who, "value": text} for who, text in said]
        entries.append({"id": str(i), "image": f"{i}.png", "conversations": turns})
    path = tmp_path / "llava.json"
    path.write_text(json.dumps(entries))
    return path


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (["--encoder", "heba_discrete"], "holds HeBA adapters, which cannot be merged"),
        (["--method", "projector_ft"], "trained a projector or language model and no encoder"),
    ],
)
def test_packs_without_a_place_in_vila_u_do_not_go_back(converted, tmp_path, settings, reason):
    models, _ = converted
    pack = tmp_path / "pack"
    options = ["--out", pack, "--domain", "flags", "--models", models, "--surrogate", "vila-u"]
    done(craft_command("adapt", *options, *QUICK, *settings))
    back = tmp_path / "tuned-vila-u-7b-256"
    refused = craft_command("convert", "vila-u", models, back, "--back", "--pack", pack)
    assert reason in one_error_line(refused)
    assert not back.exists()


def test_a_converted_family_measures_no_forgetting_by_itself(converted, tmp_path):
    models, _ = converted
    pack = tmp_path / "pack"
    options = ["--domain", "flags", "--models", models]
    shown = done(craft_command("adapt", "--out", pack, *options, "--surrogate", "vila-u", *QUICK))
    assert "forgetting is not measured" in shown
    few = ["--test-limit", "4"]
    shown = done(craft_command("evaluate", pack, "--out", tmp_path / "scores", *options, *few))
    assert "forgetting is not measured" in shown
    results = json.loads((tmp_path / "scores" / "results.json").read_text())
    scores = results["models"]["vila-u"]["keep_1.0"]
    assert scores["general"] is None
    assert scores["n"]["general"] == 0
    table = ["--out", tmp_path / "table", *options, *few, "--keep-ratio", "0.8"]
    refused = one_error_line(craft_command("transfer", pack, *table))
    assert "pretrained has no token prior to prune by" in refused


def test_a_converted_checkpoint_is_adapted_and_goes_back(converted, tmp_path):
    models, shown = converted
    assert "codebook: 4 levels, 24 x 16, shared by the levels" in shown
    assert "rqvaesiglip.decoder: 1" in shown
    pack = tmp_path / "pack"
    options = ["--out", pack, "--domain", "flags", "--models", models, "--surrogate", "vila-u"]
    done(craft_command("adapt", *options, *QUICK, "--set", "blend=false"))
    loaded = EncoderPack.load(pack)
    back = tmp_path / "tuned-vila-u-7b-256"
    shown = done(craft_command("convert", "vila-u", models, back, "--back", "--pack", pack))
    assert "ready for vila_u.load" in shown
    again = tmp_path / "again"
    done(craft_command("convert", "vila-u", back, again))
    weights = ModelFamily(again).pretrained_tower().state_dict()
    base = ModelFamily(models).pretrained_tower().state_dict()
    for name, tensor in loaded.weights.items():
        assert torch.equal(weights[name], tensor.bfloat16().float())
    assert tensor_hash(weights) != tensor_hash(base)


def test_align_makes_a_surrogate(tiny_models, conversations, tmp_path):
    models = tmp_path / "models"
    models.mkdir()
    for part in ("siglip", "codebook.safetensors"):
        (models / part).symlink_to(tiny_models.directory / part)
    (models / "manifest.json").write_text('{"files": {}}')
    foreign = tmp_path / "foreign"
    part = tiny_models.language_model("llama")
    part.language_model.save_pretrained(foreign)
    part.tokenizer.save_pretrained(foreign)
    few = [a for s in ("steps=3", "epochs=null", "batch=4", "lr=1e-2") for a in ("--set", s)]
    data = ["--captions", conversations, "--models", models, *few]
    shown = done(craft_command("align", foreign, "--out", models / "mine", *data))
    assert "trains: projector.0" in shown
    first = AlignedLanguageModel.from_pretrained(models / "mine")
    before = part.language_model.state_dict()
    assert tensor_hash(first.language_model.state_dict()) == tensor_hash(before)
    data[0] = "--instructions"
    shown = done(craft_command("align", models / "mine", "--out", models / "second", *data))
    assert "language_model.model" in shown
    assert f"--models {models} --surrogate second" in shown
    second = AlignedLanguageModel.from_pretrained(models / "second")
    assert second.name == "mine"
    for name, tensor in second.language_model.named_parameters():
        assert not torch.equal(tensor, before[name]), name
    assert tensor_hash(second.projector.state_dict()) != tensor_hash(first.projector.state_dict())
    family = ModelFamily(models)
    assert family.names == ("mine", "second")
    assert family.language_model("second").codebook_fingerprint == tiny_models.codebook.fingerprint
    pack = tmp_path / "pack"
    options = ["--out", pack, "--domain", "flags", "--models", models, "--surrogate", "second"]
    done(craft_command("adapt", *options, *QUICK))
    log = (models / "second/instructions/train.jsonl").read_text()
    losses = [json.loads(line) for line in log.splitlines()]
    assert sum("sal" in entry for entry in losses) == 3


def test_mistakes_are_one_line(converted, tmp_path):
    models, _ = converted
    for arguments, message in (
        (("align", tmp_path, "--out", tmp_path / "x"), "name what to learn from"),
        (("convert", "vila-u", tmp_path / "none", tmp_path / "y"), "is not a VILA-U checkpoint"),
        (("convert", "vila-u", models, models), "is not a VILA-U checkpoint"),
        (("convert", "vila-u", models, tmp_path / "z", "--pack", models), "goes with --back"),
    ):
        assert message in one_error_line(craft_command(*arguments))
