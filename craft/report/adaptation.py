"""A summary of whether an adaptation helped, judged by its validation images."""

from __future__ import annotations

from craft.evaluation.validation_gain import ValidationGain
from craft.settings.methods import METHODS
from craft.settings.training import CraftConfig
from craft.training.result import AdaptationResult


def adaptation_lines(
    result: AdaptationResult, config: CraftConfig, surrogate: str, measures_forgetting: bool
) -> list[str]:
    """Say whether the adaptation helped, and what to try if it did not.

    Args:
        surrogate: the language model that gave the answers.
        measures_forgetting: whether general questions limited how far the weights could move.
    """
    answers = result.answers
    found = ValidationGain.of(answers.before, answers.after, answers.images)
    lines = [f"validation images of the domain, read by {surrogate}: {found}"]
    if METHODS[config.method].trains is None:
        return [*lines, f"method {config.method} trains nothing: the encoder is unchanged"]
    if result.blend == 0:
        return [*lines, _nothing(result, config, measures_forgetting)]
    if found.gain.certain and found.gain.all < 0:
        lines.append(f"the answers became worse; {_advice()}")
    elif not found.gain.certain:
        lines.append(
            "the gain is within chance: its interval contains 0. The language model may still be "
            f"more certain of its answers; {_advice()}; more validation images can resolve smaller "
            f"gains (--set validation_images=N, now {config.validation_images})"
        )
    return lines


def _nothing(result: AdaptationResult, config: CraftConfig, measures_forgetting: bool) -> str:
    """Say why the pack holds the pretrained weights, and what to try."""
    if result.answers.forgot and measures_forgetting:
        return (
            "nothing was gained: weights that were better on the domain had forgotten more than "
            f"{config.forget_at_most:g} points of general knowledge, so the pack holds the "
            "pretrained encoder; allow more (--set forget_at_most=N), or train more gently "
            f"(--set lr=..., now {config.lr:g})"
        )
    return (
        "nothing was gained: no mixture with the adapted weights answered better than the "
        f"pretrained encoder, which is what the pack holds; {_advice()}"
    )


def _advice() -> str:
    return "try more images, more steps (--set steps=N), or another learning rate (--set lr=...)"
