"""An image at the encoder's size."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def squash(image: Image.Image, size: int) -> Image.Image:
    """``size`` × ``size`` by bicubic resampling with antialiasing, whatever the shape was, as
    VILA-U and transformers' SigLIP processor do it."""
    return image.resize((size, size), Image.Resampling.BICUBIC)


def image_tensor(image: Image.Image, size: int) -> Tensor:  # uint8 [3, size, size]
    """An RGB image at the encoder's size."""
    return torch.from_numpy(np.array(squash(image, size))).permute(2, 0, 1)
