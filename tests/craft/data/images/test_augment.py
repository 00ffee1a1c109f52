"""Augmentation changes what it should, and depends only on the seed."""

from itertools import pairwise

import pytest
import torch

from craft.data.images.augment import Augmentation, grey, outlines, resize

STILL = {"rotation": 0, "scale": (1.0, 1.0), "shift": 0, "shear": 0, "brightness": 0, "contrast": 0}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def images():
    return torch.rand(8, 3, 20, 20, generator=generator(9))


def test_without_amplitudes_it_is_the_evaluation_view(images):
    for size in (20, 15, 30):
        views = Augmentation(**STILL)(images, size, generator())
        torch.testing.assert_close(views, resize(images, size), rtol=0, atol=1e-5)


def test_the_seed_decides_everything(images):
    augment = Augmentation(grey=0.5, invert=0.5, outline=0.5, thicken=0.5, blur=0.5)
    first = augment(images, 16, generator(1))
    assert torch.equal(first, augment(images, 16, generator(1)))
    assert not torch.equal(first, augment(images, 16, generator(2)))
    assert first.shape == (8, 3, 16, 16)
    assert first.min() >= 0
    assert first.max() <= 1


def test_invert_is_the_negative(images):
    views = Augmentation(**STILL, invert=1.0)(images, 20, generator())
    torch.testing.assert_close(views, 1 - images, rtol=0, atol=1e-5)


def test_probability_is_per_image():
    images = torch.full((400, 3, 4, 4), 0.2)
    views = Augmentation(**STILL, invert=0.3)(images, 4, generator())
    share = (views[:, 0, 0, 0] > 0.5).float().mean()
    assert 0.2 < share < 0.4


def test_outlines_of_a_square_are_its_border():
    image = torch.zeros(1, 3, 10, 10)
    image[..., 3:7, 3:7] = 1
    lines = outlines(image)[0, 0]
    assert lines[0, 0] == 1  # flat background turns white
    assert lines[5, 5] == 1  # and so does the flat inside
    assert lines[2, 4] == 0
    assert lines[4, 6] == 0


def test_grey_has_equal_channels(images):
    views = grey(images)
    assert torch.equal(views[:, 0], views[:, 1])
    torch.testing.assert_close(grey(torch.ones(1, 3, 2, 2)), torch.ones(1, 3, 2, 2))


def test_shrinking_a_lot_averages():
    checker = (torch.arange(64)[:, None] + torch.arange(64)).remainder(2).float()
    small = resize(checker.expand(1, 3, 64, 64), 8)
    assert (small - 0.5).abs().max() < 0.1


@pytest.mark.parametrize("cut", [[0, 4, 8], [0, 3, 8], [0, 1, 8]])
def test_parts_of_a_batch_are_augmented_as_in_the_whole(images, cut):
    augment = Augmentation(grey=0.3, invert=0.3, outline=0.3, thicken=0.3, blur=0.3)
    whole = augment(images, 16, generator(4))
    parts, states = [], set()
    for start, stop in pairwise(cut):
        draws = generator(4)
        parts.append(augment(images[start:stop], 16, draws, slice(start, stop), len(images)))
        states.add(draws.get_state().numpy().tobytes())
    assert torch.equal(torch.cat(parts), whole)
    assert len(states) == 1  # every part leaves the generator in the same state as the whole
