"""Damaged images and verdicts are one error, whatever is damaged, and soon."""

import io
import random
import time

import numpy as np
import pytest
from PIL import Image

from craft.data.readers.decoding import UnreadableImage, decode
from craft.evaluation.judge.protocol import UnreadableVerdict, parse

KINDS = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF", "MPO"]
REPLY = (
    b'Here: {"correct": true, "explanation_present": true, "faithfulness": 8, "relevance": 7, '
    b'"verbosity": 1}'
)


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Bytes flipped, replaced, cut or doubled; mostly near the start, where headers are."""
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 8])):
        at = rng.randrange(min(len(changed), rng.choice([64, 512, len(changed)])))
        changed[at] = rng.choice([0, 255, 127, changed[at] ^ (1 << rng.randrange(8))])
    if rng.random() < 0.25:
        del changed[rng.randrange(1, len(changed)) :]
    if rng.random() < 0.1:
        at = rng.randrange(len(changed))
        changed[at:at] = changed[at : at + 40]
    return bytes(changed)


def fuzz(data, read, error, rounds, seed):
    rng = random.Random(seed)
    for number in range(rounds):
        case = damaged(data, rng)
        began, told = time.perf_counter(), ""
        try:
            read(case)
        except error as refusal:
            told = str(refusal)
        assert "\n" not in told, (number, told)
        assert time.perf_counter() - began < 2, number


def picture(kind):
    values = np.random.default_rng(0).integers(0, 255, (24, 32, 3), dtype=np.uint8)
    image, out = Image.fromarray(values), io.BytesIO()
    image.save(out, kind, **({"save_all": True, "append_images": [image]} if kind == "MPO" else {}))
    return out.getvalue()


@pytest.mark.parametrize("rounds", [20, pytest.param(500, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", KINDS)
def test_images(kind, rounds):
    fuzz(picture(kind), decode, UnreadableImage, rounds, kind)


@pytest.mark.parametrize("rounds", [20, pytest.param(500, marks=pytest.mark.slow)])
def test_verdicts(rounds):
    fuzz(REPLY, lambda x: parse(x.decode("utf-8", "replace")), UnreadableVerdict, rounds, "verdict")
