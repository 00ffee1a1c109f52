"""The trackers hold the numbers of train.jsonl, each step once, and the run's settings."""

import copy
import importlib
import json
import os
import sqlite3
import struct
import subprocess
import sys
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.metadata import parse_session_start_info_plugin_data

from craft.errors import CraftError
from craft.settings.reading import read_settings
from craft.settings.training import CraftConfig, LogConfig
from craft.training.records.trackers import Trackers, require_trackers
from craft.training.rehearsal import rehearse
from tests.craft.training.short_run import random_domain, short_run
from tests.craft.training.tracked_runs import tracked_run

ROOT = Path(__file__).parents[4]


def numbers_of(run_dir):
    """Numbers in train.jsonl: {name: [(step, value), ...]}, nested names joined by slashes."""
    found = {}

    def walk(name, value, step):
        if isinstance(value, dict):
            for key, inner in value.items():
                walk(f"{name}/{key}", inner, step)
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            found.setdefault(name, []).append((step, float(value)))

    for line in (run_dir / "train.jsonl").read_text().splitlines():
        entry = json.loads(line)
        step = entry.pop("step")
        for name, value in entry.items():
            walk(name, value, step)
    assert [step for step, _ in found["sal"]] == [1, 2, 3, 4, 5]
    assert [step for step, _ in found["validation/domain"]] == [0, 2, 4, 5]
    return found


def assert_settings(found):
    """Check the settings of :mod:`tracked_runs` under the names ``--set`` uses."""
    assert found["method"] == "craft"
    assert found["batch"] == 8
    assert found["checkpoint.every"] == 2
    assert found["heba.sites"] == "attn_in, ffn_hidden"


def read_tensorboard(folder):
    """Returns {name: [(step, value), ...]} and the settings."""
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    content = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    settings = parse_session_start_info_plugin_data(content).hparams
    scalars = {
        name: [(event.step, event.value) for event in events.Scalars(name)]
        for name in events.Tags()["scalars"]
    }
    kinds = {name: value.WhichOneof("kind") for name, value in settings.items()}
    return scalars, {name: getattr(value, kinds[name]) for name, value in settings.items()}


def test_tensorboard_has_every_number_once(tiny_models, tmp_path):
    tracked_run(tiny_models, tmp_path / "run", ["tensorboard"])
    scalars, settings = read_tensorboard(tmp_path / "run" / "tensorboard")
    assert scalars == {
        name: [(step, float(np.float32(value))) for step, value in values]
        for name, values in numbers_of(tmp_path / "run").items()
    }
    assert_settings(settings)
    # Tensorboard would take a folder beside the events for a separate run.
    assert all(path.is_file() for path in (tmp_path / "run" / "tensorboard").iterdir())
    # Without --resume it is another run; the curves of the first must not be mixed into it.
    changes = ("log.trackers=[tensorboard]", "steps=1")
    short_run(tiny_models, tmp_path / "run", changes)
    again, settings = read_tensorboard(tmp_path / "run" / "tensorboard")
    assert [step for step, _ in again["sal"]] == [1]
    assert settings["checkpoint.every"] == 1


@pytest.fixture(scope="module")
def elsewhere(tiny_models_dir, tmp_path_factory):
    """Train in a separate process without network or login; returns the folder of runs."""

    def run(tracker):
        if find_spec(tracker) is None:
            pytest.skip(f"{tracker} is not installed")
        folder = tmp_path_factory.mktemp(tracker)
        environment = os.environ | {
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(ROOT),
            "TRACKIO_DIR": str(folder / "trackio"),
            "WANDB_MODE": "offline",
        }
        module = "tests.craft.training.tracked_runs"
        command = [sys.executable, "-W", "error", "-m", module, str(tiny_models_dir), "a", tracker]
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return folder

    return run


def gathered(rows):
    """Collect (step, {name: value}) pairs into {name: [(step, value), ...]}."""
    found = {}
    for step, values in rows:
        for name, value in values.items():
            found.setdefault(name, []).append((step, value))
    return found


@pytest.mark.slow
def test_trackio_has_every_number_once(elsewhere):
    folder = elsewhere("trackio")
    with closing(sqlite3.connect(folder / "trackio" / "pens.db")) as database:
        rows = database.execute("select run_name, step, metrics from metrics order by id")
        found = [(name, step, json.loads(values)) for name, step, values in rows]
        ((settings,),) = database.execute("select config from configs")
    assert {name for name, *_ in found} == {"a"}
    assert gathered((step, values) for _, step, values in found) == numbers_of(folder / "a")
    assert_settings(json.loads(settings))


def read_wandb(path):
    """The records of an offline run, in LevelDB's log format: after seven bytes, blocks of 32 KiB
    with fragments of a checksum (4 bytes), a length (2), and whether the record ends (1)."""
    kinds = importlib.import_module("wandb.proto.wandb_internal_pb2")
    data, place, record, found = path.read_bytes(), 7, b"", []
    while place + 7 <= len(data):
        left = 2**15 - place % 2**15
        if left < 7:
            place += left
            continue
        length, kind = struct.unpack_from("<HB", data, place + 4)
        record += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last piece
            found.append(kinds.Record.FromString(record))
            record = b""
    return found


