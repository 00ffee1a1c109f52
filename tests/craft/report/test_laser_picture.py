"""A trace is drawn at its coordinates."""

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgba
from PIL import Image

from craft.decoding import Box, Evidence, Trace
from craft.report.laser_picture import laser_figure


def trace(fallback=False):
    evidence = torch.zeros(4, 4)
    masked = torch.zeros(4, 4, dtype=torch.bool)
    if not fallback:
        evidence[1, 2] = 1.0
        masked[1, 2] = True
    return Trace(
        Evidence(torch.tensor([0.1, 0.3, 0.2]), 1, evidence),
        Box(10, 0, 90, 80),
        None if fallback else Box(30, 10, 70, 50),
        masked,
        fallback,
    )


def frames(axes, color):
    return [
        (p.get_x(), p.get_y(), p.get_width(), p.get_height())
        for p in axes.patches
        if p.get_edgecolor() == to_rgba(color)
    ]


def test_crop_and_hidden_cells_are_framed_at_their_pixels(tmp_path):
    figure = laser_figure(Image.new("RGB", (100, 80)), trace(), "what?", "that")
    evidence, read, layers = figure.axes
    assert frames(evidence, "#d55e00") == [(29.5, 9.5, 40, 40)]
    assert frames(evidence, "#0072b2") == [(49.5, 19.5, 20, 20)]
    assert evidence.images[1].get_extent() == [9.5, 89.5, 79.5, -0.5]
    shown = read.images[0].get_array()
    assert shown is not None
    assert shown.shape == (40, 40, 3)
    assert [np.asarray(line.get_xdata()).tolist() for line in layers.lines] == [[0, 1, 2], [1]]
    figure.savefig(tmp_path / "trace.png")


def test_a_fallback_is_drawn_as_one():
    evidence, read, layers = laser_figure(Image.new("RGB", (100, 80)), trace(True)).axes
    assert not evidence.patches
    assert "no evidence" in evidence.get_title()
    assert "all of it" in read.get_title()
    assert len(layers.lines) == 1


def test_a_trace_of_another_image_is_refused():
    with pytest.raises(ValueError, match="this one has 50 x 80"):
        laser_figure(Image.new("RGB", (50, 80)), trace())
