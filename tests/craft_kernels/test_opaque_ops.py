"""What compilers see of the ops for a GPU: one opaque node each, for any number of tokens.

No GPU is needed: meta tensors and fake CUDA tensors have no storage, and the ops' fake kernels run
instead of the real ones. On fake CUDA tensors, torch without CUDA has neither autograd nor Inductor
(both ask the device); gradients are traced on meta tensors, where the same graph comes out.
"""

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend
from torch._subclasses import FakeTensorMode
from torch.export import Dim
from torch.fx.experimental.proxy_tensor import make_fx

from craft_kernels import prune_order, residual_quantize

# Dynamo and export use parts of torch that torch itself calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

K, D, L = 30, 6, 3
IMPLS = ["auto", "triton", "cuda"]
QUANTIZE, BACKWARD, PRUNE = (
    torch.ops.craft.residual_quantize.default,
    torch.ops.craft.residual_sq_norms_backward.default,
    torch.ops.craft.prune_order.default,
)


class Capture(CompileCounterWithBackend):
    """Compiles nothing, and keeps the graphs; each is run as it was captured."""

    def __init__(self):
        super().__init__("eager")

    def our_nodes(self):
        return [node.target for graph in self.graphs for node in our_nodes(graph.graph)]


def our_nodes(graph):
    return [
        node
        for node in graph.nodes
        if isinstance(node.target, torch._ops.OpOverload) and node.target.namespace == "craft"
    ]


def empty(*shape, device="cuda", dtype=torch.float32, dynamic=()):
    tensor = torch.empty(shape, device=device, dtype=dtype)
    for dim in dynamic:
        torch._dynamo.mark_dynamic(tensor, dim)
    return tensor


def quantize(z, words, impl):
    result = residual_quantize(z, words, L, impl=impl)
    return result.codes, result.quantized, result.residual_sq_norms


