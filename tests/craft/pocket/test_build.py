"""The pocket models' recipes, on a world of ten classes and for a few steps."""

import math
import shutil

import pytest
import torch

from craft.data import prompts
from craft.models.text_batch import prompt_batch
from craft.pocket import retention
from craft.pocket.build.language import LanguageStage
from craft.pocket.build.language_recipe import LanguageRecipe
from craft.pocket.build.lessons import Lessons, noisy_sentence
from craft.pocket.build.vision import Phase, ResidualCodebook, VisionRecipe, VisionStage
from craft.pocket.build.vocabulary import build_tokenizer

SHARES = (0.5, 0.25, 0.25)
VISION = VisionRecipe(
    image_size=24,
    width=16,
    mlp=32,
    layers=2,
    heads=2,
    codes=12,
    levels=2,
    text_length=16,
    phases=(Phase(6, 1e-3, SHARES), Phase(3, 1e-3, SHARES)),
    batch=8,
    texts=4,
)


@pytest.fixture(scope="module")
def areas(small_world):
    return retention.general_world()


@pytest.fixture(scope="module")
def tokenizer(areas):
    return build_tokenizer([name for area in areas for name in area.labels + area.groups])


def test_names_and_letters_are_single_tokens(areas, tokenizer):
    question = prompts.multiple_choice("flag", areas[0].classes[:4])
    tokens = tokenizer.tokenize(question)
    assert tokenizer.unk_token not in tokens
    assert areas[0].classes[0] in tokens
    assert tokens[tokens.index(areas[0].classes[1]) - 2] == "b"
    for text in ("A", "thing aa"):
        assert len(tokenizer.tokenize(text)) == 1


def test_every_question_and_answer_can_be_said(areas, tokenizer):
    lessons = Lessons(areas, SHARES, 0)
    kinds = set()
    for area, row in lessons.pick(300):
        label = areas[area].labels[row]
        question, answer = lessons.ask(area, label)
        ids = prompt_batch(tokenizer, [f"{question} {answer}"]).input_ids
        assert tokenizer.unk_token_id not in ids
        kinds.add(question.splitlines()[-1] + (" group" if "group" in question else ""))
        if question.endswith(prompts.ONE_LETTER):
            assert f"{answer}. {label}" in question.splitlines()
    assert len(kinds) == 4


def test_noise_keeps_order_and_changes_some(areas):
    features = torch.arange(36.0).view(1, 36, 1).expand(64, 36, 4).contiguous()
    recipe = LanguageRecipe(noise=0.0, replaced=0.0, zeroed=0.0, shortest=0.5)
    lengths = set()
    generator = torch.Generator().manual_seed(0)
    for _ in range(30):
        noisy = noisy_sentence(features, recipe, generator)
        assert (noisy[..., 0].diff(dim=1) > 0).all()
        lengths.add(noisy.shape[1])
    assert min(lengths) >= 18
    assert 36 in lengths
    noisy = noisy_sentence(features, LanguageRecipe(noise=0.0, shortest=1.0), generator)
    zeroed = (noisy == 0).all(-1)[:, 1:].float().mean()
    assert 0.05 < zeroed < 0.16


def test_codebook_losses_are_the_mean_over_levels():
    book = ResidualCodebook(5, 3, 2)
    with torch.no_grad():
        book.table.copy_(torch.randn(5, 3))
    z = torch.randn(2, 4, 3, requires_grad=True)
    z_hat, commit, codebook = book(z)
    residual, expected = z.detach().clone(), 0.0
    for _ in range(2):
        nearest = torch.cdist(residual.flatten(0, 1), book.table.detach()).argmin(1)
        residual = residual - book.table.detach()[nearest].view_as(residual)
        expected += residual.square().mean() / 2
    torch.testing.assert_close(commit.detach(), expected)
    torch.testing.assert_close(codebook.detach(), expected)
    torch.testing.assert_close(z_hat.detach(), (z - residual).detach())
    (gradient,) = torch.autograd.grad(z_hat.sum(), z)
    assert torch.equal(gradient, torch.ones_like(z))


def test_vision_resumes_from_a_saved_phase(areas, tokenizer):
    whole, resumed = (VisionStage(areas, tokenizer, VISION) for _ in range(2))
    whole.run(0)
    saved = {name: x.clone() for name, x in whole.state().items()}
    whole.run(1)
    resumed.load(saved)
    resumed.run(1)
    for name, tensor in whole.state().items():
        assert torch.equal(tensor, resumed.state()[name]), name
    assert whole.book.table.abs().sum() > 0


@pytest.mark.parametrize("family", ["qwen2", "llama"])
def test_language_stages_run_freeze_and_resume(areas, tokenizer, family, tmp_path):
    recipe = LanguageRecipe(
        SHARES,
        bare_steps=2,
        worded_steps=2,
        text_batch=4,
        projector_steps=2,
        projector_batch=4,
        joint_steps=(3, 2),
        joint_batch=4,
        text_every=2,
    )
    codes = [torch.randint(0, 12, (len(area), 2, 9, 2), dtype=torch.int16) for area in areas]
    meanings = {name: torch.randn(16) for name in areas[0].classes}
    shared = (tokenizer, meanings, "f" * 64, recipe)
    stage = LanguageStage(family, areas, codes, torch.randn(12, 16), *shared)
    language_model = stage.run(tmp_path)
    shutil.rmtree(tmp_path / f"{family}-joint-2")
    again = LanguageStage(family, areas, codes, stage.table, *shared)
    resumed = again.run(tmp_path)
    for name, tensor in language_model.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
    assert not any(p.requires_grad for p in language_model.parameters())
    assert all(math.isfinite(float(p.abs().sum())) for p in language_model.parameters())
    assert language_model.language_model.config.model_type == family
