"""Class names: what a folder or label is called in a question, and when two names are one."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from craft.errors import CraftError


def spoken(label: str) -> str:
    """How a question writes a class: underscores as spaces, white space collapsed.

    >>> spoken("red__panda ")
    'red panda'
    """
    return " ".join(label.replace("_", " ").split())


def name_key(name: str) -> str:
    """Equal for names that mean one class: NFKC, case, hyphens and underscores do not count.

    >>> name_key("Red-Panda") == name_key("red_panda")
    True
    """
    folded = unicodedata.normalize("NFKC", name).casefold()
    return " ".join(folded.replace("_", " ").replace("-", " ").split())


def require_distinct(names: Iterable[str]) -> None:
    """Refuse classes that differ in spelling alone: a question could offer both as options.

    Raises:
        CraftError: names the two.
    """
    known: dict[str, str] = {}
    for name in names:
        other = known.setdefault(name_key(name), name)
        if other != name:
            raise CraftError(
                f"classes {other!r} and {name!r} have the same name but for their spelling; give "
                "them one name or two different ones"
            )


def from_camel(label: str) -> str:
    """EuroSAT's style.

    >>> from_camel("HerbaceousVegetation")
    'herbaceous vegetation'
    """
    return spoken(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", label)).lower()


def from_hyphens(label: str) -> str:
    """Kvasir's style.

    >>> from_hyphens("normal-z-line")
    'normal z line'
    """
    return spoken(label.replace("-", " ")).lower()


def from_synset(label: str) -> str:
    """Stanford Dogs' style: the WordNet number before the name is dropped.

    >>> from_synset("n02085620-Chihuahua"), from_synset("n02105855-Shetland_sheepdog")
    ('Chihuahua', 'Shetland sheepdog')
    """
    return spoken(re.sub(r"^n\d{8}-", "", label))


def from_crop_disease(label: str) -> str:
    """PlantVillage's style.

    >>> from_crop_disease("Tomato___Late_blight"), from_crop_disease("Tomato___Tomato_mosaic_virus")
    ('tomato late blight', 'tomato mosaic virus')
    """
    crop, _, state = (spoken(part).lower() for part in label.partition("___"))
    return state if state.startswith(crop) else f"{crop} {state}".strip()
