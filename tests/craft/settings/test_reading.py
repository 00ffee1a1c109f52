"""Every setting can be set from Python, YAML and the command line."""

import runpy
import sys
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from pydantic import ValidationError

from craft.errors import CraftError
from craft.report.documents import settings_table, with_table
from craft.settings.idle import why_idle
from craft.settings.laser import LaserSettings
from craft.settings.methods import ALIGN_STAGES, METHODS
from craft.settings.presets import PRESETS, preset
from craft.settings.reading import read_align_settings, read_settings, setting_names
from craft.settings.training import CraftConfig

DOCUMENT = Path(__file__).parents[3] / "docs" / "training.md"

#: Settings that affect every run, or only through data and machine.
EFFECTIVE = {
    "method",
    "validation_images",
    "seed",
    "hardware.precision",
    "hardware.attention",
    "log.trackers",
}
SILENCING = (
    {},
    {"method": "zero_shot"},
    {"method": "vision_ft"},
    {"method": "projector_ft"},
    {"epochs": 1},
    {"log": {"trackers": ["tensorboard"]}},
)


def flat(values, prefix=""):
    """Dotted name -> value."""
    found = {}
    for name, value in values.items():
        nested = isinstance(value, dict)
        found |= flat(value, f"{prefix}{name}.") if nested else {prefix + name: value}
    return found


@pytest.mark.parametrize("name", PRESETS)
def test_every_option_of_a_preset_is_reachable_from_everywhere(name, tmp_path):
    """Each value is set over the other preset's, so that none is there by default."""
    wanted = preset(name)
    values = flat(wanted.model_dump())
    assert set(values) == set(setting_names())
    other: Any = next(n for n in PRESETS if n != name)
    if wanted.epochs is not None:
        del values["steps"]  # epochs and steps both set the length
    assignments = [f"{key}={yaml.safe_dump(v).splitlines()[0]}" for key, v in values.items()]
    assert read_settings(other, None, assignments) == wanted
    file = tmp_path / "settings.yaml"
    file.write_text(yaml.safe_dump(wanted.model_dump()))
    assert read_settings(other, file) == wanted
    assert CraftConfig(**wanted.model_dump()) == wanted
    assert read_settings(name) == wanted


def test_presets_differ_as_documented_in_methods():
    paper, ours = preset("craft_paper"), preset("craft")
    assert ours == CraftConfig()
    assert (paper.cls_attention, ours.cls_attention) == ("full", "one_way")
    assert (paper.commit_levels, ours.commit_levels) == ("final", "cumulative")
    assert (paper.sal_reduction, ours.sal_reduction) == ("sample_sum", "token_mean")
    assert paper.con_scale == "literal"
    assert not paper.blend
    with pytest.raises(ValueError, match="preset must be one of craft, craft_paper, got 'best'"):
        preset(cast(Any, "best"))


