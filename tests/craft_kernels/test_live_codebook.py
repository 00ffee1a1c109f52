"""Codewords that other code owns: searched exactly, and read again when they change."""

import copy
import pickle
import threading
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch.library import opcheck

from craft_kernels import residual_quantize
from craft_kernels.live_codebook import LiveCodebook

L, K, D = 3, 40, 6
OP = torch.ops.craft.nearest_codes.default


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def tables(seed=1):
    return [noise(K, D, seed=seed + level) for level in range(L)]


Z = noise(4, 5, D)


@pytest.mark.parametrize("impl", ["native", "reference"])
@pytest.mark.parametrize("levels", [1, 2, None])
def test_codes_are_those_of_the_op(impl, levels):
    books = tables()
    codes = LiveCodebook().codes(Z, books, levels, impl=impl)
    expected = residual_quantize(Z, torch.stack(books)[:levels]).codes
    assert torch.equal(codes, expected)


def test_normalized_rows():
    books = [table.bfloat16() for table in tables()]
    codes = LiveCodebook(normalized=True).codes(Z, books)
    rows = torch.stack([F.normalize(table, dim=1).float() for table in books])
    assert torch.equal(codes, residual_quantize(Z, rows).codes)


def test_tables_are_read_again_when_they_change_and_only_then():
    live, books = LiveCodebook(), tables()
    live.codes(Z, books)
    read = live._read
    live.codes(Z, [table.view(K, D) for table in books], 2)
    assert live._read is read
    books[2].neg_()
    assert torch.equal(live.codes(Z, books), residual_quantize(Z, torch.stack(books)).codes)
    assert live._read is not read
    for other in (tables(seed=9), [table[:7] for table in books], [t.half() for t in books]):
        found = live.codes(Z, other)
        assert torch.equal(found, residual_quantize(Z, torch.stack(other)).codes)


def test_memory_that_is_used_again_is_not_taken_for_what_it_held():
    live = LiveCodebook()
    for seed in range(20):
        books = tables(seed)
        assert torch.equal(live.codes(Z, books), residual_quantize(Z, torch.stack(books)).codes)
        del books


def test_in_inference_mode():
    with torch.inference_mode():
        books = tables()
        codes = LiveCodebook().codes(Z, books)
        assert torch.equal(codes, residual_quantize(Z, torch.stack(books)).codes)


def test_copies_start_empty():
    live = LiveCodebook(normalized=True)
    live.codes(Z, tables())
    for other in (copy.deepcopy(live), copy.copy(live), pickle.loads(pickle.dumps(live))):
        assert other.normalized
        assert other._read is None
        assert other._handle != live._handle


def test_threads_share_one():
    live, books = LiveCodebook(), tables()
    expected = residual_quantize(Z, torch.stack(books)).codes
    found = []
    threads = [threading.Thread(target=lambda: found.append(live.codes(Z, books))) for _ in "1234"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(codes, expected) for codes in found)
    assert len(found) == 4


def test_misuse_is_refused():
    live = LiveCodebook()
    refused: list[tuple[Any, Any, dict[str, Any], str]] = [
        (Z, tables(), {"levels": 4}, r"levels must be in \[1, 3\]"),
        (Z, [], {}, r"tables must hold at least one level"),
        (Z[..., :4], tables(), {}, "D=6"),
        (Z.double(), tables(), {}, "z must be float32"),
        (Z, [t.double() for t in tables()], {}, "codebook must be float32"),
        (Z, [*tables()[:2], noise(K + 1, D)], {}, "all of one shape"),
        (Z, [tables()[0] * torch.inf], {}, "codebook must be finite"),
        (Z, tables(), {"impl": "best"}, "impl must be one of"),
    ]
    for z, books, options, message in refused:
        with pytest.raises(ValueError, match=message):
            live.codes(z, books, **options)


@pytest.mark.parametrize("impl", ["native", "reference"])
def test_opcheck(impl):
    opcheck(OP, (Z, tables(), 2, 0, False, impl))


def test_compiled_into_one_graph():
    live, books = LiveCodebook(), tables()

    class Module(torch.nn.Module):
        def forward(self, z):
            return live.codes(z * 1, books, 2)

    expected = live.codes(Z, books, 2)
    compiled = torch.compile(Module(), fullgraph=True, backend="eager")
    assert torch.equal(compiled(Z), expected)
    books[0].neg_()
    assert torch.equal(compiled(Z), live.codes(Z, books, 2))
