"""How data is to be read, where that is not plain from the data."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from craft.data.readers.answers import Numbers
from craft.data.readers.columns import Columns
from craft.data.readers.pixel_range import PixelRange
from craft.settings.choices import Format


class ReadOptions(BaseModel):
    """Settings of a reading, stored with every domain that is made of it.

    Args:
        format: instead of detecting it.
        images: folder that image paths in annotation files begin at.
        columns: which column holds what, instead of going by their names.
        class_names: names of classes that are written as numbers, in order from 0; or label -> name
            for labels of any kind.
        numbers: how numeric answers of questions with options are meant, if that is not plain.
        skip_corrupt: leave out records whose image is missing or damaged, and say which.
        pixel_range: values that become black and white where pixels have more than eight bits;
            by default all that the format can hold.
        min_images: leave out classes with fewer images than that, and count them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Format | None = None
    images: Path | None = None
    columns: Columns | None = None
    class_names: tuple[str, ...] | dict[str, str] | None = None
    numbers: Numbers | None = None
    skip_corrupt: bool = False
    pixel_range: PixelRange | None = None
    min_images: int = Field(default=1, ge=1)