def test_later_sources_override_key_by_key(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("lr: 2e-5\ncheckpoint:\n  every: 7\n  keep: 5\n")
    config = read_settings("craft_paper", file, ["checkpoint.every=9", "seed=3"])
    assert (config.lr, config.checkpoint.every, config.checkpoint.keep) == (2e-5, 9, 5)
    assert (config.seed, config.lr_new) == (3, 1e-4)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a: [1", "settings, cannot be read: line 1"),
        ("- 1", "must hold KEY: VALUE"),
        ("lrr: 1", "mine.yaml: no such setting 'lrr'"),
        ("checkpoint:\n  often: 1", "mine.yaml: no such setting 'checkpoint.often'"),
        (
            "checkpoint:\n  every: -1",
            "mine.yaml: checkpoint.every must be a whole number >= 0, got -1",
        ),
        ("log:\n  trackers: [pen]", "mine.yaml: Input should be 'tensorboard'"),
    ],
)
def test_mistakes_are_reported_with_their_place(text, complaint, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(ValueError, match=complaint):
        read_settings("craft", file)


def test_several_mistakes_are_reported_at_once():
    with pytest.raises(ValueError, match=r"--set lr=0: .*; --set lora.rank=0: "):
        read_settings(assignments=["lr=0", "lora.rank=0"])
    with pytest.raises(ValueError, match=r"^--set heba\.kernel=2: kernel must be odd"):
        read_settings(assignments=["encoder=heba", "heba.kernel=2"])


def test_epochs_decide_the_steps_with_a_floor():
    config = preset("craft_paper", batch=24)
    assert config.step_count(9600) == 1000  # 400 would do
    assert config.step_count(240_000) == 10_000
    assert preset("craft").step_count(9600) == 500
    assert preset("craft", epochs=2, batch=10).step_count(11) == 3
    assert preset("craft", method="zero_shot").step_count(11) == 0


def test_the_documented_table_is_up_to_date():
    text = DOCUMENT.read_text()
    assert with_table(text) == text, "run python -m craft.report.documents docs/training.md"
    for name, field in setting_names().items():
        assert field.description, name
        assert f"| `{name}` |" in settings_table()


def test_laser_settings_are_documented_too():
    text = DOCUMENT.with_name("laser.md").read_text()
    assert with_table(text) == text, "run python -m craft.report.documents docs/laser.md"
    for name, field in LaserSettings.model_fields.items():
        assert field.description, name
        assert f"| `{name}` |" in text


def test_the_table_is_written_between_its_markers(tmp_path, monkeypatch):
    copy = tmp_path / "training.md"
    copy.write_text(DOCUMENT.read_text().replace("| `lr` |", "| `rate` |"))
    monkeypatch.setattr(sys, "argv", ["settings_table", str(copy)])
    monkeypatch.delitem(sys.modules, "craft.report.documents")
    runpy.run_module("craft.report.documents", run_name="__main__")
    assert copy.read_text() == DOCUMENT.read_text()
    with pytest.raises(ValueError, match="the document lacks"):
        with_table("nothing")


@pytest.mark.parametrize("read", [partial(read_settings, "craft_paper"), read_align_settings])
def test_a_users_steps_override_a_presets_epochs(read, tmp_path):
    assert read(None, ["steps=3"]).step_count(10**6) == 3
    # Even if they equal the default, and if they are fewer than min_steps.
    assert read(None, ["steps=500"]).step_count(10**6) == 500
    assert read(None, ["steps=5"]).step_count(10) == 5
    file = tmp_path / "mine.yaml"
    file.write_text("steps: 7")
    assert read(file).step_count(10**6) == 7
    file.write_text("epochs: 2\nsteps: 500\nmin_steps: 0\n")  # as config.yaml of an earlier run
    assert read(file).step_count(2400) == 200
    assert read(file, ["steps=9"]).step_count(2400) == 9
    assert read(file, ["epochs=1"]).step_count(2400) == 100


@pytest.mark.parametrize(
    ("assignments", "complaint"),
    [
        (["steps=3", "epochs=1"], r"--set steps=3 and --set epochs=1 both say how long"),
        (["lr=1e-3", "lr=1e-4"], r"lr is set twice, by --set lr=1e-3 and by --set lr=1e-4"),
        (["method=align"], r"--set method=align: align is not a method but .*mean `craft align`"),
        (["method=align_projector"], r"did you mean `craft align`"),
        (["method=captions"], r"did you mean `craft align`"),
        (["lrr=1"], r"--set lrr=1: no such setting 'lrr'; did you mean 'lr'\?; there are method"),
        (["every=1"], r"no such setting 'every'; did you mean 'checkpoint.every'\?"),
        (["checkpoint.evry=1"], r"did you mean 'checkpoint.every'\?"),
        (["method=vision_tf"], r"--set method=vision_tf: .*; did you mean 'vision_ft'\?"),
        (["checkpoint=3"], r"checkpoint is a section; its settings are checkpoint.every, check"),
        (["log.trackers=[a"], r"--set log.trackers=\[a: the value cannot be read as YAML"),
        (["lr=1e999"], r"--set lr=1e999: lr must be a finite number > 0, got inf"),
    ],
)
def test_mistaken_assignments_are_refused(assignments, complaint):
    with pytest.raises(CraftError, match=complaint):
        read_settings(assignments=assignments)


def test_a_stage_is_not_a_method_and_align_has_none(tmp_path):
    """A configuration has no stage, and `craft align` takes no method."""
    with pytest.raises(ValidationError, match="did you mean `craft align`"):
        CraftConfig(method=cast(Any, "align"))
    assert not set(METHODS) & set(ALIGN_STAGES)
    with pytest.raises(CraftError, match=r"method=craft: `craft align` has no methods but stages"):
        read_align_settings(None, ["method=craft"])
    file = tmp_path / "config.yaml"
    file.write_text("stage: captions\nlr: 0.5")  # of an earlier stage
    assert read_align_settings(file).lr == 0.5
    with pytest.raises(CraftError, match=r"config.yaml: no such setting 'stage'"):
        read_settings("craft", file)
    with pytest.raises(CraftError, match=r"lambda_con=1 has no effect: `craft align` uses the ans"):
        read_align_settings(None, ["lambda_con=1"])


@pytest.mark.parametrize("name", [n for n in setting_names() if n not in EFFECTIVE])
def test_every_setting_is_idle_somewhere_or_listed_as_always_effective(name):
    assert any(why_idle(name, preset("craft", **changes)) for changes in SILENCING)


@pytest.mark.parametrize(
    ("idle", "others", "reason"),
    [
        ("encoder=lora", ["method=projector_ft"], "does not train the encoder"),
        ("lora.rank=2", [], "only encoder=lora and method=llm_lora"),
        ("lora.rank=2", ["method=projector_ft"], "only encoder=lora and method=llm_lora"),
        ("heba.scale=2", ["encoder=lora"], "only encoder=heba and encoder=heba_discrete"),
        ("heba.fast_mult=2", ["encoder=heba_discrete"], "heba.fast_prob is 0"),
        ("heba.grad_unscale=true", ["encoder=heba_discrete"], "heba.scale is 1"),
        ("lr=1", ["encoder=heba"], "whose rate is lr_new"),
        ("lr=1", ["method=llm_lora"], "whose rate is lr_new"),
        ("lr_new=1", ["method=discrete_ft"], "no new weights train"),
        ("lambda_con=1", ["method=vision_ft"], "the answer loss without CRAFT's other two"),
        ("con_scale=literal", ["lambda_con=0"], "leaves the contrastive loss out"),
        ("commit_levels=final", ["lambda_commit=0"], "leaves that loss out"),
        ("select=best", ["method=llm_lora"], "does not train the encoder"),
        ("forget_at_most=1", ["blend=false"], "blend=false returns the adapted weights"),
        ("min_steps=9", [], "counts only if epochs decides"),
        ("checkpoint.keep=9", ["checkpoint.every=0"], "writes no checkpoints"),
        ("log.project=birds", ["log.trackers=[tensorboard]"], "only the trackers trackio"),
        ("ldifs.norm=none", [], "only method=ldifs"),
        ("codebook.fraction=0.5", ["method=ldifs"], "plain features instead of codes"),
        ("codebook.seed=3", ["codebook.fraction=0.5", "codebook.subset=stride"], "=random draws"),
        ("steps=9", ["method=zero_shot"], "method=zero_shot trains nothing"),
    ],
)
def test_settings_without_effect_are_refused_or_reported(idle, others, reason, tmp_path, caplog):
    with pytest.raises(CraftError) as error:
        read_settings("craft", None, [idle, *others])
    assert str(error.value).startswith(f"--set {idle} has no effect: ")
    assert reason in str(error.value)
    # A file may serve several methods, so it is reported, not refused.
    name, _, value = idle.partition("=")
    file = tmp_path / "mine.yaml"
    *section, key = name.split(".")
    held = {key: yaml.safe_load(value)}
    file.write_text(yaml.safe_dump({section[0]: held} if section else held))
    read_settings("craft", file, others)
    assert f"{file}: {name} has no effect: " in caplog.text
    assert reason in caplog.text


def test_a_config_of_an_earlier_run_gives_no_warning(tmp_path, caplog):
    """It contains every setting, most with default values."""
    for changes in ({}, {"method": "vision_ft"}, {"method": "zero_shot"}):
        file = tmp_path / "config.yaml"
        file.write_text(yaml.safe_dump(preset("craft", **changes).model_dump()))
        assert read_settings("craft", file) == preset("craft", **changes)
    assert not caplog.text
