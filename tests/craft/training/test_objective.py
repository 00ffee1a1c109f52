"""The contrastive loss against the formula written out pair by pair, and gradient norms."""

import math

import pytest
import torch

from craft.models import siglip_texts
from craft.models.siglip_texts import text_embeddings
from craft.training.objective import ContrastiveHead, contrastive_loss, gradient_norms


def by_hand(images, texts, keys, scale, bias):
    total = 0.0
    for i in range(len(keys)):
        for j in range(len(keys)):
            if i != j and keys[i] == keys[j]:
                continue
            cosine = torch.cosine_similarity(images[i], texts[j], dim=0)
            score = scale * float(cosine) + bias
            sign = 1 if i == j else -1
            total += math.log1p(math.exp(-sign * score))
    return total / len(keys)


def test_loss_is_the_sum_over_pairs_of_different_classes():
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(6, 8, generator=generator, dtype=torch.float64)
    texts = torch.randn(6, 8, generator=generator, dtype=torch.float64)
    keys = torch.tensor([0, 1, 0, 2, 1, 3])
    loss = contrastive_loss(images, texts, keys, torch.tensor(5.0), torch.tensor(-2.0))
    assert float(loss) == pytest.approx(by_hand(images, texts, keys.tolist(), 5.0, -2.0), rel=1e-9)


def test_pairs_that_share_any_key_are_not_negatives():
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(4, 8, generator=generator, dtype=torch.float64)
    texts = torch.randn(4, 8, generator=generator, dtype=torch.float64)
    keys = torch.tensor([[0, 9], [0, 8], [1, 9], [2, 7]])  # image, statement
    scale, bias = torch.tensor(5.0), torch.tensor(-2.0)

    class Keys:
        def __init__(self, values):
            self.values = values

        def __eq__(self, other):
            return any(a == b for a, b in zip(self.values, other.values, strict=True))

    loss = contrastive_loss(images, texts, keys, scale, bias)
    expected = by_hand(images, texts, [Keys(k) for k in keys.tolist()], 5.0, -2.0)
    assert float(loss) == pytest.approx(expected, rel=1e-9)


def test_texts_of_the_same_class_do_not_repel():
    images = torch.randn(2, 4, requires_grad=True)
    texts = torch.randn(2, 4, requires_grad=True)
    scale, bias = torch.tensor(3.0), torch.tensor(0.0)
    both = contrastive_loss(images, texts, torch.tensor([7, 7]), scale, bias)
    alone = [
        contrastive_loss(images[i : i + 1], texts[i : i + 1], torch.tensor([7]), scale, bias)
        for i in range(2)
    ]
    torch.testing.assert_close(both, torch.stack(alone).mean())


@pytest.mark.parametrize("literal", [True, False])
def test_head_starts_at_the_chosen_temperature(tiny_models, literal):
    head = ContrastiveHead(tiny_models.siglip, literal, torch.Generator().manual_seed(0))
    expected = math.log(10) if literal else float(tiny_models.siglip.logit_scale)
    assert head.log_scale.item() == pytest.approx(expected)
    assert {name for name, _ in head.named_parameters()} == {"token", "log_scale"}
    assert head.token is not None
    assert float(head.token.detach().std()) == pytest.approx(0.02, rel=0.6)


def test_text_embeddings_are_siglips_and_carry_no_gradient(tiny_models):
    texts = ["An image of a flag, specifically a thing aa.", "thing bb"]
    found = text_embeddings(tiny_models.siglip, tiny_models.tokenizer, texts)
    ids = tiny_models.tokenizer(texts, padding="max_length", max_length=16, return_tensors="pt")
    expected = tiny_models.siglip.get_text_features(input_ids=ids["input_ids"]).pooler_output
    assert torch.equal(found, expected)
    assert not found.requires_grad
    assert not found.is_inference()


def test_text_embeddings_are_computed_in_batches(tiny_models, monkeypatch):
    texts = [f"thing {2 * chr(97 + i)}" for i in range(7)]
    whole = text_embeddings(tiny_models.siglip, tiny_models.tokenizer, texts)
    sizes = []
    original = tiny_models.siglip.get_text_features

    def counted(ids):
        sizes.append(len(ids))
        return original(ids)

    monkeypatch.setattr(tiny_models.siglip, "get_text_features", counted)
    monkeypatch.setattr(siglip_texts, "BATCH_BYTES", 3 * 4 * 16 * (6 * 16 + 2 * 32))
    found = text_embeddings(tiny_models.siglip, tiny_models.tokenizer, texts)
    assert sizes == [3, 3, 1]
    torch.testing.assert_close(found, whole)


def test_gradient_norms_of_known_terms():
    x = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
    y = torch.nn.Parameter(torch.tensor([1.0]))
    norms = gradient_norms({"a": (x * x).sum() / 2, "b": 12 * y.sum() + 0 * x.sum()}, [x, y])
    assert norms == pytest.approx({"a": 5.0, "b": 12.0})
