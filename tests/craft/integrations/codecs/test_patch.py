"""Patching: reversible, on one instance, and only where codes would be the model's own."""

import copy
import gc
import pickle
import weakref
from typing import Any

import pytest
import torch
from torch import nn
from transformers.models.dac.modeling_dac import DacVectorQuantize
from transformers.models.mimi.modeling_mimi import (
    MimiEuclideanCodebook,
    MimiResidualVectorQuantizer,
)
from transformers.models.neucodec.configuration_neucodec import NeuCodecConfig
from transformers.models.neucodec.modeling_neucodec import NeuCodecFiniteScalarQuantization

from craft.errors import CraftError
from craft.integrations.codecs import (
    TrainedCodebookError,
    UnsupportedModelError,
    handle_of,
    patch,
)
from tests.craft.integrations.codecs.tiny import (
    CASES,
    chameleon,
    dac,
    encodec,
    groups,
    mimi,
    noise,
    recorded,
)
from tests.craft.integrations.codecs.truth import truth_of

SOUND = noise(1, 1, 640, seed=1)


class Holder(nn.Module):
    def __init__(self, **parts):
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)


def holding(**parts: nn.Module) -> Any:
    return Holder(**parts)


def states(model):
    return {name: dict(vars(module)) for name, module in model.named_modules()}


@pytest.mark.parametrize("name", CASES)
def test_unpatch_restores_everything(name):
    model = CASES[name].build()
    with torch.no_grad():
        model.encode(**CASES[name].inputs(1))  # Mimi keeps its codewords from then on
    before, keys, kind = states(model), list(model.state_dict()), type(model)
    handle = patch(model)
    assert type(model) is kind
    assert list(model.state_dict()) == keys
    changed = [name for name, state in states(model).items() if state != before[name]]
    assert changed == list(CASES[name].paths)
    with torch.no_grad():
        model.encode(**CASES[name].inputs(1))
    handle.unpatch()
    handle.unpatch()
    assert states(model) == before
    assert handle_of(model) is None


def test_it_says_what_it_did():
    model = holding(codec=mimi(), fsq=NeuCodecFiniteScalarQuantization(NeuCodecConfig()))
    handle = patch(model)
    assert repr(handle).splitlines() == [
        "Holder, exact codes",
        "  replaced   codec.quantizer.semantic_residual_vector_quantizer "
        "(MimiResidualVectorQuantizer.encode): 2 x 64 codewords of 16 numbers",
        "  replaced   codec.quantizer.acoustic_residual_vector_quantizer "
        "(MimiResidualVectorQuantizer.encode): 4 x 64 codewords of 16 numbers",
        "  left alone fsq (NeuCodecFiniteScalarQuantization): it rounds each channel by itself, "
        "so there is no codebook to search",
    ]
    handle.unpatch()
    assert repr(handle).startswith("Holder, unpatched\n")


def test_only_this_instance_changes():
    model, other = mimi(), mimi()
    patch(model)
    assert handle_of(other) is None
    assert "encode" not in vars(groups(other)[0])
    assert MimiResidualVectorQuantizer.encode.__module__.startswith("transformers")


def test_a_deep_copy_is_apart():
    model = mimi()
    handle = patch(model)
    twin = copy.deepcopy(model)
    for level in groups(twin)[1].layers:
        level.codebook.embed_sum.mul_(-1)
        level.codebook._embed = None
    with torch.no_grad():
        first, second = model.encode(SOUND).audio_codes, twin.encode(SOUND).audio_codes
        assert_truth(twin, "mimi")
    assert torch.equal(first[:, :2], second[:, :2])
    assert not torch.equal(first[:, 2:], second[:, 2:])
    copied = handle_of(twin)
    assert copied is not None
    assert copied.replaced == handle.replaced
    copied.unpatch()
    assert handle_of(twin) is None
    assert handle_of(model) is not None


def assert_truth(model, name):
    with torch.no_grad(), recorded(model, CASES[name]) as calls:
        model.encode(**CASES[name].inputs(1))
    for quantizer, features, codes in calls:
        assert torch.equal(codes, truth_of(quantizer, features, codes.shape[1]))


