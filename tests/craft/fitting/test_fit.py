"""Residual k-means against arithmetic by hand, and the promise that nothing but the data counts."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from craft import quantize
from craft.codebook import Codebook
from craft.errors import CraftError
from craft.fitting import FeatureFile, Iteration, fit_codebook
from craft.fitting.exact_sums import Grid
from craft.fitting.lloyd import assign, move
from craft.fitting.rows import TensorRows


def blobs(rows: int = 600, dim: int = 5, centers: int = 12, seed: int = 0) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    around = 4 * torch.randn(centers, dim, generator=draw)
    noise = 0.3 * torch.randn(rows, dim, generator=draw)
    return around[torch.randint(centers, (rows,), generator=draw)] + noise


def error_of(codebook: Codebook, features: Tensor) -> float:
    """Mean |r_L|^2 in float64."""
    codes = quantize(features, codebook).codes
    return float((features.double() - codebook.lookup(codes).double()).square().sum(1).mean())


def iterations_of(features: Tensor, size: int, **how: Any) -> tuple[Codebook, list[Iteration]]:
    log: list[Iteration] = []
    return fit_codebook(features, size, on_iteration=log.append, **how), log


def step_by_hand(table: Tensor, features: Tensor, levels: int) -> tuple[Tensor, Fraction]:
    """One iteration in rational arithmetic: the means, and the sum of squared residuals."""
    size, dim = table.shape
    words = [[Fraction(x) for x in word] for word in table.tolist()]
    sums = [[Fraction(0)] * dim for _ in range(size)]
    counts, total = [0] * size, Fraction(0)
    for row in features:
        for _ in range(levels):
            seen = [Fraction(x) for x in row.tolist()]
            away = [sum((a - b) ** 2 for a, b in zip(seen, w, strict=True)) for w in words]
            nearest = away.index(min(away))
            counts[nearest] += 1
            sums[nearest] = [a + b for a, b in zip(sums[nearest], seen, strict=True)]
            row = row - table[nearest]
            total += sum((Fraction(x) ** 2 for x in row.tolist()), Fraction(0))
    means = [
        [float(x / count) for x in one] if count else word
        for one, count, word in zip(sums, counts, table.tolist(), strict=True)
    ]
    return torch.tensor(means), total


@pytest.mark.parametrize("levels", [1, 3])
@pytest.mark.parametrize("scale", [1.0, 1e-20, 1e15])
def test_an_iteration_is_that_of_rational_arithmetic(levels: int, scale: float) -> None:
    features = scale * blobs(rows=80)
    table = features[:9].clone()
    numbers = torch.arange(len(features))
    largest = float(features.abs().max())
    tally = assign(table, levels, lambda: iter([(numbers, features)]), len(features), largest)
    assert not len(tally.unused)
    means, total = step_by_hand(table, features, levels)
    found = move(table, tally, lambda whose: features[whose // levels])
    # A mean may differ by the last bit of float32 where the sum's last of 50 bits decides.
    assert torch.allclose(found, means, rtol=2e-7, atol=0)
    assert tally.error == pytest.approx(float(total), rel=1e-9)
    assert int(tally.counts.sum()) == levels * len(features)


@pytest.mark.parametrize("bound", [1.0, 3.0, 1e-30, 7e20, 0.0])
@pytest.mark.parametrize("terms", [1, 1000, 4095, 4096])
def test_sums_on_a_grid_are_exact_in_any_order(bound: float, terms: int) -> None:
    grid = Grid.holding(bound, terms)
    numbers = (torch.rand(terms, dtype=torch.float64) * 2 - 1) * bound
    numbers[: terms // 2] = bound  # the worst case, or nearly
    rounded = grid.round(numbers.clone())
    assert float((rounded - numbers).abs().max()) <= grid.step / 2
    exact = sum((Fraction(x) for x in rounded.tolist()), Fraction(0))
    for order in (torch.arange(terms), torch.randperm(terms), torch.arange(terms).flip(0)):
        assert Fraction(float(rounded[order].cumsum(0)[-1])) == exact
    assert grid.step <= max(bound, 1.0) * terms * 2**-49


@pytest.mark.parametrize("init", ["subset", "kmeans++"])
def test_well_separated_groups_are_found(init: Any) -> None:
    features = blobs(rows=900, centers=12, seed=3)
    codebook, log = iterations_of(features, 12, init=init)
    assert log[-1].unused == 0
    assert log[-1].error < log[0].error
    # An optimum leaves the noise alone, 5 x 0.09 a row; a bad local one, several times as much.
    assert error_of(codebook, features) == pytest.approx(min(x.error for x in log), rel=1e-6)
    if init == "kmeans++":
        assert error_of(codebook, features) < 0.6


@pytest.mark.parametrize("shared", [False, True])
def test_levels_lower_the_error_and_the_best_table_is_returned(shared: bool) -> None:
    features = torch.randn(1500, 6, generator=torch.Generator().manual_seed(5))
    errors = [error_of(fit_codebook(features, 64, n, shared=shared), features) for n in (1, 2, 4)]
    assert errors[0] > 1.5 * errors[1] > 1.5 * errors[2]
    if shared:  # it starts from four levels of a quarter each, and becomes better
        assert errors[2] < error_of(fit_codebook(features, 16, 4), features)
    codebook, log = iterations_of(features, 64, levels=3, shared=shared)
    assert (codebook.size, codebook.levels, codebook.dim) == (64, 3, 6)
    assert codebook.shared is shared
    last = max(x.level for x in log) if not shared else -1
    best = min(x.error for x in log if x.level == last)
    norms = quantize(features, codebook).residual_sq_norms.double()
    reached = norms.sum(1).mean() if shared else norms[:, -1].mean()
    assert float(reached) == pytest.approx(best, rel=1e-5)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("init", ["subset", "kmeans++"])
def test_batches_and_threads_change_no_bit(shared: bool, init: Any) -> None:
    features = blobs()

    def fit(**how: Any) -> Codebook:
        return fit_codebook(features, 16, 3, shared=shared, init=init, iterations=5, **how)

    known = fit()
    for at_once in (1, 7, 600, 10_000):
        assert fit(rows_at_once=at_once) == known
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert fit() == known
    finally:
        torch.set_num_threads(threads)
    assert fit(seed=1) != known
    half = features.bfloat16()
    assert fit_codebook(half, 16, iterations=3) == fit_codebook(half.float(), 16, iterations=3)


def test_unused_codewords_share_the_rows_of_the_worst_groups() -> None:
    """Three codewords on one spot: two of them go to where the error is."""
    features = torch.tensor([[0.0, 0], [0.0, 0], [9, 0], [9, 2], [0, 40], [0, 40]])
    table = torch.tensor([[0.0, 0], [0, 0], [0, 0], [8, 0]])
    numbers = torch.arange(len(features))
    tally = assign(table, 1, lambda: iter([(numbers, features)]), 6, 40.0)
    assert tally.unused.tolist() == [1, 2]
    moved = move(table, tally, lambda whose: features[whose])
    # Group 0 has the largest error: mean (0, 20), farthest row (0, 40). Then group 3: mean (9, 1),
    # and (9, 2) is farthest from the codeword that it was given to.
    expected = torch.tensor([[0.0, 18], [0, 22], [9, 1.1], [9, 0.9]])
    assert torch.allclose(moved, expected)


def test_fewer_distinct_rows_than_codewords_are_reproduced_exactly() -> None:
    features = torch.tensor([[1.0, 2], [3, 4], [5, 6]]).repeat(10, 1)
    for init in ("subset", "kmeans++"):
        codebook, log = iterations_of(features, 8, init=init)
        assert error_of(codebook, features) == 0
        assert log[-1].unused == 5


def test_zero_features_and_one_row() -> None:
    assert fit_codebook(torch.zeros(4, 3), 2, 2).table.abs().sum() == 0
    assert fit_codebook(torch.tensor([[3.0, 4.0]]), 1).table.tolist() == [[[3.0, 4.0]]]


@pytest.mark.parametrize("kind", ["npy", "safetensors"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_files_give_what_the_tensor_gives(kind: str, dtype: str, tmp_path: Path) -> None:
    features = blobs().to(getattr(torch, dtype))
    paths = [tmp_path / f"{i}.{kind}" for i in range(3)]
    for path, part in zip(paths, features.split(250), strict=True):
        if kind == "npy":
            np.save(path, part.numpy())
        else:
            save_file({"features": part.contiguous()}, path)
    rows = FeatureFile(paths)
    assert torch.equal(rows.take(100, 590).float(), features[100:590].float())
    assert fit_codebook(rows, 16, 3) == fit_codebook(features, 16, 3)
    assert rows.place(499) == f"{paths[1]}, row 249"


class Stopped(Exception):
    pass


@pytest.mark.parametrize("shared", [False, True])
def test_a_fit_that_is_interrupted_anywhere_ends_the_same(shared: bool, tmp_path: Path) -> None:
    features, state = blobs(rows=200), tmp_path / "fit.safetensors"
    known, log = iterations_of(features, 9, levels=3, shared=shared, iterations=3)
    seen: list[Iteration] = []

    def stop(iteration: Iteration) -> None:
        seen.append(iteration)
        raise Stopped

    for _ in range(len(log)):
        before = len(seen)
        try:
            found = fit_codebook(
                features, 9, 3, shared=shared, iterations=3, state=state, on_iteration=stop
            )
        except Stopped:
            if len(seen) > 1 and seen[-1] == seen[-2]:
                break  # stopped before the state moved on: the rest is done without stopping
        assert len(seen) == before + 1
    resumed: list[Iteration] = []
    found = fit_codebook(
        features, 9, 3, shared=shared, iterations=3, state=state, on_iteration=resumed.append
    )
    assert found == known
    assert not state.exists()


def test_a_state_of_another_fit_or_a_damaged_one_is_refused(tmp_path: Path) -> None:
    features, state = blobs(), tmp_path / "fit.safetensors"
    count = 0

    def stop_later(_: Iteration) -> None:
        nonlocal count
        count += 1
        if count == 3:
            raise Stopped

    with pytest.raises(Stopped):
        fit_codebook(features, 9, 2, state=state, on_iteration=stop_later)
    content = state.read_bytes()
    other = features.clone()
    other[17, 2] += 1e-6
    others: list[dict[str, Any]] = [{"seed": 1}, {"tolerance": 0.5}]
    for changed, how in (*((features, x) for x in others), (other, dict[str, Any]())):
        with pytest.raises(CraftError, match="belongs to a fit of other features or with other"):
            fit_codebook(changed, 9, 2, state=state, **how)
    damaged = bytearray(content)
    damaged[-3] ^= 1
    state.write_bytes(damaged)
    with pytest.raises(CraftError, match="is damaged; delete it to begin again"):
        fit_codebook(features, 9, 2, state=state)
    state.write_bytes(content)
    assert fit_codebook(features, 9, 2, state=state) == fit_codebook(features, 9, 2)


def test_what_cannot_be_used_is_refused(tmp_path: Path) -> None:
    features = blobs()
    bad = features.clone()
    bad[41, 3] = float("nan")
    for call, message in (
        (lambda: fit_codebook(features, 601), "600 rows are fewer than 601 codewords"),
        (lambda: fit_codebook(features, 0), "size must be at least 1, got 0"),
        (lambda: fit_codebook(features, 8, 0), "levels must be at least 1, got 0"),
        (lambda: fit_codebook(features, 2, 3, shared=True), "2 codewords are too few for 3 levels"),
        (lambda: fit_codebook(features, 8, tolerance=1.0), r"tolerance must be in \[0, 1\), got 1"),
        (lambda: fit_codebook(features, 8, iterations=-1), "iterations must be at least 0, got -1"),
        (lambda: fit_codebook(features[0], 8), r"features must be \[N, D\].*got \(5,\)"),
        (lambda: fit_codebook(features.long(), 8), r"features must be.*int64"),
        (lambda: fit_codebook(bad, 8), "not finite at row 41, column 3"),
        (lambda: FeatureFile([]), "no files of features"),
        (lambda: FeatureFile(tmp_path / "no.npy"), "is missing"),
        (lambda: FeatureFile(tmp_path / "x.csv"), "neither a .npy nor a .safetensors"),
    ):
        with pytest.raises(CraftError, match=message):
            call()
    np.save(tmp_path / "ints.npy", np.zeros((3, 2), np.int32))
    with pytest.raises(CraftError, match="of int32, expected"):
        FeatureFile(tmp_path / "ints.npy")
    (tmp_path / "cut.npy").write_bytes((tmp_path / "ints.npy").read_bytes()[:-4])
    with pytest.raises(CraftError, match="is no whole"):
        FeatureFile(tmp_path / "cut.npy")
    save_file({"a": torch.zeros(2, 2), "b": torch.zeros(2, 2)}, tmp_path / "two.safetensors")
    with pytest.raises(CraftError, match="expected one tensor"):
        FeatureFile(tmp_path / "two.safetensors")
    for width in (2, 3):
        np.save(tmp_path / f"{width}.npy", np.zeros((3, width), np.float32))
    with pytest.raises(CraftError, match=r"3\.npy has rows of 3 dimensions, but .*2\.npy of 2"):
        FeatureFile([tmp_path / "2.npy", tmp_path / "3.npy"])


def test_rows_of_a_tensor_are_its_own_values() -> None:
    rows = TensorRows(torch.arange(6.0).reshape(3, 2).requires_grad_())
    assert rows.take(1, 3).tolist() == [[2, 3], [4, 5]]
    assert not rows.take(0, 1).requires_grad
