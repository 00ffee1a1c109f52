"""Selection of weights: what is scored, kept and mixed."""

import copy

import pytest
import torch

from craft.pocket.domains import load_domain
from craft.settings.training import CraftConfig
from craft.training import selection as module
from craft.training.selection import SHARES, Selection, domain_views
from craft.training.validation import LetterScores

CONFIG = CraftConfig(validation_images=10)

pytestmark = pytest.mark.usefixtures("small_world")


@pytest.fixture
def tower(tiny_models):
    return tiny_models.pretrained_tower()


@pytest.fixture
def selection(tiny_models, tower):
    return Selection(
        tower, tiny_models.language_model("qwen2"), load_domain("lineart"), None, CONFIG
    )


def shifted(tower, amount):
    """The tower's state with ``amount`` added to every parameter."""
    state = copy.deepcopy(tower.state_dict())
    for name, parameter in tower.named_parameters():
        state[name] = parameter.detach() + amount
    return state


def scored(selection, monkeypatch, domain, general):
    """Score a tower by how far its first parameter has moved: 0 pretrained, 1 adapted."""
    origin = next(selection.tower.parameters()).flatten()[0].item()

    def validate(step, blend=1.0):
        moved = round(next(selection.tower.parameters()).flatten()[0].item() - origin, 3)
        entry = {"domain_confidence": domain(moved), "general_confidence": general(moved)}
        selection.history.append(entry)
        return entry

    monkeypatch.setattr(selection, "validate", validate)
    selection.validate(0)
    selection.tower.load_state_dict(shifted(selection.tower, 1.0))
    selection.validate(1)


def test_the_best_mixture_wins_and_is_the_mixture(selection, tower, monkeypatch):
    start = copy.deepcopy(tower.state_dict())
    scored(selection, monkeypatch, lambda x: 50 - abs(x - 0.6), lambda _: 90)
    adapted = copy.deepcopy(tower.state_dict())
    assert selection.blend(7) == 0.6
    for name, x in tower.state_dict().items():
        if x.is_floating_point():
            wanted = start[name].double() * 0.4 + adapted[name].double() * 0.6
            torch.testing.assert_close(x.double(), wanted, rtol=1e-6, atol=1e-6)


def test_no_more_is_forgotten_than_allowed(selection, monkeypatch):
    # The domain is best with all adapted weights, but 10 points are lost then and only 4 may be.
    scored(selection, monkeypatch, lambda x: 50 + x, lambda x: 90 - 10 * x)
    assert selection.blend(3) == 0.4


def test_the_pretrained_weights_are_kept_if_nothing_is_better(selection, tower, monkeypatch):
    start = copy.deepcopy(tower.state_dict())
    scored(selection, monkeypatch, lambda x: 50 - x, lambda _: 90)
    assert selection.blend(3) == 0
    assert all(torch.equal(x, start[name]) for name, x in tower.state_dict().items())


def test_rounding_differences_decide_nothing(selection, monkeypatch):
    """Neither for a larger share of the adapted weights nor against it."""
    scored(selection, monkeypatch, lambda x: 99.9 + 1e-3 * x, lambda _: 90)
    assert selection.blend(3) == 0


def test_forgetting_within_rounding_is_allowed(tiny_models, tower, monkeypatch):
    config = CraftConfig(validation_images=10, forget_at_most=0.0)
    parts = (tower, tiny_models.language_model("qwen2"), load_domain("lineart"))
    selection = Selection(*parts, None, config)
    scored(selection, monkeypatch, lambda x: 50 + x, lambda x: 90 - 1e-3 * (x > 0.25))
    assert selection.blend(3) == 1


def test_of_steps_equal_up_to_rounding_the_first_is_best(tiny_models, tower, monkeypatch):
    config = CraftConfig(validation_images=10, select="best")
    parts = (tower, tiny_models.language_model("qwen2"), load_domain("lineart"))
    chosen = Selection(*parts, None, config)
    scores = iter([50.0, 60.0, 60.001, 59.0])
    monkeypatch.setattr(
        module, "letter_scores", lambda *_, **__: LetterScores(0.0, next(scores), ())
    )
    for step in range(4):
        chosen.validate(step)
    assert chosen.take_best() == 1


def test_every_validation_is_in_the_history(selection, tower):
    selection.validate(0)
    tower.load_state_dict(shifted(tower, 0.1))
    selection.validate(2)
    selection.blend(2)
    assert [(h["step"], h["blend"]) for h in selection.history] == [
        (0, 1.0),
        (2, 1.0),
        *((2, share) for share in SHARES),
    ]
    assert all(0 <= h["domain_confidence"] <= 100 for h in selection.history)


def test_few_images_get_several_questions_with_different_distractors():
    domain = load_domain("lineart")
    n = len(domain.val)
    asked = domain_views(domain, 3 * n)
    images, questions = asked.images, asked.questions
    assert len(images) == n
    assert len(questions) == 3 * n
    assert sorted(q.row for q in questions) == sorted(3 * list(range(n)))
    assert len({(q.row, q.options) for q in questions}) > n
    assert not {q.label for q in questions} & set(domain.heldout)
    asked = domain_views(domain, 2)
    assert len(asked.images) == len(asked.questions) == 2


def test_forgetting_is_told_apart_from_learning_nothing(selection, monkeypatch):
    # The adapted weights know the domain better, but every mixture loses too much.
    scored(selection, monkeypatch, lambda x: 50 + x, lambda x: 90 - 100 * x)
    assert selection.blend(3) == 0
    assert selection.taken == 0
    assert selection.forgot


def test_without_learning_nothing_counts_as_forgotten(selection, monkeypatch):
    scored(selection, monkeypatch, lambda x: 50 - x, lambda x: 90 - 100 * x)
    tried = []
    assert selection.blend(3, lambda *counts: tried.append(counts)) == 0
    assert not selection.forgot
    assert tried == [(number, len(SHARES) + 1) for number in range(len(SHARES) + 2)]
