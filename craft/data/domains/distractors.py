"""Distractors that are not drawn at random: the likeliest mistakes, or those given in a file."""

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
    """Find the ``count`` wrong classes that each image resembles most (methods F1, "hard").

    Ties go to the first class.

    Args:
        labels: the right class of each image.
        classes: the class of each column.
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
    """Fix the test images' options to these distractors, in an order drawn by image id.

    Args:
        distractors: three per test image, in the order of ``domain.test``.
    """
    options: dict[str, tuple[str, ...]] = {}
    for key, label, wrong in zip(domain.test.ids, domain.test.labels, distractors, strict=True):
        shuffled = [label, *wrong]
        seeded("order", key).shuffle(shuffled)
        options[key] = tuple(shuffled)
    manifest = manifest.model_copy(update={"options": options, "distractors": mode})
    return replace(domain, options=options), manifest


def read_foci(path: Path, domain: ClassDomain) -> list[list[str]]:
    """Read distractors for the test images from an option file in the format of FOCI-Benchmark.

    The format is ``{class: [{"image", "options": [four names], "groundtruth"}, ...]}``. Images are
    matched by path or file name, classes by name regardless of case.

    Raises:
        CraftError: the file has another format; a test image is missing, given twice or of another
            class; or the domain has no such class.
    """
    try:
        content = read_json(path, "the option file", foreign=True)
        entries = [entry for items in content.values() for entry in items]
        listed = [(e["image"], tuple(e["options"]), e["groundtruth"]) for e in entries]
    except (AttributeError, KeyError, TypeError) as error:
        layout = '{class: [{"image", "options", "groundtruth"}]}'
        raise CraftError(f"{path} is not an option file {layout}: {error!r}") from error
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
