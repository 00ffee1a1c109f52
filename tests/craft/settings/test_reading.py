"""Settings: one source, reachable from Python, YAML and the command line alike."""

import runpy
import sys
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from craft.report.documents import settings_table, with_table
from craft.settings.presets import PRESETS, preset
from craft.settings.reading import read_settings, setting_names
from craft.settings.training import CraftConfig

DOCUMENT = Path(__file__).parents[3] / "docs" / "training.md"


def flat(values, prefix=""):
    """Dotted name -> value."""
    found = {}
    for name, value in values.items():
        nested = isinstance(value, dict)
        found |= flat(value, f"{prefix}{name}.") if nested else {prefix + name: value}
    return found


@pytest.mark.parametrize("name", PRESETS)
def test_every_option_of_a_preset_is_reachable_from_everywhere(name, tmp_path):
    """Each value on its own, over the other preset's, so that none is there by default."""
    wanted = preset(name)
    values = flat(wanted.model_dump())
    assert set(values) == set(setting_names())
    other: Any = next(n for n in PRESETS if n != name)
    assignments = [f"{key}={yaml.safe_dump(v).splitlines()[0]}" for key, v in values.items()]
    assert read_settings(other, None, assignments) == wanted
    file = tmp_path / "settings.yaml"
    file.write_text(yaml.safe_dump(wanted.model_dump()))
    assert read_settings(other, file) == wanted
    assert CraftConfig(**wanted.model_dump()) == wanted
    assert read_settings(name) == wanted


def test_presets_differ_as_the_methods_say():
    paper, ours = preset("craft_paper"), preset("craft")
    assert ours == CraftConfig()
    assert (paper.cls_attention, ours.cls_attention) == ("full", "one_way")
    assert (paper.commit_levels, ours.commit_levels) == ("final", "cumulative")
    assert (paper.sal_reduction, ours.sal_reduction) == ("sample_sum", "token_mean")
    assert paper.con_scale == "literal"
    assert not paper.blend
    with pytest.raises(
        ValueError, match="preset must be one of craft, craft_paper, align, got 'best'"
    ):
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
        ("a: [1", "is not YAML"),
        ("- 1", "must hold settings as KEY: VALUE"),
        ("lrr: 1", "mine.yaml: no such setting 'lrr'"),
        ("checkpoint:\n  often: 1", "mine.yaml: no such setting 'checkpoint.often'"),
        ("checkpoint:\n  every: -1", "mine.yaml: Input should be greater than or equal to 0"),
        ("log:\n  trackers: [pen]", "mine.yaml: Input should be 'tensorboard'"),
    ],
)
def test_mistakes_say_where_they_stand(text, complaint, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(ValueError, match=complaint):
        read_settings("craft", file)


def test_several_mistakes_are_told_at_once():
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


def test_the_table_is_written_between_its_marks(tmp_path, monkeypatch):
    copy = tmp_path / "training.md"
    copy.write_text(DOCUMENT.read_text().replace("| `lr` |", "| `rate` |"))
    monkeypatch.setattr(sys, "argv", ["settings_table", str(copy)])
    monkeypatch.delitem(sys.modules, "craft.report.documents")
    runpy.run_module("craft.report.documents", run_name="__main__")
    assert copy.read_text() == DOCUMENT.read_text()
    with pytest.raises(ValueError, match="the document lacks"):
        with_table("nothing")
