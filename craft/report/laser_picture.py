"""A figure of LASER's trace: the evidence for the question, the crop and the hidden cells."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from PIL import Image

from craft.decoding.crop import Box, whole
from craft.decoding.masking import cell_boxes
from craft.decoding.trace import Trace
from craft.errors import CraftError
from craft.report.figures import LITERAL, text_in_figure

_INCHES = 2.6
_CROP, _HIDDEN = "#d55e00", "#0072b2"


def laser_figure(image: Image.Image, trace: Trace, question: str = "", answer: str = "") -> Figure:
    """Draw the image with evidence, crop and masked cells; the crop; and VAQ by layer.

    Raises:
        CraftError: the trace belongs to an image of another size.
    """
    view = trace.view
    if view.right > image.width or view.bottom > image.height:
        raise CraftError(
            f"the trace belongs to an image of at least {view.right} x {view.bottom} pixels, this "
            f"one has {image.width} x {image.height}"
        )
    figure = Figure(figsize=(3.4 * _INCHES, 1.3 * _INCHES), layout="constrained")
    first, second, third = figure.subplots(1, 3)
    title = "\n".join(text_in_figure(x, most_lines=4) for x in (question, answer) if x)
    figure.suptitle(title, fontsize=8, ha="left", x=0.01, **LITERAL)
    _draw_evidence(first, image, trace)
    box = trace.box or whole(image.size)
    second.imshow(np.asarray(image.convert("RGB").crop(box)), interpolation="nearest")
    second.set_title("read: all of it" if trace.box is None else "read: the crop", fontsize=8)
    second.axis("off")
    _draw_layers(third, trace)
    return figure


def _draw_evidence(axes: Axes, image: Image.Image, trace: Trace) -> None:
    axes.imshow(np.asarray(image.convert("L")), cmap="gray", interpolation="nearest", alpha=0.7)
    left, top, right, bottom = trace.view
    if trace.fallback:
        axes.set_title("no evidence: answered as usual", fontsize=8)
    else:
        extent = (left - 0.5, right - 0.5, bottom - 0.5, top - 0.5)
        axes.imshow(trace.evidence.map.numpy(), extent=extent, alpha=0.55, cmap="viridis")
        axes.set_title("evidence, crop,\ncells hidden from the second stream", fontsize=8)
    for cell in cell_boxes(trace.masked, trace.view):
        axes.add_patch(_outline(cell, _HIDDEN, 1.0))
    if trace.box is not None:
        axes.add_patch(_outline(trace.box, _CROP, 2.0))
    axes.set_xlim(-0.5, image.width - 0.5)
    axes.set_ylim(image.height - 0.5, -0.5)
    axes.axis("off")


def _outline(box: Box, color: str, width: float) -> Rectangle:
    corner = box.left - 0.5, box.top - 0.5
    return Rectangle(corner, *box.size, fill=False, edgecolor=color, linewidth=width)


def _draw_layers(axes: Axes, trace: Trace) -> None:
    values = trace.evidence.vaq.tolist()
    layers = range(len(values))
    axes.plot(layers, values, marker="o", markersize=3, color="0.3", linewidth=1)
    if not trace.fallback:
        chosen = trace.evidence.layer
        axes.plot([chosen], [values[chosen]], marker="o", color=_CROP)
    axes.set_title("VAQ by layer", fontsize=8)
    axes.set_ylim(bottom=0)
    axes.tick_params(labelsize=7)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
