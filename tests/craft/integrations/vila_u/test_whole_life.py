"""Everything a VILA-U user does, in one run: from the released files back into VILA-U's code."""

import json
import re

import pytest
import torch
from safetensors.torch import load_file
from transformers import SiglipConfig, SiglipModel
from transformers.utils.logging import disable_progress_bar

from craft.integrations.vila_u import count_prior, patch
from craft.models.encoder_pack import EncoderPack
from tests.craft.cli.commands import FEW, craft_command, done, one_error_line
from tests.craft.conftest import NAMES, picture
from tests.craft.integrations.vila_u.released import Released, only_sentencepiece, write_released
from tests.craft.integrations.vila_u.stand_in import Quantizer, StandIn

pytestmark = pytest.mark.usefixtures("quiet_process")

SHORT = [
    arg
    for s in ("steps=3", "batch=4", "validation_images=4", "lambda_con=0", "blend=false")
    for arg in ("--set", s)
]


@pytest.fixture(autouse=True)
def no_bars():
    """Turn off transformers' progress bars, as commands do, so they do not mix with the output."""
    disable_progress_bar()


@pytest.fixture
def released(tmp_path):
    """A checkpoint like the releases: bfloat16, only tokenizer.model, no SigLIP tokenizer."""
    root = write_released(tmp_path / "vila-u-7b-256", Released())
    only_sentencepiece(root / "llm")
    return root


@pytest.fixture
def photos(tmp_path):
    """Eight pictures of each of eight classes."""
    for i, name in enumerate(NAMES[:8]):
        for j in range(8):
            path = tmp_path / "photos" / name.replace(" ", "_") / f"{j}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture(8 * i + j).save(path)
    return tmp_path / "photos"


def test_from_the_released_files_and_back_into_vila_u(released, photos, tmp_path):
    models, pack, back = tmp_path / "models", tmp_path / "pack", tmp_path / "tuned-vila-u-7b-256"
    of = ["--models", models]
    shown = done(craft_command("convert", "vila-u", released, models, "--general", photos))
    assert "general_prior.safetensors: 576 tokens of 64 images" in shown
    # Without SigLIP's tokenizer, training is refused unless the user turns contrastive texts off.
    for command in (["data", "check", photos], ["adapt", "--data", photos, "--out", pack]):
        line = one_error_line(craft_command(*command, *of))
        assert "holds no SigLIP tokenizer" in line
        assert "--set lambda_con=0" in line
    assert not pack.exists()
    done(craft_command("data", "check", photos, *of, "--set", "lambda_con=0"))
    shown = done(craft_command("adapt", "--data", photos, "--out", pack, *of, *SHORT))
    assert f"next: craft evaluate {pack} --out {pack}-scores --models {models}" in shown
    line = one_error_line(craft_command("evaluate", pack, "--out", tmp_path / "none"))
    assert f"--models {models}" in line  # the pack knows its family
    done(craft_command("evaluate", pack, "--out", tmp_path / "scores", *of, *FEW))
    results = json.loads((tmp_path / "scores/results.json").read_text())
    assert set(results["models"]) == {"vila-u"}
    done(craft_command("transfer", pack, "--out", tmp_path / "t", *of, *FEW, "--keep-ratio", "0.8"))
    matrix = json.loads((tmp_path / "t/results.json").read_text())["matrix"]
    assert set(matrix) == {"pretrained", str(pack)}
    tokens = tmp_path / "tokens"
    shown = done(craft_command("tokenize", photos, "--pack", pack, "--out", tokens, *of))
    assert "64 images" in shown
    counted = ["--tokens", tokens, "--out", tmp_path / "prior.safetensors"]
    done(craft_command("prior", pack, *counted, *of))
    image = next(photos.rglob("*.png"))
    asked = [image, "--question", "what thing", *of, "--keep-ratio", "0.8"]
    for which in ([], ["--pack", pack]):
        answer = ["--instruction", "", "--max-new-tokens", "3"]
        assert craft_command("generate", *asked, *which, *answer).exit_code == 0
    shown = done(craft_command("convert", "vila-u", models, back, "--back", "--pack", pack))
    assert "rounded to bfloat16" in shown
    assert re.search(r"(\d+/){3}\d+ % of the codes .* on 16 images of its domain", shown)
    prunes_in_vila_u(back, pack)


