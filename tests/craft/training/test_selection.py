"""The choice of weights: what is scored, what is kept, what is mixed."""

import copy

import pytest
import torch

from craft.pocket.domains import load_domain
from craft.training.config import CraftConfig
from craft.training.selection import BLENDS, Selection, domain_views

CONFIG = CraftConfig(validation_images=10)

pytestmark = pytest.mark.usefixtures("small_world")


@pytest.fixture
def tower(tiny_models):
    return tiny_models.base_tower()


@pytest.fixture
def selection(tiny_models, tower):
    return Selection(tower, tiny_models.lvlm("qwen2"), load_domain("lineart"), None, CONFIG)


def shifted(tower, amount):
    """The tower's weights with every parameter moved; the codebook stays."""
    state = copy.deepcopy(tower.state_dict())
    for name, parameter in tower.named_parameters():
        state[name] = parameter.detach() + amount
    return state


def scores_of(selection, monkeypatch, score):
    """Make validation score a tower by its first parameter."""

    def validate(step, blend=1.0):
        value = score(next(selection.tower.parameters()).flatten()[0].item())
        if value > selection.score:
            selection.step, selection.blend, selection.score = step, blend, value
            selection.weights = copy.deepcopy(selection.tower.state_dict())

    monkeypatch.setattr(selection, "validate", validate)


def test_the_best_mixture_wins_and_is_the_mixture(selection, tower, monkeypatch):
    start = copy.deepcopy(tower.state_dict())
    origin = next(tower.parameters()).flatten()[0].item()
    scores_of(selection, monkeypatch, lambda x: -abs(x - origin - 0.6))
    selection.validate(0)
    adapted = shifted(tower, 1.0)
    tower.load_state_dict(adapted)
    selection.validate(7)
    selection.blend_back()
    assert (selection.step, selection.blend) == (7, 0.6)
    for name, x in selection.weights.items():
        if x.is_floating_point():
            wanted = start[name].double() * 0.4 + adapted[name].double() * 0.6
            torch.testing.assert_close(x.double(), wanted, rtol=1e-6, atol=1e-6)


def test_mixtures_that_are_worse_leave_the_adapted_weights(selection, tower, monkeypatch):
    scores_of(selection, monkeypatch, lambda x: x)
    selection.validate(0)
    tower.load_state_dict(shifted(tower, 1.0))
    selection.validate(3)
    selection.blend_back()
    assert (selection.step, selection.blend) == (3, 1.0)


def test_nothing_is_mixed_when_the_pretrained_weights_are_best(selection, tower, monkeypatch):
    scores_of(selection, monkeypatch, lambda x: -x)
    selection.validate(0)
    tower.load_state_dict(shifted(tower, 1.0))
    selection.validate(3)
    selection.blend_back()
    assert (selection.step, selection.blend) == (0, 1.0)


def test_every_validation_is_in_the_history(selection, tower):
    selection.validate(0)
    tower.load_state_dict(shifted(tower, 0.1))
    selection.validate(2)
    selection.step, selection.blend = 2, 1.0
    selection.blend_back()
    assert [(h["step"], h["blend"]) for h in selection.history] == [
        (0, 1.0),
        (2, 1.0),
        *((2, b) for b in BLENDS),
    ]
    assert all(0 <= h["domain"] <= 100 and 0 <= h["score"] <= 100 for h in selection.history)


def test_few_images_are_asked_several_times_with_other_distractors():
    domain = load_domain("lineart")
    n = len(domain.val)
    images, questions = domain_views(domain, 3 * n, 24)
    assert len(images) == n
    assert len(questions) == 3 * n
    assert sorted(q.row for q in questions) == sorted(3 * list(range(n)))
    assert len({(q.row, q.options) for q in questions}) > n
    assert not {q.label for q in questions} & set(domain.heldout)
    images, questions = domain_views(domain, 2, 24)
    assert len(images) == len(questions) == 2
