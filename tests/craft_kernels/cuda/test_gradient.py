"""What each GPU thread does with its component gives the gradient of the CPU kernel."""

import pytest
import torch

from craft_kernels.residual_quantize import cuda, native


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("straight_through", [True, False])
def test_bit_for_bit(on_host, shared, dtype, straight_through, generator):
    codebook = torch.randn(*(() if shared else (3,)), 30, 17, generator=generator)
    z, grad = torch.randn(2, 5, 17, generator=generator).to(dtype)
    codes = torch.randint(30, (5, 3), generator=generator)
    grad_sq_norms = torch.randn(5, 3, generator=generator)
    grad_quantized = grad if straight_through else None
    got, expected = (
        backend.residual_sq_norms_backward(z, codebook, codes, grad_sq_norms, grad_quantized)
        for backend in (cuda, native)
    )
    assert torch.equal(got, expected)
