"""Baselines: each trains its own part and nothing else, and reads codes or features as declared."""

import copy
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from craft.adapters.lora import inject_lora, merge_lora
from craft.family.family import ModelFamily
from craft.models.siglip_texts import text_embeddings
from craft.quantization import quantize
from craft.runtime.tensor_hash import tensor_hash
from craft.settings.methods import METHODS
from craft.settings.training import CraftConfig, LdifsConfig, LoraConfig
from craft.training.ldifs import FeatureAnchor, _depths
from craft.training.rehearsal import rehearse
from craft.training.training_run import TrainingRun
from tests.craft.training.short_run import SETTINGS, random_domain, short_run


@pytest.fixture
def fresh(tiny_models_dir):
    """Separate models, since baselines train language models in place."""
    return ModelFamily(tiny_models_dir)


def hashes(models, tower):
    language_model = models.language_model("llama")
    return {
        "encoder": tensor_hash(tower.state_dict()),
        "projector": tensor_hash(language_model.projector.state_dict()),
        "language_model": tensor_hash(language_model.language_model.state_dict()),
        "siglip": tensor_hash(models.siglip.state_dict()),
    }


@pytest.mark.parametrize("method", METHODS)
def test_a_method_trains_only_its_part(fresh, method, tmp_path):
    before = hashes(fresh, fresh.pretrained_tower())
    lora = ("lora.rank=2",) if method == "llm_lora" else ()
    result = short_run(fresh, tmp_path, (f"method={method}", *lora))
    after = hashes(fresh, result.tower)
    moved = {name for name in after if after[name] != before[name]}
    trains = METHODS[method].trains
    parts = set() if trains is None else {trains}
    assert moved == parts
    assert not parts & result.frozen_hashes.keys()
    assert not any(p.requires_grad for p in fresh.language_model("llama").parameters())
    terms = {"craft": {"sal", "commit", "con"}, "ldifs": {"sal", "ldifs"}, "zero_shot": set()}
    assert set(result.gradient_norms) == terms.get(method, {"sal"})


@pytest.mark.parametrize(
    ("mode", "names"),
    [("norm_only", {"layer_norm1.weight", "layer_norm2.bias"}), ("lora", {"q_proj.weight"})],
)
def test_encoder_modes_train_a_part_of_the_encoder(fresh, tmp_path, mode, names):
    base = fresh.pretrained_tower().state_dict()
    result = short_run(fresh, tmp_path, (f"encoder={mode}", "lora.rank=2"))
    state = result.tower.state_dict()
    assert state.keys() == base.keys()  # adapters are merged
    moved = {name for name in state if not torch.equal(state[name], base[name])}
    kinds = {".".join(name.split(".")[-2:]) for name in moved}
    assert names <= kinds
    only = ("layer_norm",) if mode == "norm_only" else ("_proj.weight", "fc1.weight", "fc2.weight")
    assert all(any(part in name for part in only) for name in moved)


def test_merging_adapters_does_not_change_the_output(fresh):
    tower = fresh.pretrained_tower().double()  # so that rounding hardly matters
    images = torch.rand(2, 3, 24, 24, dtype=torch.float64)
    plain = tower.continuous(images)
    inject_lora(tower, LoraConfig(rank=2, dropout=0), 0, encoder=True)
    tower.double()
    torch.testing.assert_close(tower.continuous(images), plain)  # adapters start idle
    with torch.no_grad():
        for name, parameter in tower.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    beside = tower.continuous(images)
    assert not torch.allclose(beside, plain)
    merge_lora(tower)
    torch.testing.assert_close(tower.continuous(images), beside)
    assert tower.state_dict().keys() == fresh.pretrained_tower().state_dict().keys()


@pytest.mark.parametrize("norm", ["token", "channel", "none"])
def test_ldifs_distance_is_the_formula(fresh, norm):
    """methods 3.1, with loops in float64."""
    tower = fresh.pretrained_tower()
    anchor = FeatureAnchor(tower, LdifsConfig(norm=norm, points=2))
    images = torch.rand(2, 3, 24, 24)
    tower.features(images)
    assert float(anchor.distance(images)) == 0  # at the pretrained weights
    with torch.no_grad():
        for parameter in tower.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    _, base = tower.features(images), fresh.pretrained_tower()
    found = float(anchor.distance(images).detach())
    total = 0.0
    for model_depth in (0, 1):
        pair = []
        for model in (tower, base):
            hidden = model.embeddings(images)
            for block in list(model.blocks)[:model_depth]:
                hidden = block(hidden, None)
            pair.append(hidden.detach().double())
        a, b = pair
        axis = {"token": 1, "channel": 2, "none": None}[norm]
        if axis is not None:
            a, b = (x / x.norm(dim=axis, keepdim=True) for x in (a, b))
        total += float((a - b).square().mean())
    assert found == pytest.approx(total / 2, rel=1e-4)
    anchor.release()
    assert not any(block._forward_hooks for block in tower.blocks)


