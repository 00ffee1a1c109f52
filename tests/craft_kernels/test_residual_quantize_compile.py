"""The ops obey torch's rules, and torch.compile takes them whole."""

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend
from torch.library import opcheck

from craft_kernels import FrozenCodebook, residual_quantize

# Dynamo and Inductor use parts of torch that torch itself calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

WORDS = torch.randn(30, 6, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("impl", ["native", "reference"])
@pytest.mark.parametrize("shape", [(5, 6), (2, 3, 6)])
def test_opcheck(impl, shape):
    op = torch.ops.craft
    z = torch.randn(shape)
    codes = torch.randint(30, (*shape[:-1], 3))
    opcheck(op.residual_quantize.default, (z, WORDS, 3, 0, impl))
    for grad_quantized in (torch.randn(shape), None):
        opcheck(
            op.residual_sq_norms_backward.default,
            (z, WORDS, codes, torch.rand(codes.shape), grad_quantized, impl),
        )


@pytest.mark.compile
def test_one_graph_for_every_number_of_tokens():
    frozen = FrozenCodebook(WORDS, 3)

    def loss(z):
        result = residual_quantize(z, frozen)
        return (result.quantized**2).sum() + result.residual_sq_norms.mean(), result.codes

    backend = CompileCounterWithBackend("inductor")
    compiled = torch.compile(loss, fullgraph=True, backend=backend)
    for n in (4, 9, 17):
        z = torch.randn(n, 6, requires_grad=True)
        torch._dynamo.mark_dynamic(z, 0)
        value, codes = compiled(z)
        expected, expected_codes = loss(z)
        assert torch.equal(codes, expected_codes)
        torch.testing.assert_close(value, expected)
        torch.testing.assert_close(
            torch.autograd.grad(value, z)[0], torch.autograd.grad(expected, z)[0]
        )
    assert backend.frame_count == 1


@pytest.mark.compile
def test_export():
    class Quantizer(torch.nn.Module):
        def forward(self, z):
            return residual_quantize(z, WORDS, 3).codes

    z = torch.randn(5, 6)
    program = torch.export.export(
        Quantizer(), (z,), dynamic_shapes={"z": {0: torch.export.Dim("n")}}
    )
    more = torch.randn(11, 6)
    assert torch.equal(program.module()(more), Quantizer()(more))
