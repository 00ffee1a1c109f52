"""Flags: rectangular ones by several artists and round ones by two more."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from craft.pocket.build.countries import Country, countries
from craft.pocket.build.packages import Package
from craft.pocket.build.records import Record, encode_png, reduce_colours
from craft.pocket.build.sources import COLOUR_SETS, FLAG_SETS
from craft.pocket.build.svg import IconSet, render

#: Two flags whose pixels differ by less than this on average (of 255) cannot be told apart.
LEAST_DIFFERENCE = 2.0

#: Sovereign countries with the same design: the flags of Chad and Romania, and of Monaco and
#: Indonesia, differ only in tint or aspect ratio.
TWINS = (("ro", "td"), ("id", "mc"))

#: Codes for which circle-flags has the flag of a language instead of the country. Its Irish and
#: Laotian language flags are those of the countries; the flags of ar and io are missing.
CIRCLE_NAMES = {"ar": "", "io": "", "ie": "lang-ga", "la": "lang-lo"}

#: Countries that emojione lists under an older name.
OLD_NAMES = {
    "cc": "flag-for-cocos-islands",
    "mm": "flag-for-myanmar",
    "tr": "flag-for-turkey",
}


class Style(NamedTuple):
    """One artist's flags."""

    icons: IconSet
    shape: str
    split: str

    def find(self, code: str, by_code: IconSet) -> str | None:
        """Name of a country's icon; ``by_code`` has the country's name as emoji sets spell it."""
        prefix = self.icons.package.style
        if prefix == "flag":
            return self.icons.find(f"{code}-4x3")
        if prefix == "circle-flags":
            return self.icons.find(CIRCLE_NAMES.get(code, code))
        if prefix == "flagpack":
            return self.icons.find(code)
        spelled = by_code.by_codepoint.get(regional_indicators(code))
        if spelled is None or prefix == "twemoji":
            return spelled and self.icons.find(spelled)
        country = spelled.removeprefix("flag-")
        names = (f"flag-for-{country}", f"flag-for-flag-{country}", spelled, OLD_NAMES.get(code))
        return next((found for name in names if name and (found := self.icons.find(name))), None)


def regional_indicators(code: str) -> str:
    """The code points of a flag emoji: "jp" -> "1f1ef-1f1f5"."""
    return "-".join(f"{0x1F1E6 + ord(letter) - ord('a'):x}" for letter in code)


def styles(cache: Path) -> list[Style]:
    """The artists, rectangular ones first."""
    packages = {package.style: package for package in (*COLOUR_SETS, *FLAG_SETS)}
    plan = (
        ("twemoji", "rect", "general"),
        ("flag", "rect", "general"),
        ("flagpack", "rect", "general"),
        ("circle-flags", "round", "train"),
        ("emojione", "round", "test"),
    )
    return [Style(IconSet.load(packages[name], cache), shape, split) for name, shape, split in plan]


def alike(pictures: Mapping[str, np.ndarray]) -> set[tuple[str, str]]:
    """Pairs of codes whose pictures (HxWx3, sides divisible by 8) cannot be told apart."""
    codes = sorted(pictures)
    # Block averages differ at most as much as pixels do, so they rule out most pairs cheaply.
    blocks = np.array([block_averages(pictures[code]) for code in codes])
    pairs = set()
    for row, code in enumerate(codes[:-1]):
        coarse = np.abs(blocks[row + 1 :] - blocks[row]).mean(axis=(1, 2, 3))
        for place in np.flatnonzero(coarse < LEAST_DIFFERENCE):
            other = codes[row + 1 + int(place)]
            difference = np.abs(pictures[code].astype(int) - pictures[other])
            if difference.mean() < LEAST_DIFFERENCE:
                pairs.add((code, other))
    return pairs


def block_averages(picture: np.ndarray, count: int = 8) -> np.ndarray:
    """The picture averaged over ``count`` x ``count`` blocks, ``count`` x ``count`` x 3."""
    height, width, channels = picture.shape
    blocks = picture.reshape(count, height // count, count, width // count, channels)
    return blocks.mean(axis=(1, 3))


def without_doubles(
    candidates: list[Country], pairs: set[tuple[str, str]]
) -> tuple[list[Country], dict[str, str]]:
    """Keep one country of each indistinguishable pair; also returns {dropped: kept instead}."""
    rank = {
        country.code: (country.code in dict(TWINS).values(), place)
        for place, country in enumerate(candidates)
    }
    dropped: dict[str, str] = {}
    for pair in sorted(pairs, key=lambda pair: sorted(rank[code] for code in pair)):
        keep, drop = sorted(pair, key=lambda code: rank[code])
        if keep not in dropped:
            dropped.setdefault(drop, keep)
    return [country for country in candidates if country.code not in dropped], dropped


def build_flags(cache: Path) -> list[Record]:
    """Flags of the countries that every artist draws and whose flag is unmistakable."""
    artists = styles(cache)
    twemoji = artists[0].icons
    drawn: dict[Package, dict[str, np.ndarray]] = {}
    for artist in artists:
        drawn[artist.icons.package] = {
            country.code: reduce_colours(render(artist.icons.svg(name)))
            for country in countries()
            if (name := artist.find(country.code, twemoji))
        }
    shared = set.intersection(*(set(pictures) for pictures in drawn.values()))
    everywhere = [country for country in countries() if country.code in shared]
    pairs = {twins for twins in TWINS if shared.issuperset(twins)}
    for pictures in drawn.values():
        pairs |= alike({code: pictures[code] for code in shared})
    kept, _ = without_doubles(everywhere, pairs)
    return [
        {
            "id": f"flag-{artist.icons.package.style}-{country.code}",
            "image": encode_png(drawn[artist.icons.package][country.code]),
            "label": country.name,
            "group": country.group,
            "style": artist.icons.package.style,
            "split": artist.split,
            "licence": artist.icons.package.licence,
            "attribution": artist.icons.package.authors,
            "source": artist.icons.package.source,
            "shape": artist.shape,
        }
        for country in kept
        for artist in artists
    ]
