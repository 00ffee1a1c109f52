"""A separate device without hardware: tensors that report torch's "lazy" device and have values.

Every operation runs on the CPU tensor inside a far one, so commands give the same answers as on the
CPU. But as with a GPU, an operation on tensors of two devices is an error, and whatever brings a
value to the host is counted, because there a program waits for the device.
"""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

#: The only torch device without kernels and initialisation on which autograd runs.
FAR = torch.device("lazy")

_aten = torch.ops.aten
_CRAFT = Path(__file__).parents[3] / "craft"
#: Operations whose result, or its shape, the host must know before it continues.
_WAITS = {
    _aten._local_scalar_dense.default,
    _aten.equal.default,
    _aten.nonzero.default,
    _aten.masked_select.default,
    _aten._unique2.default,
    _aten.unique_dim.default,
    _aten.unique_consecutive.default,
    _aten.repeat_interleave.Tensor,
    _aten.bincount.default,
}
#: Operations whose row numbers may be on the CPU; given a mask instead, they wait.
_INDEXING = {
    _aten.index.Tensor,
    _aten.index_put.default,
    _aten.index_put_.default,
    _aten._index_put_impl_.default,
}

#: Tensors that are sent to the far device: one list per :func:`sent` block.
_sent: list[list[Tensor]] = []
#: Places where the host waits, as "operation at file:line of craft", per :func:`waits` block.
_counters: list[Counter[str]] = []


class FarTensor(Tensor):
    """Wraps a CPU tensor; see the module's docstring."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> FarTensor:
        self = Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=FAR,
            requires_grad=held.requires_grad,
        )
        self.held = held
        return self

    def __repr__(self, **_: Any) -> str:
        return f"FarTensor({self.held})"

    def tolist(self) -> Any:
        _note("tolist")
        return self.held.tolist()

    def numpy(self, **_: Any) -> Any:
        raise TypeError("cannot make an array of a tensor on another device; use .cpu() first")

    def untyped_storage(self) -> Any:
        return self.held.untyped_storage()

    @classmethod
    def __torch_dispatch__(cls, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(op, args, kwargs or {})


class _Dispatch(TorchDispatchMode):
    """Intercepts operations that create tensors on the far device or move them there."""

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(op, args, kwargs or {})


class _Constructors(TorchFunctionMode):
    """Intercepts torch.tensor and the like, which copy data below the reach of a dispatch mode."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in (torch.tensor, torch.as_tensor, torch.asarray):
            device = kwargs.get("device")
            if device is not None and torch.device(device) == FAR:
                return func(*args, **{**kwargs, "device": "cpu"}).to(FAR)
        if func is Tensor.new_tensor and isinstance(args[0], FarTensor):
            return torch.tensor(*args[1:], **{"dtype": args[0].dtype, **kwargs}).to(FAR)
        if func in (Tensor.__getitem__, Tensor.__setitem__) and isinstance(args[0], FarTensor):
            rows = args[1] if isinstance(args[1], tuple) else (args[1],)
            rows = tuple(torch.tensor(r).to(FAR) if isinstance(r, list) else r for r in rows)
            return func(args[0], rows, *args[2:])
        return func(*args, **kwargs)


@contextmanager
def far_device() -> Iterator[None]:
    """Make the far device available inside a block."""
    swapped = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(True)  # tied parameters stay tied
    try:
        with _Dispatch(), _Constructors(), _no_grad_for_inference_mode():
            yield
    finally:
        torch.__future__.set_swap_module_params_on_conversion(swapped)


@contextmanager
def waits() -> Iterator[Counter[str]]:
    """Record where the host waits for the far device inside a block."""
    found: Counter[str] = Counter()
    _counters.append(found)
    try:
        yield found
    finally:
        _counters.remove(found)


@contextmanager
def sent() -> Iterator[list[Tensor]]:
    """Lists the tensors that are copied to the far device."""
    found: list[Tensor] = []
    _sent.append(found)
    try:
        yield found
    finally:
        _sent.remove(found)


@contextmanager
def _no_grad_for_inference_mode() -> Iterator[None]:
    """Use no_grad instead, because inference tensors cannot be wrapped."""

    def enter(self: Any) -> None:
        self.far = torch.no_grad() if self.mode else torch.enable_grad()
        self.far.__enter__()

    def leave(self: Any, *error: Any) -> None:
        self.far.__exit__(*error)

    with patch.multiple(torch.inference_mode, __enter__=enter, __exit__=leave):
        yield


def _run(op: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    flat, spec = tree_flatten((args, kwargs))
    tensors = [x for x in flat if isinstance(x, Tensor)]
    far = any(isinstance(x, FarTensor) for x in tensors)
    to = kwargs.get("device")
    goes = far if to is None else torch.device(to) == FAR
    if op is _aten.copy_.default:
        if isinstance(args[1], FarTensor) and not isinstance(args[0], FarTensor):
            _note(op)
    elif op is _aten._to_copy.default:
        if far and not goes:
            _note(op)
        for found in _sent if goes and not far else ():
            found.append(args[0])
    elif far:
        _refuse_two_devices(op, tensors[:1] if op in _INDEXING else tensors)
        masked = op in _INDEXING and any(x.dtype == torch.bool for x in tensors[1:])
        if masked or op in _WAITS:
            _note(op)
    inner_args, inner_kwargs = tree_unflatten(
        [x.held if isinstance(x, FarTensor) else x for x in flat], spec
    )
    if to is not None:
        inner_kwargs["device"] = torch.device("cpu")
    out = op(*inner_args, **inner_kwargs)
    if op is _aten.copy_.default:
        return args[0]
    return _wrapped(out, tensors) if goes else out


def _refuse_two_devices(op: Any, tensors: list[Tensor]) -> None:
    near = [x for x in tensors if x.dim() and not isinstance(x, FarTensor)]
    if near:
        raise RuntimeError(f"{op}: tensors on two devices, {FAR} and {near[0].device}")


def _wrapped(out: Any, tensors: list[Tensor]) -> Any:
    """Wrap what an operation returned; tensors that it wrote to in place stay themselves."""
    known = {id(x.held): x for x in tensors if isinstance(x, FarTensor)}

    def wrap(x: Any) -> Any:
        if not isinstance(x, Tensor):
            return x
        return known[id(x)] if id(x) in known else FarTensor(x)

    return tree_map(wrap, out)


def _note(op: Any) -> None:
    if not _counters:
        return
    places = [
        f"{Path(frame.filename).relative_to(_CRAFT)}:{frame.lineno}"
        for frame in traceback.extract_stack()
        if Path(frame.filename).is_relative_to(_CRAFT)
    ]
    for counter in _counters:
        counter[f"{op} at {places[-1] if places else 'outside craft'}"] += 1
