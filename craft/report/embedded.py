"""Pictures as PNG, and as data URLs for pages that need no other files."""

from __future__ import annotations

import base64
import io

import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from craft.report.figures import save_figure


def image_png(image: Tensor) -> bytes:  # [3, S, S] in [0, 1]
    """Encode an image as PNG."""
    array = (image.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def figure_png(figure: Figure) -> bytes:
    """Render a matplotlib figure as PNG."""
    buffer = io.BytesIO()
    save_figure(figure, buffer, dpi=130)
    return buffer.getvalue()


def data_url(png: bytes) -> str:
    """Encode a PNG as a data URL, for the ``src`` of an ``<img>``."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
