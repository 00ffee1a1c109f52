"""Missing or foreign weights are refused, never initialised or ignored silently."""

from __future__ import annotations

import json
import pickle
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    LlamaConfig,
    PhiConfig,
    Qwen2Config,
)

from craft.codebook import Codebook
from craft.errors import CraftError
from craft.family.family import ModelFamily
from craft.models import DiscreteLVLM, DiscreteVisionTower
from craft.models.aligned_language_model import AlignedLanguageModel
from craft.models.configuration import DiscreteLVLMConfig
from craft.models.encoder_pack import EncoderPack
from craft.models.loading import load_model
from craft.prior import TokenPrior
from craft.runtime.stored_files import StoredFileError
from craft.settings.heba import PRESETS
from craft.training.align import new_language_model
from tests.craft.models.test_discrete_lvlm import TEXT, VISION

Load = Callable[[], Any]


def kinds(names: list[str]) -> Iterator[str]:
    """One name of each kind: names of layers differ only in their numbers."""
    seen = set()
    for name in sorted(names):
        kind = re.sub(r"\d+", "N", name)
        if kind not in seen:
            seen.add(kind)
            yield name


def rewritten(path: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    """Change the tensors of a file and keep its metadata."""
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    tensors = {name: x.clone() for name, x in load_file(path).items()}
    change(tensors)
    path.unlink()
    save_file(tensors, path, metadata)


def refused(load: Load, path: Path, name: str) -> None:
    with pytest.raises(CraftError) as error:
        load()
    told = str(error.value)
    assert name in told, told
    assert str(path.parent) in told
    assert "\n" not in told


def every_tensor_counts(path: Path, load: Load, *, extra: bool = True) -> None:
    """Check that no tensor may be missing, reshaped or integer, and that none may be added."""
    load()
    whole = path.read_bytes()
    names = list(kinds(list(load_file(path))))
    assert names
    for name in names:
        rewritten(path, lambda tensors, name=name: tensors.pop(name))
        refused(load, path, name)
        path.write_bytes(whole)
    name = names[-1]
    rewritten(path, lambda tensors: tensors.update({name: tensors[name][..., None]}))
    refused(load, path, name if extra else str(path))
    path.write_bytes(whole)
    if load_file(path)[name].is_floating_point():
        rewritten(path, lambda tensors: tensors.update({name: tensors[name].view(torch.int32)}))
        refused(load, path, name if extra else str(path))
        path.write_bytes(whole)
    if extra:
        rewritten(path, lambda tensors: tensors.update({"some.weight": torch.ones(3)}))
        refused(load, path, "some.weight")
    path.write_bytes(whole)


@pytest.fixture
def family(tiny_models_dir: Path, tmp_path: Path) -> Path:
    directory = shutil.copytree(tiny_models_dir, tmp_path / "models")
    models = ModelFamily(directory)
    prior = TokenPrior.empty(models.codebook, encoder_hash="0" * 64)
    prior.save(directory / "general_prior.safetensors")
    return directory


@pytest.mark.parametrize(
    ("file", "load"),
    [
        ("siglip/model.safetensors", lambda x: ModelFamily(x).siglip),
        ("qwen2/model.safetensors", lambda x: ModelFamily(x).language_model("qwen2")),
        ("llama/model.safetensors", lambda x: ModelFamily(x).language_model("llama")),
        ("qwen2/projector.safetensors", lambda x: ModelFamily(x).language_model("qwen2")),
        ("codebook.safetensors", lambda x: ModelFamily(x).codebook),
        ("general_prior.safetensors", lambda x: ModelFamily(x).general_prior()),
    ],
)
def test_a_family(family, file, load):
    every_tensor_counts(family / file, lambda: load(family), extra="codebook" not in file)


@pytest.mark.parametrize("encoder", ["whole", "adapters", "class token"])
def test_encoder_packs(tiny_models, tmp_path, encoder):
    tower, base = tiny_models.pretrained_tower(), None
    if encoder == "adapters":
        base = tiny_models.pretrained_tower()
        tower.adopt_adapters(PRESETS["heba_discrete"])
    if encoder == "class token":
        tower.adopt_class_token(torch.ones(16))
    EncoderPack.of(tower, base=base).save(tmp_path)
    (path,) = tmp_path.glob("*.safetensors")

    def load() -> object:
        return tiny_models.plug(tmp_path).tower

    load()
    whole = path.read_bytes()
    for name in kinds(list(load_file(path))):
        rewritten(path, lambda tensors, name=name: tensors.pop(name))
        refused(load, path, str(path))  # by the hash of all tensors
        path.write_bytes(whole)


SMALL: dict[str, Any] = {**TEXT, "num_hidden_layers": 1}
LANGUAGE_MODELS = {
    "tied": Qwen2Config(**SMALL, tie_word_embeddings=True),
    "untied": Qwen2Config(**SMALL, tie_word_embeddings=False),
    "llama": LlamaConfig(**SMALL),
    "phi": PhiConfig(**SMALL),
}


@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_any_language_model(tmp_path, name):
    AutoModelForCausalLM.from_config(LANGUAGE_MODELS[name]).save_pretrained(tmp_path)

    def load() -> object:
        return load_model(AutoModelForCausalLM, tmp_path, "a model", dtype=torch.float32)

    every_tensor_counts(tmp_path / "model.safetensors", load)


def test_tied_weights_may_stand_once_or_twice(tmp_path):
    AutoModelForCausalLM.from_config(LANGUAGE_MODELS["tied"]).save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    (inner, outer) = "model.embed_tokens.weight", "lm_head.weight"

    def load() -> Tensor:
        model: Any = load_model(AutoModelForCausalLM, tmp_path, "a model", dtype=torch.float32)
        assert model.lm_head.weight is model.model.embed_tokens.weight
        return model.lm_head.weight

    assert outer not in load_file(path)
    wanted = load()
    rewritten(path, lambda t: t.update({outer: t[inner].clone()}))
    assert torch.equal(load(), wanted)
    rewritten(path, lambda t: t.pop(inner))
    assert torch.equal(load(), wanted)
    rewritten(path, lambda t: t.pop(outer))
    refused(load, path, inner)


def test_what_is_computed_may_be_stored(tmp_path):
    """Checkpoints of earlier versions of transformers do."""
    AutoModelForCausalLM.from_config(LANGUAGE_MODELS["llama"]).save_pretrained(tmp_path)
    name = "model.layers.0.self_attn.rotary_emb.inv_freq"
    rewritten(tmp_path / "model.safetensors", lambda t: t.update({name: torch.ones(3)}))
    load_model(AutoModelForCausalLM, tmp_path, "a model", dtype=torch.float32)


def test_shards(tmp_path):
    """A shard that the index does not list is not read: its weights are missing."""
    model = AutoModelForCausalLM.from_config(LANGUAGE_MODELS["untied"])
    model.save_pretrained(tmp_path, max_shard_size="8KB")
    index = tmp_path / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    shards = sorted(set(content["weight_map"].values()))
    assert len(shards) > 2

    def load() -> object:
        return load_model(AutoModelForCausalLM, tmp_path, "a model", dtype=torch.float32)

    load()
    for shard in shards:
        kept = {k: v for k, v in content["weight_map"].items() if v != shard}
        index.write_text(json.dumps(content | {"weight_map": kept}))
        refused(load, index, "missing")
    index.write_text(json.dumps(content))
    rewritten(tmp_path / shards[0], lambda t: t.pop(next(iter(t))))
    refused(load, index, "missing")


@pytest.fixture
def checkpoints(tmp_path: Path) -> dict[str, tuple[Path, list[Any]]]:
    """What our ``save_pretrained`` wrote, and everything that reads it."""
    codebook = Codebook(torch.randn(12, 16), 4)
    config = DiscreteLVLMConfig(vision_config=VISION, text_config=LANGUAGE_MODELS["untied"])
    lvlm = DiscreteLVLM(config, codebook)
    lvlm.save_pretrained(tmp_path / "lvlm")
    lvlm.tower.save_pretrained(tmp_path / "tower")
    return {
        "lvlm": (tmp_path / "lvlm", [DiscreteLVLM, AutoModelForImageTextToText]),
        "tower": (tmp_path / "tower", [DiscreteVisionTower, AutoModel]),
    }


@pytest.mark.parametrize("kind", ["lvlm", "tower"])
def test_checkpoints_of_our_own_classes(checkpoints, kind):
    directory, model_classes = checkpoints[kind]
    for model_class in model_classes:
        path = directory / "model.safetensors"
        whole, name = path.read_bytes(), next(kinds(list(load_file(path))))
        for change in (
            lambda t, name=name: t.pop(name),
            lambda t, name=name: t.update({name: t[name][..., None]}),
            lambda t: t.update({"some.weight": torch.ones(3)}),
        ):
            rewritten(path, change)
            with pytest.raises(StoredFileError, match=f"{name}|some.weight") as error:
                model_class.from_pretrained(directory)
            assert str(directory) in str(error.value)
            path.write_bytes(whole)
    every: Any = DiscreteLVLM if kind == "lvlm" else DiscreteVisionTower
    path = directory / "model.safetensors"
    whole = path.read_bytes()
    for name in kinds(list(load_file(path))):
        rewritten(path, lambda t, name=name: t.pop(name))
        refused(lambda: every.from_pretrained(directory), path, name)
        path.write_bytes(whole)
    model, found = every.from_pretrained(directory, output_loading_info=True)
    assert isinstance(model, every)
    assert not found["missing_keys"]


class Ran:
    """A pickle that leaves a file behind when it is read."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> Any:
        return open, (str(self.path), "w")


@pytest.mark.parametrize(
    "name", ["pytorch_model.bin", "model.safetensors.bin", "adapter_model.bin"]
)
@pytest.mark.parametrize("kind", ["lvlm", "tower", "siglip", "qwen2", "foreign"])
def test_pickles_are_never_loaded(checkpoints, family, tiny_models, tmp_path, kind, name):
    ran = tmp_path / "ran"
    where, model_classes = checkpoints.get(kind, (family / kind, []))
    loads: list[Load] = [
        lambda c=model_class: c.from_pretrained(where) for model_class in model_classes
    ]
    if kind == "siglip":
        loads = [lambda: ModelFamily(family).siglip]
    elif kind == "qwen2":
        loads = [lambda: AlignedLanguageModel.from_pretrained(where)]
    elif kind == "foreign":
        where = shutil.copytree(family / "llama", family / "foreign")
        shutil.copytree(where / "tokenizer", where, dirs_exist_ok=True)
        (where / "projector.safetensors").unlink()
        loads = [lambda: new_language_model(where, tiny_models.pretrained_tower(), name="x")]
    for load in loads:
        load()
    with (where / name).open("wb") as file:
        pickle.dump({"x": Ran(ran)}, file)
    torch.save({"x": Ran(ran)}, where / f"zip-{name}")
    if name == "adapter_model.bin":
        base = {"peft_type": "LORA", "base_model_name_or_path": str(where), "r": 1}
        (where / "adapter_config.json").write_text(json.dumps(base))
    else:
        (where / "model.safetensors").unlink()
    for load in loads:
        with pytest.raises((CraftError, OSError)) as error:
            load()
        assert str(where) in str(error.value)
        assert "\n" not in str(error.value)
    assert not ran.exists()


def test_a_config_that_names_its_weights(checkpoints, family):
    for where, load in (
        (family / "qwen2", lambda: AlignedLanguageModel.from_pretrained(family / "qwen2")),
        (checkpoints["lvlm"][0], lambda: DiscreteLVLM.from_pretrained(checkpoints["lvlm"][0])),
    ):
        path = where / "config.json"
        shutil.copy(where / "model.safetensors", where / "other.safetensors")
        for name in ("other.safetensors", "adapter_model.bin", "../x.safetensors"):
            content = json.loads(path.read_text())
            path.write_text(json.dumps(content | {"transformers_weights": name}))
            with pytest.raises(CraftError) as error:
                load()
            assert str(where) in str(error.value)
        (where / "other.safetensors").unlink()
        with pytest.raises(StoredFileError, match="names a file of weights"):
            load()


@pytest.mark.parametrize("option", [{"trust_remote_code": True}, {"use_safetensors": False}])
def test_code_and_pickles_cannot_be_asked_for(checkpoints, option):
    with pytest.raises(CraftError, match="never run and pickles are never loaded"):
        DiscreteLVLM.from_pretrained(checkpoints["lvlm"][0], **option)
