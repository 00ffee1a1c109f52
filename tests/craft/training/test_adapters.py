"""CRAFT with HeBA adapters as the trained part of the encoder."""

import copy
import json

import pytest
import torch

from craft.adapters.installation import has_heba, heba_parameters, idle_state, is_heba
from craft.data.images.store import shown
from craft.family.family import ModelFamily
from craft.models.encoder_pack import EncoderPack
from craft.settings.heba import PRESETS, HebaConfig
from craft.settings.reading import read_settings
from craft.settings.training import HebaSettings
from tests.craft.training.short_run import random_domain, short_run

PIXELS = torch.rand(3, 3, 24, 24, generator=torch.Generator().manual_seed(1))


def first_codes(tower):
    return tower.encode(PIXELS).codes[..., 0]


def moved_since(base, tower):
    """Names of the base's weights that changed."""
    before = base.state_dict()
    return [
        n for n, x in tower.state_dict().items() if n in before and not torch.equal(x, before[n])
    ]


@pytest.mark.parametrize("encoder", ["heba", "heba_discrete"])
def test_only_the_adapters_of_the_encoder_move(tiny_models, tmp_path, encoder):
    base = tiny_models.pretrained_tower()
    result = short_run(tiny_models, tmp_path, (f"encoder={encoder}", "lr_new=0.02"))
    assert moved_since(base, result.tower) == []
    fresh = tiny_models.pretrained_tower()
    fresh.adopt_adapters(PRESETS[encoder])
    trained, untrained = heba_parameters(result.tower), heba_parameters(fresh)
    assert trained.keys() == untrained.keys()
    assert not any(torch.equal(trained[name], untrained[name]) for name in trained)
    lines = [json.loads(line) for line in (tmp_path / "train.jsonl").read_text().splitlines()]
    weights = sum(p.numel() for p in trained.values())
    assert lines[0]["trains"]["encoder.blocks"] == [len(trained), weights]
    assert (lines[1]["code_flip_rate"] == 0) == (encoder == "heba_discrete")
    assert 0 < result.code_flip_rate < 1


