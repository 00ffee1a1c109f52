"""A tower, its codebook and a language model behind lmms-eval's model interface."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Literal, cast

import numpy as np
import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import parse_flag_from_env
from lmms_eval.api.model import lmms  # pyright: ignore[reportMissingImports]
from PIL import Image
from torch import Tensor

from craft.data.images.record_store import squash
from craft.errors import CraftError
from craft.family.family import ModelFamily
from craft.models.discrete_lvlm import DiscreteLVLM
from craft.prior import TokenPrior
from craft.runtime.device import choose_device


class CraftModel(lmms):
    """Answers questions about exactly one image each by greedy decoding.

    Under a launcher, such as ``accelerate launch --num_processes 2 -m lmms_eval``, each process
    answers its share on the device that the launcher assigned.

    Args:
        pretrained: directory of the models, as for ``--models``; by default those of the package.
        language_model: name; a language model that was trained with the pack takes its place.
        pack: directory of an encoder pack that replaces the pretrained encoder.
        keep_ratio: share of the visual tokens to keep; pruned by ``prior`` or the pack's prior.
        prior: file of a token prior.
        batch_size: number of questions answered at once.
        max_batch_size: upper bound of ``batch_size``.
        device: "cpu", "cuda", "cuda:1", ...; with several processes, leave it to the launcher.

    Raises:
        CraftError: no such model, a batch size that is not a positive number (such as "auto"), a
            device other than the launcher's, no prior to prune by, or a document that does not have
            exactly one image.
        CodebookMismatchError: the pack or the prior belongs to another codebook.
    """

    is_simple = True

    def __init__(
        self,
        pretrained: str | None = None,
        language_model: str | None = None,
        pack: str | None = None,
        keep_ratio: float = 1.0,
        prior: str | None = None,
        batch_size: int | str = 1,
        max_batch_size: int | str | None = None,
        device: str | None = None,
    ) -> None:
        super().__init__()
        self.batch = _batch(batch_size, max_batch_size)
        self._join_the_others(device)
        # Launchers number CPUs too, but "cpu:1" is not a valid choice of device.
        where = "cpu" if self.device.type == "cpu" else str(self.device)
        family = ModelFamily.load(pretrained, device=where)
        encoder = family.plug(pack)
        asked = language_model or family.main or "qwen2"
        self.language_model = encoder.own_language_model or family.language_model(asked)
        self.reads: Literal["codes", "features"] = encoder.reads
        self.model = DiscreteLVLM.from_parts(encoder.tower, self.language_model).to(
            cast(Any, self.device)
        )
        self.keep_ratio = float(keep_ratio)
        self.prior = TokenPrior.load(prior) if prior else encoder.prior
        if self.keep_ratio < 1 and self.prior is None:
            raise CraftError(f"keep_ratio={keep_ratio} needs a pack with a prior, or prior=FILE")

    def _join_the_others(self, device: str | None) -> None:
        """Set the rank, number of processes, device and accelerator that lmms-eval uses."""
        # Checked here, because accelerate by itself overlooks processes without GPUs.
        cpu = not torch.cuda.is_available() or parse_flag_from_env("ACCELERATE_USE_CPU")
        seen, started = PartialState(cpu=cpu).num_processes, int(os.environ.get("WORLD_SIZE", 1))
        if seen != started:
            raise CraftError(
                f"{started} processes were started, but accelerate was set up for {seen} before "
                "this model was made, so each would answer every question; start one process, or "
                "use `accelerate launch` on GPUs"
            )
        if seen == 1:
            self.device = choose_device(device).device
            return
        self.accelerator = Accelerator(cpu=cpu)
        self._rank = self.accelerator.process_index
        self._world_size = self.accelerator.num_processes
        self.device = self.accelerator.device
        if device not in (None, str(self.device), self.device.type):
            raise CraftError(
                f"device={device}, but process {self._rank} of {self._world_size} has "
                f"{self.device} from the launcher; leave device out"
            )

    @torch.inference_mode()
    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """Answer requests (context, settings, doc_to_visual, doc_id, task, split), in order."""
        answers: list[str] = []
        for start in range(0, len(requests), self.batch):
            asked = [request.args for request in requests[start : start + self.batch]]
            visual = self.model.visual_tokens(
                torch.stack([self._pixels(*args[2:]) for args in asked]).to(
                    self.device, self.model.tower.dtype
                ),
                keep_ratio=self.keep_ratio,
                prior=self.prior,
                reads=self.reads,
            )
            longest = max(int(args[1].get("max_new_tokens", 16)) for args in asked)
            text = self.language_model.prompt_batch(
                [args[0].replace("<image>", "").strip() for args in asked]
            )
            said = self.language_model.answer(visual, text, max_new_tokens=longest)
            answers += [_cut(one, args[1]) for one, args in zip(said, asked, strict=True)]
        return answers

    def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
        """Log-probabilities of (context, continuation, doc_to_visual, doc_id, task, split)."""
        scores = []
        for request in requests:
            context, answer, *rest = request.args
            if not isinstance(answer, str):  # a function of the document
                answer = answer(self._document(*rest[1:]))
            scores.append(self._likelihood(context, answer, self._pixels(*rest)))
        return scores

    def generate_until_multi_round(self, requests: Sequence[Any]) -> list[str]:
        raise NotImplementedError("these models answer one question at a time")

    @torch.inference_mode()
    def _likelihood(self, context: str, answer: str, pixels: Tensor) -> tuple[float, bool]:
        visual = self.model.visual_tokens(
            pixels[None].to(self.device, self.model.tower.dtype),
            keep_ratio=self.keep_ratio,
            prior=self.prior,
            reads=self.reads,
        )
        text = self.language_model.training_batch(
            [context.replace("<image>", "").strip()], [answer.strip()]
        )
        logits, targets = self.language_model.answer_logits(visual, text)
        logits, targets = logits[:-1].float(), targets[:-1]  # without the end token
        chosen = logits.log_softmax(-1).gather(1, targets[:, None])
        return float(chosen.sum()), bool((logits.argmax(-1) == targets).all())

    def _document(self, doc_id: Any, task: str, split: str) -> Any:
        return self.task_dict[task][split][doc_id]

    def _pixels(self, doc_to_visual: Any, doc_id: Any, task: str, split: str) -> Tensor:
        """The document's image [3, S, S] in [-1, 1]."""
        images = doc_to_visual(self._document(doc_id, task, split))
        if len(images) != 1 or not isinstance(images[0], Image.Image):
            raise CraftError(
                f"{task} {doc_id} has {len(images)} visuals, expected one image; these models read "
                "one image per question"
            )
        array = np.array(squash(images[0].convert("RGB"), self.model.tower.image_size))
        return torch.from_numpy(array).permute(2, 0, 1).float() / 127.5 - 1


def _batch(size: int | str, most: int | str | None) -> int:
    sizes = {"batch_size": size} if most is None else {"batch_size": size, "max_batch_size": most}
    for name, value in sizes.items():
        if not (str(value).isdecimal() and int(value) > 0):
            raise CraftError(
                f"{name} must be a number of questions above 0, got {value!r}; it is not chosen "
                "automatically: give a number, such as 16, and a smaller one if memory runs out"
            )
    return min(int(value) for value in sizes.values())


def _cut(answer: str, settings: dict[str, Any]) -> str:
    """The answer up to the first of the task's stop words."""
    stops = settings.get("until") or []
    for stop in [stops] if isinstance(stops, str) else stops:
        if stop:
            answer = answer.split(stop)[0]
    return answer.strip()
