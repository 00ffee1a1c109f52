# Every target fills .venv by itself the first time; once it is filled, targets start at once.
# What can be set from outside:
#   PYTHON    the interpreter .venv is made from
#   TORCH     the torch to install; pinned, because an open range would pull the newest CUDA build
#   PIP_ARGS  extra pip arguments for torch alone, such as the index of its CPU builds

PYTHON   ?= python3
TORCH    ?= torch==2.13.0
PIP_ARGS ?=

BIN := .venv/bin
# --no-compile: Python caches the few modules that are imported; pip would compile all of them first.
PIP := $(BIN)/python -m pip install --disable-pip-version-check --no-compile
NATIVE := $(wildcard $(foreach kind,cpp h cu cuh,csrc/*.$(kind) csrc/bindings/*.$(kind) csrc/cuda/*.$(kind)))

# Once .venv is filled, nothing here needs a network; a test that would reach a hub must fail instead.
export HF_HUB_OFFLINE := 1

.DEFAULT_GOAL := help
.PHONY: help venv demo test test-fuzz test-interpreter test-old-torch test-compile test-numerics test-numerics-basic test-numerics-avx2 test-numerics-perturbed gpu-check bench bench-full clean lint lint-ruff lint-format lint-types lint-imports lint-native lint-rules

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile

venv: .venv/.installed  ## fill .venv with all that the other targets need, and nothing else

demo: venv  ## the whole method on the pocket world; results in runs/demo
	$(BIN)/craft demo --out runs/demo --force  # the only run that goes there

# One lane per process: Triton reads TRITON_INTERPRET once, and the compile lane replaces its driver.
test: venv  ## run the tests, in all lanes that need no GPU
	$(BIN)/pytest -m "not fuzz"
	@$(MAKE) test-interpreter test-compile

test-fuzz: venv  ## the long rounds of the fuzz tests: minutes
	$(BIN)/pytest -m fuzz

test-interpreter: venv  ## run the Triton kernels on the CPU, in Triton's interpreter
	TRITON_INTERPRET=1 $(BIN)/pytest tests/craft_kernels/interpreter

# VILA-U pins torch 2.3.0 and pydantic 1; 2.3.1 is the same with its faults mended. Tests lie in a
# folder of their own there, so that they find the installed package and not these sources. Left out
# is what that torch does not have (opcheck) or its Triton cannot do, and fake CUDA tensors, which it
# makes on machines with a GPU alone.
OLD ?= .venv-old-torch
test-old-torch:  ## run kernels and drop-in with the torch that VILA-U pins, made in OLD: 5 GB
	test -x $(OLD)/bin/pytest || $(PYTHON) -m venv $(OLD)
	$(OLD)/bin/python -m pip install --quiet torch==2.3.1 'numpy<2' 'pydantic<2' transformers==4.36.2 \
	  accelerate==0.34.2 safetensors pytest hypothesis
	$(OLD)/bin/python -m pip install --quiet --no-deps -C cmake.define.CRAFT_CUDA=OFF .
	rm -rf $(OLD)/lane && mkdir $(OLD)/lane && cp -r tests pyproject.toml $(OLD)/lane
	cd $(OLD)/lane && mkdir drop-in && ../bin/python -W error -m tests.craft.integrations.vila_u.drop_in drop-in
	cd $(OLD)/lane && ../bin/python -m pytest -m "not slow and not compile and not fuzz" \
	  -k "not opcheck and not cuda and not gpu and not triton" $(filter-out %_compile.py %_fuzz.py %_tile_size.py,$(KERNELS))

test-compile: venv  ## compile the GPU kernels for GPUs that are not there
	CRAFT_COMPILE_LANE=1 $(BIN)/pytest tests/craft_kernels/compile

# The part of the suite that runs models, under the arithmetic of other processors; libraries read
# these variables once a process. Left out are `slow` tests, most of which kill or start processes,
# those of torch.compile, which are about graphs, and the command line, which calls all this.
MODELS := -m "not slow and not compile and not fuzz" tests/examples tests/craft/test_*.py \
  $(addprefix tests/craft/,adapters corpus data/domains data/images decoding evaluation family \
    integrations models pocket training workbench)
KERNELS := $(wildcard tests/craft_kernels/test_*.py)

test-numerics: test-numerics-basic test-numerics-avx2 test-numerics-perturbed  ## run the models under other arithmetic

test-numerics-basic: venv
	ATEN_CPU_CAPABILITY=default MKL_CBWR=COMPATIBLE ONEDNN_MAX_CPU_ISA=SSE41 DNNL_MAX_CPU_ISA=SSE41 \
	  OMP_NUM_THREADS=1 $(BIN)/pytest $(MODELS) $(KERNELS)

# More threads than cores must sleep while they wait.
test-numerics-avx2: venv
	ATEN_CPU_CAPABILITY=avx2 MKL_CBWR=AVX2 ONEDNN_MAX_CPU_ISA=AVX2 DNNL_MAX_CPU_ISA=AVX2 \
	  OMP_NUM_THREADS=3 OMP_WAIT_POLICY=PASSIVE $(BIN)/pytest $(MODELS) $(KERNELS)

# Processes that a test starts are not perturbed.
test-numerics-perturbed: venv
	OMP_NUM_THREADS=1 $(BIN)/pytest --perturb-products=0 $(MODELS) \
	  --ignore=tests/craft/training/distributed/test_sharding.py

gpu-check: venv  ## on a machine with a GPU: parity, sanitizer, speed; report in runs/gpu-check.md
	$(BIN)/python benchmarks/gpu_check.py

bench: venv  ## run the short set of benchmarks
	$(BIN)/pytest benchmarks --benchmark-only -m "not full"

bench-full: venv  ## run every benchmark: hours
	$(BIN)/pytest benchmarks --benchmark-only

# Each check is a target of its own, so that `make --keep-going lint` shows every complaint at once.
lint: lint-ruff lint-format lint-types lint-imports lint-native lint-rules  ## check style, types and our own rules

lint-ruff: venv
	$(BIN)/ruff check

lint-format: venv
	$(BIN)/ruff format --check

lint-types: venv
	$(BIN)/pyright

lint-imports: venv
	$(BIN)/lint-imports --no-cache

lint-native: venv
	$(BIN)/clang-format --dry-run -Werror $(NATIVE) $(wildcard tests/craft_kernels/cuda/*.cpp)

# The hooks that no tool above covers.
lint-rules: venv
	SKIP=ruff-check,ruff-format,pyright,clang-format $(BIN)/pre-commit run --all-files

clean:  ## remove build trees and caches; keeps .venv and runs/
	rm -rf build dist .pytest_cache .ruff_cache .hypothesis .benchmarks .venv/.installed

# torch comes first and without its dependencies: those come with the package, at the versions in
# constraints.txt, from whatever index pip uses by default.
.venv/.torch:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "CRAFT needs Python 3.10 or newer, but PYTHON=$(PYTHON) is: `$(PYTHON) --version 2>&1`." \
	         "Name another one: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(PIP) --no-deps $(PIP_ARGS) $(TORCH)
	$(PIP) --quiet --constraint constraints.txt scikit-build-core pybind11 cmake ninja
	@touch $@

# Editable: Python edits count at once. The native module is rebuilt when a file named here changes;
# without build isolation CMake keeps its cache, so that only what changed is compiled.
.venv/.installed: .venv/.torch pyproject.toml constraints.txt CMakeLists.txt csrc/cuda/CMakeLists.txt $(NATIVE)
	$(PIP) --quiet --constraint constraints.txt --no-build-isolation --editable '.[dev]'
	@touch $@
