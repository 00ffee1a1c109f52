"""At the limit of a process's address space an op raises, and works again once there is memory."""

import ast
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="reads /proc, limits with RLIMIT_AS"
)

SCRIPT = """
import collections, resource, torch
from craft_kernels import FrozenCodebook, backend_info, prune_order, residual_quantize

torch.set_num_threads(2)
backend_info()  # loads the compiled module
generator = torch.Generator().manual_seed(0)
words = torch.randn(3000, 32, generator=generator)
z = torch.randn(300, 32, generator=generator, requires_grad=True)
ids = torch.randint(0, 500, (4, 64 * 64), generator=generator)
residuals, prior = torch.rand(4, 64 * 64, generator=generator), torch.rand(500) + 0.1
frozen = FrozenCodebook(words, 3)


def gradient():
    return torch.autograd.grad(residual_quantize(z, frozen).residual_sq_norms.sum(), z)[0]


ops = {
    "pruning": lambda: prune_order(ids, residuals, prior, (64, 64)),
    "first quantisation": lambda: residual_quantize(z, FrozenCodebook(words, 3)).codes,
    "quantisation": lambda: residual_quantize(z, frozen).codes,
    "gradient": gradient,
}
_, hard = resource.getrlimit(resource.RLIMIT_AS)


def fill_memory():
    '''Everything there is under a limit, in pieces of 16 KiB that can be given back.'''
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + (48 << 20), hard))
    taken = []
    try:
        while True:
            taken.append(bytearray(1 << 14))
    except MemoryError:
        return taken


def attempt(op, pieces):
    taken = fill_memory()
    for _ in range(pieces):
        taken.pop()
    result = None
    try:
        result = op()
    except (MemoryError, RuntimeError) as error:
        outcome = type(error).__name__
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    del taken
    if result is None:
        return outcome
    assert torch.equal(result, op())
    return "done"


outcomes = {}
for state in ("cold", "warm"):
    for name, op in ops.items():
        outcomes[state, name] = [
            attempt(op, pieces) for pieces in (1, *range(4, 60, 8), 80, 200, 2500)
        ]
        assert torch.equal(op(), op())
print(outcomes)
"""


def test_ops_raise_and_go_on():
    env = {"CRAFT_KERNELS_PATH": "gram", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    outcomes = ast.literal_eval(done.stdout)
    assert len(outcomes) == 8
    for attempts in outcomes.values():
        assert "RuntimeError" in attempts or "MemoryError" in attempts
        assert attempts[-1] == "done"
