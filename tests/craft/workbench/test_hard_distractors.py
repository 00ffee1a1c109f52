"""Similarities of images with class names, also with names of the same tokens."""

from __future__ import annotations

import torch

from craft.data.domains.distractors import hardest
from craft.family.family import ModelFamily
from craft.workbench.hard_distractors import class_similarity
from tests.craft.conftest import NAMES, image_set


def test_classes_that_read_the_same_are_equal_bit_for_bit(tiny_models: ModelFamily) -> None:
    """Unknown words are one token; as two columns of a product they could round differently."""
    images = image_set("flags", {"test": 2})
    classes = [NAMES[0], "zyzzyva", NAMES[1], "quagga", *NAMES[2:]]
    found = class_similarity(tiny_models.siglip, tiny_models.tokenizer, images, classes)
    assert found.shape == (len(images.labels), len(classes))
    assert torch.equal(found[:, 1], found[:, 3])
    assert len({column.numpy().tobytes() for column in found.T}) == len(classes) - 1
    for wrong in hardest(found, images.labels, classes, count=len(classes) - 1):
        assert wrong.index("quagga") == wrong.index("zyzzyva") + 1
