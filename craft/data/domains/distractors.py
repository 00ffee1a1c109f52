"""Wrong options that are not drawn at random: the likeliest mistakes, or those of a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from craft.data.class_names import name_key
from craft.data.domains.class_domain import ClassDomain
from craft.data.domains.manifest import Distractors, DomainManifest
from craft.data.questions import seeded
from craft.errors import CraftError
from craft.runtime.json_cards import read_json


def hardest(
    similarity: Tensor,  # [n, C] of images with classes
    labels: Sequence[str],
    classes: Sequence[str],
    count: int = 3,
) -> list[list[str]]:
    """For each image the ``count`` wrong classes it resembles most (methods F1, "hard"), of equal
    ones the first.

    Args:
        labels: the right class of each image.
        classes: names of the columns.
    """
    columns = {name: i for i, name in enumerate(classes)}
    wrong = similarity.clone()
    for row, label in enumerate(labels):
        wrong[row, columns[label]] = float("-inf")
    nearest: list[list[int]] = wrong.argsort(dim=1, descending=True, stable=True)[
        :, :count
    ].tolist()
    names = list(classes)
    return [[names[i] for i in row] for row in nearest]


def with_options(
    domain: ClassDomain,
    manifest: DomainManifest,
    distractors: Sequence[Sequence[str]],
    mode: Distractors,
) -> tuple[ClassDomain, DomainManifest]:
    """Ask about the test images with these wrong options, in an order drawn by image id.

    Args:
        distractors: three a test image, in the order of ``domain.test``.
    """
    options: dict[str, tuple[str, ...]] = {}
    for key, label, wrong in zip(domain.test.ids, domain.test.labels, distractors, strict=True):
        shuffled = [label, *wrong]
        seeded("order", key).shuffle(shuffled)
        options[key] = tuple(shuffled)
    manifest = manifest.model_copy(update={"options": options, "distractors": mode})
    return replace(domain, options=options), manifest


def read_foci(path: Path, domain: ClassDomain) -> list[list[str]]:
    """Wrong options for the test images from an option file in the layout of FOCI-Benchmark.

    ``{class: [{"image", "options": [four names], "groundtruth"}, ...]}``. Images are found by path
    or by file name, classes by name without regard to case.

    Raises:
        CraftError: another layout, a test image that is missing, given twice or of another class,
            or a class the domain does not have.
    """
    try:
        content = read_json(path, "the option file", foreign=True)
        entries = [entry for items in content.values() for entry in items]
        listed = [(e["image"], tuple(e["options"]), e["groundtruth"]) for e in entries]
    except (AttributeError, KeyError, TypeError) as error:
        layout = '{class: [{"image", "options", "groundtruth"}]}'
        raise CraftError(f"{path} is no option file {layout}: {error!r}") from error
    names = {name_key(name): name for name in domain.classes}
    by_path: dict[str, list[tuple[tuple[str, ...], str]]] = {}
    for image, options, truth in listed:
        for key in {image, Path(image).name}:
            by_path.setdefault(key, []).append((options, truth))
    found = []
    for key, label in zip(domain.test.ids, domain.test.labels, strict=True):
        matches = by_path.get(key) or by_path.get(Path(key).name) or []
        if len(matches) != 1:
            raise CraftError(f"{path} has {len(matches)} entries for the test image {key!r}, not 1")
        options, truth = matches[0]
        unknown = [name for name in (*options, truth) if name_key(name) not in names]
        if unknown:
            raise CraftError(
                f"{path}: image {key!r}: no class of the data is called {unknown[0]!r}"
            )
        if names[name_key(truth)] != label:
            raise CraftError(f"{path}: image {key!r} is {truth!r} there and {label!r} in the data")
        wrong = [names[name_key(name)] for name in options if names[name_key(name)] != label]
        if len(options) != 4 or len(set(wrong)) != 3:
            raise CraftError(
                f"{path}: image {key!r} must have four different options, got {list(options)}"
            )
        found.append(wrong)
    return found
