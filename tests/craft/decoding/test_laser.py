"""LASER as a whole on random models, compared with its steps done by hand."""

from typing import Any

import pytest
import torch
from transformers import LogitsProcessorList

from craft.decoding import Box, DiscreteReader, LaserSettings, TransformersReader, laser, plain
from craft.decoding.contrast import ContrastStreams
from craft.decoding.evidence import find_evidence, strongest_cells
from craft.decoding.laser import GENERIC
from craft.decoding.masking import hide_cells
from craft.decoding.reader import Stream
from tests.craft.decoding.tiny_vlms import llava, picture, prepare_qwen2_vl, qwen2_vl, tokenizer
from tests.perturbed_products import rounding

QUESTION, INSTRUCTION = "what is in the picture ?", "answer word"
HOW = {"instruction": INSTRUCTION, "max_new_tokens": 4}
SMALL = LaserSettings(min_side=8)


def choose(**settings: Any) -> LaserSettings:
    return LaserSettings(min_side=8, **settings)


@pytest.fixture(scope="module")
def transformers_readers():
    words = tokenizer()

    def decode(ids: torch.Tensor) -> str:
        return str(words.decode(ids, skip_special_tokens=True))

    return {
        "llava": TransformersReader.from_processor(*llava()),
        "qwen2-vl": TransformersReader(qwen2_vl(), prepare_qwen2_vl, decode),
    }


@pytest.fixture(params=["llama", "qwen2", "llava", "qwen2-vl"])
def reader(request, discrete, transformers_readers):
    if request.param in transformers_readers:
        return transformers_readers[request.param]
    return discrete(request.param)


def test_the_answer_is_that_of_the_two_streams(reader):
    """Evidence, crop, counterfactual and contrast are combined by hand."""
    image = picture(64, 48)
    (given,) = laser(reader, [image], [QUESTION], settings=SMALL, **HOW)
    prompt = f"{QUESTION}\n{INSTRUCTION}"
    ((asked, unasked),) = reader.attend([image], [(prompt, INSTRUCTION)])
    evidence = find_evidence(asked, unasked, SMALL)
    trace = given.trace
    assert trace is not None
    assert not trace.fallback
    assert trace.evidence.layer == evidence.layer
    assert torch.equal(trace.evidence.map, evidence.map)
    assert torch.equal(trace.masked, strongest_cells(evidence.map, 0.1))
    assert trace.box is not None
    hidden = hide_cells(image, trace.masked, "pixel_mean", trace.view, reader.mean_color)
    streams = Stream((image.crop(trace.box),)), Stream((hidden.crop(trace.box),))
    processors = LogitsProcessorList([ContrastStreams(1.0)])
    assert reader.answer([streams], [prompt], processors, max_new_tokens=4) == [given.text]


def test_weight_zero_is_plain_decoding_of_the_crop(reader):
    for placement in ("sliding", "centroid", "topk_box"):
        settings = choose(alpha=0.0, placement=placement)
        (given,) = laser(reader, [picture(64, 48)], [QUESTION], settings=settings, **HOW)
        assert given.trace is not None
        assert given.trace.box is not None
        crop = picture(64, 48).crop(given.trace.box)
        assert given.text == plain(reader, [crop], [QUESTION], **HOW)[0].text


def test_identical_prompts_fall_back_to_the_plain_answer(reader):
    """A question that equals the null prompt does not change the model's attention."""
    image = picture(64, 48)
    (given,) = laser(
        reader, [image], [GENERIC], settings=choose(null_prompt="generic"), max_new_tokens=4
    )
    assert given.trace is not None
    assert given.trace.fallback
    assert given.trace.box is None
    assert not given.trace.masked.any()
    assert given.trace.to_dict()["layer"] is None
    assert given.text == plain(reader, [image], [GENERIC], max_new_tokens=4)[0].text


def test_caching_changes_no_answer(reader):
    settings = choose(alpha=2.0)
    cached = laser(reader, [picture(64, 48)], [QUESTION], settings=settings, **HOW)
    how = {**HOW, "use_cache": False, "do_sample": False}
    again = laser(reader, [picture(64, 48)], [QUESTION], settings=settings, **how)
    assert cached[0].text == again[0].text


