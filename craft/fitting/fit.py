"""`craft.fit_codebook`: residual k-means, level by level or on one table for all levels."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from craft.codebook import Codebook
from craft.errors import CraftError
from craft.fitting.exact_sums import largest_over_processes
from craft.fitting.initial import Init, initial_codewords
from craft.fitting.lloyd import Iteration, assign, move
from craft.fitting.residuals import Residuals
from craft.fitting.rows import Rows, as_rows, chunks, largest_component
from craft.fitting.state import FitState
from craft_kernels import residual_quantize


def fit_codebook(
    features: Tensor | Rows,  # [N, D]
    size: int,
    levels: int = 1,
    *,
    shared: bool = False,
    init: Init = "subset",
    iterations: int = 25,
    tolerance: float = 1e-4,
    seed: int = 0,
    device: torch.device | str | None = None,
    rows_at_once: int | None = None,
    state: Path | str | None = None,
    on_iteration: Callable[[Iteration], None] = lambda _: None,
) -> Codebook:
    """A codebook of ``size`` codewords a level for these features, by residual k-means.

    Rows are assigned by the exact search of `craft.quantize`, and sums are integers
    (`craft.fitting.exact_sums`), so the same features and seed give the same codebook, bit for bit,
    whatever the processor, threads, batch and number of processes. Under torch.distributed each
    process works on its share of the rows, which all can read, and all return the codebook.

    Args:
        features: [N, D] float32, bfloat16 or float16, or `FeatureFile` for files; N >= ``size``.
        size: K, the number of codewords of a level.
        levels: L. Level l is fitted to what levels before it left over.
        shared: one table for all levels. It starts from the levels of a smaller codebook of its own
            and is fitted to the inputs of all levels at once.
        init: how the first codewords are drawn; see `craft.fitting.initial`.
        iterations: at most so many moves of the codewords, per level.
        tolerance: ends a level when an iteration lowers the error by less than this share.
        seed: of the draws.
        device: to work on; None for that of a tensor, else the CPU.
        rows_at_once: rows in memory at a time; None for 16 MiB of them. No result depends on it.
        state: a file that is written after every iteration and from which an interrupted fit
            resumes; removed at the end.
        on_iteration: called after each pass over the rows.

    Returns:
        The codebook with the smallest error that was met, [K, D] if ``shared``, else [L, K, D].

    Raises:
        CraftError: for features or a number that cannot be used, or a ``state`` of another fit.
    """
    rows = as_rows(features)
    for name, value, least in (
        ("size", size, 1),
        ("levels", levels, 1),
        ("iterations", iterations, 0),
    ):
        if value < least:
            raise CraftError(f"{name} must be at least {least}, got {value}")
    if not 0 <= tolerance < 1:
        raise CraftError(f"tolerance must be in [0, 1), got {tolerance}")
    one_table = shared and levels > 1
    if size < levels and one_table:
        raise CraftError(f"{size} codewords are too few for {levels} levels; ask for more")
    if len(rows) < size:
        raise CraftError(
            f"{len(rows)} rows are fewer than {size} codewords; fit a smaller codebook, or to more"
        )
    at_once = rows_at_once or max(1, 2**22 // rows.dim)
    identity = ""
    if state is not None:
        asked = (size, levels, shared, init, iterations, tolerance, seed)
        identity = _identity(asked, rows, at_once)
    fit = _Fit(
        rows,
        torch.device(device) if device is not None else rows.take(0, 1).device,
        at_once,
        (iterations, tolerance),
        FitState(state, identity, writes=_rank_and_count()[0] == 0),
        on_iteration,
    )
    if one_table:
        sizes = [size // levels + (level < size % levels) for level in range(levels)]
        table = fit.all_levels_at_once(torch.cat(fit.levels(sizes, init, seed)), levels)
    else:
        tables = fit.levels([size] * levels, init, seed)
        table = tables[0] if shared else torch.stack(tables)
    codebook = Codebook(table.cpu(), levels)
    fit.state.remove()
    return codebook


class _Fit:
    """What all levels of a fit share."""

    def __init__(
        self,
        rows: Rows,
        device: torch.device,
        at_once: int,
        limits: tuple[int, float],
        state: FitState,
        on_iteration: Callable[[Iteration], None],
    ):
        self.rows, self.device, self.at_once, self.state = rows, device, at_once, state
        self.iterations, self.tolerance = limits
        self.on_iteration = on_iteration
        self.span = _share(len(rows))
        self.largest = self._over_processes(largest_component(rows, self.span, at_once))

    def levels(self, sizes: list[int], init: Init, seed: int) -> list[Tensor]:  # [K_l, D] each
        """A table for each level, fitted to what the levels before it left over."""
        if len(self.state.finished) < len(sizes):
            self._fit_levels(sizes, init, seed)
        return [table.to(self.device) for table in self.state.finished[: len(sizes)]]

    def _fit_levels(self, sizes: list[int], init: Init, seed: int) -> None:
        """Finish the levels that the state lacks."""
        residuals = Residuals(self.rows, self.span, self.device, self.at_once)
        largest = self.largest
        for level, size in enumerate(sizes):
            if level == len(self.state.finished):
                if self.state.table is None:
                    generator = torch.Generator().manual_seed(seed + (level << 32))
                    self.state.table = initial_codewords(
                        init, size, len(self.rows), residuals.gather, generator
                    )
                self._lloyd(level, 1, residuals, largest)
            if level + 1 < len(sizes):
                found = self.state.finished[level].to(self.device)
                largest = self._over_processes(residuals.subtract(found))

    def all_levels_at_once(self, table: Tensor, levels: int) -> Tensor:  # [K, D] -> [K, D]
        """One table, fitted to the inputs of all levels."""
        if self.state.table is None:
            self.state.table = table
        rows = Residuals(self.rows, self.span, self.device, self.at_once)
        self._lloyd(-1, levels, rows, self.largest)
        return self.state.finished[-1]

    def _lloyd(self, level: int, levels: int, rows: Residuals, largest: float) -> None:
        """Iterate from the state's table; the best one becomes the state's next finished table.

        Args:
            level: for reports.
            levels: that the table serves.
            rows: what the first of them sees.
            largest: component of those.
        """
        state = self.state
        while True:
            assert state.table is not None
            table = state.table.to(self.device)
            tally = assign(table, levels, rows.chunks, len(self.rows), largest)
            error = tally.error / len(self.rows)
            iteration = len(state.errors)
            self.on_iteration(Iteration(level, iteration, error, len(tally.unused)))
            if state.best is None or error < min(state.errors):
                state.best = table
            gained = (
                not state.errors or state.errors[-1] - error > self.tolerance * state.errors[-1]
            )
            state.errors.append(error)
            if iteration >= self.iterations or not gained:
                break
            state.table = move(table, tally, partial(_inputs, rows, table, levels))
            state.write()
        state.finish_level(state.best)

    def _over_processes(self, largest: float) -> float:
        found = torch.tensor(largest, dtype=torch.float64, device=self.device)
        largest_over_processes(found)
        return float(found)


def _inputs(rows: Residuals, table: Tensor, levels: int, whose: Tensor) -> Tensor:  # [k, D]
    """The inputs that entries row * levels + level stand for."""
    found = rows.gather(whose // levels)
    codes = residual_quantize(found, table, levels).codes
    for level in range(levels - 1):
        later = (whose % levels > level)[:, None]
        found = torch.where(later, found - table[codes[:, level]], found)
    return found


def _identity(asked: tuple[Any, ...], rows: Rows, at_once: int) -> str:
    digest = hashlib.sha256(json.dumps([*asked, len(rows), rows.dim]).encode())
    for begin, end in chunks(0, len(rows), at_once):
        digest.update(rows.take(begin, end).float().cpu().contiguous().numpy().data)
    return digest.hexdigest()


def _share(rows: int) -> tuple[int, int]:
    """The rows of this process: those of all follow each other."""
    rank, count = _rank_and_count()
    return rows * rank // count, rows * (rank + 1) // count


def _rank_and_count() -> tuple[int, int]:
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1
