"""What ptxas says of the CUDA C++ kernels, against cuda_baseline.json.

`CRAFT_UPDATE_BASELINE=1 make test-compile` writes the figures down anew; commit the file with the
reason. Another nvcc may use a few registers more: the figures are those of CUDA 13.0.
"""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

BASELINE = Path(__file__).with_name("cuda_baseline.json")
UPDATE = os.environ.get("CRAFT_UPDATE_BASELINE") == "1"
SOURCES = Path(__file__).parents[3] / "csrc" / "cuda"
# As in csrc/cuda/CMakeLists.txt.
OPTIONS = ["-std=c++20", "-O3", "--fmad=false", "--expt-relaxed-constexpr", "-DCRAFT_ISA=cuda"]
KERNELS = {
    "prune_order.cu": ("measure_cues", "score_token", "set_critical_value", "place_token"),
    "gram_walk.cu": ("gram_walk_kernel",),
    "gradient.cu": ("gradient_kernel",),
}
# ExactSum's limbs, indexed at run time. Everything else stays in registers.
STACK = {"gram_walk_kernel": 160}


@pytest.fixture(scope="module", params=["sm_80", "sm_90a", "sm_100a"])
def target(request):
    return request.param


@pytest.fixture(scope="module")
def measured(target, tmp_path_factory):
    nvcc = shutil.which(os.environ.get("CUDACXX", "nvcc"))
    if nvcc is None:
        pytest.skip("nvcc was not found: put it on PATH, or its path into CUDACXX")
    cubin = tmp_path_factory.mktemp(target) / "kernel.cubin"
    found = {}
    for source, kernels in KERNELS.items():
        command = [nvcc, *OPTIONS, f"-arch={target}", "-Xptxas=-v", "-cubin", "-o", str(cubin)]
        said = subprocess.run(
            [*command, str(SOURCES / source)], check=True, capture_output=True, text=True
        ).stderr
        for entry in said.split("Compiling entry function")[1:]:
            (name,) = (kernel for kernel in kernels if kernel in entry.splitlines()[0])
            found[name] = figures(entry)
        assert found.keys() >= set(kernels)
    return found


def figures(entry: str) -> dict[str, int]:
    def number(pattern):
        found = re.search(pattern, entry)
        return int(found[1]) if found else 0

    assert re.search(r"Used \d+ registers", entry), entry
    return {
        "registers": number(r"Used (\d+) registers"),
        "shared": number(r"(\d+) bytes smem"),
        "stack": number(r"(\d+) bytes stack frame"),
        "spills": number(r"(\d+) bytes spill stores") + number(r"(\d+) bytes spill loads"),
    }


def test_resources(target, measured):
    written = json.loads(BASELINE.read_text()) if BASELINE.exists() else {}
    if UPDATE:
        written[target] = measured
        BASELINE.write_text(json.dumps(written, indent=1, sort_keys=True) + "\n")
    expected = written[target]
    assert measured.keys() == expected.keys()
    for name, found in measured.items():
        for what, figure in found.items():
            assert figure <= expected[name][what], (name, found, expected[name])


def test_no_spills(measured):
    assert {name: f["spills"] for name, f in measured.items() if f["spills"]} == {}
    assert {name: f["stack"] for name, f in measured.items() if f["stack"]} == STACK
