"""``craft generate`` on the tiny world."""

import json
import shutil
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from craft.data import prompts
from craft.data.questions import Question
from craft.decoding import DiscreteReader, LaserSettings
from craft.evaluation.likelihood import option_log_likelihoods
from craft.models.text_batch import prompt_batch
from craft.runtime.json_cards import with_checksum
from craft.workbench.generate import generate, open_reader
from tests.craft.cli.commands import craft_command, done, one_error_line
from tests.craft.conftest import NAMES, picture
from tests.craft.evaluation.fixed_tokens import FixedTokens

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
    laser = ["--laser", "--set", "min_side=8"]
    pruned = {"keep_ratio": 0.5}
    cases: list[tuple[list, dict[str, Any], LaserSettings | None]] = [
        ([], {}, None),
        (["--llm", "llama"], {"name": "llama"}, None),
        (["--pack", pack], {"pack": pack}, None),
        (["--keep-ratio", 0.5, "--selector", "random"], pruned | {"selector": "random"}, None),
        (
            [*laser, "--pack", pack, "--keep-ratio", 0.5],
            {"pack": pack} | pruned,
            LaserSettings(min_side=8),
        ),
    ]
    for more, how, settings in cases:
        reader = open_reader(tiny_models, **how)
        twin = generate(reader, IMAGE, QUESTION, OPTIONS, settings=settings)
        said = done(ask(image, tiny_models.directory, *AS_OPTIONS, *more))
        assert said == " ".join(twin.text.split())


def test_plain_decoding_is_what_evaluation_reads(tiny_models):
    image = picture(5, (24, 24))
    language_model = tiny_models.language_model("llama")
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None] / 255
    visual = tiny_models.pretrained_tower().encode(pixels).quantized
    text = prompt_batch(language_model.tokenizer, [prompts.ask(QUESTION, OPTIONS)])
    reader = open_reader(tiny_models, name="llama")
    assert [generate(reader, image, QUESTION, OPTIONS).written] == language_model.answer(
        visual, text
    )


def test_packs_of_models_that_read_no_codes_are_refused(tiny_models, pack, tmp_path):
    copy = shutil.copytree(pack, tmp_path / "continuous")
    card = json.loads((copy / "pack.json").read_text())
    card["notes"]["config"]["method"] = "llm_lora"
    (copy / "pack.json").write_text(json.dumps(with_checksum(card)))
    with pytest.raises(ValueError, match="'llm_lora', whose language model reads plain features"):
        open_reader(tiny_models, copy)


@pytest.mark.parametrize(
    ("more", "asked", "tokens"),
    [
        ([], f"{QUESTION}\n{prompts.SHORT_ANSWER}", 5),
        (["--max-new-tokens", 3], f"{QUESTION}\n{prompts.SHORT_ANSWER}", 3),
        (["--max-new-tokens", 40], QUESTION, 40),
        (["--instruction", prompts.JUSTIFY], f"{QUESTION}\n{prompts.JUSTIFY}", 64),
        (["--instruction", "", "--max-new-tokens", 9], QUESTION, 9),
        (
            ["--instruction", prompts.SHORT_ANSWER, "--max-new-tokens", 9],
            f"{QUESTION}\n{prompts.SHORT_ANSWER}",
            9,
        ),
        (
            [*AS_OPTIONS, "--max-new-tokens", 40],
            f"{QUESTION}\n{prompts.option_lines(OPTIONS)}\n{prompts.ONE_LETTER}",
            40,
        ),
    ],
)
def test_a_long_answer_is_not_asked_to_be_short(
    image, tiny_models, monkeypatch, more, asked, tokens
):
    seen = []

    def answer(self, streams, texts, processors, **generation):
        seen.append((*texts, generation["max_new_tokens"]))
        return ["A"]

    monkeypatch.setattr("craft.decoding.DiscreteReader.answer", answer)
    done(ask(image, tiny_models.directory, *more))
    assert seen == [(asked, tokens)]


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


