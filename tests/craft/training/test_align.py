"""``craft align``: what is refused is refused before anything is written, in both stages."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from craft.data.domains.class_domain import ClassDomain
from craft.data.images.record_store import RecordStore
from craft.data.images.store import TensorStore
from craft.data.readers import read_records
from craft.errors import CraftError
from craft.family.family import ModelFamily
from craft.runtime.json_cards import with_checksum
from craft.runtime.tensor_hash import tensor_hash
from craft.training.align import Encoder, align
from tests.craft.training.short_run import random_domain, short_config

State = dict[str, tuple[int, bytes]]


def state(directory: Path) -> State:
    """Times and bytes of everything in a directory, and of itself."""
    return {
        str(path): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in [directory, *directory.rglob("*")]
    }


def run(
    models: ModelFamily,
    out: Path,
    *,
    captions: ClassDomain | None = None,
    instructions: ClassDomain | None = None,
    resume: bool = False,
    settings: tuple[str, ...] = (),
    change: Callable[[Any], None] = lambda language_model: None,
) -> str:
    """Both stages, two steps each; the hash of what was learnt."""
    language_model = copy.deepcopy(models.language_model("llama"))
    change(language_model)
    align(
        language_model,
        Encoder(models.pretrained_tower(), models.siglip),
        {
            "captions": captions or random_domain(8),
            "instructions": instructions or random_domain(12),
        },
        short_config("steps=2", "batch=4", "validate_every=2", *settings),
        out,
        resume=resume,
    )
    return tensor_hash(language_model.state_dict())


@pytest.fixture(scope="module")
def whole(tiny_models: ModelFamily, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    out = tmp_path_factory.mktemp("whole") / "out"
    return out, run(tiny_models, out)


@pytest.fixture
def finished(whole: tuple[Path, str], tmp_path: Path) -> Path:
    return shutil.copytree(whole[0], tmp_path / "out")


def other_images() -> ClassDomain:
    domain = random_domain(12)
    store = TensorStore(255 - domain.train.images.pixels(range(12)))
    return replace(domain, train=replace(domain.train, images=store))


def test_other_data_of_the_second_stage_are_refused_before_the_first(
    tiny_models: ModelFamily, finished: Path
) -> None:
    before = state(finished)
    with pytest.raises(CraftError, match="belongs to another run: not the same training images; "):
        run(tiny_models, finished, instructions=other_images(), resume=True)
    assert state(finished) == before


def test_other_data_of_the_first_stage_make_another_run_of_the_second(
    tiny_models: ModelFamily, finished: Path
) -> None:
    shutil.rmtree(finished / "captions" / "checkpoints")
    (finished / "captions" / "checkpoints").mkdir()
    before = state(finished)
    with pytest.raises(CraftError, match="not the same captions stage before it; "):
        run(tiny_models, finished, captions=random_domain(10), resume=True)
    with pytest.raises(CraftError, match="a checkpoint of step 2, but a stage before it has none"):
        run(tiny_models, finished, resume=True)
    assert state(finished) == before


def test_another_language_model_is_refused_in_either_stage(
    tiny_models: ModelFamily, finished: Path
) -> None:
    def change(language_model: Any) -> None:
        with torch.no_grad():
            language_model.projector[0].bias.add_(1)

    before = state(finished)
    with pytest.raises(CraftError, match="not the same language model; "):
        run(tiny_models, finished, resume=True, change=change)
    assert state(finished) == before


def test_a_checkpoint_of_another_version_in_the_second_stage(
    tiny_models: ModelFamily, finished: Path
) -> None:
    for path in finished.glob("instructions/checkpoints/*/state.json"):
        card = json.loads(path.read_text())
        path.write_text(json.dumps(with_checksum(card | {"format": 999})))
    before = state(finished)
    with pytest.raises(CraftError, match=r"instructions/.* was written by another version"):
        run(tiny_models, finished, resume=True)
    assert state(finished) == before


@pytest.mark.parametrize("part", ["train", "val"])
def test_a_corrupt_image_of_the_second_stage_is_named_before_the_first(
    part: str,
    tiny_models: ModelFamily,
    class_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CRAFT_CACHE", "off")
    records = list(read_records(class_folder).records)
    path = Path(str(records[5].image))
    path.write_bytes(path.read_bytes()[:60])
    domain = random_domain(12)
    images = getattr(domain, part)
    store = RecordStore(records[: len(images)], 24)
    domain = replace(domain, **{part: replace(images, images=store)})
    with pytest.raises(CraftError, match=str(path)):
        run(tiny_models, tmp_path / "out", instructions=domain)
    assert not (tmp_path / "out").exists()


def test_settings_that_change_no_result_may_change(
    tiny_models: ModelFamily, whole: tuple[Path, str], finished: Path
) -> None:
    assert run(tiny_models, finished, resume=True, settings=("checkpoint.keep=1",)) == whole[1]


def test_a_new_run_leaves_no_checkpoint_of_the_earlier_one(
    tiny_models: ModelFamily, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if it dies before it comes to the second stage."""
    monkeypatch.setattr("craft.training.adapt.TrainingRun.step", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(tiny_models, finished)
    assert not list(finished.glob("*/checkpoints/*"))
