"""Every command that runs a model, with the models on a separate device.

Its output must be the same as on the CPU, because values are (far_device.py): an operation between
two devices, or a different result, is a placement error.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.testing import assert_close

import craft_kernels  # noqa: F401  (its modules are looked up by name below)
from craft.pocket import domains, few_shot
from tests.craft.cli.commands import FEW, craft_command, done
from tests.craft.devices.far_device import sent, waits

pytestmark = pytest.mark.usefixtures("small_world", "quiet_process")


#: Command lines; {pack}, {models}, {folder}, {image} and {out} are filled in.
EXACT = {
    "evaluate": "evaluate {pack} --out {out} --keep-ratio 0.5 --likelihood --justify",
    "transfer": "transfer {pack} --out {out} --keep-ratio 1.0",
    "tokenize": "tokenize {folder} --pack {pack} --out {out}",
    "prior": "prior {pack} --out {out}/prior.safetensors",
    "pictures": "pictures {pack} --out {out}",
    "generate": "generate {image} --question thing --option aa --option bb --pack {pack} "
    "--keep-ratio 0.5",
    "laser": "generate {image} --question thing --laser --trace {out}/trace.json",
    "words": "words {folder}",
    "data check": "data check {folder}",
}
NO_MODEL = ("words", "data check")
_ADAPT = "adapt --domain flags --out {out} --set steps=2 --set batch=4"
TRAINING = {
    "craft": _ADAPT + " --set blend=false",
    "with a class token that reads": _ADAPT + " --set cls_attention=full",
    "ldifs": _ADAPT + " --set method=ldifs",
    "heba": _ADAPT + " --encoder heba",
    "projector_ft": _ADAPT + " --set method=projector_ft",
    "llm_lora": _ADAPT + " --set method=llm_lora",
    "vision_ft": _ADAPT + " --set method=vision_ft",
    "a folder": _ADAPT.replace("--domain flags", "--data {folder} --subject thing"),
    "few-shot": "few-shot --domain flags --out {out} --epochs 1 --seeds 1",
}


def run(line: str, models: Path, places: dict[str, Path]) -> str:
    """Output of a command that must succeed; errors keep their traceback."""
    words = [word.format(**places) for word in line.split()]
    if words[0] in ("evaluate", "transfer"):
        words += FEW
    with sdpa_kernel(SDPBackend.MATH):  # the only one that a device unknown to torch can use
        result = craft_command(*words, "--models", models)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return done(result)


def content(path: Path) -> Any:
    """Content of a file, independent of its order."""
    if path.suffix == ".safetensors":
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, file.metadata()
    return path.read_bytes()


def files(directory: Path) -> list[str]:
    return sorted(str(x.relative_to(directory)) for x in directory.rglob("*") if x.is_file())


@pytest.fixture
def places(pack, class_folder, tmp_path) -> dict[str, Path]:
    image = next(class_folder.rglob("*.png"))
    return {"pack": pack, "folder": class_folder, "image": image, "out": tmp_path / "near"}


@pytest.mark.parametrize("name", EXACT)
def test_a_command_gives_what_it_gives_on_the_cpu(name, request, tiny_models_dir, places, tmp_path):
    near, far = tmp_path / "near", tmp_path / "far"
    said = run(EXACT[name], tiny_models_dir, places)
    request.getfixturevalue("away")
    with waits() as found:
        said_away = run(EXACT[name], tiny_models_dir, {**places, "out": far})
    # A model's output must come back to the host, which shows that it ran there.
    assert found or name in NO_MODEL
    if not near.exists():
        assert said_away == said
        return
    assert files(near) == files(far) != []
    for path in files(near):
        expected, given = content(near / path), content(far / path)
        if isinstance(expected, tuple):
            assert_close(given[0], expected[0], rtol=0, atol=0)
            assert given[1] == expected[1]
        else:
            assert given == expected, path


def test_a_pack_with_a_language_model_of_its_own(request, tiny_models_dir, places, tmp_path):
    own = {**places, "pack": tmp_path / "pack"}
    run(TRAINING["projector_ft"], tiny_models_dir, {**places, "out": own["pack"]})
    run("evaluate {pack} --out {out}", tiny_models_dir, own)
    request.getfixturevalue("away")
    run("evaluate {pack} --out {out}", tiny_models_dir, {**own, "out": tmp_path / "far"})
    for name in ("results.json", "predictions.jsonl"):
        assert (tmp_path / "far" / name).read_bytes() == (tmp_path / "near" / name).read_bytes()


@pytest.mark.parametrize(
    "line",
    [
        "evaluate {pack} --out {out} --general {folder}",
        EXACT["tokenize"],
        EXACT["prior"],
        TRAINING["a folder"] + " --general {folder}",
    ],
)
def test_images_are_sent_as_bytes(line, request, tiny_models_dir, places):
    """A quarter of what float32 takes; they are converted on the device."""
    request.getfixturevalue("away")
    with sent() as found:
        run(line, tiny_models_dir, places)
    images = [x for x in found if x.ndim == 4 and x.shape[1] == 3 and x.shape[2] >= 24]
    assert images
    assert {x.dtype for x in images} == {torch.uint8}


@pytest.mark.parametrize("name", TRAINING)
def test_a_command_trains_as_on_the_cpu(
    name, request, monkeypatch, tiny_models_dir, places, tmp_path
):
    monkeypatch.setattr(few_shot, "load_area", domains.load_area)
    run(TRAINING[name], tiny_models_dir, places)
    request.getfixturevalue("away")
    with waits() as found:
        run(TRAINING[name], tiny_models_dir, {**places, "out": tmp_path / "far"})
    assert found
    assert files(tmp_path / "far") == files(tmp_path / "near")
    if name == "few-shot":
        return
    logs = [(tmp_path / place / "train.jsonl").read_text() for place in ("near", "far")]
    near, far = ([json.loads(line) for line in log.splitlines()] for log in logs)
    terms = ("sal", "commit", "con", "ldifs", "qerr")
    losses = [
        [{name: entry[name] for name in terms if name in entry} for entry in log if "sal" in entry]
        for log in (near, far)
    ]
    assert len(losses[0]) == len(losses[1]) == 2
    for mine, other in zip(*losses, strict=True):
        assert other == pytest.approx(mine, rel=1e-3)
