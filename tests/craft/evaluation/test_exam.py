"""One encoding serves every model and budget; limits, masks and scores are right."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
import torch

from craft.codebook import Codebook, CodebookMismatchError
from craft.corpus.count import count_prior
from craft.data.images.store import TensorStore
from craft.evaluation import visual_tokens
from craft.evaluation.exam import Candidate, Exam
from craft.evaluation.visual_tokens import VisualTokens
from craft.family.family import ModelFamily
from craft.models.encoder_pack import EncoderPack
from craft.pocket.domains import load_domain
from craft.pocket.retention import general_probe
from craft.prior import TokenPrior
from craft.pruning import keep_count

IMAGES = TensorStore(torch.rand(5, 3, 24, 24, generator=torch.Generator().manual_seed(3)))


def test_prior_counts_the_towers_first_level(small_world: None, tiny_models: ModelFamily) -> None:
    images = load_domain("handwriting").train.images
    tower = tiny_models.pretrained_tower()
    prior = count_prior(tower, images, batch=7)
    codes = tower.encode(images.pixels(range(len(images)))).codes[..., 0]
    assert torch.equal(prior.counts, codes.flatten().bincount(minlength=24))
    assert prior.encoder_hash == EncoderPack.of(tower).encoder_hash
    assert prior.codebook_fingerprint == tiny_models.codebook.fingerprint


def test_features_are_looked_up_bit_for_bit(tiny_models: ModelFamily) -> None:
    tower = tiny_models.pretrained_tower()
    found = tower.encode(IMAGES.images)
    tokens = VisualTokens(tower, IMAGES)
    assert tokens.codes.dtype == torch.int16
    assert torch.equal(tokens.codes.long(), found.codes)
    assert torch.equal(tokens.residual_sq, found.residual_sq_norms[..., 0])
    for rows in ([0, 1, 2, 3, 4], [3, 0, 3]):
        assert torch.equal(tokens.keep(rows).tensors[0], found.quantized[rows])
    assert tokens.windows == [range(5)]


def test_a_bfloat16_encoders_features_keep_their_rounding(tiny_models: ModelFamily) -> None:
    tower: Any = tiny_models.pretrained_tower().bfloat16()
    found = tower.encode(IMAGES.images)
    kept = VisualTokens(tower, IMAGES).keep(range(5)).tensors[0]
    assert kept.dtype == found.quantized.dtype == torch.bfloat16
    assert torch.equal(kept, found.quantized)


@pytest.mark.parametrize("held", [1, 1 << 29])
def test_plain_features_are_recomputed_in_windows(
    tiny_models: ModelFamily, monkeypatch: pytest.MonkeyPatch, held: int
) -> None:
    monkeypatch.setattr(visual_tokens, "FEATURE_BYTES", held)
    images = torch.rand(150, 3, 24, 24, generator=torch.Generator().manual_seed(4))
    tower = tiny_models.pretrained_tower()
    tokens = VisualTokens(tower, TensorStore(images), quantized=False)
    assert len(tokens.windows) == (3 if held == 1 else 1)
    whole = tower.continuous(images)
    rows = [149, 0, 70, 1, 149]
    assert torch.equal(tokens.keep(rows).tensors[0], whole[rows])
    assert len(tokens._window[1]) <= (64 if held == 1 else 150)
    kept = tokens.keep(rows, 0.5, "random")
    expected = whole[torch.tensor(rows)[:, None], kept.indices]
    assert torch.equal(kept.tensors[0], expected)
    # Which patches survive is known from codes alone.
    monkeypatch.setattr(tokens, "_encoded", lambda _: pytest.fail("encoded again"))
    mask = tokens.kept(0.5, "random")
    assert torch.equal(mask.flatten(1)[rows].nonzero()[:, 1].view(5, -1), kept.indices)


def test_budgets_are_nested(tiny_models: ModelFamily) -> None:
    tower = tiny_models.pretrained_tower()
    tokens = VisualTokens(tower, IMAGES, count_prior(tower, IMAGES))
    before: set[int] = set()
    for ratio in (0.2, 0.5, 0.8):
        kept = tokens.keep(range(5), ratio)
        assert kept.indices.shape == (5, keep_count(9, ratio))
        first = set(kept.indices[0].tolist())
        assert before < first
        before = first
        expected = tower.encode(IMAGES.images).quantized[0, kept.indices[0]]
        assert torch.equal(kept.tensors[0][0], expected)
        # The selection for an image does not depend on the others in its batch.
        alone = tokens.keep([3], ratio)
        assert torch.equal(alone.indices[0], kept.indices[3])


def test_random_pruning_is_fixed_by_its_seed(tiny_models: ModelFamily) -> None:
    tower = tiny_models.pretrained_tower()
    tokens = [VisualTokens(tower, IMAGES, seed=seed) for seed in (0, 0, 1)]
    kept = [x.keep(range(5), 0.5, "random").indices for x in tokens]
    assert torch.equal(kept[0], kept[1])
    assert torch.equal(tokens[0].keep([4, 2], 0.5, "random").indices, kept[0][[4, 2]])
    assert not torch.equal(kept[0], kept[2])


def test_pruning_by_rarity_needs_a_prior(tiny_models: ModelFamily) -> None:
    tokens = VisualTokens(tiny_models.pretrained_tower(), IMAGES)
    with pytest.raises(ValueError, match=r"'full' needs the domain's token prior.*craft prior"):
        tokens.keep(range(5), 0.5)


def test_a_prior_of_another_codebook_is_refused(tiny_models: ModelFamily) -> None:
    prior = TokenPrior.empty(Codebook(torch.randn(24, 16), 2), encoder_hash="e")
    with pytest.raises(CodebookMismatchError, match=r"this prior counts codes of codebook"):
        VisualTokens(tiny_models.pretrained_tower(), IMAGES, prior)


def test_limit_draws_the_same_questions_about_the_same_images(small_world: None) -> None:
    domain = load_domain("handwriting")
    general = general_probe(6, 24)
    everything = Exam.of(domain, general)
    some = Exam.of(domain, general, limit=7)
    whole = {q.id: q for q in everything.domain.questions}
    assert len(some.domain.questions) == len(some.domain.images) == 7
    for question in some.domain.questions:
        assert whole[question.id].prompt == question.prompt
        image = everything.domain.images.pixels([whole[question.id].row])
        assert torch.equal(some.domain.images.pixels([question.row]), image)
    with pytest.raises(ValueError, match="at least 1, got 0"):
        Exam.of(domain, general, limit=0)


def test_marks_can_be_recomputed_from_their_lines(
    small_world: None, guessing: None, tiny_models: ModelFamily
) -> None:
    exam = Exam.of(load_domain("handwriting"), general_probe(6, 24))
    candidate = Candidate(exam, tiny_models.pretrained_tower())
    marks = candidate.answer(tiny_models.language_model("qwen2"))
    file = io.StringIO()
    marks.write(file, {"model": "qwen2"})
    rows = [json.loads(line) for line in file.getvalue().splitlines()]
    assert 0 < marks.scores["all"] < 100
    assert marks.scores["n"] == {"all": 30, "seen": 24, "heldout": 6, "general": 6}
    for part, chosen in (
        ("all", [r for r in rows if r["part"] == "domain"]),
        ("heldout", [r for r in rows if r["part"] == "domain" and r["heldout"]]),
        ("general", [r for r in rows if r["part"] == "general"]),
    ):
        assert len(chosen) == marks.scores["n"][part]
        assert marks.scores[part] == 100 * sum(r["right"] for r in chosen) / len(chosen)


def test_the_mask_shows_the_kept_patches(tiny_models: ModelFamily, small_world: None) -> None:
    exam = Exam.of(load_domain("handwriting"), general_probe(6, 24), limit=3)
    candidate = Candidate(exam, tiny_models.pretrained_tower())
    mask = candidate.kept(0.8, "random")
    indices = candidate.domain.keep(range(3), 0.8, "random").indices
    assert mask.shape == (3, 3, 3)
    assert [row.nonzero().flatten().tolist() for row in mask.flatten(1)] == indices.tolist()
