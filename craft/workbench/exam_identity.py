"""Everything that an exam's answers depend on, so that a run resumes only its own answers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from craft.data.images.store import digests
from craft.data.questions import QuestionSet
from craft.evaluation.exam import Exam
from craft.models.vision_tower import DiscreteVisionTower
from craft.prior import TokenPrior
from craft.runtime.tensor_hash import tensor_hash
from craft.runtime.value_hash import value_hash
from craft.runtime.versions import environment


def exam_identity(exam: Exam, models: Iterable[Path]) -> dict[str, Any]:
    """Identity of the questions and of the models that answer: hashes and versions, as JSON.

    Args:
        models: directories of the models other than the examined encoders; their files are
            identified by name, size and modification time.

    Raises:
        DataError: an image cannot be read.
    """
    return {
        "models": [[path.name, _files(path)] for path in models],
        "domain": _asked(exam.domain),
        "general": None if exam.general is None else _asked(exam.general),
        "versions": environment(),
    }


def encoder_identity(
    tower: DiscreteVisionTower, prior: TokenPrior | None, reads: str
) -> dict[str, Any]:
    """Identity of what an encoder makes of images: hashes and settings, as JSON.

    Args:
        prior: token frequencies that tokens are pruned by.
        reads: what language models read, "codes" or "features".
    """
    return {
        "encoder": tensor_hash(tower.state_dict()),
        "codebook": tower.codebook.fingerprint,
        "device": str(tower.device),
        "precision": tower.precision,
        "prior": None
        if prior is None
        else [tensor_hash({"counts": prior.counts}), prior.smoothing],
        "reads": reads,
    }


def _asked(asked: QuestionSet) -> str:
    return value_hash(*map(asdict, asked.questions), *digests(asked.images))


def _files(directory: Path) -> str:
    found = sorted(path for path in directory.rglob("*") if path.is_file())
    stats = ((str(path.relative_to(directory)), path.stat()) for path in found)
    return value_hash(*((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats))
