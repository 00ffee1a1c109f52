"""Patch, capture and export with the real VILA-U, on tiny random checkpoints.

Skipped unless CRAFT_VILA_U names a checkout. The whole model needs transformers 4 (4.36.2 with
VILA-U's replaced files for image generation); docs/vila_u.md says how to run it. pytest must be
given --noconftest there, because the rest of this package needs transformers 5.
"""

import copy
import os
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
import torch
from torch import Tensor

from craft.integrations.vila_u import capture, count_prior, export, patch
from craft.pruning import keep_count, prune
from tests.craft.integrations.vila_u import checkout
from tests.craft.integrations.vila_u.checkout import (
    ASK,
    answer,
    images,
    prepared,
    question,
    whole_model_runs,
)
from tests.craft.integrations.vila_u.tiny_checkpoint import BF16, LAYOUTS, write_checkpoint

pytestmark = [
    pytest.mark.skipif("CRAFT_VILA_U" not in os.environ, reason="CRAFT_VILA_U names no checkout"),
    pytest.mark.skipif(not whole_model_runs(), reason="VILA-U's code is of transformers 4"),
    pytest.mark.filterwarnings("ignore"),  # warnings of old code with new libraries are not ours
]


@pytest.fixture(scope="module", params=LAYOUTS | BF16)
def any_model(request, tmp_path_factory) -> Any:
    return load((LAYOUTS | BF16)[request.param], tmp_path_factory)


@pytest.fixture(scope="module", params=LAYOUTS)
def loaded(request, tmp_path_factory) -> Any:
    return load(LAYOUTS[request.param], tmp_path_factory)


@pytest.fixture
def model(loaded) -> Iterator[Any]:
    yield loaded
    assert "encode_images" not in vars(loaded)  # tests remove their patches


def load(tiny, tmp_path_factory) -> Any:
    vila_u = checkout.import_vila_u()
    root = tmp_path_factory.mktemp("vila-u-7b-256") / "vila-u-7b-256"
    write_checkpoint(root, tiny)
    model = vila_u.load(str(root), model_dtype=tiny.dtype, device="cpu")
    model.root, model.llm.pad_token_id = root, 0
    return model


def test_1_keeping_everything_changes_no_bit(any_model):
    model = any_model
    ids, pixels = question(model, ASK, ASK), images(model, 2)
    prior = count_prior(model, images(model, 2, seed=5))
    embeddings = prepared(model, ids, pixels)
    with torch.no_grad():
        tokens = model.encode_images(pixels, None)[1]
    answers = answer(model, ids, pixels)
    handle = patch(model, prior=prior, keep_ratio=1.0)
    try:
        assert torch.equal(prepared(model, ids, pixels), embeddings)
        with torch.no_grad():
            assert torch.equal(model.encode_images(pixels, None)[1], tokens)
        assert torch.equal(answer(model, ids, pixels), answers)
    finally:
        handle.unpatch()


@pytest.mark.parametrize("text", [ASK, ASK.replace("<image>", "<image>\n<image>")])
def test_2_pruning_drops_what_craft_prune_drops(model, text):
    pixels = images(model, 2 * text.count("<image>"))
    ids = question(model, text, text)
    prior = count_prior(model, images(model, 2, seed=5))
    whole = prepared(model, ids, pixels)
    with torch.no_grad(), capture(model) as encodings:
        features = model.encode_images(pixels, None)[0]
    codes, residual_sq = encodings[0].codes.flatten(1, 2), encodings[0].residual_sq
    expected = prune(codes, residual_sq, prior, (16, 16), features, keep_ratio=0.8)
    handle = patch(model, prior=prior, keep_ratio=0.8)
    try:
        kept = prepared(model, ids, pixels)
        assert handle.last is not None
        dropped = (256 - keep_count(256, 0.8)) * text.count("<image>")
        assert whole.shape[1] - kept.shape[1] == dropped == 51 * text.count("<image>")
        assert torch.equal(handle.last.indices, expected.indices)
        assert (handle.last.indices.diff(dim=1) > 0).all()
        start = int((ids[0] == -200).nonzero()[0])
        for row in range(2):
            first = row * text.count("<image>")
            shown = kept[row, start : start + 205]
            torch.testing.assert_close(shown, expected.tensors[0][first], rtol=1e-4, atol=1e-4)
        assert torch.equal(kept[:, :start], whole[:, :start])
        assert torch.equal(kept[:, -3:], whole[:, -3:])
        assert answer(model, ids, pixels).shape[0] == 2
    finally:
        handle.unpatch()


def test_3_training_and_videos_are_left_alone(model, monkeypatch):
    from vila_u.media import Video  # pyright: ignore[reportMissingImports]

    monkeypatch.setattr(Tensor, "cuda", lambda self, *a, **k: self)
    pixels, ids = images(model, 1), question(model, ASK)
    mask = torch.ones_like(ids)
    with torch.no_grad():
        plain = model(input_ids=ids, images=pixels, attention_mask=mask, labels=ids.clamp(min=0))
    handle = patch(model, prior=count_prior(model, pixels), keep_ratio=0.5)
    try:
        with torch.no_grad():
            again = model(
                input_ids=ids, images=pixels, attention_mask=mask, labels=ids.clamp(min=0)
            )
        assert torch.equal(again.logits, plain.logits)
        assert handle.last is None
        # A sample that teaches generation: all of the image's codes become labels.
        start, end = model.llm.vocab_size - 4, model.llm.vocab_size - 3
        teaches = torch.tensor([[1, 20, start, -200, end, 2]])
        with torch.no_grad():
            labels = model.prepare_inputs_labels_for_multimodal(
                teaches, None, torch.ones_like(teaches), None, teaches.clone(), pixels
            )[5]
        assert labels.shape[1] == 5 + 256
        assert (labels[0, 3:259] >= model.llm.vocab_size).all()
        assert handle.last is None
        folder = model.root / "frames"
        folder.mkdir(exist_ok=True)
        from PIL import Image

        for i in range(2):
            Image.new("RGB", (40, 30), (40 * i, 90, 9)).save(folder / f"{i}.png")
        config = model.default_generation_config
        config.max_new_tokens, config.max_length = 3, None
        model.generate_content([Video(str(folder)), "what is shown"], config)
        assert handle.last is None
        with handle.disabled():
            model.generate_content([Image.open(folder / "0.png"), "what is shown"], config)
        assert handle.last is None
        model.generate_content([Image.open(folder / "0.png"), "what is shown"], config)
        assert handle.last is not None
        assert handle.last.indices.shape == (1, 128)
    finally:
        handle.unpatch()