def test_the_depths_of_ldifs_for_a_large_encoder():
    """{embeddings, 6, 12, 18, 23} of a 24-block encoder read at block 23."""
    tower: Any = SimpleNamespace(embeddings=nn.Identity(), blocks=[nn.Identity()] * 23)
    assert list(_depths(tower, 5)) == [0, 6, 12, 18, 23]


def test_continuous_methods_use_no_codes(fresh):
    """Their answer loss is that of the features themselves."""

    def first_step(method):
        config = CraftConfig(method=method, batch=8, steps=1)
        language_model = copy.deepcopy(fresh.language_model("llama"))
        return rehearse(
            fresh.pretrained_tower(), language_model, fresh.siglip, random_domain(), config
        )

    run, discrete = first_step("vision_ft"), first_step("discrete_ft")
    assert run.losses["sal"] != discrete.losses["sal"]
    assert run.losses["qerr"] == 0 < discrete.losses["qerr"]
    assert run.prompt == discrete.prompt


def test_a_dry_run_changes_and_writes_nothing(fresh, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    language_model, tower = fresh.language_model("llama"), fresh.pretrained_tower()
    before = hashes(fresh, tower)
    found = rehearse(tower, language_model, fresh.siglip, random_domain(), CraftConfig(batch=8))
    assert hashes(fresh, tower) == before
    assert list(tmp_path.iterdir()) == []
    assert found.steps == 500
    assert set(found.losses) == {"sal", "commit", "con", "qerr"}
    assert all(value > 0 for value in found.gradient_norms.values())
    assert found.prompt.startswith("What object")
    assert "encoder.blocks" in found.facts()["trains"]


def test_texts_are_embedded_once(fresh, tmp_path, monkeypatch):
    calls = []

    def counted(siglip, tokenizer, texts):
        calls.append(len(texts))
        return text_embeddings(siglip, tokenizer, texts)

    monkeypatch.setattr("craft.training.training_run.text_embeddings", counted)
    short_run(fresh, tmp_path)
    assert calls == [len(random_domain().texts)]
    assert "steps=4" in SETTINGS


def test_mixed_precision_leaves_weights_and_quantiser_in_float32(fresh, tmp_path, monkeypatch):
    seen, products = set(), set()

    def recorded(z, codebook):
        seen.add(z.dtype)
        return quantize(z, codebook)

    monkeypatch.setattr("craft.training.loss_terms.quantize", recorded)
    layer = fresh.language_model("llama").language_model.model.layers[0].mlp.gate_proj
    layer.register_forward_hook(lambda *x: products.add(x[-1].dtype))
    result = short_run(fresh, tmp_path / "half", ("hardware.precision=bf16",))
    assert seen == {torch.float32}
    assert torch.bfloat16 in products
    assert {p.dtype for p in result.tower.parameters()} == {torch.float32}
    # The next run in this process may use another precision.
    products.clear()
    whole = short_run(fresh, tmp_path / "whole")
    assert products == {torch.float32}
    assert tensor_hash(whole.tower.state_dict()) != tensor_hash(result.tower.state_dict())


def test_activations_of_the_language_model_are_recomputed(fresh, tmp_path):
    calls = []
    layer = fresh.language_model("llama").language_model.model.layers[0].mlp
    layer.register_forward_pre_hook(lambda *_: calls.append(torch.is_grad_enabled()))

    def count(name, *settings):
        calls.clear()
        short_run(fresh, tmp_path / name, ("validate_every=4", "checkpoint.every=0", *settings))
        return sum(calls)

    assert count("kept") == 5  # once per step, and once more for the first one's gradient norms
    assert count("recomputed", "hardware.grad_checkpoint=true") == 10


def test_attention_is_set_for_the_run_and_restored(fresh, tmp_path, monkeypatch):
    seen = set()
    step = TrainingRun.step

    def recorded(self, first=False):
        for model in (self.tower, self.surrogate.language_model):
            seen.add(model.config._attn_implementation)
        return step(self, first)

    monkeypatch.setattr(TrainingRun, "step", recorded)
    short_run(fresh, tmp_path / "eager", ("hardware.attention=eager",))
    assert seen == {"eager"}
    assert fresh.language_model("llama").language_model.config._attn_implementation == "sdpa"
    seen.clear()
    short_run(fresh, tmp_path / "flash", ("hardware.attention=flash_attention_2",))
    assert seen == {"sdpa"}
