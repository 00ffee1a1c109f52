"""The pocket world's three domains to adapt to."""

from __future__ import annotations

from craft.data.domains.class_domain import ClassDomain
from craft.data.questions import heldout_classes, seeded
from craft.errors import CraftError
from craft.pocket.world import DOMAINS, load_area

#: Share of the training classes used for validation if an area has no validation split.
VALIDATION_FRACTION = 0.1


def load_domain(name: str, *, holdout_fraction: float = 0.2, split_seed: int = 0) -> ClassDomain:
    """Load a domain of the pocket world, with its held-out classes removed from training.

    Line art and flags have no validation images of their own: a tenth of their training classes is
    used for validation instead. Checkpoints are thus chosen by accuracy on classes that the encoder
    was not adapted to, which is what adaptation is for.

    Raises:
        CraftError: there is no such domain.
    """
    if name not in DOMAINS:
        raise CraftError(f"domain must be one of {sorted(DOMAINS)}, got {name!r}")
    area = load_area(DOMAINS[name])
    test = area.split("test")
    train = area.split("train")
    classes = sorted(set(test.labels) | set(train.labels))
    heldout = heldout_classes(classes, holdout_fraction, split_seed)
    train = train.where([label not in heldout for label in train.labels])
    if "val" in area.splits:
        val = area.split("val")
        val = val.where([label not in heldout for label in val.labels])
    else:
        names = train.classes
        count = max(4, round(VALIDATION_FRACTION * len(names)))
        chosen = set(seeded("validation", split_seed).sample(names, count))
        val = train.where([label in chosen for label in train.labels])
        train = train.where([label not in chosen for label in train.labels])
    return ClassDomain(name, area.subject, classes, heldout, train, val, test)
