"""The Parquet table of an area: one row per picture, written deterministically."""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from craft.errors import CraftError

COLUMNS = (
    "id",
    "image",
    "label",
    "group",
    "style",
    "split",
    "licence",
    "attribution",
    "source",
)

Record = dict[str, str | bytes]


def encode_png(pixels: np.ndarray) -> bytes:
    """The smallest PNG that decodes to exactly ``pixels`` (uint8, HxW or HxWx3)."""
    image = Image.fromarray(pixels)
    candidates = [image]
    if image.mode == "RGB":
        colours = image.getcolors(256)
        if colours is not None:
            candidates.append(indexed(pixels))
        if (pixels == pixels[..., :1]).all():
            candidates.append(Image.fromarray(np.ascontiguousarray(pixels[..., 0])))
    encoded = [save_png(candidate) for candidate in candidates]
    return min(encoded, key=len)


def indexed(pixels: np.ndarray) -> Image.Image:
    """``pixels`` (HxWx3, at most 256 colours) as a palette image, darkest colour first."""
    colours, index = np.unique(pixels.reshape(-1, 3), axis=0, return_inverse=True)
    image = Image.fromarray(index.reshape(pixels.shape[:2]).astype(np.uint8), mode="L")
    image.putpalette(colours.tobytes())
    return image


def save_png(image: Image.Image) -> bytes:
    """Encode with fixed settings."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def decode_png(data: bytes) -> np.ndarray:
    """The picture as uint8 RGB, whatever its colour mode."""
    return np.asarray(Image.open(io.BytesIO(data), formats=["PNG"]).convert("RGB"))


def reduce_colours(pixels: np.ndarray, count: int = 256) -> np.ndarray:
    """Reduce a picture to ``count`` colours, which halves files without a visible change."""
    image = Image.fromarray(pixels)
    few = image.quantize(count, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    return np.asarray(few.convert("RGB"))


def plain_words(text: str) -> str:
    """``text`` as lower-case ASCII words with single spaces: "Woman’s hat" -> "womans hat"."""
    text = text.replace("’", "").replace("'", "").replace(".", "").replace("&", " and ")
    ascii_only = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return " ".join("".join(c if c.isalnum() else " " for c in ascii_only.lower()).split())


def is_blank(pixels: np.ndarray, least_deviation: float = 8.0) -> bool:
    """Whether the picture shows almost nothing."""
    return float(pixels.std()) < least_deviation


def write_parquet(records: Iterable[Record], path: Path, extra: tuple[str, ...] = ()) -> int:
    """Write ``records`` sorted by id and return how many there were.

    Equal records give equal bytes (with one version of pyarrow).
    """
    rows = sorted(records, key=lambda record: record["id"])
    seen: set[str | bytes] = set()
    for row in rows:
        if row["id"] in seen:
            raise CraftError(f"{path.name}: id {row['id']!r} occurs twice; ids must be unique")
        seen.add(row["id"])
        if is_blank(decode_png(bytes(row["image"]))):  # type: ignore[arg-type]
            raise CraftError(f"{path.name}: {row['id']!r} is blank; leave it out of the area")
    names = (*COLUMNS, *extra)
    fields = [pa.field(name, pa.binary() if name == "image" else pa.string()) for name in names]
    table = pa.Table.from_pylist(
        [{name: row[name] for name in names} for row in rows], pa.schema(fields)
    )
    words = [name for name in names if name not in ("id", "image")]
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(
        table,
        path,
        compression="zstd",
        compression_level=19,
        use_dictionary=words,  # pyright: ignore[reportArgumentType]
        row_group_size=len(rows) or 1,
    )
    return len(rows)