@pytest.mark.parametrize(
    "choices",
    [
        {"k_head": "all"},
        {"mask_mode": "token_drop"},
        {"crop_mode": "append"},
        {"crop_mode": "append", "mask_mode": "token_drop"},
        {"mask_mode": "blur", "null_prompt": "empty"},
        {"plausibility_beta": 0.1, "alpha": 3.0},
    ],
)
@pytest.mark.parametrize(
    "pruning", [{}, {"keep_ratio": 0.6}, {"keep_ratio": 0.4, "selector": "random"}]
)
def test_answers_do_not_depend_on_the_batch(discrete, choices, pruning):
    reader = discrete("qwen2", **pruning)
    images = [picture(64, 48), picture(40, 80, 1), picture(33, 33, 2)]
    questions = ["a ?", QUESTION, f"{QUESTION} a b c d e"]
    together = laser(reader, images, questions, settings=choose(**choices), **HOW)
    for image, question, given in zip(images, questions, together, strict=True):
        (alone,) = laser(reader, [image], [question], settings=choose(**choices), **HOW)
        assert alone.text == given.text
        assert alone.trace is not None
        assert given.trace is not None
        assert (alone.trace.box, alone.trace.fallback) == (given.trace.box, given.trace.fallback)
        assert torch.equal(alone.trace.masked, given.trace.masked)
        torch.testing.assert_close(alone.trace.evidence.map, given.trace.evidence.map)


def test_a_batch_may_hold_answers_with_and_without_evidence(discrete):
    reader = discrete()
    images = [picture(64, 48), picture(64, 48), picture(40, 80)]
    settings = choose(null_prompt="generic")
    given = laser(
        reader, images, [QUESTION, GENERIC, QUESTION], settings=settings, max_new_tokens=4
    )
    assert [g.trace.fallback for g in given if g.trace] == [False, True, False]
    assert given[1].text == plain(reader, images[1:2], [GENERIC], max_new_tokens=4)[0].text


@torch.inference_mode()
def test_identical_prompts_share_one_look(reader):
    """Bit for bit: rows of a batch differ by rounding. "zz" and "yy" are the same unknown word."""
    prompts = [(QUESTION, "", QUESTION), ("a zz", "a yy", "a b")]
    first, second = reader.attend([picture(64, 48), picture(40, 80)], prompts)
    for one, other in ((first[0], first[2]), (second[0], second[1])):
        assert torch.equal(one.weights, other.weights)
        assert find_evidence(one, other, SMALL).degenerate
    for one, other in ((first[0], first[1]), (second[0], second[2])):
        assert not find_evidence(one, other, SMALL).degenerate


@torch.no_grad()
def test_attention_is_sliced_at_the_padded_position_of_the_image(discrete):
    """In rows of different lengths the image has different positions."""
    reader = discrete()
    prompts = [("a", "", f"{QUESTION} a b c")]
    together = reader.attend([picture(20, 20)], prompts)[0]
    for text, look in zip(prompts[0], together, strict=True):
        assert look.weights.shape == look.rounding.shape == (3, 4, 4, 4)

        def alone(text: str = text) -> torch.Tensor:
            return torch.stack(reader.attend([picture(20, 20)], [(text,)])[0][0])

        allowed = rounding(alone)
        assert allowed < 1e-3  # other positions have other weights
        torch.testing.assert_close(torch.stack(look), alone(), rtol=0, atol=allowed)


def test_pruned_tokens_get_no_attention(discrete):
    """The first look is unpruned by default; otherwise kept tokens stay in their cells."""
    image, prompt = picture(20, 20), (QUESTION,)
    whole = discrete().attend([image], [prompt])[0][0].weights
    unpruned = discrete(keep_ratio=0.5).attend([image], [prompt])[0][0].weights
    assert torch.equal(whole, unpruned)
    reader = discrete(keep_ratio=0.5, prune_look=True)
    look = reader.attend([image], [prompt])[0][0].weights
    ((cells, _),) = reader._tokens([image], 0.5)
    kept = torch.zeros(16, dtype=torch.bool)
    kept[cells] = True
    assert kept.sum() == 8
    assert (look.flatten(2)[..., ~kept] == 0).all()
    assert (look.flatten(2)[..., kept] > 0).all()


