"""``craft generate`` on the tiny world."""

import json
from typing import Any

import pytest
from PIL import Image

from craft.decoding import LaserSettings
from craft.models.encoder_pack import EncoderPack
from craft.pocket.answering import generate
from tests.craft.commands import craft_command, done, one_error_line
from tests.craft.conftest import NAMES, picture

pytestmark = pytest.mark.usefixtures("quiet_process")

QUESTION = "What object is shown in the image?"
OPTIONS = NAMES[:4]
IMAGE = picture(3, (60, 48))
AS_OPTIONS = [arg for name in OPTIONS for arg in ("--option", name)]


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "image.png"
    IMAGE.save(path)
    return path


def ask(image, models, *more):
    return craft_command("generate", image, "--question", QUESTION, "--models", models, *more)


def test_the_command_says_what_its_python_twin_says(image, tiny_models, pack, tmp_path):
    models = tiny_models.directory
    adapted = EncoderPack.load(pack)
    small = LaserSettings(min_side=8)
    cases: list[tuple[list, dict[str, Any]]] = [
        ([], {}),
        (["--llm", "llama"], {"name": "llama"}),
        (["--pack", pack], {"pack": adapted}),
        (["--keep-ratio", 0.5, "--selector", "random"], {"keep_ratio": 0.5, "selector": "random"}),
        (
            ["--laser", "--set", "min_side=8", "--pack", pack, "--keep-ratio", 0.5],
            {"settings": small, "pack": adapted, "keep_ratio": 0.5},
        ),
    ]
    for more, how in cases:
        twin = generate(tiny_models, IMAGE, QUESTION, OPTIONS, **how)
        said = done(ask(image, models, *AS_OPTIONS, *more))
        assert said == " ".join(twin.text.split())


def test_the_trace_is_written_and_drawn(image, tiny_models, tmp_path):
    files = tmp_path / "trace.json", tmp_path / "trace.png"
    wanted = ["--laser", "--set", "min_side=8", "--trace", files[0], "--picture", files[1]]
    done(ask(image, tiny_models.directory, *wanted))
    trace = json.loads(files[0].read_text())
    assert len(trace["vaq"]) == 2
    assert len(trace["map"]) == 3
    assert trace["view"] == [0, 0, 60, 48]
    assert trace["fallback"] == (trace["layer"] is None)
    with Image.open(files[1]) as drawn:
        assert drawn.width > 600
    line = one_error_line(ask(image, tiny_models.directory, *wanted))
    assert "trace.png exists" in line
    assert "--force" in line
    done(ask(image, tiny_models.directory, *wanted, "--force"))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--trace", "x.json"], "--trace belongs to LASER; add --laser"),
        (["--laser", "--set", "alpha"], "--set takes KEY=VALUE, got 'alpha'"),
        (["--laser", "--set", "beta=1"], "no such setting 'beta'; there are null_prompt"),
        (["--laser", "--set", "alpha=-1"], "alpha: Input should be greater than or equal to 0"),
        (["--laser", "--set", "fixed_layer=9"], "fixed_layer must be in 0..1"),
        (["--option", "a quokka", "--option", NAMES[0]], "has no words for 1 of 2"),
        (["--option", NAMES[0]], "is no choice; give two or more"),
        (["--llm", "gpt"], "language model must be one of"),
    ],
)
def test_mistakes_end_with_one_line(image, tiny_models, more, message):
    assert message in one_error_line(ask(image, tiny_models.directory, *more))


def test_a_file_that_is_no_image_is_refused(tmp_path, tiny_models):
    (tmp_path / "notes.txt").write_text("words")
    one_error_line(ask(tmp_path / "notes.txt", tiny_models.directory))
