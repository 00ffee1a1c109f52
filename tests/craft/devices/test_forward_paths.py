"""Forward passes with models and inputs on different devices, without a GPU.

Models are fake tensors on torch's "meta" device, inputs real ones on the CPU. Nothing is computed,
but torch refuses operations on tensors of two devices, as it would with a GPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

import craft.models.vision_tower as vision_tower
from craft.data import prompts
from craft.data.images.store import TensorStore
from craft.decoding.crop import Box
from craft.decoding.masking import cells_within
from craft.evaluation.visual_tokens import VisualTokens
from craft.family.family import ModelFamily
from craft.models.siglip_texts import text_embeddings
from craft.training.objective import contrastive_loss
from craft.workbench.hard_distractors import class_similarity
from craft_kernels import ResidualCodes
from tests.craft.training.short_run import random_domain

AWAY = torch.device("meta")


@pytest.fixture(autouse=True)
def look_up_where_the_table_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make fake look-ups refuse row numbers on the CPU, as GPUs do."""
    forward = nn.Embedding.forward

    def checked(self: nn.Embedding, rows: Tensor) -> Tensor:
        assert rows.device.type == self.weight.device.type, "rows and table on two devices"
        return forward(self, rows)

    monkeypatch.setattr(nn.Embedding, "forward", checked)


@pytest.fixture
def fake() -> Iterator[FakeTensorMode]:
    with torch.no_grad():
        yield FakeTensorMode(allow_non_fake_inputs=True)


def away(shape: Any, dtype: torch.dtype, fake: FakeTensorMode) -> Tensor:
    with fake:
        return torch.empty(shape, dtype=dtype, device=AWAY)


def place(model: Any, fake: FakeTensorMode) -> Any:
    for module in model.modules():
        for name, p in module._parameters.items():
            if p is not None:
                there = away(p.shape, p.dtype, fake)
                module._parameters[name] = nn.Parameter(there, requires_grad=False)
        for name, b in module._buffers.items():
            if b is not None:
                module._buffers[name] = away(b.shape, b.dtype, fake)
    return model


@pytest.fixture
def family(tiny_models_dir, fake, monkeypatch) -> ModelFamily:
    models = ModelFamily(tiny_models_dir)
    place(models.siglip, fake)
    words = away(models.codebook.table.shape, torch.float32, fake)
    levels = models.codebook.levels

    def quantize(z: Tensor, *_: Any) -> ResidualCodes:
        op = torch.ops.craft.residual_quantize.default
        return ResidualCodes(*op(z, words, levels, 0, "auto"))

    monkeypatch.setattr(vision_tower, "quantize", quantize)
    return models


def tower(family: ModelFamily, fake: FakeTensorMode) -> Any:
    model = ModelFamily(family.directory).pretrained_tower()
    return place(model, fake)


@pytest.mark.parametrize("quantized", [True, False])
def test_an_exam_reads_and_prunes_where_the_encoder_is(family, fake, quantized):
    tokens = VisualTokens(
        tower(family, fake), TensorStore(torch.rand(3, 3, 24, 24)), quantized=quantized
    )
    kept = tokens.keep(range(3), 0.5, "random")
    assert kept.tensors[0].device == AWAY
    assert tokens.kept(0.5, "random").device == AWAY


def test_a_language_model_reads_batches_that_were_made_on_the_cpu(family, fake):
    model = place(family.language_model("qwen2"), fake)
    model.language_model.set_attn_implementation("eager")  # sdpa's reads the mask's values
    visual = away((2, 9, 16), torch.float32, fake)
    text = model.training_batch([f"thing {prompts.SHORT_ANSWER}", "thing"], ["aa", "bb"])
    logits, targets = model.answer_logits(visual, text)
    assert logits.device == targets.device == AWAY
    assert model.answer_loss(visual, text).device == AWAY
    embeds, _ = model.embed(visual, model.prompt_batch(["thing aa", "thing"]))
    assert embeds.device == AWAY


def test_contrastive_texts_are_embedded_where_the_pair_is(family):
    assert text_embeddings(family.siglip, family.tokenizer, ["thing aa"]).device == AWAY


def test_the_contrast_of_a_step(fake):
    images, texts = (away((n, 16), torch.float32, fake) for n in (2, 4))
    keys = away((4, 2), torch.int64, fake)
    scale, bias = (away(shape, torch.float32, fake) for shape in ((1,), ()))
    assert contrastive_loss(images, texts, keys, scale, bias, slice(2, 4)).device == AWAY


def test_dropped_cells_stay_where_the_evidence_is(fake):
    cells = away((3, 3), torch.bool, fake)
    view = Box(0, 0, 30, 30)
    assert cells_within(cells, view, Box(5, 5, 20, 20), (3, 3)).device == AWAY


def test_hard_distractors_send_images_to_the_pair(family, monkeypatch):
    monkeypatch.setattr(torch.Tensor, "cpu", lambda x: x)  # fakes have no values to bring back
    domain = random_domain()
    found = class_similarity(family.siglip, family.tokenizer, domain.test, domain.classes)
    assert found.device == AWAY
