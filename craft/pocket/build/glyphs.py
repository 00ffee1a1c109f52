"""Printed characters: digits and capital letters in many fonts."""

from __future__ import annotations

import io
import string
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from craft.pocket.build.digits import DIGIT_NAMES
from craft.pocket.build.fonts import Font, fonts
from craft.pocket.build.records import Record, encode_png
from craft.pocket.build.svg import SIZE

#: Character -> class name.
CHARACTERS = dict(zip(string.digits, DIGIT_NAMES, strict=True)) | {
    letter: f"letter {letter.lower()}" for letter in string.ascii_uppercase
}

CAPITAL_HEIGHT = 44
LARGEST = 58

#: A letter whose pixels differ from a digit's by less than this on average (of 255), such as O and
#: 0, is left out.
LEAST_DIFFERENCE = 2.0


def fitting_font(data: bytes) -> ImageFont.FreeTypeFont:
    """The font at a size that leaves capitals a natural margin and cuts off no character."""
    trial = load(data, 100)
    _, top, _, bottom = trial.getbbox("H", anchor="ls")
    boxes = [trial.getbbox(character, anchor="ls") for character in CHARACTERS]
    largest = max(max(right - left, low - high) for left, high, right, low in boxes)
    return load(data, 100 * min(CAPITAL_HEIGHT / (bottom - top), LARGEST / largest))


def load(data: bytes, size: float) -> ImageFont.FreeTypeFont:
    """Open a font without text shaping, which differs between machines."""
    return ImageFont.truetype(io.BytesIO(data), size, layout_engine=ImageFont.Layout.BASIC)


def draw_character(font: ImageFont.FreeTypeFont, character: str, size: int = SIZE) -> np.ndarray:
    """One character in black on white, uint8 HxW, centred by its ink."""
    left, top, right, bottom = font.getbbox(character, anchor="ls")
    canvas = Image.new("L", (size, size), 255)
    at = (round((size - left - right) / 2), round((size - top - bottom) / 2))
    ImageDraw.Draw(canvas).text(at, character, fill=0, font=font, anchor="ls")
    return np.asarray(canvas)


def build_glyphs(cache: Path) -> list[Record]:
    """Every character in every font."""
    return [record for font in fonts(cache) for record in font_records(font)]


def font_records(font: Font) -> list[Record]:
    """The characters of one font."""
    fitted = fitting_font(font.data)
    pictures = {label: draw_character(fitted, key) for key, label in CHARACTERS.items()}
    return [
        {
            "id": f"glyph-{font.style}-{label}".replace(" ", "-"),
            "image": encode_png(picture),
            "label": label,
            "group": "digit" if label in DIGIT_NAMES else "letter",
            "style": font.style,
            "split": "general",
            "licence": font.licence,
            "attribution": font.attribution,
            "source": font.source,
        }
        for label, picture in pictures.items()
        if label in DIGIT_NAMES or not reads_as_digit(picture, pictures)
    ]


def reads_as_digit(picture: np.ndarray, pictures: dict[str, np.ndarray]) -> bool:
    """Whether a letter looks like one of the font's own digits."""
    return any(
        np.abs(picture.astype(int) - pictures[digit]).mean() < LEAST_DIFFERENCE
        for digit in DIGIT_NAMES
    )
