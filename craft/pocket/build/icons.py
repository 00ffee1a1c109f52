"""Colour icons and line art: one concept drawn by many artists."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from craft.pocket.build.packages import Package, read_json
from craft.pocket.build.records import (
    Record,
    encode_png,
    is_blank,
    plain_words,
    reduce_colours,
)
from craft.pocket.build.sources import COLOUR_SETS, EMOJIBASE, LINE_SETS
from craft.pocket.build.subgroups import GROUP_NAMES
from craft.pocket.build.svg import IconSet, bare_codepoint, render

LEAST_DRAWINGS = 5

#: Left out: a toy in new drawings, a revolver in old ones.
AMBIGUOUS = ("water pistol",)

#: Short forms of names longer than four words.
SHORT_LABELS = {
    "closed mailbox with raised flag": "closed mailbox flag raised",
    "closed mailbox with lowered flag": "closed mailbox flag lowered",
    "open mailbox with raised flag": "open mailbox flag raised",
    "open mailbox with lowered flag": "open mailbox flag lowered",
    "cloud with lightning and rain": "thunder cloud with rain",
    "fork and knife with plate": "plate with cutlery",
    "bottle with popping cork": "popping bottle",
    "leaf fluttering in wind": "leaf in wind",
    "shallow pan of food": "pan of food",
}


@dataclass(frozen=True)
class Concept:
    """A thing that the icons show."""

    codepoint: str
    label: str
    group: str
    names: tuple[str, ...]


def slug(text: str) -> str:
    """A name in the spelling of icon sets: "woman’s hat" -> "womans-hat"."""
    return plain_words(text).replace(" ", "-")


def concepts(cache: Path, sets: Iterable[IconSet]) -> list[Concept]:
    """All emoji of things, with every name that an artist may have given them."""
    things = [
        entry
        for entry in read_json(EMOJIBASE, cache, "en/data.json")
        if entry.get("subgroup") in GROUP_NAMES and entry["label"] not in AMBIGUOUS
    ]
    unicode_names = read_json(EMOJIBASE, cache, "meta/unicode-names.json")
    labels = {slug(entry["label"]) for entry in things}
    found = []
    for entry in things:
        code = bare_codepoint(entry["hexcode"])
        own = slug(entry["label"])
        names = [own, *(other.by_codepoint.get(code, own) for other in sets)]
        names.append(slug(unicode_names.get(entry["hexcode"], own)))
        # Another concept's first name as a second name would take that concept's drawing.
        usable = [name for name in dict.fromkeys(names) if name == own or name not in labels]
        label = plain_words(entry["label"])
        found.append(
            Concept(
                code,
                SHORT_LABELS.get(label, label),
                GROUP_NAMES[entry["subgroup"]],
                tuple(usable),
            )
        )
    return found


def match(icons: IconSet, wanted: Iterable[Concept]) -> dict[str, str]:
    """Map concepts to the icons of a set: {label: icon name}, one icon per concept."""
    compact = {name.replace("-", ""): name for name in (*icons.icons, *icons.aliases)}
    chosen: dict[str, str] = {}
    for concept in wanted:
        if icons.by_codepoint:
            name = icons.by_codepoint.get(concept.codepoint)
        else:
            keys = (name.replace("-", "") for name in concept.names)
            name = next((compact[key] for key in keys if key in compact), None)
        drawing = icons.find(name) if name else None
        if (
            drawing
            and icons.is_styled(drawing)
            and (name == drawing or not is_misleading(concept, name))
        ):
            chosen[concept.label] = drawing
    shared = Counter(chosen.values())
    return {label: icon for label, icon in chosen.items() if shared[icon] == 1}


def is_misleading(concept: Concept, alias: str | None) -> bool:
    """Whether an alias shows something else: in old sets, "cricket" is the game, not the insect."""
    return concept.label == "cricket" and alias == "cricket"


def draw(icons: IconSet, chosen: dict[str, str]) -> dict[str, np.ndarray]:
    """Render the chosen icons of one set, leaving out blanks and repeated pictures."""
    pictures: dict[str, np.ndarray] = {}
    seen: dict[bytes, str] = {}
    repeated: set[str] = set()
    for label, name in sorted(chosen.items()):
        picture = reduce_colours(render(icons.svg(name)))
        if is_blank(picture):
            continue
        first = seen.setdefault(picture.tobytes(), label)
        if first != label:
            repeated |= {first, label}
        pictures[label] = picture
    return {label: picture for label, picture in pictures.items() if label not in repeated}


def build_icons(cache: Path) -> list[Record]:
    """Icons of the concepts that at least five of the six colour sets draw."""
    sets = [IconSet.load(package, cache) for package in COLOUR_SETS]
    wanted = concepts(cache, sets)
    drawn = {icons.package: draw(icons, match(icons, wanted)) for icons in sets}
    counts = Counter(label for pictures in drawn.values() for label in pictures)
    kept = [concept for concept in wanted if counts[concept.label] >= LEAST_DRAWINGS]
    return list(records("icon", kept, drawn, {}))


def build_lineart(cache: Path, icon_labels: set[str]) -> list[Record]:
    """Line art of the icons' concepts that both black-and-white artists draw."""
    sets = [IconSet.load(package, cache) for package in LINE_SETS]
    colour = [IconSet.load(package, cache) for package in COLOUR_SETS]
    wanted = [c for c in concepts(cache, colour) if c.label in icon_labels]
    drawn = {icons.package: draw(icons, match(icons, wanted)) for icons in sets}
    kept = [c for c in wanted if all(c.label in pictures for pictures in drawn.values())]
    train, test = LINE_SETS
    return list(records("lineart", kept, drawn, {train: "train", test: "test"}))


def records(
    area: str,
    kept: Iterable[Concept],
    drawn: dict[Package, dict[str, np.ndarray]],
    splits: dict[Package, str],
) -> Iterator[dict[str, Any]]:
    """One row per picture of a kept concept."""
    for concept in kept:
        for package, pictures in drawn.items():
            if concept.label in pictures:
                yield {
                    "id": f"{area}-{package.style}-{slug(concept.label)}",
                    "image": encode_png(pictures[concept.label]),
                    "label": concept.label,
                    "group": concept.group,
                    "style": package.style,
                    "split": splits.get(package, "general"),
                    "licence": package.licence,
                    "attribution": package.authors,
                    "source": package.source,
                }
