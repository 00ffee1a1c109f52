"""Options for reading data, where the data itself does not tell how."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from craft.data.readers.answers import Numbers
from craft.data.readers.columns import Columns
from craft.data.readers.pixel_range import PixelRange
from craft.settings.choices import Format


class ReadOptions(BaseModel):
    """Options for reading data, stored with every domain made from it.

    Args:
        format: the format, instead of detecting it.
        images: the folder that image paths in annotation files are relative to.
        columns: the columns of tables, instead of recognising them by name.
        class_names: names of numeric labels, in order from 0; or label -> name for any labels.
        numbers: how numeric answers of questions with options are read, if that is ambiguous.
        skip_corrupt: skip and report records whose image is missing or damaged.
        pixel_range: values that become black and white in images of more than eight bits; by
            default the full range of the format.
        min_images: skip and report classes with fewer images.
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
