"""Render the SVG icons of an Iconify set onto a white square."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from craft.pocket.build.packages import Package, SourceError, read_json

SIZE = 64


def render(svg: str, size: int = SIZE) -> np.ndarray:
    """Draw ``svg`` as large as fits a white ``size`` x ``size`` square, as uint8 RGB.

    The aspect ratio is kept, so that a wide flag leaves white above and below it.
    """
    import resvg_py

    # Rendered at twice the size, then box-filtered: wide drawings use the full width, and lines
    # stay smooth.
    png = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=2 * size))
    drawn = Image.open(io.BytesIO(png), formats=["PNG"])
    drawn = drawn.convert("RGBA")
    scale = size / max(drawn.size)
    fitted = (max(1, round(drawn.width * scale)), max(1, round(drawn.height * scale)))
    canvas = Image.new("RGBA", drawn.size, "white")
    canvas.alpha_composite(drawn)
    square = Image.new("RGB", (size, size), "white")
    small = canvas.convert("RGB").resize(fitted, Image.Resampling.BOX)
    square.paste(small, ((size - small.width) // 2, (size - small.height) // 2))
    return np.asarray(square)


@dataclass(frozen=True)
class IconSet:
    """The drawings of one Iconify package, looked up by name or by code point."""

    package: Package
    icons: dict[str, Any]
    aliases: dict[str, Any]
    by_codepoint: dict[str, str]
    width: float
    height: float

    @classmethod
    def load(cls, package: Package, cache: Path) -> IconSet:
        """Read a set from its package."""
        raw = read_json(package, cache, "icons.json")
        chars = read_json(package, cache, "chars.json")
        codes = {bare_codepoint(code): name for code, name in chars.items()}
        return cls(
            package,
            raw["icons"],
            raw.get("aliases", {}),
            codes,
            raw.get("width", 16),
            raw.get("height", raw.get("width", 16)),
        )

    def find(self, name: str) -> str | None:
        """The icon of ``name``, following aliases, or None."""
        while name in self.aliases:
            name = self.aliases[name]["parent"]
        return name if name in self.icons else None

    def svg(self, name: str) -> str:
        """The icon ``name`` as a complete SVG document, with black for currentColor."""
        icon = self.icons.get(name)
        if icon is None:
            raise SourceError(f"{self.package.source} has no icon {name!r}; find() lists aliases")
        width, height = icon.get("width", self.width), icon.get("height", self.height)
        box = f"{icon.get('left', 0)} {icon.get('top', 0)} {width} {height}"
        # currentColor means "the colour of the text": black here.
        return (
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'viewBox="{box}" width="{width}" height="{height}" color="#000">{icon["body"]}</svg>'
        )

    def is_styled(self, name: str) -> bool:
        """Whether the icon's colours are complete; some lost their style sheet and turn black."""
        body = self.icons[name]["body"]
        return 'class="' not in body or "<style" in body


def bare_codepoint(code: str) -> str:
    """A lower-case code point sequence without variation selectors, the key that joins sets."""
    return "-".join(part for part in code.lower().split("-") if part != "fe0f")
