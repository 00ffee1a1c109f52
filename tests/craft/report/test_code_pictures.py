import pytest
import torch

from craft.prior import TokenPrior
from craft.report.code_pictures import code_map_figure, frequent_and_rare_figure


@pytest.fixture
def images():
    return torch.rand(3, 3, 12, 12, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def codes():
    codes = torch.zeros(3, 3, 3, dtype=torch.int64)
    codes[0, 0, 0] = 7
    codes[1, 2, 2] = 7
    codes[2, 1, 0] = 4
    return codes


def prior(codes, size=9):
    counts = codes.flatten().bincount(minlength=size)
    return TokenPrior(counts, codebook_fingerprint="f" * 64, encoder_hash="e" * 64)


def test_every_patch_has_its_number(images, codes):
    figure = code_map_figure(images, codes, {0.5: codes == 0}, titles=["one"])
    figure.canvas.draw()
    assert len(figure.axes) == 3 * 3
    numbers = [text.get_text() for text in figure.axes[1].texts]
    assert numbers == [str(code) for code in codes[0].flatten().tolist()]
    assert figure.axes[2].get_title() == "keep ratio 0.5\n8 of 9 kept"
    assert figure.axes[5].get_title() == "8 of 9 kept"


def test_frequent_codes_come_first_and_rare_ones_last(images, codes):
    figure = frequent_and_rare_figure(prior(codes), images, codes, count=1, examples=4)
    figure.canvas.draw()
    labels = [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel()]
    assert labels == ["0 (frequent)\n89 %", "4 (rare)\n3.7 %"]
    shown = [axes for axes in figure.axes[4:] if axes.images]
    assert len(shown) == 1  # code 4 occurs once


def test_the_framed_patch_has_the_code(images, codes):
    figure = frequent_and_rare_figure(prior(codes), images, codes, count=1, examples=1)
    shown = torch.tensor(figure.axes[1].images[0].get_array())
    assert torch.equal(shown[4:8, 4:8], images[2, :, 4:8, 0:4].permute(1, 2, 0))
    assert torch.equal(shown[4:8, 0], shown[4:8, 4])  # the edge is repeated beyond it


def test_few_codes_are_not_shown_twice(images, codes):
    figure = frequent_and_rare_figure(prior(codes), images, codes, count=6, examples=2)
    assert len(figure.axes) == 3 * 2


def test_what_cannot_be_drawn(images, codes):
    with pytest.raises(ValueError, match="there are no images"):
        code_map_figure(images[:0], codes[:0], {})
    with pytest.raises(ValueError, match=r"kept at 0.8 must be \[n, H, W\] with n = 3"):
        code_map_figure(images, codes, {0.8: codes[:2] == 0})
    with pytest.raises(ValueError, match=r"codes must be \[n, H, W\]"):
        frequent_and_rare_figure(prior(codes), images, codes[:, 0])
    with pytest.raises(ValueError, match="no images were given"):
        frequent_and_rare_figure(prior(codes), images[:0], codes[:0])
