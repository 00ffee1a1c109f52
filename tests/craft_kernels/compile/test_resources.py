"""What the compilers say of every kernel and configuration: registers, shared memory, spills and
matrix instructions, against the figures written down in baseline.json.

`CRAFT_UPDATE_BASELINE=1 make test-compile` writes them down anew; commit the file with the reason.
"""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
import torch

BASELINE = Path(__file__).with_name("baseline.json")
UPDATE = os.environ.get("CRAFT_UPDATE_BASELINE") == "1"
# What a screening product must be made of, by target and by the dtype that reaches the units.
MATRIX = {"sm_80": "HMMA", "sm_90": "HGMMA", "sm_100": "UTC.?MMA", "gfx942": "v_mfma"}
PRECISIONS = {
    "sm_80": ("tf32x3", "bf16", "bf16x3", "tf32", "ieee"),
    "sm_90": ("tf32x3", "bf16", "bf16x3", "tf32", "ieee"),
    "sm_100": ("tf32x3", "bf16", "bf16x3", "tf32", "ieee"),
    "gfx942": ("bf16x3", "bf16", "tf32", "ieee"),
}  # the default first
N, K, D, L = 256, 16384, 1024, 4  # VILA-U's, one image


@pytest.fixture(scope="module")
def codebook():
    from craft_kernels import FrozenCodebook

    return FrozenCodebook(torch.zeros(K, D))


@pytest.fixture(scope="module")
def compiled(gpu, codebook):
    """{"kernel precision": CompiledKernel} of one target, by running the real wrappers."""
    from craft_kernels import FrozenCodebook
    from craft_kernels.prune.triton import cues, order
    from craft_kernels.prune.triton import launch as prune
    from craft_kernels.residual_quantize import device_words
    from craft_kernels.residual_quantize.triton import fused, gradient, gram_walk, streaming
    from craft_kernels.residual_quantize.triton import launch as quantize

    target = gpu.name
    z = torch.zeros(N, D)
    found = {}
    every = (streaming.screen, streaming.settle, gram_walk.gram_walk, cues.measure_cues)
    every += (gradient.add_sq_norms_gradient, order.score_tokens)
    every += (order.find_critical_values, order.place_tokens, fused.fused_levels)
    for kernel in every:
        kernel.device_caches.pop(gpu.device, None)

    def collect(*kernels, label=""):
        for kernel in kernels:
            for version in kernel.device_caches[gpu.device][0].values():
                found.setdefault(f"{kernel.fn.__name__}{label}", version)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CRAFT_KERNELS_PATH", "streaming")
        for precision in PRECISIONS[target]:
            patch.setenv("CRAFT_KERNELS_PRECISION", precision)
            for kernel in (streaming.screen, streaming.settle):
                kernel.device_caches.pop(gpu.device, None)
            quantize.residual_quantize(z[:1], codebook._codewords, L, frozen=True)
            collect(streaming.screen, label=f" {precision}")
            if precision in ("bf16", "ieee"):
                collect(streaming.settle, label=" bf16" if precision == "bf16" else "")
        patch.setenv("CRAFT_KERNELS_PRECISION", PRECISIONS[target][0])
        patch.setenv("CRAFT_KERNELS_PATH", "fused")
        for dim in (64,) if target.startswith("gfx") else (64, 128):
            fused.fused_levels.device_caches.pop(gpu.device, None)
            small = FrozenCodebook(torch.zeros(1024, dim))._codewords
            quantize.residual_quantize(z[:1, :dim], small, L, frozen=True)
            collect(fused.fused_levels, label=f" {dim}")
        patch.setenv("CRAFT_KERNELS_PATH", "gram")
        patch.setattr(device_words.DeviceWords, "gram", lambda self: torch.empty(K, K))
        quantize.residual_quantize(z[:1], codebook._codewords, L, frozen=True)
    codes, norms = torch.zeros(N, L, dtype=torch.int64), torch.zeros(N, L)
    quantize.residual_sq_norms_backward(z, codebook.tensor, codes, norms, z)
    prune.prune_order(codes.view(2, 512), torch.zeros(2, 512), torch.ones(K), (16, 32), 4, 0.5)
    collect(*every[2:-1])
    return target, found


def tool(name: str) -> str:
    import triton

    folder = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
    return str(folder / name)


def resources(target: str, name: str, kernel, folder: Path) -> dict[str, int]:
    if target.startswith("gfx"):
        text = kernel.asm["amdgcn"]
        registers = number_in(text, r"\.vgpr_count:\s+(\d+)")
        spills = number_in(text, r"\.vgpr_spill_count:\s+(\d+)")
        matrix = len(re.findall(MATRIX[target], text))
    else:
        cubin = folder / "kernel.cubin"
        cubin.write_bytes(kernel.asm["cubin"])
        usage = run(tool("cuobjdump"), "--dump-resource-usage", cubin)
        registers = number_in(usage, r"REG:(\d+)")
        sass = run(tool("nvdisasm"), "-c", cubin)
        # Blocks of tokens of the fused path are too small for what came after HMMA.
        instruction = MATRIX["sm_80" if name.startswith("fused") else target]
        spills = len(re.findall(r"\b(?:LDL|STL)\b", sass))
        matrix = len(re.findall(rf"\b{instruction}", sass))
    return {
        "registers": registers,
        "shared": kernel.metadata.shared,
        "spills": spills,
        "matrix": matrix,
        "warps": kernel.metadata.num_warps,
    }


def number_in(text: str, pattern: str) -> int:
    found = re.search(pattern, text)
    assert found, f"{pattern} is not in what the tool said"
    return int(found[1])


def run(*command) -> str:
    return subprocess.run([*map(str, command)], check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def measured(compiled, tmp_path_factory):
    target, kernels = compiled
    folder = tmp_path_factory.mktemp(target)
    return {name: resources(target, name, kernel, folder) for name, kernel in kernels.items()}


def test_resources(gpu, measured):
    written = json.loads(BASELINE.read_text()) if BASELINE.exists() else {}
    if UPDATE:
        written[gpu.name] = measured
        BASELINE.write_text(json.dumps(written, indent=1, sort_keys=True) + "\n")
    expected = written[gpu.name]
    assert measured.keys() == expected.keys()
    for name, figures in measured.items():
        assert figures["shared"] <= gpu.max_shared, (name, figures)
        for what in ("registers", "shared", "spills"):
            assert figures[what] <= expected[name][what], (name, figures, expected[name])
        assert figures["matrix"] >= expected[name]["matrix"], (name, figures, expected[name])


def test_no_spills(measured):
    assert {name: figures for name, figures in measured.items() if figures["spills"]} == {}


def test_products_use_matrix_units(gpu, measured):
    products = {n: f for n, f in measured.items() if n.startswith(("screen", "fused"))}
    without = [name for name, figures in products.items() if not figures["matrix"]]
    assert without == ([] if gpu.name.startswith("gfx") else ["screen ieee"])


def test_arithmetic_is_ieee(compiled):
    """Denormals are kept everywhere, and nothing is fused where bits are promised."""
    target, kernels = compiled
    if target.startswith("gfx"):
        pytest.skip("read from PTX, which AMD has not")
    for name, kernel in kernels.items():
        ptx = kernel.asm["ptx"]
        assert not re.search(r"\b(?:add|sub|mul|fma|div|sqrt)\.\S*ftz", ptx), name
        if name.split()[0] in EXACT:
            assert not re.search(r"\bfma\.", ptx), name
            assert not re.search(r"\bdiv\.(?:full|approx)", ptx), name


EXACT = ("add_sq_norms_gradient", "measure_cues", "score_tokens", "find_critical_values")