@pytest.mark.slow
def test_wandb_has_every_number_once(elsewhere):
    folder = elsewhere("wandb")
    rows, runs, ends = [], [], []
    for path in sorted(folder.glob("a/wandb/offline-run-*/*.wandb")):
        for record in read_wandb(path):
            kind = record.WhichOneof("record_type")
            if kind == "run":
                runs.append(record.run)
            if kind == "exit":
                ends.append(record.exit.exit_code)
            if kind == "history":
                named = {i.key or "/".join(i.nested_key): i for i in record.history.item}
                values = {n: json.loads(i.value_json) for n, i in named.items() if n[0] != "_"}
                rows.append((record.history.step.num, values))
    assert gathered(rows) == numbers_of(folder / "a")
    state = json.loads((folder / "a" / "trackers.json").read_text())
    told = {(run.run_id, run.display_name, run.project) for run in runs}
    assert told == {(state["id"], "a", "pens")}
    assert ends == [1, 0]  # the interrupted part failed
    settings = {u.key: json.loads(u.value_json) for run in runs for u in run.config.update}
    assert_settings(settings)


def test_a_run_that_died_twice_sends_no_step_again(tmp_path):
    config = CraftConfig(log=LogConfig(trackers=["tensorboard"]))
    lines = tmp_path / "train.jsonl"
    for resumed, last, cut in ((False, 4, ""), (True, 2, '{"step": 9'), (True, 6, "")):
        # Lines after the checkpoint of step 1 were sent; a truncated line was not.
        with Trackers(config.log, config.model_dump(), tmp_path, resumed=resumed) as trackers:
            for step in range(2 if resumed else 0, last + 1):
                trackers.log({"sal": step + 0.5}, step)
        lines.write_text("".join(f'{{"step": {i}}}\n' for i in range(last + 1)) + cut)
    scalars, _ = read_tensorboard(tmp_path / "tensorboard")
    assert scalars == {"sal": [(i, i + 0.5) for i in range(7)]}


def test_a_tracker_added_on_resuming_starts_there(tmp_path):
    (tmp_path / "train.jsonl").write_text('{"step": 7}\n')
    config = CraftConfig(log=LogConfig(trackers=["tensorboard"]))
    with Trackers(config.log, config.model_dump(), tmp_path, resumed=True) as trackers:
        trackers.log({"sal": 0.5}, 5)
    assert read_tensorboard(tmp_path / "tensorboard")[0] == {"sal": [(5, 0.5)]}


def test_only_the_first_process_tracks(tmp_path):
    config = CraftConfig(log=LogConfig(trackers=["tensorboard"]))
    with Trackers(config.log, config.model_dump(), tmp_path, resumed=False, main=False) as trackers:
        trackers.log({"sal": 0.5}, 1)
    assert not list(tmp_path.iterdir())


def test_a_dry_run_tracks_nothing(tiny_models, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = read_settings(assignments=["log.trackers=[tensorboard]", "batch=4"])
    language_model = copy.deepcopy(tiny_models.language_model("llama"))
    tower = tiny_models.pretrained_tower()
    found = rehearse(tower, language_model, tiny_models.siglip, random_domain(), config)
    assert found.losses["sal"] > 0
    assert not list(tmp_path.iterdir())


def test_a_missing_tracker_is_named(monkeypatch):
    require_trackers(LogConfig())
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"names trackio, which is not installed; `pip install t"):
        require_trackers(LogConfig(trackers=["trackio"]))


def test_a_folder_with_a_trackers_name_is_not_a_tracker(tmp_path, monkeypatch):
    """wandb leaves its files in ./wandb, and `python -m` looks for modules there too."""
    (tmp_path / "wandb").mkdir()
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    with pytest.raises(ImportError, match=r"names wandb, which is not installed"):
        require_trackers(LogConfig(trackers=["wandb"]))


@pytest.mark.parametrize("content", ["", "{", "[]", '{"name": "x", "id": "y"}', '{"sent": 3}'])
def test_a_damaged_state_gives_one_line(tmp_path, content):
    (tmp_path / "trackers.json").write_text(content)
    trackers = Trackers(LogConfig(trackers=["tensorboard"]), {}, tmp_path, resumed=True)
    with pytest.raises(CraftError, match=rf"^{tmp_path}/trackers.json.* what trackers were sent"):
        trackers.__enter__()
    assert (tmp_path / "trackers.json").read_text() == content


@pytest.mark.parametrize("line", ["x", "3", "{}", '{"step": "a"}', '{"step": null}'])
def test_a_damaged_log_gives_one_line_with_the_way_out(tmp_path, line):
    known = '{"name": "x", "id": "y", "sent": {"tensorboard": 3}}'
    (tmp_path / "trackers.json").write_text(known)
    (tmp_path / "train.jsonl").write_text(f'{{"step": 1}}\n{line}\n{{"step": 2')
    trackers = Trackers(LogConfig(trackers=["tensorboard"]), {}, tmp_path, resumed=True)
    with pytest.raises(CraftError, match=r"the log of a run, is damaged .* delete \S+/trackers"):
        trackers.__enter__()
