"""The pocket world's shipped pictures, and the builders that draw them."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from craft.pocket.build.countries import countries
from craft.pocket.build.data import AREAS, HERE
from craft.pocket.build.digits import SPLIT_SIZES, split_by_hash
from craft.pocket.build.flags import alike, regional_indicators, without_doubles
from craft.pocket.build.packages import Package, SourceError, fetch
from craft.pocket.build.records import (
    COLUMNS,
    decode_png,
    encode_png,
    is_blank,
    plain_words,
    reduce_colours,
    write_parquet,
)

SPLITS = {
    "icons": {"general"},
    "lineart": {"train", "test"},
    "flags": {"general", "train", "test"},
    "glyphs": {"general"},
    "digits": {"train", "val", "test"},
}


@cache
def rows(area: str) -> list[dict[str, Any]]:
    return pq.read_table(HERE / f"{area}.parquet").to_pylist()


def labels(area: str) -> set[str]:
    return {row["label"] for row in rows(area)}


def record(name: str, image: bytes) -> dict[str, str | bytes]:
    return dict.fromkeys(COLUMNS, name) | {"image": image}


@pytest.mark.parametrize("area", AREAS)
def test_columns_are_complete_and_ids_unique(area: str) -> None:
    table = rows(area)
    expected = set(COLUMNS) | ({"shape"} if area == "flags" else set())
    assert set(table[0]) == expected
    assert all(row[column] for row in table for column in expected)
    assert len({row["id"] for row in table}) == len(table)
    assert {row["split"] for row in table} == SPLITS[area]


@pytest.mark.parametrize("area", AREAS)
def test_pictures_decode_to_one_size_and_show_something(area: str) -> None:
    size = 28 if area == "digits" else 64
    for row in rows(area)[::20]:  # write_parquet() checked every one
        pixels = decode_png(row["image"])
        assert pixels.shape == (size, size, 3), row["id"]
        assert not is_blank(pixels), row["id"]


@pytest.mark.parametrize("area", AREAS)
def test_labels_are_plain_and_have_one_group_each(area: str) -> None:
    for label in labels(area):
        assert re.fullmatch(r"[a-z0-9]+( [a-z0-9]+)*", label), label
    assert len({(row["label"], row["group"]) for row in rows(area)}) == len(labels(area))


def test_labels_are_shared_only_where_the_class_is_the_same() -> None:
    assert labels("lineart") < labels("icons")
    assert labels("digits") < labels("glyphs")
    assert labels("icons").isdisjoint(labels("flags") | labels("glyphs"))
    assert labels("flags").isdisjoint(labels("glyphs"))


def test_icons_have_five_artists_per_class() -> None:
    assert len(labels("icons")) >= 600
    assert min(Counter(row["label"] for row in rows("icons")).values()) >= 5


def test_lineart_has_one_artist_per_split() -> None:
    assert {(row["style"], row["split"]) for row in rows("lineart")} == {
        ("emojione-monotone", "train"),
        ("fluent-emoji-high-contrast", "test"),
    }
    assert set(Counter(row["label"] for row in rows("lineart")).values()) == {2}


def test_held_out_artists_are_not_in_the_general_world() -> None:
    general = {row["style"] for area in ("icons", "glyphs") for row in rows(area)}
    assert general.isdisjoint(row["style"] for row in rows("lineart"))
    assert "handwriting" not in general


def test_flags_have_three_rectangles_and_two_circles_each() -> None:
    shapes = Counter((row["label"], row["shape"]) for row in rows("flags"))
    assert len(labels("flags")) >= 200
    assert all(shapes[label, "rect"] == 3 for label in labels("flags"))
    assert all(shapes[label, "round"] == 2 for label in labels("flags"))
    assert {(row["shape"], row["style"], row["split"]) for row in rows("flags")} >= {
        ("round", "circle-flags", "train"),
        ("round", "emojione", "test"),
    }


def test_no_two_flags_of_a_set_look_alike() -> None:
    for style in {row["style"] for row in rows("flags")}:
        pictures = {
            row["label"]: decode_png(row["image"]) for row in rows("flags") if row["style"] == style
        }
        assert alike(pictures) == set(), style


def test_printed_characters_come_in_many_fonts() -> None:
    assert len({row["style"] for row in rows("glyphs")}) >= 40
    assert len(labels("glyphs")) == 36


def test_digits_are_split_per_class_as_promised() -> None:
    counts = Counter((row["label"], row["split"]) for row in rows("digits"))
    for label in labels("digits"):
        assert {split: counts[label, split] for split in SPLIT_SIZES} == SPLIT_SIZES


def test_attribution_names_every_package_and_the_data_stay_small() -> None:
    text = (HERE / "ATTRIBUTION.md").read_text(encoding="utf-8")
    assert all(row["source"] in text for area in AREAS for row in rows(area))
    assert sum(path.stat().st_size for path in HERE.glob("*.parquet")) < 10_500_000


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3)])
def test_png_is_lossless(shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    decoded = decode_png(encode_png(pixels))
    expected = pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)
    np.testing.assert_array_equal(decoded, expected)


def test_reduced_colours_fit_a_palette() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    assert len(np.unique(reduce_colours(pixels).reshape(-1, 3), axis=0)) <= 256


def test_plain_words() -> None:
    assert plain_words("Woman’s hat") == "womans hat"
    assert plain_words("piñata & T-Rex") == "pinata and t rex"


def test_written_bytes_do_not_depend_on_the_order(tmp_path: Path) -> None:
    image = encode_png(np.eye(8, dtype=np.uint8) * 255)
    table = [record(name, image) for name in "abc"]
    write_parquet(table, tmp_path / "one.parquet")
    write_parquet(table[::-1], tmp_path / "two.parquet")
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "two.parquet").read_bytes()


def test_repeated_ids_and_blank_pictures_are_refused(tmp_path: Path) -> None:
    image = encode_png(np.eye(8, dtype=np.uint8) * 255)
    with pytest.raises(ValueError, match="occurs twice"):
        write_parquet([record("a", image)] * 2, tmp_path / "x.parquet")
    blank = encode_png(np.zeros((8, 8), dtype=np.uint8))
    with pytest.raises(ValueError, match="blank"):
        write_parquet([record("a", blank)], tmp_path / "x.parquet")


def test_an_altered_package_is_refused(tmp_path: Path) -> None:
    package = Package("npm", "@some/set", "1.0.0", "0" * 64, "MIT", "Somebody")
    (tmp_path / package.filename).write_bytes(b"other bytes")
    with pytest.raises(SourceError, match="sha256"):
        fetch(package, tmp_path)


def test_a_class_with_too_many_pictures_is_refused() -> None:
    with pytest.raises(SourceError, match="more than"):
        split_by_hash([str(n) for n in range(501)], [0] * 501)


def test_the_sovereign_country_keeps_a_shared_flag() -> None:
    listed = countries()
    assert len({country.code for country in listed}) == len(listed)
    kept, dropped = without_doubles(listed, {("bv", "no"), ("bv", "sj"), ("no", "sj")})
    assert dropped == {"bv": "no", "sj": "no"}
    assert "norway" in {country.name for country in kept}


def test_regional_indicators() -> None:
    assert regional_indicators("jp") == "1f1ef-1f1f5"


def test_wide_drawings_are_centred_on_white() -> None:
    pytest.importorskip("resvg_py")
    from craft.pocket.build.svg import render

    wide = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 4 2" width="4" height="2">'
    pixels = render(f'{wide}<path fill="red" d="M0 0h4v2H0z"/></svg>')
    assert (pixels[:16] == 255).all()
    assert (pixels[-16:] == 255).all()
    assert (pixels[16:48] == [255, 0, 0]).all()
