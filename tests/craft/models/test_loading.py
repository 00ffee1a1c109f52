"""Unsound transformers directories: an error of one line, no prompt, no code run."""

import ast
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, SiglipConfig

from craft.errors import CraftError
from craft.family.family import ModelFamily
from craft.family.manifest import write_anew
from craft.models.aligned_language_model import AlignedLanguageModel, write_card
from craft.models.configuration import DiscreteLVLMConfig
from craft.models.discrete_lvlm import DiscreteLVLM
from craft.models.loading import load_config, load_model, load_tokenizer
from craft.runtime.stored_files import StoredFileError
from craft.training.align import new_language_model
from tests.craft.models.test_discrete_lvlm import VISION
from tests.craft.runtime.broken_files import DAMAGE, as_pointer


@pytest.fixture
def family(tiny_models_dir: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_models_dir, tmp_path / "models")


@pytest.fixture
def foreign(tiny_models, tmp_path: Path) -> Path:
    """A plain language model, as transformers writes it."""
    part = tiny_models.language_model("llama")
    part.language_model.save_pretrained(tmp_path / "foreign")
    part.tokenizer.save_pretrained(tmp_path / "foreign")
    return tmp_path / "foreign"


def opened(directory: Path) -> None:
    """Open everything that commands may read of a family."""
    models = ModelFamily(directory)
    assert models.image_size == 24
    models.pretrained_tower()
    assert models.tokenizer is not None
    models.language_model("qwen2")


FILES = (
    "codebook.safetensors",
    "siglip/config.json",
    "siglip/model.safetensors",
    "siglip/tokenizer.json",
    "qwen2/craft.json",
    "qwen2/config.json",
    "qwen2/model.safetensors",
    "qwen2/projector.safetensors",
    "qwen2/tokenizer/tokenizer.json",
)


def test_the_family_itself_is_sound(family):
    opened(family)


@pytest.mark.parametrize("damage", [name for name in DAMAGE if name != "missing"])
@pytest.mark.parametrize("file", FILES)
def test_damaged_files_of_a_family_are_one_line(family, file, damage):
    break_it, message = DAMAGE[damage]
    break_it(family / file)
    with pytest.raises(StoredFileError) as error:
        opened(family)
    assert str(family / file) in str(error.value)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("file", FILES)
def test_missing_files_of_a_family_are_one_line(family, file):
    (family / file).unlink()
    with pytest.raises(CraftError) as error:
        opened(family)
    assert "\n" not in str(error.value)
    assert str(family) in str(error.value)
    assert (family / file).parent.name in str(error.value)


@pytest.mark.parametrize(
    "file", ["tokenizer/tokenizer_config.json", "generation_config.json", "chat_template.jinja"]
)
def test_pointers_that_transformers_passes_over_are_named(family, file):
    path = family / "qwen2" / file
    if file == "chat_template.jinja":
        path = family / "qwen2/tokenizer" / file
    as_pointer(path)
    with pytest.raises(StoredFileError, match="is a Git LFS pointer"):
        opened(family)


def test_pickles_are_never_loaded(foreign, tiny_models):
    (foreign / "model.safetensors").rename(foreign / "pytorch_model.bin")
    with pytest.raises(StoredFileError, match=r"only pytorch_model\.bin: a pickle"):
        new_language_model(foreign, tiny_models.pretrained_tower(), name="x")


def test_a_weight_that_is_not_there_is_never_made_up(foreign):
    weights = load_file(foreign / "model.safetensors")
    weights.pop("model.layers.1.mlp.up_proj.weight")
    save_file(weights, foreign / "model.safetensors", {"format": "pt"})
    with pytest.raises(StoredFileError, match=r"missing \['model.layers.1.mlp.up_proj.weight'\]"):
        load_model(AutoModelForCausalLM, foreign, "the language model", dtype=torch.float32)


def changed(path: Path, **changes: object) -> None:
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | changes))


