"""What a run's identity distinguishes and what it ignores."""

import copy
import dataclasses

import pytest
import torch

from craft.data.domains.class_domain import ClassDomain
from craft.data.domains.question_domain import QuestionDomain
from craft.data.images.store import TensorStore
from craft.data.questions import QuestionSet
from craft.data.readers import Turn
from craft.family.layout import SIGLIP
from craft.models.loading import load_tokenizer
from craft.training.records.identity import data_identity, models_identity
from tests.craft.training.short_run import random_domain


def changed(before, after):
    return {name for name in {**before, **after} if before.get(name) != after.get(name)}


def brighter(part, row=3):
    """Change one pixel of one image of a part."""
    images = part.images.pixels(range(len(part))).clone()
    images[row, 0, 5, 5] ^= 1
    return dataclasses.replace(part, images=TensorStore(images))


def swapped(part):
    """Swap the labels of two images of different classes."""
    labels = list(part.labels)
    labels[0], labels[1] = labels[1], labels[0]
    return dataclasses.replace(part, labels=labels)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda d: {"train": brighter(d.train)}, {"training images"}),
        (lambda d: {"val": brighter(d.val)}, {"validation images"}),
        (lambda d: {"test": brighter(d.test)}, {"test images"}),
        (lambda d: {"train": swapped(d.train)}, {"training images", "lessons"}),
        (lambda d: {"options": {"test-0": ("thing aa", *d.classes[5:8])}}, {"test questions"}),
        (
            lambda d: {"subject": "bird"},
            {"lessons", "validation questions", "test questions"},
        ),
        (lambda d: {"name": "other"}, {"domain"}),
        (
            lambda d: {"heldout": d.heldout[:1]},
            {"held-out classes", "lessons", "validation questions", "test questions"},
        ),
    ],
)
def test_changed_data_is_named(change, told):
    domain = random_domain()
    other = dataclasses.replace(domain, **change(domain))
    assert changed(data_identity(domain), data_identity(other)) == told


def test_equal_data_has_the_same_identity_in_every_process():
    assert data_identity(random_domain()) == data_identity(random_domain())
    # Questions with answers are objects, yet hash the same on every machine.
    domain = random_domain(4)
    turns = {key: (Turn("what is it?", "a thing"),) for part in parts(domain) for key in part.ids}
    asked = QuestionDomain("q", domain.train, domain.val, domain.test, turns, {})
    assert data_identity(asked) == data_identity(copy.deepcopy(asked))
    other = {**turns, "train-2": (Turn("what is it?", "another"),)}
    told = changed(data_identity(asked), data_identity(dataclasses.replace(asked, turns=other)))
    assert told == {"lessons"}


def parts(domain: ClassDomain):
    return (domain.train, domain.val, domain.test)


def test_questions_of_the_general_world_count():
    domain = random_domain()
    general = QuestionSet(TensorStore(torch.rand(2, 3, 24, 24)), domain.questions(domain.val)[:2])
    told = changed(data_identity(domain), data_identity(domain, general))
    assert told == {"general questions"}


@pytest.fixture
def parts_of_a_run(tiny_models):
    """Copies that a test may change."""
    language_model = copy.deepcopy(tiny_models.language_model("llama"))
    return tiny_models.pretrained_tower(), language_model, copy.deepcopy(tiny_models.siglip)


def add_to(module):
    with torch.no_grad():
        next(module.parameters()).view(-1)[0] += 1


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda tower, language_model, siglip: add_to(tower), "encoder"),
        (
            lambda tower, language_model, siglip: setattr(tower.config, "layer_norm_eps", 1e-3),
            "encoder",
        ),
        (
            lambda tower, language_model, siglip: add_to(language_model.language_model),
            "language model",
        ),
        (lambda tower, language_model, siglip: add_to(language_model.projector), "language model"),
        (
            lambda tower, language_model, siglip: setattr(
                language_model.language_model.config, "rms_norm_eps", 1e-3
            ),
            "language model",
        ),
        (
            lambda tower, language_model, siglip: setattr(
                language_model,
                "template",
                dataclasses.replace(language_model.template, before_image="x"),
            ),
            "language model",
        ),
        (lambda tower, language_model, siglip: add_to(siglip.text_model), "text tower"),
        (lambda tower, language_model, siglip: siglip.logit_scale.data.add_(1), "text tower"),
    ],
)
def test_changed_models_are_named(parts_of_a_run, change, told):
    before = models_identity(*parts_of_a_run)
    change(*parts_of_a_run)
    assert changed(before, models_identity(*parts_of_a_run)) == {told}


def test_another_codebook_is_named(tiny_models, parts_of_a_run):
    before = models_identity(*parts_of_a_run)
    tower = parts_of_a_run[0]
    table = tiny_models.codebook.table.clone()
    table.view(torch.int32)[3, 5] ^= 1
    tower.codebook = type(tiny_models.codebook)(table, tiny_models.codebook.levels)
    assert "codebook" in changed(before, models_identity(*parts_of_a_run))


def test_using_a_model_does_not_change_its_identity(tiny_models, parts_of_a_run):
    """Neither choosing a kernel nor padding a batch does."""
    tower, language_model, siglip = parts_of_a_run
    words = load_tokenizer(tiny_models.directory / SIGLIP, "the tokenizer")
    before = models_identity(tower, language_model, siglip, words)
    words(["thing aa", "a"], padding="max_length", max_length=8, truncation=True)
    language_model.training_batch(["what", "what is it?"], ["a", "thing aa"])
    language_model.language_model.set_attn_implementation("eager")
    assert models_identity(tower, language_model, siglip, words) == before