def test_the_discrete_preset_starts_as_the_encoder_itself(tiny_models):
    """Acceptance test (i), with and without a class token."""
    base, tower = tiny_models.pretrained_tower(), tiny_models.pretrained_tower()
    tower.adopt_adapters(PRESETS["heba_discrete"])
    token = torch.randn(16, generator=torch.Generator().manual_seed(0))
    for class_token in (None, token):
        plain, read = base.features(PIXELS, class_token)
        z, output = tower.features(PIXELS, class_token)
        assert torch.equal(z, plain)
        assert output is None if read is None else torch.equal(output, read)
    for mine, theirs in zip(tower(PIXELS), base(PIXELS), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("preset", ["heba", "heba_discrete"])
def test_the_share_of_changed_codes_is_counted(tiny_models, tmp_path, preset):
    """Acceptance test (vii), against a count with loops."""
    result = short_run(tiny_models, tmp_path, (f"encoder={preset}", "lr_new=0.05"))
    val = shown(random_domain().val.images, range(6), 24)
    before = tiny_models.pretrained_tower().encode(val).codes[..., 0].flatten().tolist()
    after = result.tower.encode(val).codes[..., 0].flatten().tolist()
    changed = sum(a != b for a, b in zip(after, before, strict=True)) / len(before)
    assert result.code_flip_rate == pytest.approx(changed)
    assert changed > 0


def test_a_one_way_class_token_changes_no_code_and_attends_like_patches(tiny_models):
    """methods A6 with adapters at both sites, whose grids do not include the class token."""
    tower = tiny_models.pretrained_tower()
    tower.adopt_adapters(PRESETS["heba"])
    token = torch.randn(16, generator=torch.Generator().manual_seed(0))
    alone, _ = tower.features(PIXELS)
    z, output = tower.features(PIXELS, token)
    assert torch.equal(z, alone)
    # If a block's patches also attend to the token, the token's own output is the same.
    block = tower.blocks[0]
    hidden = tower.embeddings(PIXELS)
    both = torch.cat([token.expand(3, 1, -1), hidden], 1)
    assert output is not None
    torch.testing.assert_close(block(both, None)[:, 0], output)


def test_a_full_class_token_trains_beside_the_adapters_and_is_in_the_pack(tiny_models, tmp_path):
    settings = ("encoder=heba_discrete", "cls_attention=full")
    result = short_run(tiny_models, tmp_path, settings)
    base = tiny_models.pretrained_tower()
    assert moved_since(base, result.tower) == []
    pack = EncoderPack.of(result.tower, base=base)
    assert {n for n in pack.own if not is_heba(n)} == {"class_token"}
    loaded = EncoderPack.load(pack.save(tmp_path / "pack"), tiny_models.pretrained_tower)
    again = loaded.tower(tiny_models.codebook)
    assert torch.equal(first_codes(again), first_codes(result.tower))


@pytest.mark.parametrize("encoder", ["heba", "heba_discrete"])
def test_a_share_of_zero_is_the_pretrained_encoder(tiny_models, tmp_path, encoder):
    """Mixing adapters with idle ones, even if their initial weights were not idle."""
    base = tiny_models.pretrained_tower()
    result = short_run(tiny_models, tmp_path, (f"encoder={encoder}", "blend=true"))
    idle = copy.deepcopy(result.tower)
    idle.load_state_dict(idle.state_dict() | idle_state(idle))
    assert torch.equal(idle.continuous(PIXELS), base.continuous(PIXELS))
    mixtures = {entry["blend"]: entry for entry in result.history}
    assert set(mixtures) == {0.0, 1.0, *(i / 10 for i in range(1, 10))}
    first = result.history[0]["domain_confidence"]
    assert (mixtures[0.0]["domain_confidence"] == first) == (encoder == "heba_discrete")
    if result.blend == 0:
        assert torch.equal(result.tower.continuous(PIXELS), base.continuous(PIXELS))
        assert result.code_flip_rate == 0


def test_what_adapters_draw_depends_on_the_seed(tiny_models, tmp_path):
    def run(name, seed):
        settings = ("encoder=heba", "heba.fast_prob=0.5", f"seed={seed}")
        return short_run(tiny_models, tmp_path / name, settings).tower.state_dict()

    first, again, other = run("a", 0), run("b", 0), run("c", 1)
    name = next(n for n in first if n.endswith("down.weight"))
    assert all(torch.equal(first[n], again[n]) for n in first)
    assert not torch.equal(first[name], other[name])


def test_gates_and_baselines_may_have_adapters_too(tiny_models_dir, tmp_path):
    tiny_models = ModelFamily(tiny_models_dir)  # projector_ft trains in place
    gated = ("encoder=heba_discrete", "heba.gate=true", "heba.init_up=kaiming_fan_out")
    result = short_run(tiny_models, tmp_path / "gate", gated)
    gates = [p for n, p in heba_parameters(result.tower).items() if n.endswith("gate")]
    assert gates
    assert all(float(gate) != 0 for gate in gates)
    result = short_run(tiny_models, tmp_path / "ldifs", ("method=ldifs", "encoder=heba"))
    assert has_heba(result.tower)
    whole = short_run(tiny_models, tmp_path / "none", ("method=projector_ft", "encoder=heba"))
    assert not has_heba(whole.tower)


def test_recomputed_activations_give_the_same_adapters(tiny_models, tmp_path):
    settings = ("encoder=heba", "heba.fast_prob=0.5", "steps=2", "optimizer=sgd")
    plain = short_run(tiny_models, tmp_path / "a", settings).tower.state_dict()
    again = short_run(tiny_models, tmp_path / "b", (*settings, "hardware.grad_checkpoint=true"))
    for name, x in again.tower.state_dict().items():
        torch.testing.assert_close(x, plain[name], rtol=1e-4, atol=1e-6)


def test_settings_override_the_presets():
    assert set(HebaSettings.model_fields) == set(vars(HebaConfig()))
    for name, config in PRESETS.items():
        assert read_settings(assignments=[f"encoder={name}"]).adapters == config
    changed = read_settings(assignments=["encoder=heba", "heba.sites=[attn_in]", "heba.kernel=5"])
    expected = {**vars(PRESETS["heba"]), "sites": ("attn_in",), "kernel": 5}
    assert changed.adapters == HebaConfig(**expected)
    assert read_settings().adapters is None
    with pytest.raises(ValueError, match=r"heba.scale must be a finite number > 0, got -1"):
        read_settings(assignments=["encoder=heba", "heba.scale=-1"])
