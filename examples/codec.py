"""Exact codes in an audio codec of transformers, in three lines.

    python examples/codec.py                              # random weights, nothing is downloaded
    python examples/codec.py --checkpoint kyutai/mimi     # a Mimi checkpoint, local or of the hub

Encodes the same sound with Mimi's own quantiser and with CRAFT's in its place, and compares codes,
time and the decoded sound.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import Any

import torch
from transformers import MimiConfig, MimiModel

from craft.integrations.codecs import patch


def main(argv: Sequence[str] | None = None) -> dict[str, torch.Tensor]:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--checkpoint", help="of a Mimi model; random weights if left out")
    parser.add_argument("--seconds", type=float, default=4.0, help="of sound to encode")
    parser.add_argument("--levels", type=int, default=32, help="codebooks to use")
    options = parser.parse_args(argv)

    model: Any
    if options.checkpoint:
        model = MimiModel.from_pretrained(
            options.checkpoint, trust_remote_code=False, use_safetensors=True
        ).eval()
    else:
        model = random_mimi()
    rate = model.config.sampling_rate
    audio = chirp(options.seconds, rate)[None, None]

    own, own_ms = encode(model, audio, options.levels)
    handle = patch(model)
    print(handle)
    codes, our_ms = encode(model, audio, options.levels)
    with torch.no_grad():
        sound = model.decode(codes).audio_values
    handle.unpatch()
    with torch.no_grad():
        same_sound = torch.equal(model.decode(codes).audio_values, sound)

    tokens = codes.shape[-1]
    differing = int((codes != own).any(1).sum())
    print(f"{options.seconds:g} s of sound: {tokens} frames of {codes.shape[1]} codes")
    print(f"encoding, encoder included: {own_ms:.0f} ms as it was, {our_ms:.0f} ms patched")
    print(f"{differing} frames with other codes (those are near-ties that rounding decided)")
    print(f"decoding is {'unchanged' if same_sound else 'CHANGED'}")
    return {"own": own, "ours": codes}


def encode(model: Any, audio: torch.Tensor, levels: int) -> tuple[torch.Tensor, float]:
    """Codes [1, levels, frames], and the least time of three calls in milliseconds."""
    times, codes = [], torch.empty(0)
    with torch.no_grad():
        for _ in range(3):
            begin = time.perf_counter()
            codes = model.encode(audio, num_quantizers=levels).audio_codes
            times.append(time.perf_counter() - begin)
    return codes, 1e3 * min(times)


def chirp(seconds: float, rate: int) -> torch.Tensor:  # [samples]
    """A tone that rises, with noise."""
    moments = torch.arange(int(seconds * rate)) / rate
    noise = torch.randn(len(moments), generator=torch.Generator().manual_seed(0))
    return 0.5 * torch.sin(2 * torch.pi * (200 + 300 * moments) * moments) + 0.05 * noise


def random_mimi() -> Any:
    """Mimi's architecture, with codebooks about as long as its random features."""
    torch.manual_seed(0)
    model: Any = MimiModel(MimiConfig()).eval()
    with torch.no_grad():
        latents = model.encoder(chirp(1.0, 24000)[None, None]).latents
        quantizer = model.quantizer
        for group in (
            quantizer.semantic_residual_vector_quantizer,
            quantizer.acoustic_residual_vector_quantizer,
        ):
            features = group.input_proj(latents)[0].T  # [frames, D]
            for level, layer in enumerate(group.layers):
                words = layer.codebook.embed_sum
                chosen = features[torch.randint(len(features), (len(words),))]
                words.copy_(0.9**level * (chosen + 0.5 * features.std() * torch.randn_like(words)))
    return model


if __name__ == "__main__":
    main()