def test_questions_beyond_the_vocabulary_are_refused(tiny_models):
    reader = open_reader(tiny_models)
    with pytest.raises(ValueError, match="does not know 1 word: 'quokka'"):
        generate(reader, IMAGE, "Which quokka is in the image?")
    with pytest.raises(ValueError, match="the question is empty"):
        generate(reader, IMAGE, " ", OPTIONS)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--trace", "x.json"], "--trace belongs to LASER; add --laser"),
        (["--laser", "--set", "alpha"], "--set takes KEY=VALUE, got 'alpha'"),
        (["--laser", "--set", "beta=1"], "no such setting 'beta'; there are null_prompt"),
        (
            ["--laser", "--set", "alpha=-1"],
            "--set alpha=-1: alpha must be a finite number >= 0, got -1",
        ),
        (["--laser", "--set", "fixed_layer=9"], "fixed_layer must be in 0..1"),
        (["--option", "a quokka", "--option", NAMES[0]], "does not know 1 word: 'quokka'"),
        (["--option", NAMES[0]], "is the only option; give two or more"),
        ([*AS_OPTIONS, "--instruction", "Justify"], "--instruction is for open questions"),
        (["--llm", "gpt"], "language model must be one of qwen2, llama"),
    ],
)
def test_mistakes_end_with_one_line(image, tiny_models, more, message):
    assert message in one_error_line(ask(image, tiny_models.directory, *more))


def test_a_file_that_is_no_image_is_refused(tmp_path, tiny_models):
    (tmp_path / "notes.txt").write_text("words")
    one_error_line(ask(tmp_path / "notes.txt", tiny_models.directory))


def test_a_missing_image_is_named_without_the_systems_number(tmp_path):
    line = one_error_line(craft_command("generate", tmp_path / "no.png", "--question", "what?"))
    assert line == f"error: No such file or directory: {tmp_path / 'no.png'}"


def written(monkeypatch, text):
    """Make the model write ``text``, whatever it is asked."""
    monkeypatch.setattr(DiscreteReader, "answer", lambda *_, **__: [text])


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("b", "B. thing bb"),
        ("C.", "C. thing cc"),
        ("d. thing dd", "D. thing dd"),
        ("Thing AA", "A. thing aa"),
    ],
)
def test_an_option_in_any_form_is_that_option(tiny_models, monkeypatch, text, answer):
    written(monkeypatch, text)
    given = generate(open_reader(tiny_models), IMAGE, QUESTION, OPTIONS)
    assert (given.text, given.written, given.outside) == (answer, text, False)


@pytest.mark.parametrize("text", ["musical keyboard", "", "e", "z", "thing"])
@pytest.mark.parametrize("llm", ["qwen2", "llama"])
def test_an_answer_outside_the_options_becomes_the_likeliest_and_is_told(
    image, tiny_models, monkeypatch, text, llm
):
    """Compared with likelihoods computed from the model's parts."""
    language_model = tiny_models.language_model(llm)
    small = picture(3, (24, 24))
    pixels = torch.from_numpy(np.array(small)).permute(2, 0, 1)[None] / 255
    visual = tiny_models.pretrained_tower().encode(pixels).quantized
    question = Question("x", 0, "", prompts.ask(QUESTION, OPTIONS), "A", tuple(OPTIONS))
    (scores,) = option_log_likelihoods(language_model, FixedTokens(visual), [question])
    likeliest = int(scores.argmax())
    written(monkeypatch, text)
    given = generate(open_reader(tiny_models, name=llm), small, QUESTION, OPTIONS)
    assert given.text == f"{'ABCD'[likeliest]}. {OPTIONS[likeliest]}"
    assert given.outside
    small.save(image)
    result = ask(image, tiny_models.directory, "--llm", llm, *AS_OPTIONS)
    assert result.stdout.strip() == given.text
    assert f"the model wrote {text!r}, which is none of the options" in result.stderr


def test_an_open_question_is_answered_in_the_models_own_words(tiny_models, monkeypatch):
    written(monkeypatch, "musical keyboard")
    given = generate(open_reader(tiny_models), IMAGE, QUESTION)
    assert (given.text, given.outside) == ("musical keyboard", False)
