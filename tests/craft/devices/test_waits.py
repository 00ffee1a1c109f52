"""How often the host waits for the device in loops that run thousands of times.

A wait costs more than a small kernel. transformers' own waits (two per forward pass, to read the
attention mask) are counted too, so an increase comes from our code.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch

from craft.data import prompts
from craft.data.images.store import BATCH, TensorStore
from craft.data.questions import Question
from craft.evaluation.four_option import answer_questions
from craft.evaluation.visual_tokens import VisualTokens
from craft.family.family import ModelFamily
from tests.craft.cli.commands import craft_command, done
from tests.craft.devices.far_device import waits
from tests.craft.training.short_run import random_domain

pytestmark = pytest.mark.usefixtures("small_world", "quiet_process", "away")


def between(few: Counter[str], many: Counter[str], times: int) -> dict[str, float]:
    """Waits that ``many`` has beyond ``few``, per one of ``times``."""
    return {place: (many[place] - few[place]) / times for place in many if many[place] > few[place]}


def test_a_training_step(tiny_models_dir, tmp_path):
    def steps(count: int) -> Counter[str]:
        line = f"adapt --domain flags --out {tmp_path / str(count)} --set steps={count} "
        line += "--set batch=4 --set validate_every=100 --set checkpoint.every=0"
        with waits() as found:
            done(craft_command(*line.split(), "--models", tiny_models_dir))
        return found

    found = between(steps(2), steps(5), 3)
    assert sum(found.values()) <= 3, found
    ours = [place for place in found if "training/" in place]
    assert len(ours) == 1, found  # all terms of the loss, in one copy


def test_a_batch_that_is_encoded(tiny_models_dir):
    tower = ModelFamily(tiny_models_dir).pretrained_tower()

    def encoded(batches: int) -> Counter[str]:
        images = TensorStore(torch.rand(batches * BATCH, 3, 24, 24))
        with waits() as found:
            VisualTokens(tower, images)
        return found

    found = between(encoded(1), encoded(3), 2)
    assert sum(found.values()) <= 2, found  # codes and residuals, which are kept on the CPU


def test_a_batch_of_answers(tiny_models_dir):
    family = ModelFamily(tiny_models_dir)
    domain = random_domain()
    language_model: Any = family.language_model("qwen2")
    tokens = VisualTokens(family.pretrained_tower(), domain.test.images)
    prompt = prompts.ask("thing", ["thing aa", "thing bb"])
    asked = [Question(str(i), i, "thing aa", prompt, "A") for i in range(6)]

    def answered(batch: int) -> Counter[str]:
        with waits() as found:
            answer_questions(language_model, tokens.view(), asked, batch=batch, max_new_tokens=1)
        return found

    found = between(answered(6), answered(1), 5)
    assert sum(found.values()) <= 5, found  # four in generate(), for one token
    assert sum("tolist" in place for place in found) == 1, found  # the answers themselves
