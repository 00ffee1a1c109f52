"""Few-shot classification: the loss by hand, the protocol by counting, towers left unchanged."""

import math
from dataclasses import replace

import pytest
import torch
from transformers import CLIPConfig, CLIPModel

from craft.data.images.random_crop import RandomResizedCrop
from craft.errors import CraftError
from craft.pocket import few_shot
from craft.pocket.few_shot import few_shot_task
from craft.runtime.tensor_hash import tensor_hash
from craft.settings.heba import PRESETS, PresetName
from craft.training.few_shot import (
    ClassImages,
    FewShotLearner,
    FewShotRecipe,
    FewShotScores,
    FewShotTask,
    few_shots,
    sampled_classes,
)
from tests.craft.adapters.test_installation import TEXT, VISION

CLASSES = 8


def plain(images):
    return images.float() / 255 * 2 - 1


def view(images, generator):
    return plain(images)


@pytest.fixture
def pair():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=16)
        model = CLIPModel(config)
        with torch.no_grad():
            for parameter in model.parameters():  # otherwise all images look the same to it
                if parameter.ndim > 1:
                    parameter.normal_(std=0.3)
        return model


@pytest.fixture
def task():
    generator = torch.Generator().manual_seed(0)
    patterns = torch.randint(0, 256, (CLASSES, 3, 24, 24), generator=generator)

    def part(classes, each):
        labels = torch.tensor([c for c in classes for _ in range(each)])
        noise = torch.randint(-20, 20, (len(labels), 3, 24, 24), generator=generator)
        return ClassImages((patterns[labels] + noise).clamp(0, 255).to(torch.uint8), labels)

    prompts = [torch.tensor([[1, 5 + c, 39, 0], [1, 20 + c, 39, 0]]) for c in range(CLASSES)]
    return FewShotTask(part(range(4), 5), part(range(8), 3), prompts, [0, 1, 2, 3], [4, 5, 6, 7])


def learner(pair, preset: PresetName | None = "heba", **changes):
    config = PRESETS[preset] if preset else None
    arguments = {"vision": config, "text": config, "view": view, "plain": plain} | changes
    return FewShotLearner(pair, (3, 3), **arguments)


def test_classes_with_the_same_sentences_are_refused(task):
    prompts = [*task.prompts[:7], task.prompts[2]]
    with pytest.raises(ValueError, match="classes 2 and 7 have the same sentences"):
        replace(task, prompts=prompts)


def test_only_adapters_learn_and_are_removed(pair, task):
    before = tensor_hash(pair.state_dict())
    recipe = FewShotRecipe(epochs=10, batch=8, lr=0.1)
    with learner(pair, "heba_discrete") as found:
        assert {name.split(".")[0] for name in found.trained} == {
            "CLIPVisionModel",
            "CLIPTextModel",
        }
        first = tensor_hash(found.trained)
        losses = found.fit(task, recipe)
        assert tensor_hash(found.trained) != first
        assert len(losses) == 10 * 3  # 20 images in batches of 8
        assert sum(losses[-6:]) < 0.85 * sum(losses[:6])
        assert found.scores(task).base > 80
        assert not any(tower.training for tower in found.towers)
    assert tensor_hash(pair.state_dict()) == before


def test_a_seed_determines_the_run(pair, task):
    def run(seed):
        with learner(pair, seed=seed) as found:
            return found.fit(task, FewShotRecipe(epochs=2, batch=8, seed=seed))

    assert run(0) == run(0) != run(1)


def test_the_loss_is_smoothed_cross_entropy_over_the_sampled_classes(pair, task):
    recipe = FewShotRecipe(batch=2, negatives=1, smoothing=0.3)
    rows = [0, 6]  # of classes 0 and 1, so two others are drawn
    single = FewShotTask(
        task.train, task.test, [p[:1] for p in task.prompts], task.base, task.novel
    )
    labels = task.train.labels[rows]
    with learner(pair) as found, torch.no_grad():
        pixels = plain(task.train.images[rows])
        generator = torch.Generator().manual_seed(5)
        loss = found.loss(pixels, labels, single, recipe, generator).item()
        classes = sampled_classes(labels, task.base, recipe, torch.Generator().manual_seed(5))
        seen = pair.get_image_features(pixels).pooler_output.double()
        ids = torch.cat([single.prompts[c] for c in classes.tolist()])
        said = pair.get_text_features(input_ids=ids).pooler_output.double()
    expected = 0.0
    for i, label in enumerate(labels.tolist()):
        cosines = [float(seen[i] @ t / seen[i].norm() / t.norm()) for t in said]
        logits = [float(pair.logit_scale.exp()) * c for c in cosines]
        total = math.log(sum(math.exp(x) for x in logits))
        target = classes.tolist().index(label)
        smooth = sum(total - x for x in logits) / len(logits)
        expected += (0.7 * (total - logits[target]) + 0.3 * smooth) / 2
    assert loss == pytest.approx(expected, rel=1e-5)