def keep_some(ids, residual_sq, prior, impl):
    grid = (4, ids.shape[1] // 4)
    order = prune_order(ids, residual_sq, prior, grid, impl=impl)
    return order.narrow(1, 0, 2)  # indexing asks the device, too


def backward(z, words, codes, norms, impl):
    return BACKWARD(z, words, codes, norms, z, impl)


@pytest.fixture(params=["meta", "cuda"])
def device(request):
    """On "cuda", inside a fake mode."""
    torch._dynamo.reset()
    if request.param == "meta":
        yield "meta"
    else:
        with FakeTensorMode():
            yield "cuda"


@pytest.mark.parametrize("impl", IMPLS)
def test_fake_results(device, impl):
    codes, quantized, norms = quantize(
        empty(5, 7, D, device=device), empty(9, D, device=device), impl
    )
    assert (codes.shape, codes.dtype) == ((5, 7, L), torch.int64)
    assert (quantized.shape, quantized.dtype) == ((5, 7, D), torch.float32)
    assert (norms.shape, norms.dtype) == ((5, 7, L), torch.float32)
    half = empty(5, D, device=device, dtype=torch.bfloat16)
    assert quantize(half, empty(9, D, device=device), impl)[1].dtype == torch.bfloat16
    ids = empty(2, 24, device=device, dtype=torch.int64)
    order = prune_order(
        ids, empty(2, 24, device=device), empty(9, device=device), (4, 6), impl=impl
    )
    assert (order.shape, order.dtype) == ((2, 24), torch.int64)
    for result in (codes, quantized, norms, order):
        assert result.device.type == device
        assert result.is_contiguous()


@pytest.mark.compile
@pytest.mark.parametrize("impl", IMPLS)
def test_quantize_is_one_graph_for_every_number_of_tokens(device, impl):
    backend = Capture()
    compiled = torch.compile(quantize, fullgraph=True, backend=backend)
    words = empty(K, D, device=device)
    for n in (4, 9, 17):
        codes, quantized, norms = compiled(empty(n, D, device=device, dynamic=[0]), words, impl)
        assert codes.shape == norms.shape == (n, L)
        assert quantized.shape == (n, D)
        assert quantized.device.type == device
    assert backend.our_nodes() == [QUANTIZE]


@pytest.mark.compile
def test_backward_is_one_graph_for_every_number_of_tokens(device):
    backend = Capture()
    compiled = torch.compile(backward, fullgraph=True, backend=backend)
    words = empty(K, D, device=device)
    for n in (4, 9, 17):
        z = empty(n, D, device=device, dynamic=[0])
        codes = empty(n, L, device=device, dtype=torch.int64, dynamic=[0])
        norms = empty(n, L, device=device, dynamic=[0])
        grad = compiled(z, words, codes, norms, "triton")
        assert (grad.shape, grad.device.type) == ((n, D), device)
    assert backend.our_nodes() == [BACKWARD]


@pytest.mark.compile
@pytest.mark.parametrize("impl", IMPLS)
def test_prune_is_one_graph_for_every_batch_and_grid(device, impl):
    backend = Capture()
    compiled = torch.compile(keep_some, fullgraph=True, backend=backend)
    prior = empty(K, device=device)
    for batch, n in ((2, 24), (3, 32), (5, 40)):
        ids = empty(batch, n, device=device, dtype=torch.int64, dynamic=[0, 1])
        kept = compiled(ids, empty(batch, n, device=device, dynamic=[0, 1]), prior, impl)
        assert (kept.shape, kept.device.type) == ((batch, 2), device)
    assert backend.our_nodes() == [PRUNE]


@pytest.mark.compile
def test_gradients_are_one_graph_on_meta_tensors():
    torch._dynamo.reset()
    backend = CompileCounterWithBackend("aot_eager")

    def loss(z, words):
        _, quantized, norms = quantize(z, words, "triton")
        return (quantized**2).sum() + norms.mean()

    compiled = torch.compile(loss, fullgraph=True, backend=backend)
    for n in (4, 9, 17):
        z = empty(n, D, device="meta", dynamic=[0]).requires_grad_()
        compiled(z, empty(K, D, device="meta")).backward()
        assert z.grad is not None
        assert z.grad.shape == (n, D)
    assert backend.frame_count == 1


@pytest.mark.parametrize("on", ["meta", "cuda"])
def test_make_fx_of_a_training_step(on):
    """Forward and backward op in one graph, with the number of tokens a symbol."""

    def step(z, words):
        z, words = torch.empty_like(z, device=on), torch.empty_like(words, device=on)
        codes, _, norms = quantize(z, words, "triton")
        return backward(z, words, codes, norms, "triton")

    inputs = empty(5, D, device="meta"), empty(K, D, device="meta")
    traced = make_fx(step, tracing_mode="symbolic")(*inputs)
    first, second = our_nodes(traced.graph)
    assert [first.target, second.target] == [QUANTIZE, BACKWARD]
    grad = second.meta["val"]
    assert isinstance(grad.shape[0], torch.SymInt)
    assert grad.device.type == on


@pytest.mark.compile
@pytest.mark.parametrize(
    ("function", "op", "shapes", "dynamic"),
    [
        (quantize, QUANTIZE, [(3, 5, D), (K, D)], [{0: Dim("b"), 1: Dim("n")}, None]),
        (
            keep_some,
            PRUNE,
            [(3, 24), (3, 24), (K,)],
            [{0: Dim("b"), 1: 4 * Dim("n")}, {0: Dim("b"), 1: 4 * Dim("n")}, None],
        ),
        (
            backward,
            BACKWARD,
            [(5, D), (K, D), (5, L), (5, L)],
            [{0: Dim("n")}, None, {0: Dim("n")}, {0: Dim("n")}],
        ),
    ],
)
def test_export(device, function, op, shapes, dynamic):
    class Module(torch.nn.Module):
        def forward(self, *tensors):
            return function(*tensors, "triton")

    integers = {QUANTIZE: None, PRUNE: 0, BACKWARD: 2}[op]
    tensors = tuple(
        empty(*shape, device=device, dtype=torch.int64 if i == integers else torch.float32)
        for i, shape in enumerate(shapes)
    )
    program = torch.export.export(Module(), tensors, dynamic_shapes=(tuple(dynamic),))
    (node,) = our_nodes(program.graph)
    assert node.target == op
    result = node.meta["val"][0] if op == QUANTIZE else node.meta["val"]
    assert isinstance(result.shape[0], torch.SymInt)
    assert result.device.type == device
