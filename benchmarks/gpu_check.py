"""`make gpu-check`: what only a GPU can show.

Checks parity with the CPU, runs compute-sanitizer, and times the kernels and their peers, in this
order, and writes runs/gpu-check.md. Without a GPU it says so and ends.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from craft_kernels import FrozenCodebook, backend_info, prune_order, residual_quantize

REPORT = Path("runs/gpu-check.md")
TESTS = "tests/craft_kernels/gpu"
SANITIZED = "ties or (prune_order and grid1)"  # small tests that use every kernel
K, D, L = 16384, 1024, 4  # VILA-U


def main() -> int:
    if not torch.cuda.is_available():
        print("gpu-check skipped: torch sees no GPU here")
        return 0
    lines = [f"# GPU check on {torch.cuda.get_device_name()}", "", f"torch {torch.__version__}, "]
    lines[-1] += backend_info("cuda").reason
    parity = subprocess.run([sys.executable, "-m", "pytest", TESTS, "-q"]).returncode
    lines += ["", f"Parity: {'passed' if parity == 0 else 'FAILED'}"]
    sanitized, said = sanitize()
    lines += ["", *said, "", "| what | ms, median |", "| --- | --- |"]
    lines += [f"| {name} | {milliseconds(call):.3f} |" for name, call in timed().items()]
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text("\n".join(lines) + "\n")
    print(REPORT.read_text())
    return parity or sanitized


def sanitize() -> tuple[int, list[str]]:
    tool = shutil.which("compute-sanitizer")
    if tool is None:
        return 0, ["compute-sanitizer is not on PATH: not run"]
    failed, said = 0, []
    for check in ("memcheck", "racecheck"):
        command = [tool, "--tool", check, "--error-exitcode", "3", sys.executable, "-m", "pytest"]
        code = subprocess.run([*command, TESTS, "-q", "-k", SANITIZED]).returncode
        failed |= code
        said.append(f"compute-sanitizer {check}: {'passed' if code == 0 else 'FAILED'}")
    return failed, said


def milliseconds(call: Callable[[], object]) -> float:
    triton_testing = importlib.import_module("triton.testing")
    return triton_testing.do_bench(call, warmup=50, rep=300, return_mode="median")


def timed() -> dict[str, Callable[[], object]]:
    g = torch.Generator().manual_seed(0)
    words = torch.randn(K, D, generator=g).cuda()
    frozen, bare = FrozenCodebook(words, L), FrozenCodebook(words, L, gram_bytes=0)
    calls: dict[str, Callable[[], object]] = {}
    built = importlib.util.find_spec("craft_kernels._cuda") is not None
    for tokens in (256, 8192):
        z = torch.randn(tokens, D, generator=g).cuda()
        calls[f"ours, Gram matrix kept, N={tokens}"] = lambda z=z: residual_quantize(z, frozen)
        calls[f"ours, streaming, N={tokens}"] = lambda z=z: residual_quantize(z, bare)
        if built:
            name = f"ours, CUDA C++, N={tokens}"
            calls[name] = lambda z=z: residual_quantize(z, frozen, impl="cuda")
        calls[f"torch addmm float32, N={tokens}"] = lambda z=z: addmm(z, words)
        half, half_words = z.bfloat16(), words.bfloat16()
        name = f"torch addmm bfloat16 (other codes), N={tokens}"
        calls[name] = lambda z=half, w=half_words: addmm(z, w)
        for name, call in peers(z, words).items():
            calls[f"{name}, one level, N={tokens}"] = call
    small = FrozenCodebook(torch.randn(8, 512, 64, generator=g).cuda())
    z = torch.randn(8192, 64, generator=g).cuda()
    for path in ("streaming", "fused"):
        name = f"ours, {path}, 8 separate codebooks, N=8192, K=512, D=64"
        calls[name] = lambda z=z, path=path: on_path(path, z, small)
    ids = torch.randint(0, 200, (32, 729), generator=g).cuda()
    residual_sq, prior = torch.rand(32, 729, generator=g).cuda(), torch.rand(K, generator=g).cuda()
    for impl in ("triton", "cuda") if built else ("triton",):
        calls[f"prune_order, {impl}, 32 images of 27 x 27"] = lambda impl=impl: prune_order(
            ids, residual_sq, prior + 1e-6, (27, 27), impl=impl
        )
    return calls


def on_path(path: str, z: Tensor, frozen: FrozenCodebook) -> object:
    os.environ["CRAFT_KERNELS_PATH"] = path
    try:
        return residual_quantize(z, frozen)
    finally:
        del os.environ["CRAFT_KERNELS_PATH"]


def addmm(z: Tensor, words: Tensor) -> Tensor:
    """The usual formula: a matrix of all distances per level, in the input's dtype."""
    for _ in range(L):
        distances = torch.addmm(words.square().sum(1), z, words.t(), alpha=-2)
        z = z - words[distances.argmin(1)]
    return z


def peers(z: Tensor, words: Tensor) -> dict[str, Callable[[], object]]:
    found: dict[str, Callable[[], object]] = {}
    try:
        from vector_quantize_pytorch import VectorQuantize

        layer = VectorQuantize(dim=D, codebook_size=K).cuda().eval()
        layer._codebook.embed.copy_(words[None])
        found["vector-quantize-pytorch"] = lambda: layer(z[None])
    except ImportError:
        print("vector-quantize-pytorch is not installed: left out")
    try:
        kernel = importlib.import_module("flash_kmeans.assign_euclid_triton")
        squares = z.square().sum(1)[None]
        found["flash-kmeans"] = lambda: kernel.euclid_assign_triton(z[None], words[None], squares)
    except ImportError:
        print("flash-kmeans is not installed: left out")
    return found


if __name__ == "__main__":
    sys.exit(main())
