"""An exam resumes only with the same questions and the same models."""

from __future__ import annotations

import os
import shutil
from typing import Any

import pytest

from craft.family.family import ModelFamily
from craft.workbench import evaluate
from tests.craft.training.short_run import random_domain


class Opened(Exception):
    pass


@pytest.mark.parametrize("changed", ["siglip/model.safetensors", "qwen2/model.safetensors"])
def test_changed_models_are_another_exam(changed, tiny_models_dir, tmp_path, monkeypatch):
    directory = shutil.copytree(tiny_models_dir, tmp_path / "models")

    def opened(_directory: Any, identity: dict[str, Any], *_others: Any) -> None:
        raise Opened(identity)

    monkeypatch.setattr(evaluate, "Journal", opened)

    def identity() -> dict[str, Any]:
        models = ModelFamily(directory)
        with pytest.raises(Opened) as found:
            evaluate.evaluate_pack(
                models.plug(), models, random_domain(), tmp_path, names=["qwen2"]
            )
        return found.value.args[0]

    before = identity()
    assert identity() == before
    os.utime(directory / changed, (1, 1))
    assert {name for name, value in identity().items() if value != before[name]} == {"models"}