def test_pickling_a_patched_model():
    model = mimi()
    patch(model)
    again = pickle.loads(pickle.dumps(model))
    assert handle_of(again) is not None
    assert_truth(again, "mimi")


@pytest.mark.parametrize("name", ["mimi", "encodec"])
def test_saving_and_loading_while_patched(name, tmp_path):
    model = CASES[name].build()
    patch(model)
    with torch.no_grad():
        codes = model.encode(SOUND).audio_codes
    model.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path)
    assert handle_of(loaded) is None
    with torch.no_grad():
        assert torch.equal(loaded.encode(SOUND).audio_codes, codes)
    with patch(loaded), torch.no_grad():
        assert torch.equal(loaded.encode(SOUND).audio_codes, codes)


@pytest.mark.parametrize("change", ["in place", "load_state_dict", "dtype", "replaced"])
def test_a_changed_codebook_is_read_again(change):
    model = encodec()
    patch(model)
    with torch.no_grad():
        before = model.encode(SOUND).audio_codes
    book = model.quantizer.layers[0].codebook
    if change == "in place":
        book.embed.mul_(-1)
    elif change == "load_state_dict":
        state = {n: -t if n.endswith(".embed") else t for n, t in model.state_dict().items()}
        model.load_state_dict(state)
    elif change == "dtype":
        model.to(torch.bfloat16).to(torch.float32)
        book.embed.mul_(-1)
    else:
        book.embed = -book.embed
    assert_truth(model, "encodec")
    with torch.no_grad():
        assert not torch.equal(model.encode(SOUND).audio_codes, before)


def test_a_context_manager_unpatches():
    model = mimi()
    with patch(model) as handle:
        assert handle_of(model) is not None
    assert handle_of(model) is None
    assert len(handle.replaced) == 2
    with pytest.raises(IndexError), patch(model):
        model.encode(SOUND)[7]
    assert handle_of(model) is None


def test_patching_twice_is_refused():
    model = holding(codec=mimi())
    handle = patch(model.codec)
    for part in (model, model.codec, model.codec.quantizer):
        with pytest.raises(CraftError, match=r"semantic_residual_vector_quantizer .* patched alre"):
            patch(part)
    handle.unpatch()
    patch(model)


def test_a_patch_over_ours_is_not_taken_off():
    model = encodec()
    handle = patch(model)
    ours = model.quantizer.encode
    model.quantizer.encode = lambda *a: ours(*a)
    with pytest.raises(CraftError, match=r"quantizer\.encode was replaced again after patch"):
        handle.unpatch()
    model.quantizer.encode = ours
    handle.unpatch()


def test_what_was_there_before_comes_back():
    model = encodec()
    other = type(model.quantizer).encode.__get__(model.quantizer)
    model.quantizer.encode = other
    patch(model).unpatch()
    assert model.quantizer.encode is other


class FancyVectorQuantizer(nn.Module):
    pass


class ShiftingQuantizer(MimiResidualVectorQuantizer):
    def encode(self, embeddings, num_quantizers=None):
        return super().encode(embeddings + 1, num_quantizers)


class RenamedQuantizer(MimiResidualVectorQuantizer):
    pass


class ShiftingLevel(DacVectorQuantize):
    def decode_latents(self, hidden_states):
        return super().decode_latents(hidden_states + 1)


class ManhattanCodebook(MimiEuclideanCodebook):
    def quantize(self, hidden_states):
        return torch.cdist(hidden_states, self.embed, p=1).argmin(1)


def test_models_without_a_known_quantiser_are_refused():
    with pytest.raises(UnsupportedModelError, match="Linear holds no quantiser that can be repl"):
        patch(nn.Linear(2, 2))
    with pytest.raises(UnsupportedModelError, match=r"left alone: x \(FancyVectorQuantizer\): no "):
        patch(holding(x=FancyVectorQuantizer()))


