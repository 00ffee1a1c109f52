"""Several processes that share a task, as torchrun and `accelerate launch` start them.

Each of them runs the same command. They divide the work, exchange what they found between their
hosts (gloo), whatever devices their models are on, and the first one reads, writes and tells.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from craft.errors import CraftError

if TYPE_CHECKING:
    import torch
    from accelerate import PartialState
    from torch import Tensor

T = TypeVar("T")
#: How long a process waits for another one that is still at work. One that died ends the others at
#: once, so nothing is gained by a shorter time.
PATIENCE = timedelta(days=30)
#: Bytes of a tensor that are exchanged at a time.
_PIECE = 1 << 24


class LostProcessError(CraftError):
    """Another of the processes ended before the task did."""


class Processes:
    """The processes that share a task; this one is number ``index`` of ``count``.

    Unless said otherwise, all of them must call the same methods in the same order.

    Args:
        group: of torch.distributed, for tensors on the CPU; None for a process that is alone.

    Raises (all methods):
        LostProcessError: another process has ended.
    """

    def __init__(self, index: int = 0, count: int = 1, group: Any = None):
        self.index = index
        self.count = count
        self._group = group
        self._keys = 0

    @property
    def is_main(self) -> bool:
        """Whether this is the one that reads, writes and tells."""
        return self.index == 0

    def block(self, items: Sequence[T]) -> Sequence[T]:
        """This process's part of ``items``: a run of them, as long as the others' or one shorter.
        Nothing is exchanged."""
        first, last = (len(items) * i // self.count for i in (self.index, self.index + 1))
        return items[first:last]

    def claimed(self, items: Sequence[T]) -> Iterator[T]:
        """Items for this process to work on, each of them given to one process only: whoever is
        free takes the next."""
        if self.count == 1:
            return iter(items)
        return self._claimed(items, self._key())

    def _claimed(self, items: Sequence[T], key: str) -> Iterator[T]:
        while (number := self._added(key, 1) - 1) < len(items):
            yield items[number]

    def tally(self, done: int, total: int, report: Callable[[int, int], object]) -> Tally:
        """Counts what all processes have done.

        Args:
            done: before any of them has begun.
            report: called with (done, total); by the first process alone.
        """
        return Tally(self, done, total, report)

    def from_main(self, made: Callable[[], T]) -> T:
        """What ``made`` returns in the first process, where alone it is called."""
        if self.count == 1:
            return made()
        from torch import distributed

        box: list[Any] = [made() if self.is_main else None]
        with self._others():
            distributed.broadcast_object_list(box, src=0, group=self._group)
        return box[0]

    def gathered(self, value: T) -> list[T]:
        """The values of all processes, in order."""
        if self.count == 1:
            return [value]
        from torch import distributed

        values: list[Any] = [None] * self.count
        with self._others():
            distributed.all_gather_object(values, value, group=self._group)
        return values

    def wait(self) -> None:
        """Until all processes have come here."""
        self.gathered(None)

    def fill(self, tensor: Tensor) -> None:
        """Complete a tensor on the CPU of which each process has some elements, the others 0.

        Args:
            tensor: contiguous, of any type; changed in place. An element that is not 0 must be so
                in one process only.
        """
        if self.count == 1:
            return
        import torch
        from torch import distributed

        # Bytes and zeros add up to those bytes, so it works for all types alike.
        with self._others():
            for piece in tensor.flatten().view(torch.uint8).split(_PIECE) if len(tensor) else ():
                distributed.all_reduce(piece, group=self._group)

    def _key(self) -> str:
        """A name that the other processes give to the same thing."""
        self._keys += 1
        return f"craft/{self._keys}"

    def _added(self, key: str, count: int) -> int:
        """Add to a number that all processes share; what it is then. Any process may call it at any
        time."""
        from torch.distributed import distributed_c10d

        with self._others():
            return distributed_c10d._get_default_store().add(key, count)

    @contextmanager
    def _others(self) -> Iterator[None]:
        try:
            yield
        except (
            RuntimeError
        ) as error:  # gloo and the store say so about a connection that was closed
            raise LostProcessError(
                f"one of the {self.count} processes that share this work has ended; see what it "
                "said, or what killed it (such as a lack of memory), and start them again"
            ) from error


class Tally:
    """How much of a task all processes have done, see :meth:`Processes.tally`.

    Its methods may be called at any time, :meth:`close` when the work of all processes is known to
    be done.
    """

    def __init__(
        self, processes: Processes, done: int, total: int, report: Callable[[int, int], object]
    ):
        self.done = done
        self._before, self._total = done, total
        self._processes = processes
        self._report = report
        self._key = processes._key()

    def add(self, count: int) -> None:
        """This process has done so many more."""
        if self._processes.count == 1:
            self.done += count
            self.tell()
            return
        self.done = self._before + self._processes._added(self._key, count)
        if self.done < self._total:  # the end is told once, by close
            self.tell()

    def close(self) -> None:
        """All is done."""
        if self._processes.count > 1 and self._before < self._total:
            self.done = self._total
            self.tell()

    def tell(self) -> None:
        """Report how much is done."""
        if self._processes.is_main:
            self._report(self.done, self._total)


#: A process that shares its work with no other.
ALONE = Processes()
_known: list[Processes] = []


def joined(device: torch.device) -> Processes:
    """The processes that this one was started with, which now know of each other.

    Args:
        device: of this process's models.

    Raises:
        CraftError: accelerate was set up for another number of processes before.
    """
    if not _started_with_others():
        return ALONE
    if not _known:
        from torch import distributed

        state, started = accelerate_state(device), int(os.environ["WORLD_SIZE"])
        if state.num_processes != started:
            raise CraftError(
                f"{started} processes were started, but accelerate was set up for "
                f"{state.num_processes}; start them with torchrun or `accelerate launch`"
            )
        # A group of its own: NCCL's is for tensors on GPUs, and gives up after ten minutes.
        group = distributed.new_group(backend="gloo", timeout=PATIENCE)
        _known.append(Processes(state.process_index, state.num_processes, group))
        # Threads of gloo that outlive the interpreter would end the process by a signal.
        atexit.register(_leave)
    return _known[0]


def _leave() -> None:
    from torch import distributed

    _known.clear()
    if distributed.is_initialized():
        distributed.destroy_process_group()


def accelerate_state(device: torch.device) -> PartialState:
    """accelerate's view of the processes, for models on ``device``."""
    import torch
    from accelerate import PartialState

    # Said here, because accelerate alone overlooks processes without GPUs.
    cpu = device.type == "cpu"
    if device.type == "cuda":
        torch.cuda.set_device(device)
    state = PartialState(cpu=cpu)
    found: Any = state.device
    if found.type != device.type and state.num_processes == 1:
        # An earlier run of this process was on another device.
        PartialState._reset_state()
        state = PartialState(cpu=cpu)
    return state


def says_first() -> bool:
    """Whether none of the processes has told of an error yet; from then on this one has.

    Processes may have failed before they knew of each other, so the launcher is asked.
    """
    if not _started_with_others():
        return True
    from torch import distributed

    host, port = os.environ.get("MASTER_ADDR", ""), int(os.environ.get("MASTER_PORT", "0"))
    key = f"craft/error {os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    try:
        shared: Any = distributed.TCPStore  # pyright: ignore[reportPrivateImportUsage]
        store = shared(host, port, is_master=False, timeout=timedelta(seconds=5))
        return store.add(key, 1) == 1
    except RuntimeError:  # the launcher is gone: better said twice than never
        return True


def _started_with_others() -> bool:
    return "RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1