def test_negatives_are_other_base_classes_five_for_each_present():
    generator = torch.Generator().manual_seed(0)
    labels, base = torch.tensor([3, 3, 7]), list(range(40))
    recipe = FewShotRecipe()
    drawn = [sampled_classes(labels, base, recipe, generator).tolist() for _ in range(50)]
    for classes in drawn:
        assert classes == sorted(set(classes))
        assert len(classes) == 2 + 5 * 2
        assert {3, 7} <= set(classes) <= set(base)
    assert len({tuple(x) for x in drawn}) > 40
    assert {c for x in drawn for c in x} == set(base)
    few = sampled_classes(labels, [3, 5, 7], recipe, generator)
    assert few.tolist() == [3, 5, 7]  # no more classes than images: all of them
    some = sampled_classes(labels, [*range(6), 7], recipe, generator)
    assert some.tolist() == [0, 1, 2, 3, 4, 5, 7]  # fewer others than could be drawn


def test_shots_limit_the_images_of_every_class():
    labels = torch.tensor([0] * 5 + [1] * 2 + [4] * 9)
    rows = few_shots(labels, 4, torch.Generator().manual_seed(0))
    assert labels[rows].bincount().tolist() == [4, 2, 0, 0, 4]
    assert len(set(rows.tolist())) == len(rows)
    other = few_shots(labels, 4, torch.Generator().manual_seed(1))
    assert set(rows.tolist()) != set(other.tolist())


def test_base_images_are_classified_among_base_classes_only(pair, task):
    """Counted with loops; a class's sentences are averaged at unit length."""
    with learner(pair, None) as found, torch.no_grad():
        scores = found.scores(task, batch=5)
        names = []
        for ids in task.prompts:
            units = [
                x / x.norm() for x in pair.get_text_features(input_ids=ids).pooler_output.double()
            ]
            names.append(sum(units) / len(units))
        right = {"base": 0, "novel": 0}
        for image, label in zip(task.test.images, task.test.labels.tolist(), strict=True):
            seen = pair.get_image_features(plain(image[None])).pooler_output[0].double()
            part = "base" if label in task.base else "novel"
            cosines = {c: float(seen @ names[c] / names[c].norm()) for c in getattr(task, part)}
            right[part] += max(cosines, key=lambda c: cosines[c]) == label
    assert scores.base == pytest.approx(100 * right["base"] / 12)
    assert scores.novel == pytest.approx(100 * right["novel"] / 12)


def test_the_harmonic_mean():
    assert FewShotScores(80.0, 40.0).harmonic_mean == pytest.approx(2 / (1 / 80 + 1 / 40))
    assert FewShotScores(0.0, 0.0).harmonic_mean == 0


def test_a_diverging_loss_is_reported(pair, task):
    with learner(pair) as found, pytest.raises(CraftError, match="lower lr"):
        found.fit(task, FewShotRecipe(epochs=9, lr=1e30))


def test_crops_are_rectangles_of_the_image():
    """A crop of the whole image is the image; smaller ones contain only parts of it."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(6, 3, 20, 20, generator=generator)
    whole = RandomResizedCrop(20, (1.0, 1.0), (1.0, 1.0), flip=0)
    torch.testing.assert_close(whole(images, generator), images)
    mirrored = RandomResizedCrop(20, (1.0, 1.0), (1.0, 1.0), flip=1)
    torch.testing.assert_close(mirrored(images, generator), images.flip(-1))
    ramp = torch.linspace(0, 1, 64).expand(200, 3, 64, 64)
    cropped = RandomResizedCrop(16, flip=0)(ramp, generator)
    assert cropped.shape == (200, 3, 16, 16)
    widths = cropped[:, 0, 0, -1] - cropped[:, 0, 0, 0]
    assert widths.min() > 0.15  # 8 % of the area, at most as tall as 4/3 of its width
    assert widths.max() > 0.8
    assert widths.std() > 0.1
    torch.testing.assert_close(cropped[:, 0, 0], cropped[:, 0, -1])


def test_the_pocket_world_is_split_by_name(small_world, tiny_models, monkeypatch):
    from craft.pocket import domains

    monkeypatch.setattr(few_shot, "load_area", domains.load_area)
    task = few_shot_task("handwriting", tiny_models)
    assert task.base == [0, 1, 2, 3, 4]
    assert task.novel == [5, 6, 7, 8, 9]
    assert sorted(set(task.train.labels.tolist())) == task.base
    assert sorted(set(task.test.labels.tolist())) == [*task.base, *task.novel]
    assert all(p.shape == (1, 16) for p in task.prompts)
    with pytest.raises(ValueError, match="domain must be one of"):
        few_shot_task("icons", tiny_models)
