"""Patching is reversible, affects one instance, and prunes only where that is safe."""

import copy
import warnings

import pytest
import torch

from craft.codebook import CodebookMismatchError
from craft.errors import CraftError
from craft.integrations.vila_u import UnknownLayoutError, count_prior, patch
from craft.integrations.vila_u.encoding import recorded
from craft.prior import EncoderMismatchWarning, TokenPrior
from craft.pruning import prune
from tests.craft.integrations.vila_u.stand_in import StandIn, pixels, question

LAYOUTS = [(4, True), (4, False), (16, True), (16, False)]


@pytest.fixture
def model():
    return StandIn()


def prior_of(model):
    return count_prior(model, pixels(12, seed=7))


def seen(model, images):
    """Features, codes and |r_1|^2 of the unpatched model."""
    with torch.no_grad(), recorded(model.encoder.quantizer) as encodings:
        features, _ = model.vision_tower(images, 40)
    return features, encodings[0].codes.flatten(1, 2), encodings[0].residual_sq


@pytest.mark.parametrize(("levels", "shared"), LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_keeping_everything_changes_no_bit(levels, shared, dtype):
    model = StandIn(levels, shared).to(dtype)
    images = pixels(2).to(dtype)
    with torch.no_grad():
        embeddings, tokens = model.encode_images(images, None)
        logits = model(question(2), images).logits
    ids = model.generate(question(2), images)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        handle = patch(model, prior=prior_of(model), keep_ratio=1.0)
    with torch.no_grad():
        patched = model.encode_images(images, None)
        assert torch.equal(patched[0], embeddings)
        assert torch.equal(patched[1], tokens)
        assert torch.equal(model(question(2), images).logits, logits)
    assert torch.equal(model.generate(question(2), images), ids)
    assert handle.last is None


@pytest.mark.parametrize(("levels", "shared"), LAYOUTS)
def test_answering_keeps_what_craft_prune_keeps(levels, shared):
    model = StandIn(levels, shared)
    images, prior = pixels(2), prior_of(model)
    features, codes, residual_sq = seen(model, images)
    expected = prune(codes, residual_sq, prior, (4, 4), features, keep_ratio=0.5)
    with torch.no_grad():
        whole = model(question(2), images).logits
    handle = patch(model, prior=prior, keep_ratio=0.5)
    with torch.no_grad():
        logits = model(question(2), images).logits
    assert whole.shape[1] - logits.shape[1] == 16 - 8
    assert handle.last is not None
    assert torch.equal(handle.last.indices, expected.indices)
    assert (handle.last.indices.diff(dim=1) > 0).all()
    assert torch.equal(handle.last.codes, codes)
    with torch.no_grad():
        words = model.llm.get_input_embeddings()(question(2).clamp(min=0))
        kept = model.mm_projector(expected.tensors[0])
        embeds = torch.cat([words[:, :2], kept, words[:, 3:]], 1)
        assert torch.equal(model.llm(inputs_embeds=embeds).logits, logits)


def test_nothing_is_pruned_where_that_would_be_wrong(model):
    class Video:
        __module__ = "vila_u.media"

        def __init__(self, frames):
            self.frames = frames

    images, prior = pixels(2), prior_of(model)
    handle = patch(model, prior=prior, keep_ratio=0.5)
    model.calls = 0
    model.generate(question(2).clamp(min=0))
    assert model.calls == 0  # generation does not encode
    assert handle.last is None
    trained = model(question(2), images, labels=question(2))
    assert trained.labels.shape == (2, 16, 4)
    assert trained.logits.shape[1] == 5 + 16
    model.encode_images(images, None)
    with handle.disabled():
        model.generate(question(2), images)
    model.generate_content([Video(images), question(2)])
    assert handle.last is None
    model.generate_content([images, question(2)])
    assert handle.last is not None


def test_unpatch_restores_everything(model):
    before, keys = dict(vars(model)), list(model.state_dict())
    quantizer_before = dict(vars(model.encoder.quantizer))
    kind = type(model.vision_tower)
    handle = patch(model, prior=prior_of(model), keep_ratio=0.5, precision="vila-u")
    assert list(model.state_dict()) == keys
    assert isinstance(model.vision_tower, kind)
    handle.unpatch()
    handle.unpatch()
    assert dict(vars(model)) == before
    with pytest.warns(EncoderMismatchWarning, match="counted on vila-u float32 codes"):
        handle = patch(model, prior=prior_of(model), precision="exact")
    assert "forward" in vars(model.encoder.quantizer)
    handle.unpatch()
    assert dict(vars(model.encoder.quantizer)) == quantizer_before


def test_a_patch_over_ours_is_not_taken_off(model):
    handle = patch(model, prior=prior_of(model))
    ours = model.encode_images
    model.encode_images = lambda *a: ours(*a)
    with pytest.raises(CraftError, match="encode_images was replaced again"):
        handle.unpatch()
    model.encode_images = ours
    handle.unpatch()


def test_what_was_there_before_comes_back(model):
    other = StandIn.encode_images.__get__(model)
    model.encode_images = other
    handle = patch(model, prior=prior_of(model))
    model.generate(question(1), pixels(1))
    handle.unpatch()
    assert model.encode_images is other


def test_models_and_copies_share_nothing(model):
    second = StandIn(seed=1)
    first = patch(model, prior=prior_of(model), keep_ratio=0.5)
    twin = copy.deepcopy(model)
    second.generate(question(1), pixels(1))
    twin.generate(question(1), pixels(1))
    assert first.last is None
    copied = vars(twin)["encode_images"].__self__
    assert copied.model is twin
    assert copied.last is not None
    copied.unpatch()
    model.generate(question(1), pixels(1))
    assert first.last is not None


@pytest.mark.parametrize(("levels", "shared"), LAYOUTS)
def test_exact_codes_while_patched(levels, shared):
    model = StandIn(levels, shared)
    images = pixels(2)
    _, codes, residual_sq = seen(model, images)
    handle = patch(model, keep_ratio=0.5, precision="exact", selector="random")
    prior = prior_of(model)
    assert prior.precision == "exact"
    handle.unpatch()
    handle = patch(model, prior=prior, keep_ratio=0.5, precision="exact")
    model.generate(question(2), images)
    assert handle.last is not None
    assert (handle.last.codes == codes).float().mean() > 0.9  # float32 ties apart
    torch.testing.assert_close(handle.last.residual_sq, residual_sq)


def test_misuse_is_refused(model):
    prior = prior_of(model)
    for options, message in (
        ({}, "needs the domain's token prior"),
        ({"prior": prior, "keep_ratio": 0.0}, "keep_ratio must be in"),
        ({"prior": prior, "precision": "fp8"}, "precision must be one of"),
    ):
        with pytest.raises(ValueError, match=message):
            patch(model, **options)
    small = TokenPrior(torch.ones(23).long(), codebook_fingerprint="0" * 64, encoder_hash="x")
    with pytest.raises(CodebookMismatchError, match="counts 23 codes, the model's codebook has 24"):
        patch(model, prior=small)
    with pytest.raises(CodebookMismatchError):
        patch(StandIn(seed=3), prior=prior)
    assert "encode_images" not in vars(model)
    handle = patch(model, prior=prior)
    with pytest.raises(ValueError, match="already patched"):
        patch(model, prior=prior)
    handle.unpatch()
    with pytest.raises(UnknownLayoutError, match="holds no VILA-U encoder"):
        patch(torch.nn.Linear(2, 2), prior=prior)
    with pytest.raises(UnknownLayoutError, match="has no encode_images"):
        patch(model.vision_tower, prior=prior)
    model.encoder.quantizer.code_shape = torch.Size((2, 2, 4))
    with pytest.raises(UnknownLayoutError, match="fold several patches"):
        patch(model, prior=prior)