def test_3_image_generation_never_encodes(any_model, monkeypatch):
    model = any_model
    if model.llm.dtype != torch.bfloat16:
        pytest.skip("VILA-U generates images in bfloat16 alone")
    from transformers.models.llama import modeling_llama

    if not hasattr(modeling_llama, "flash_attn_func"):
        pytest.skip("transformers has not VILA-U's replaced files, so it cannot generate images")
    ids = question(model, "a red cat <im_start>", "a red cat <im_start>")

    def generate() -> Tensor:
        torch.manual_seed(3)
        mask = torch.ones_like(ids, dtype=torch.bool)
        return model.generate(
            ids, attention_mask=mask, cfg=3.0, max_new_tokens=4, do_sample=True, use_cache=True
        )

    plain = generate()
    handle = patch(model, prior=count_prior(model, images(model, 1)), keep_ratio=0.5)
    calls = []
    ours = model.encode_images
    monkeypatch.setattr(handle, "_encode_images", lambda *a: calls.append(a) or ours(*a))
    try:
        assert torch.equal(generate(), plain)
        assert plain.shape[-1] == len(
            model.vision_tower.vision_tower.rqvaesiglip.quantizer.codebooks
        )
        assert not calls
        assert handle.last is None
    finally:
        handle.unpatch()


def test_4_unpatch_restores_and_models_are_apart(model):
    twin = copy.deepcopy(model)
    keys, before = list(model.state_dict()), dict(vars(model))
    prior = count_prior(model, images(model, 1))
    handle = patch(model, prior=prior, keep_ratio=0.5)
    other = patch(twin, prior=prior, keep_ratio=0.8)
    assert list(model.state_dict()) == keys
    encoders = import_module("vila_u.model.multimodal_encoder.rqvaesigliptransformer_encoder")
    assert isinstance(model.vision_tower, encoders.RQVAESIGLIPTransformerVisionTower)
    answer(model, question(model, ASK), images(model, 1))
    assert other.last is None
    answer(twin, question(model, ASK), images(model, 1))
    assert handle.last is not None
    assert handle.last.indices.shape[1] == 128
    assert other.last is not None
    assert other.last.indices.shape[1] == 205
    handle.unpatch()
    assert {n: id(v) for n, v in vars(model).items()} == {n: id(v) for n, v in before.items()}
    assert "encode_images" in vars(twin)


def test_5_training_moves_the_encoder_alone(model):
    model = copy.deepcopy(model)
    model.requires_grad_(False)
    encoder = model.vision_tower.vision_tower.rqvaesiglip
    vision = encoder.siglip_model.vision_model
    vision.embeddings.requires_grad_(True)
    for block in vision.encoder.layers[:-1]:
        block.requires_grad_(True)
    frozen = [p for p in model.parameters() if not p.requires_grad]
    before = [p.clone() for p in frozen]
    tables = [words.weight.clone() for words in encoder.quantizer.codebooks]
    ids, pixels = question(model, ASK + " a cat"), images(model, 1)
    mask = torch.ones_like(ids)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=1e-3)
    for _ in range(10):
        model.train()
        model.eval()  # VILA-U packs batches in training mode
        encoder.quantizer.train()
        with capture(model) as encodings:
            labels = ids.masked_fill(ids == -200, -100)
            loss = model(input_ids=ids, images=pixels, attention_mask=mask, labels=labels).loss
        (loss + 0.1 * encodings[0].commitment).backward()
        optimizer.step()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in trained if p.ndim > 1)
    assert all(p.grad is None for p in frozen)
    for words, table in zip(encoder.quantizer.codebooks, tables, strict=True):
        assert torch.equal(words.weight, table)
    for parameter, old in zip(frozen, before, strict=True):
        assert torch.equal(parameter, old)


def test_6_an_exported_encoder_is_what_vila_u_loads(model, tmp_path):
    vila_u = checkout.import_vila_u()
    tuned = copy.deepcopy(model)
    encoder = tuned.vision_tower.vision_tower.rqvaesiglip
    with torch.no_grad():
        for block in encoder.siglip_model.vision_model.encoder.layers[:-1]:
            block.mlp.fc2.weight.mul_(1.5)
    out = export(tuned, model.root, tmp_path / "tuned-vila-u-7b-256")
    loaded = vila_u.load(str(out), model_dtype=torch.float32, device="cpu")
    pixels = images(model, 2)
    with torch.no_grad():
        expected = tuned.encode_images(pixels, None)
        found = loaded.encode_images(pixels, None)
        before = model.encode_images(pixels, None)
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])
    assert not torch.equal(before[1], expected[1])
