"""The pocket world's images: a general world to pretrain on and three domains to adapt to.

See data/ATTRIBUTION.md for the source and licence of every drawing.
"""

from __future__ import annotations

import io
from importlib.resources import files

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image

from craft.data.images.image_set import ImageSet
from craft.data.images.store import TensorStore
from craft.errors import CraftError

#: Noun for what an area shows, as in "What {subject} is shown in the image?".
SUBJECTS = {
    "icons": "object",
    "lineart": "object",
    "flags": "flag",
    "glyphs": "character",
    "digits": "character",
}
#: Name of a domain on the command line -> area with its images.
DOMAINS = {"handwriting": "digits", "lineart": "lineart", "flags": "flags"}
GENERAL_AREAS = ("icons", "flags", "glyphs")
GENERAL_SPLIT = "general"


def load_area(area: str) -> ImageSet:
    """Read and decode one area of the pocket world.

    Raises:
        CraftError: there is no such area.
    """
    if area not in SUBJECTS:
        raise CraftError(f"area must be one of {sorted(SUBJECTS)}, got {area!r}")
    path = files("craft.pocket") / "data" / f"{area}.parquet"
    with path.open("rb") as file:
        columns = pq.read_table(file).to_pydict()
    arrays = [
        np.asarray(Image.open(io.BytesIO(png), formats=["PNG"]).convert("RGB"), dtype=np.uint8)
        for png in columns["image"]
    ]
    images = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).contiguous()
    return ImageSet(
        area,
        SUBJECTS[area],
        TensorStore(images),
        columns["id"],
        columns["label"],
        columns["group"],
        columns["style"],
        columns["split"],
    )


def general_world() -> list[ImageSet]:
    """The pretraining images of the pocket models: icons, rectangular flags, printed characters."""
    return [load_area(area).split(GENERAL_SPLIT) for area in GENERAL_AREAS]
