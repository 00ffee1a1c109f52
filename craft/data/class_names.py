"""Class names: how questions call a class, and when two names mean the same class."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from craft.errors import CraftError


def spoken(label: str) -> str:
    """Format a class name for a question: underscores become spaces, white space is collapsed.

    >>> spoken("red__panda ")
    'red panda'
    """
    return " ".join(label.replace("_", " ").split())


def name_key(name: str) -> str:
    """Normalise a name so that equal keys mean the same class.

    Unicode form (NFKC), case, hyphens and underscores are ignored.

    >>> name_key("Red-Panda") == name_key("red_panda")
    True
    """
    folded = unicodedata.normalize("NFKC", name).casefold()
    return " ".join(folded.replace("_", " ").replace("-", " ").split())


def require_distinct(names: Iterable[str]) -> None:
    """Refuse classes that differ only in spelling, since a question could offer both as options.

    Raises:
        CraftError: two classes have equal keys; the message names both.
    """
    known: dict[str, str] = {}
    for name in names:
        other = known.setdefault(name_key(name), name)
        if other != name:
            raise CraftError(
                f"classes {other!r} and {name!r} differ only in spelling; give them the same name "
                "or clearly different ones"
            )


def from_camel(label: str) -> str:
    """Format a class name from EuroSAT.

    >>> from_camel("HerbaceousVegetation")
    'herbaceous vegetation'
    """
    return spoken(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", label)).lower()


def from_hyphens(label: str) -> str:
    """Format a class name from Kvasir.

    >>> from_hyphens("normal-z-line")
    'normal z line'
    """
    return spoken(label.replace("-", " ")).lower()


def from_synset(label: str) -> str:
    """Format a class name from Stanford Dogs, without its WordNet number.

    >>> from_synset("n02085620-Chihuahua"), from_synset("n02105855-Shetland_sheepdog")
    ('Chihuahua', 'Shetland sheepdog')
    """
    return spoken(re.sub(r"^n\d{8}-", "", label))


def from_crop_disease(label: str) -> str:
    """Format a class name from PlantVillage.

    >>> from_crop_disease("Tomato___Late_blight"), from_crop_disease("Tomato___Tomato_mosaic_virus")
    ('tomato late blight', 'tomato mosaic virus')
    """
    crop, _, state = (spoken(part).lower() for part in label.partition("___"))
    return state if state.startswith(crop) else f"{crop} {state}".strip()
