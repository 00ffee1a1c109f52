"""Prune and answer with a checkpoint, using only transformers and, if installed, FlashAttention.

    python examples/prune_with_transformers.py CHECKPOINT PRIOR IMAGE "What is shown?"

CHECKPOINT is a directory that ``DiscreteLVLM.save_pretrained`` wrote, with a tokenizer in it; PRIOR
is a token prior that ``craft prior`` wrote. Pruning needs no attention maps, so FlashAttention can
be used; without it the model falls back to SDPA and says so.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoTokenizer

import craft
import craft.models  # registers the model with transformers


def main(arguments: list[str] | None = None) -> list[str]:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint")
    parser.add_argument("prior")
    parser.add_argument("image")
    parser.add_argument("question")
    parser.add_argument("--keep-ratio", type=float, nargs="+", default=[1.0, 0.8, 0.6])
    options = parser.parse_args(arguments)

    where: Any = {"device_map": "auto"} if torch.cuda.is_available() else {}
    model: Any = AutoModelForImageTextToText.from_pretrained(
        options.checkpoint,
        attn_implementation="flash_attention_2",
        trust_remote_code=False,
        use_safetensors=True,
        **where,
    )
    tokenizer = AutoTokenizer.from_pretrained(
        f"{options.checkpoint}/tokenizer", trust_remote_code=False
    )
    prior = craft.TokenPrior.load(options.prior)
    print(f"attention: {model.language_model.config._attn_implementation}, {model.dtype}")

    size = model.tower.image_size
    image = Image.open(options.image).convert("RGB").resize((size, size))
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].to(model.device)
    text = tokenizer(options.question, add_special_tokens=False, return_tensors="pt")
    answers = []
    for keep_ratio in options.keep_ratio:
        ids = model.generate(
            pixels.to(model.dtype) / 127.5 - 1,
            text["input_ids"].to(model.device),
            keep_ratio=keep_ratio,
            prior=prior,
            max_new_tokens=16,
            do_sample=False,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
        answers.append(tokenizer.decode(ids[0], skip_special_tokens=True))
        tokens = craft.keep_count(model.tower.grid[0] * model.tower.grid[1], keep_ratio)
        print(f"{tokens} visual tokens: {answers[-1]}")
    return answers


if __name__ == "__main__":
    main()