def test_dropping_tokens_keeps_the_other_codes_of_the_crop(discrete, monkeypatch):
    """The second stream is the first one's tokens without those under hidden cells."""
    reader = discrete(keep_ratio=0.75)
    sentences = []
    said = DiscreteReader._sentence
    monkeypatch.setattr(
        DiscreteReader, "_sentence", lambda *a: sentences.append(said(*a)) or sentences[-1]
    )
    image, settings = picture(64, 48), choose(mask_mode="token_drop", k_patch=0.3)
    (given,) = laser(reader, [image], [QUESTION], settings=settings, **HOW)
    seen, rest = sentences
    trace = given.trace
    assert trace is not None
    assert trace.box is not None
    ((cells, _),) = reader._tokens([image.crop(trace.box)], 0.75)
    stays = []
    for row, column in ((int(c) // 4, int(c) % 4) for c in cells):
        x = trace.box.left + (column + 0.5) * 32 / 4  # the crop is 32 x 24 of 64 x 48 pixels
        y = trace.box.top + (row + 0.5) * 24 / 4
        stays.append(not trace.masked[int(y / 12), int(x / 16)])
    assert len(seen) == 12
    assert 0 < sum(stays) < 12
    torch.testing.assert_close(rest, seen[torch.tensor(stays)])  # fewer rows round differently


def test_a_toy_answer_flips_to_that_of_the_evidence(discrete, monkeypatch):
    """The prior favours 'b' in both streams; 'a' is likely only with the evidence."""
    reader = discrete()
    words = reader.tokenizer
    a, b = words.convert_tokens_to_ids(["a", "b"])
    model = reader.model.language_model
    forward = model.forward

    def biased(**inputs):
        out = forward(**inputs)
        logits = torch.zeros_like(out.logits)
        logits[..., b] = 3.0
        logits[: max(1, len(logits) // 2), ..., a] = 2.0  # the stream with the evidence
        out.logits = logits
        return out

    monkeypatch.setattr(model, "forward", biased)
    how = {"instruction": INSTRUCTION, "max_new_tokens": 1}
    for alpha, expected in ((0.0, "b"), (1.0, "a")):
        settings = choose(alpha=alpha)
        (given,) = laser(reader, [picture(64, 48)], [QUESTION], settings=settings, **how)
        assert given.text == expected


def test_images_too_small_to_crop_are_read_whole(reader):
    (given,) = laser(reader, [picture(64, 48)], [QUESTION], **HOW)  # the minimum is 224
    assert given.trace is not None
    assert given.trace.box is None
    assert not given.trace.fallback
    assert given.trace.masked.any()


def test_the_crop_stays_in_the_view_of_a_centre_cropping_processor(transformers_readers):
    reader = transformers_readers["llava"]
    (given,) = laser(reader, [picture(96, 48)], [QUESTION], settings=SMALL, **HOW)
    assert given.trace is not None
    assert given.trace.view == Box(24, 0, 72, 48)
    assert given.trace.box is not None
    assert given.trace.box.size == (24, 24)
    assert given.trace.box.left >= 24
    assert given.trace.box.right <= 72


@pytest.mark.parametrize(
    ("questions", "generation", "message"),
    [
        ([QUESTION, QUESTION], {}, "got 1 images and 2 questions"),
        (["  "], {}, "question 0 is empty"),
        ([QUESTION], {"do_sample": True}, "greedy: do_sample must be False"),
        ([QUESTION], {"num_beams": 4}, "greedy: num_beams must be 1"),
        ([QUESTION], {"logits_processor": []}, "leave logits_processor out"),
        ([QUESTION], {"settings": LaserSettings(fixed_layer=3)}, "fixed_layer must be in 0..2"),
        ([QUESTION], {"settings": LaserSettings(layer_range=(1, 4))}, "layer_range must be"),
    ],
)
def test_wrong_inputs_are_clear_errors(reader, questions, generation, message):
    with pytest.raises(ValueError, match=message):
        laser(reader, [picture(32, 32)], questions, **generation)


def test_no_images_give_no_answers(reader):
    assert laser(reader, [], []) == []
    assert plain(reader, [], []) == []


def test_tokens_of_transformers_models_cannot_be_dropped(transformers_readers):
    settings = choose(mask_mode="token_drop")
    with pytest.raises(ValueError, match="choose 'pixel_mean'"):
        laser(transformers_readers["llava"], [picture(32, 32)], [QUESTION], settings=settings)


def test_visual_tokens_that_cannot_be_located_are_an_error(transformers_readers):
    reader = transformers_readers["qwen2-vl"]
    odd = TransformersReader(reader.model, reader.prepare, reader.decode, grid=lambda _: (3, 3))
    with pytest.raises(ValueError, match="do not form a grid of 3 x 3; pass grid="):
        laser(odd, [picture(48, 32)], [QUESTION])
    model, processor = llava()
    processor.chat_template = None
    with pytest.raises(ValueError, match="no chat template"):
        TransformersReader.from_processor(model, processor)
    with pytest.raises(ValueError, match="has no image_token_id"):
        TransformersReader(model.get_decoder(), reader.prepare, reader.decode)


@pytest.mark.parametrize(
    "wrong",
    [
        {"alpha": -1.0},
        {"alpha": float("inf")},
        {"k_head": 0},
        {"k_patch": 0.0},
        {"max_frac": 1.5},
        {"plausibility_beta": 0.0},
        {"layer_range": (2, 2)},
        {"layer_range": (0, 2), "fixed_layer": 1},
        {"mask_mode": "noise"},
        {"k_heads": 8},
    ],
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        LaserSettings(**wrong)
