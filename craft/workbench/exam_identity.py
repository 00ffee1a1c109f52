"""What an exam's answers depend on, so that a run goes on only with its own."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from craft.data.questions import QuestionSet
from craft.evaluation.exam import Exam
from craft.models.vision_tower import DiscreteVisionTower
from craft.prior import TokenPrior
from craft.runtime.tensor_hash import tensor_hash
from craft.runtime.versions import environment


def exam_identity(
    exam: Exam,
    tower: DiscreteVisionTower,
    language_models: Mapping[str, Path],
    *,
    prior: TokenPrior | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Hashes, versions and settings, as JSON.

    Args:
        tower: the encoder that is examined.
        language_models: their directories, whose files are told apart by name, size and time.
        prior: what tokens are pruned by.

    Raises:
        DataError: an image cannot be read.
    """
    general = exam.general
    return {
        "encoder": tensor_hash(tower.state_dict()),
        "codebook": tower.codebook.fingerprint,
        "device": str(tower.device),
        "precision": tower.precision,
        "prior": None
        if prior is None
        else [tensor_hash({"counts": prior.counts}), prior.smoothing],
        "language_models": {n: _files(path) for n, path in language_models.items()},
        "domain": _asked(exam.domain),
        "general": None if general is None else _asked(general),
        "versions": environment(),
        **settings,
    }


def _asked(asked: QuestionSet) -> str:
    images = (asked.images.digest(row) for row in range(len(asked.images)))
    return _hash([*map(repr, asked.questions), *images])


def _files(directory: Path) -> str:
    found = sorted(path for path in directory.rglob("*") if path.is_file())
    stats = ((path.relative_to(directory), path.stat()) for path in found)
    return _hash(f"{name} {stat.st_size} {stat.st_mtime_ns}" for name, stat in stats)


def _hash(lines: Iterable[str]) -> str:
    found = hashlib.sha256()
    for line in lines:
        found.update(line.encode() + b"\n")
    return found.hexdigest()
