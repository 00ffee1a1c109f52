"""Checks of GPU tokens that a block defers: what is raised, when, and how often the host waits."""

import threading

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from craft_kernels import deferred_finite_checks, residual_quantize
from craft_kernels.residual_quantize.gpu_tiles import quantize_in_tiles

DIM = 4


class Waits(TorchDispatchMode):
    """Counts the operations that bring a value to the host."""

    count = 0

    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        if op is torch.ops.aten._local_scalar_dense.default:
            Waits.count += 1
        return op(*args, **(kwargs or {}))


def quantized(z):
    """As a GPU backend does it, with a kernel that chooses the zero codeword."""

    def zero_word(residual, out, codes, sq_norms):
        out.zero_()
        codes.zero_()
        sq_norms.copy_(residual.square().sum(1, keepdim=True).expand_as(sq_norms))

    return quantize_in_tiles(z, 2, 0, zero_word)


def tokens(value=0.0, at=(1, 0, 2)):
    z = torch.zeros(2, 3, DIM)
    z[at] = value
    return z


def waits(block) -> int:
    Waits.count = 0
    with Waits():
        block()
    return Waits.count


def test_a_block_waits_once():
    def deferred():
        with deferred_finite_checks() as checks:
            for _ in range(5):
                quantized(tokens())
            seen.append(Waits.count)
            checks.check()
            seen.append(Waits.count)

    seen: list[int] = []
    assert waits(lambda: [quantized(tokens()) for _ in range(5)]) == 5
    assert waits(deferred) == 1
    assert seen == [0, 1]


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_the_first_bad_position_is_named_at_the_end(value):
    done = []

    def block():
        with deferred_finite_checks():
            for z in (tokens(), tokens(value), tokens(value, at=(0, 0, 0))):
                done.append(quantized(z))

    with pytest.raises(ValueError, match=rf"z must be finite, got {value} at position \(1, 0, 2\)"):
        block()
    assert len(done) == 3


def test_a_check_within_the_block_is_not_made_again():
    with deferred_finite_checks() as checks:
        quantized(tokens(torch.nan))
        with pytest.raises(ValueError, match=r"position \(1, 0, 2\)"):
            checks.check()
        quantized(tokens())


def test_outside_a_block_a_call_raises():
    with deferred_finite_checks():
        quantized(tokens())
    with pytest.raises(ValueError, match="z must be finite"):
        quantized(tokens(torch.nan))


def test_an_inner_block_checks_its_own_calls():
    done = []

    def blocks():
        with deferred_finite_checks():
            done.append(quantized(tokens(torch.nan, at=(0, 0, 0))))
            with deferred_finite_checks():
                done.append(quantized(tokens()))
            done.append("after the inner block")

    with pytest.raises(ValueError, match=r"position \(0, 0, 0\)"):
        blocks()
    assert len(done) == 3


def test_another_error_is_not_replaced():
    def block():
        with deferred_finite_checks():
            quantized(tokens(torch.nan))
            raise KeyError

    with pytest.raises(KeyError):
        block()
    with pytest.raises(ValueError, match="z must be finite"):  # at once: no block is left open
        quantized(tokens(torch.nan))


def test_other_threads_are_not_affected():
    errors = []

    def call():
        try:
            quantized(tokens(torch.nan))
        except ValueError as error:
            errors.append(error)

    with deferred_finite_checks():
        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
    assert len(errors) == 1


@pytest.mark.parametrize("impl", ["auto", "reference"])
def test_on_the_cpu_a_call_always_raises(impl):
    reached = False
    with deferred_finite_checks():
        with pytest.raises(ValueError, match="z must be finite"):
            residual_quantize(tokens(torch.nan), torch.eye(DIM), 1, impl=impl)
        reached = True
    assert reached