def test_weights_of_another_shape_are_refused_in_one_line(foreign):
    changed(foreign / "config.json", intermediate_size=48)
    with pytest.raises(StoredFileError) as error:
        load_model(AutoModelForCausalLM, foreign, "the language model", dtype=torch.float32)
    assert "\n" not in str(error.value)
    assert str(foreign) in str(error.value)
    assert "(16, 32)" in str(error.value)
    assert "(16, 48)" in str(error.value)


@pytest.fixture
def no_terminal(monkeypatch):
    asked = []
    monkeypatch.setattr("builtins.input", lambda *_: asked.append(True) or "n")
    yield
    assert not asked, "a question was asked on the terminal"


@pytest.mark.usefixtures("no_terminal")
@pytest.mark.parametrize("load", ["config", "model", "tokenizer", "align", "aligned", "siglip"])
def test_code_in_a_directory_is_never_run(foreign, family, tiny_models, load, tmp_path):
    code = f"open({str(tmp_path / 'ran')!r}, 'w').close()\n"
    where = {"aligned": family / "qwen2", "siglip": family / "siglip"}.get(load, foreign)
    (where / "own_code.py").write_text(code)
    classes = {"AutoConfig": "own_code.A", "AutoModelForCausalLM": "own_code.B"}
    changed(where / "config.json", model_type="its_own", auto_map=classes)
    if load == "tokenizer":
        (where / "config.json").unlink()
        changed(
            where / "tokenizer_config.json",
            tokenizer_class="Own",
            auto_map={"AutoTokenizer": ["own_code.T", None]},
        )
    dtype = torch.float32
    with pytest.raises(CraftError, match=r"needs code from its directory") as error:
        {
            "config": lambda: load_config(foreign, "a model"),
            "model": lambda: load_model(AutoModelForCausalLM, foreign, "a model", dtype=dtype),
            "tokenizer": lambda: load_tokenizer(foreign, "a model"),
            "align": lambda: new_language_model(foreign, tiny_models.pretrained_tower(), name="x"),
            "aligned": lambda: AlignedLanguageModel.from_pretrained(family / "qwen2"),
            "siglip": lambda: ModelFamily(family).siglip,
        }[load]()
    assert str(where) in str(error.value)
    assert not (tmp_path / "ran").exists()


def test_a_tokenizer_without_a_pad_token_pads_with_its_end_token(family, tiny_models):
    config = family / "qwen2/tokenizer/tokenizer_config.json"
    content = json.loads(config.read_text())
    del content["pad_token"]
    config.write_text(json.dumps(content))
    with pytest.raises(StoredFileError, match=r"tokenizer_config.json is not the file that craft"):
        AlignedLanguageModel.from_pretrained(family / "qwen2")
    write_anew(family)
    language_model = AlignedLanguageModel.from_pretrained(family / "qwen2")
    assert language_model.tokenizer.pad_token == language_model.tokenizer.eos_token
    prompts = ["what thing", "what thing is shown in the image"]
    visual = torch.randn(2, 9, 16, generator=torch.Generator().manual_seed(0))
    expected = tiny_models.language_model("qwen2")
    found = language_model.answer(visual, language_model.prompt_batch(prompts))
    assert found == expected.answer(visual, expected.prompt_batch(prompts))
    del content["eos_token"]
    config.write_text(json.dumps(content))
    with pytest.raises(CraftError, match="has no end token"):
        AlignedLanguageModel.from_pretrained(family / "qwen2")


def test_a_projector_of_another_width_is_refused_with_both_numbers(family):
    weights = load_file(family / "qwen2/projector.safetensors")
    card = json.loads((family / "qwen2/craft.json").read_text())
    card["projector"]["hidden"] = 18
    weights |= {"2.weight": torch.zeros(18, 16), "2.bias": torch.zeros(18)}
    save_file(weights, family / "qwen2/projector.safetensors")
    write_card(family / "qwen2", card)
    with pytest.raises(StoredFileError, match=r"maps to 18 dimensions, .* embeddings of 16"):
        AlignedLanguageModel.from_pretrained(family / "qwen2")