def test_unknown_quantisers_are_left_alone_and_named():
    model = holding(codec=encodec(), x=FancyVectorQuantizer())
    handle = patch(model)
    (left,) = handle.left_alone
    assert (left.path, left.quantizer) == ("x", "FancyVectorQuantizer")
    assert not any(hasattr(value, "__self__") for value in vars(model.x).values())


def test_subclasses_count_unless_they_compute_something_else():
    config = mimi().config
    patch(holding(q=RenamedQuantizer(config).eval()))
    with pytest.raises(UnsupportedModelError, match="ShiftingQuantizer overrides MimiResidualVec"):
        patch(ShiftingQuantizer(config).eval())
    quantizer = RenamedQuantizer(config).eval()
    quantizer.layers[1].codebook = ManhattanCodebook(config)
    with pytest.raises(UnsupportedModelError, match="ManhattanCodebook overrides MimiEuclideanCo"):
        patch(quantizer)
    codec = dac()
    codec.quantizer.quantizers[1] = ShiftingLevel(codec.config)
    with pytest.raises(UnsupportedModelError, match="ShiftingLevel overrides DacVectorQuantize"):
        patch(codec)
    quantizer.layers[1] = nn.Identity()
    with pytest.raises(UnsupportedModelError, match="a level of it is a Identity"):
        patch(quantizer)


def test_a_codebook_in_training_is_refused():
    model = encodec().train()
    with pytest.raises(TrainedCodebookError, match=r"running averages .* call quantizer.eval\(\)"):
        patch(model)
    model.quantizer.eval()
    patch(model)
    model.encode(SOUND)
    model.train()
    with pytest.raises(TrainedCodebookError, match="the codebook of quantizer is being trained"):
        model.encode(SOUND)


def test_a_table_in_training_is_refused_and_a_frozen_one_is_not():
    model = chameleon().train()
    with pytest.raises(TrainedCodebookError, match=r"quantize.requires_grad_\(False\)"):
        patch(model)
    model.quantize.requires_grad_(False)
    patch(model)
    found = model.encode(noise(1, 3, 16, 16))
    found.embedding_loss.backward()
    assert model.quant_conv.weight.grad.abs().sum() > 0
    assert model.quantize.embedding.weight.grad is None


def test_features_that_are_not_finite_are_refused():
    model = encodec()
    patch(model)
    features = noise(1, 16, 3)
    features[0, 2, 1] = torch.nan
    with pytest.raises(ValueError, match=r"z must be finite, got nan at position \(0, 1, 2\)"):
        model.quantizer.encode(features)


def test_nothing_is_kept_alive():
    model = encodec()
    patch(model)
    with torch.no_grad():
        model.encode(SOUND)
    alive = weakref.ref(model.quantizer)
    del model
    gc.collect()
    assert alive() is None


@pytest.mark.parametrize("name", ["mimi", "encodec", "dac", "chameleon", "glm_image"])
def test_beside_torch_compile(name):
    """One graph without a break, which reads the codebook again when it changes."""
    case = CASES[name]
    model = case.build()
    patch(model)
    with torch.no_grad(), recorded(model, case) as calls:
        model.encode(**case.inputs(1))
    quantizer = model.get_submodule(case.paths[-1])
    call = getattr(quantizer, case.method)
    compiled = torch.compile(call, fullgraph=True, backend="eager", dynamic=False)
    (dim,) = {calls[-1].features.shape[1]}
    if name == "mimi":
        quantizer.input_proj = None
    image = name in ("chameleon", "glm_image")
    features = noise(2, dim, 5, 1) if image else noise(2, dim, 5)
    with torch.no_grad():
        for _ in range(2):
            expected, found = call(features), compiled(features)
            for left, right in zip(expected, found, strict=True):
                assert torch.equal(left, right)
            if image:
                quantizer.embedding.weight.mul_(-1)
            elif name == "encodec":
                quantizer.layers[0].codebook.embed.mul_(-1)
            elif name == "dac":
                quantizer.quantizers[1].in_proj.weight.mul_(-1)