def test_the_exact_weights_can_go_back(released, photos, tmp_path):
    models, pack, back = tmp_path / "models", tmp_path / "pack", tmp_path / "exact-vila-u-7b-256"
    done(craft_command("convert", "vila-u", released, models))
    done(craft_command("adapt", "--data", photos, "--out", pack, "--models", models, *SHORT))
    options = ["--back", "--pack", pack, "--dtype", "float32"]
    shown = done(craft_command("convert", "vila-u", models, back, *options))
    assert "vila_u.load(path, model_dtype=torch.float32)" in shown
    assert "rounded" not in shown
    stored = load_file(back / "vision_tower/model.safetensors")
    name = "rqvaesiglip.siglip_model.vision_model.embeddings.patch_embedding.weight"
    weights = EncoderPack.load(pack).weights
    assert torch.equal(stored[name], weights["embeddings.patch_embedding.weight"])
    others = {x.dtype for n, x in stored.items() if "vision_model" not in n}
    assert others == {torch.bfloat16}


def test_a_missing_general_prior_says_what_makes_one(released, photos, tmp_path):
    models = tmp_path / "models"
    done(craft_command("convert", "vila-u", released, models))
    image = next(photos.rglob("*.png"))
    asked = ["generate", image, "--question", "what thing", "--models", models]
    line = one_error_line(craft_command(*asked, "--keep-ratio", "0.8"))
    assert f"`craft convert general-prior {models} DATA`" in line
    done(craft_command("convert", "general-prior", models, photos))
    assert craft_command(*asked, "--keep-ratio", "0.8").exit_code == 0
    again = craft_command("convert", "general-prior", models, photos)
    assert "general_prior.safetensors exists" in one_error_line(again)


def prunes_in_vila_u(checkpoint, pack):
    """Check that a VILA-U model has the pack's weights and that the drop-in prunes its tokens."""
    model = StandIn()
    encoder = model.encoder
    config = SiglipConfig(**json.loads((checkpoint / "siglip/config.json").read_text()))
    encoder.siglip_model = SiglipModel(config).bfloat16()
    encoder.quantizer = Quantizer(levels=4, shared=True, grid=3).bfloat16()
    stored = load_file(checkpoint / "vision_tower/model.safetensors")
    ours = {n.removeprefix("rqvaesiglip."): x for n, x in stored.items()}
    shared = ours["quantizer.codebooks.0.weight"]
    ours |= {f"quantizer.codebooks.{level}.weight": shared for level in range(4)}
    missing, _ = encoder.load_state_dict(ours, strict=False)
    assert set(missing) <= {"siglip_model.logit_scale", "siglip_model.logit_bias"}
    model.mm_projector.bfloat16()
    model.llm.bfloat16()
    model.eval()
    vision = encoder.siglip_model.vision_model
    tuned = EncoderPack.load(pack).weights["embeddings.patch_embedding.weight"].bfloat16()
    assert torch.equal(vision.embeddings.patch_embedding.weight, tuned)
    pixels = torch.rand(2, 3, 24, 24, generator=torch.Generator().manual_seed(0)) * 2 - 1
    prior = count_prior(model, pixels)
    handle = patch(model, prior=prior, keep_ratio=0.8)
    model.generate_content([pixels.bfloat16(), torch.tensor([[1, 5, -200, 7, 8, 9]] * 2)])
    assert handle.last is not None
    assert handle.last.indices.shape == (2, 7)
    handle.unpatch()