@pytest.mark.usefixtures("no_terminal")
def test_code_of_a_part_is_never_asked_about(family):
    """Composite models build their parts with AutoModel, which prompts for a part's auto_map."""
    path = family / "qwen2" / "config.json"
    for part in (
        {"text_config": {"auto_map": {"AutoModel": "own.B"}}},
        {"x": [{"auto_map": {"A": "b"}}]},
    ):
        content = json.loads(path.read_text())
        path.write_text(json.dumps(content | part))
        with pytest.raises(CraftError, match="needs code from its directory"):
            AlignedLanguageModel.from_pretrained(family / "qwen2")
        path.write_text(json.dumps(content))


@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation"])
def test_attention_of_a_repository_is_never_fetched(family, key):
    for where, load in (
        ("qwen2", lambda: AlignedLanguageModel.from_pretrained(family / "qwen2")),
        ("siglip", lambda: ModelFamily(family).siglip),
    ):
        changed(family / where / "config.json", **{key: "some-owner/attention"})
        with pytest.raises(CraftError, match="'some-owner/attention': code in a repository"):
            load()


@pytest.mark.usefixtures("no_terminal")
def test_a_checkpoint_of_ours_never_asks_about_its_language_model(tmp_path):
    """SiglipConfig has no causal language model, so AutoModelForCausalLM would prompt."""
    text: Any = SiglipConfig()
    text.auto_map, text.hidden_size = {"AutoModelForCausalLM": "own.B"}, 8
    with pytest.raises(ValueError, match=r"custom code|Unrecognized configuration"):
        DiscreteLVLM(DiscreteLVLMConfig(vision_config=VISION, text_config=text))


#: Our classes, whose from_pretrained calls transformers' safely.
OURS = {"AlignedLanguageModel", "DiscreteLVLM", "DiscreteVisionTower"}
ROOT = Path(__file__).parents[3]


def careless_calls(source: str) -> list[str]:
    """Calls that may run code from a directory, load pickles, or initialise missing weights."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        owner, name = ast.unparse(node.func.value), node.func.attr
        given = {k.arg: ast.unparse(k.value) for k in node.keywords}
        call = f"{owner}.{name}"
        if call in ("torch.load", "pickle.load", "joblib.load", "dill.load"):
            if given.get("weights_only") != "True":
                found.append(call)
        elif name == "from_config" and given.get("trust_remote_code") != "False":
            found.append(call)
        elif name == "from_pretrained" and owner not in OURS:
            needs = {"trust_remote_code": "False"}
            if not any(word in owner.lower() for word in ("config", "tokenizer")):
                needs["use_safetensors"] = "True"
                if owner in (
                    "kind",
                    "super()",
                ):  # in the package, where missing weights are reported
                    needs["output_loading_info"] = "True"
            if not needs.items() <= given.items():
                found.append(call)
    return found


@pytest.mark.parametrize("folder", ["craft", "craft_kernels", "examples", "benchmarks"])
def test_every_call_says_that_no_code_is_run(folder):
    paths = list((ROOT / folder).rglob("*.py"))
    assert paths
    for path in paths:
        assert not careless_calls(path.read_text()), path


@pytest.mark.parametrize(
    ("call", "careless"),
    [
        ("AutoModel.from_pretrained(x)", True),
        ("AutoModel.from_pretrained(x, trust_remote_code=False)", True),
        ("AutoModel.from_pretrained(x, trust_remote_code=flag, use_safetensors=True)", True),
        ("AutoModel.from_pretrained(x, trust_remote_code=False, use_safetensors=True)", False),
        ("AutoTokenizer.from_pretrained(x, trust_remote_code=False)", False),
        ("AutoConfig.from_pretrained(x)", True),
        ("super().from_pretrained(x, trust_remote_code=False, use_safetensors=True)", True),
        ("AutoModel.from_config(x)", True),
        ("AlignedLanguageModel.from_pretrained(x)", False),
        ("torch.load(x)", True),
        ("torch.load(x, weights_only=True)", False),
    ],
)
def test_the_search_finds_careless_calls(call, careless):
    assert bool(careless_calls(call)) is careless
