"""What Triton 3.7's interpreter gets wrong, put right, and slowed down less.

bfloat16 is stored as uint16 there, and products and sums are taken of those bits; conversion to
bfloat16 truncates; and tl.dot multiplies in float32 whatever precision was asked for. Here bfloat16
rounds to nearest, and split precisions are split as badly as hardware is allowed to: by truncation.
"""

import contextlib
import dataclasses

import numpy as np
import torch
import triton.language as tl
from triton._C.libtriton import ir
from triton.runtime import interpreter
from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

# Errors that a test adds to every product, as a multiple of what tensor cores may lose.
noise = 0.0
_generator = np.random.default_rng(0)


def widen(bits: np.ndarray) -> np.ndarray:
    return (bits.astype(np.uint32) << 16).view(np.float32)


def narrow(x: np.ndarray) -> np.ndarray:
    return torch.from_numpy(np.ascontiguousarray(x)).bfloat16().view(torch.uint16).numpy()


def truncated(x: np.ndarray, bits_lost: int) -> np.ndarray:
    mask = np.uint32(0xFFFFFFFF << bits_lost & 0xFFFFFFFF)
    return (np.ascontiguousarray(x).view(np.uint32) & mask).view(np.float32)


def split_product(x: np.ndarray, y: np.ndarray, bits_lost: int, terms: int) -> np.ndarray:
    x1, y1 = truncated(x, bits_lost), truncated(y, bits_lost)
    product = np.matmul(x1, y1)
    if terms == 3:
        x2, y2 = truncated(x - x1, bits_lost), truncated(y - y1, bits_lost)
        product = product + (np.matmul(x1, y2) + np.matmul(x2, y1))
    return product


_SPLITS = {
    ir.INPUT_PRECISION.TF32: (13, 1),
    ir.INPUT_PRECISION.TF32x3: (13, 3),
    ir.INPUT_PRECISION.BF16x3: (16, 3),
}


def _dot(self, a, b, d, input_precision, max_num_imprecise_acc):
    x, y = (widen(t.data) if t.dtype.scalar == tl.bfloat16 else t.data for t in (a, b))
    if a.dtype.scalar == tl.float32 and input_precision in _SPLITS:
        product = split_product(x, y, *_SPLITS[input_precision])
    else:
        product = np.matmul(x, y)
    if noise:
        size = np.linalg.norm(x, axis=1)[:, None] * np.linalg.norm(y, axis=0)
        lost = noise * 2.0**-22 * x.shape[1] * size
        product = product + (_generator.choice([-1, 1], size.shape) * lost).astype(np.float32)
    return TensorHandle(product + d.data, d.dtype.scalar)


def _cast(original):
    def cast(self, src, dst_type, *rounding):
        source, target = src.dtype.scalar, dst_type.scalar
        if source == target:
            return src
        if tl.bfloat16 not in (source, target):
            return original(self, src, dst_type, *rounding)
        data = widen(src.data) if source == tl.bfloat16 else src.data
        if target == tl.bfloat16:
            return TensorHandle(narrow(data.astype(np.float32)), target)
        return original(self, TensorHandle(data, tl.float32), dst_type, *rounding)

    return cast


def _binary(original):
    def binary(self, lhs, rhs, op):
        if lhs.dtype.scalar != tl.bfloat16:
            return original(self, lhs, rhs, op)
        value = op(widen(lhs.data), widen(rhs.data))
        return TensorHandle(narrow(value) if value.dtype == np.float32 else value, tl.bfloat16)

    return binary


class _Scope:
    """What one launch has patched: a language module at most once, and restored at its end."""

    def __init__(self, patch):
        self._patch, self._scopes = patch, {}

    def __call__(self, fn):
        modules = frozenset(
            value for value in fn.__globals__.values() if value is tl or value is tl.core
        )
        if modules not in self._scopes:
            self._scopes[modules] = self._patch(fn)
        return self

    def restore(self):
        for scope in reversed(self._scopes.values()):
            scope.restore()
        self._scopes.clear()


@contextlib.contextmanager
def installed():
    """Everything above in force, and afterwards as before."""
    builder = InterpreterBuilder
    changes = [
        (builder, "create_dot", _dot),
        (builder, "cast_impl", _cast(builder.cast_impl)),
        (builder, "create_fp_to_fp", _cast(builder.create_fp_to_fp)),
        (builder, "binary_op", _binary(builder.binary_op)),
        # Upstream patches again for every call of a device function: half of all time.
        (interpreter, "_patch_lang", _Scope(interpreter._patch_lang)),
    ]
    options = interpreter.interpreter_builder.options
    allowed = (*options.allowed_dot_input_precisions, "bf16x3")
    options = dataclasses.replace(options, allowed_dot_input_precisions=allowed)
    changes.append((interpreter.interpreter_builder, "options", options))
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in changes]
    for change in changes:
        setattr(*change)
    yield
    for change in before:
        setattr(*change)
