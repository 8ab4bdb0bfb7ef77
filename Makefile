# Two commands do everything on a fresh machine with Python 3.11, 3.12 or 3.13, git and make: `make demo` and `make test`.
.DEFAULT_GOAL := help
.PHONY: help setup demo detectron2 browser test test-versions test-lowest test-newest test-other-cpu test-learning test-gpu test-slurm bench bench-gpu check format

VENV := .venv
BIN := $(VENV)/bin
# The first interpreter that is new enough; PYTHON=... chooses another.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3 python; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$p && break; done)
STAMP := $(VENV)/.installed
DETECTRON2 := $(VENV)/.detectron2
# Processes the suite runs in, each of one thread.
JOBS ?= 2

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(STAMP) ## make .venv with the compmod command in it

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11, 3.12 or 3.13 found; set PYTHON=/path/to/python3.11"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,detection]'
	@touch $@

demo: $(STAMP) ## pretrain, probe and tabulate on the embedded digits, four to nine minutes on two cores
	$(BIN)/compmod demo

detectron2: $(DETECTRON2) ## Detectron2: from its git repository where that is reached, else its archive from the index

$(DETECTRON2): transfer/detector/install.py | $(STAMP)
	$(BIN)/python -m compmod.transfer.detector.install
	@touch $@

browser: ## install Chromium where there is none, for the tests that open the report in it; as root, on Debian
	tests/install_browser.sh

test: $(STAMP) $(DETECTRON2) ## the suite, all but what the other test targets run
	$(BIN)/python -m pytest -m 'not gpu and not slurm and not learning' -n $(JOBS) --dist loadgroup

# Another machine on this one: PyTorch's kernels without vectors, MKL's that every processor has, oneDNN's without
# AVX-512. OTHER_CPU='NAME=value ...' chooses another one; COMPMOD_TEST_THREADS=2 among them splits sums, with JOBS=1.
OTHER_CPU ?= ATEN_CPU_CAPABILITY=default MKL_CBWR=COMPATIBLE ONEDNN_MAX_CPU_ISA=AVX2
NUMERIC := $(addprefix tests/pretrain/,methods networks two_level test_optim.py data/test_digits.py \
		training/test_collapse.py) \
	$(addprefix tests/pretrain/evaluate/test_,knn.py linear.py features.py classifier.py) \
	$(addprefix tests/pretrain/runtime/test_,distributed.py global_state.py randomness.py) \
	$(addprefix tests/pretrain/views/test_,augment.py batches.py view_operations.py) \
	$(addprefix tests/transfer/,weights/test_convert.py detector/test_trunk.py commands/test_export.py test_scoring.py)
test-other-cpu: $(STAMP) $(DETECTRON2) ## the tests of numbers, with the arithmetic of another processor
	$(OTHER_CPU) $(BIN)/python -m pytest -m 'not gpu and not slurm and not learning and not slow' \
		-n $(JOBS) --dist loadgroup $(NUMERIC)

# What new or old versions of packages are likely to break: differentiation, arithmetic, decoding, the command line,
# tables, pictures, jobs. With the lowest versions that pyproject.toml allows, and on the newest Python.
VERSIONED := $(addprefix tests/pretrain/,two_level networks/test_networks.py methods/test_ssl_hsic.py test_optim.py \
		specs/test_spec.py data/test_decode.py data/test_digits.py views/test_augment.py evaluate/test_knn.py \
		evaluate/test_linear.py training/test_checkpoint.py) \
	tests/tables/render/test_render.py tests/tables/report/test_charts.py \
	$(addprefix tests/slurm/submission/test_,arrays.py script.py) \
	tests/test_cli.py tests/test_wheel.py tests/transfer/weights/test_hub.py
# The first of these that runs: a pyenv has all its versions in one folder, and not all on the path.
LOWEST_PYTHON ?= $(call runs,python3.11 $(HOME)/.pyenv/versions/3.11.*/bin/python)
NEWEST_PYTHON ?= $(call runs,python3.13 $(HOME)/.pyenv/versions/3.13.*/bin/python)
runs = $(shell for p in $(1); do $$p -c '' 2>/dev/null && echo $$p && break; done)
test-versions: test-lowest test-newest ## a part of the suite with the lowest versions of packages, and on the newest Python

test-lowest: .venv-lowest/.installed
	.venv-lowest/bin/python -m pytest -m 'not gpu and not slow' -n $(JOBS) --dist loadgroup $(VERSIONED)

test-newest: .venv-newest/.installed
	.venv-newest/bin/python -m pytest -m 'not gpu and not slow' -n $(JOBS) --dist loadgroup $(VERSIONED)

.venv-lowest/.installed: pyproject.toml constraints.txt tests/lowest.py
	@test -n "$(LOWEST_PYTHON)" || { echo "error: no Python 3.11 found; set LOWEST_PYTHON"; exit 2; }
	$(LOWEST_PYTHON) -m venv --clear .venv-lowest
	.venv-lowest/bin/python tests/lowest.py > .venv-lowest/lowest.txt
	.venv-lowest/bin/python -m pip install --quiet --disable-pip-version-check --constraint .venv-lowest/lowest.txt \
		--editable '.[detection,hub]' pytest pytest-timeout pytest-xdist
	@touch $@

.venv-newest/.installed: pyproject.toml constraints.txt
	@test -n "$(NEWEST_PYTHON)" || { echo "error: no Python 3.13 found; set NEWEST_PYTHON"; exit 2; }
	$(NEWEST_PYTHON) -m venv --clear .venv-newest
	.venv-newest/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		--editable '.[dev,detection]'
	@touch $@

test-learning: $(STAMP) ## that every method learns on digits by its full recipe there; five minutes, three times that without AVX-512
	$(BIN)/python -m pytest -m learning -n $(JOBS)

# Warnings of a machine that nobody has seen are shown, and end nothing; `timeout` does the work of pytest-timeout. Four
# processes share the GPU where there is pytest-xdist.
GPU_MINUTES ?= 9.5
test-gpu: ## the tests that need CUDA, within ten minutes; uses `python3` as it is, with no network and no .venv
	mkdir -p .package && ln -sfn .. .package/compmod
	PYTHONPATH=$(CURDIR)/.package:$$PYTHONPATH timeout --signal INT --kill-after 20 $(GPU_MINUTES)m python3 -m pytest \
		-p no:cacheprovider -o faulthandler_timeout=200 -W default -m gpu tests/gpu \
		$$(python3 -c 'import xdist' 2>/dev/null && printf '%s' '-n 4 --dist loadfile')

test-slurm: $(STAMP) $(DETECTRON2) ## a quarter of an hour on real SLURM clusters, started on this machine; as root, on Debian
	$(BIN)/python -m pytest -m slurm tests/slurm -n $(JOBS) --maxschedchunk 1

# What docs/performance.md shows. BENCH chooses parts, such as BENCH=knn or BENCH=steps/byol; the others stay as they are.
BENCH ?=
BENCH_VENV := .venv-bench
bench: $(BENCH_VENV)/.installed ## what a step, a view, a probe cost beside published packages; a quarter of an hour
	$(BENCH_VENV)/bin/python tests/benchmarks/on_cpu.py $(BENCH)

# The published packages, in an environment of their own that sees the packages of .venv.
$(BENCH_VENV)/.installed: tests/benchmarks/requirements.txt $(STAMP)
	$(BIN)/python -m venv --clear $(BENCH_VENV)
	$(BIN)/python -c 'import sysconfig; print("import site; site.addsitedir(%r)" % sysconfig.get_path("purelib"))' \
		> $$($(BENCH_VENV)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/beside.pth
	$(BENCH_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement $<
	@touch $@

bench-gpu: ## the same of one GPU, within ten minutes; uses `python3` as it is, with no network and no .venv
	mkdir -p .package && ln -sfn .. .package/compmod
	PYTHONPATH=$(CURDIR)/.package:$$PYTHONPATH python3 tests/benchmarks/on_gpu.py $(BENCH)

# A package of the repository's own root: mypy needs a folder called compmod, whatever the checkout is called.
check: $(STAMP) ## ruff and mypy strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	mkdir -p .package && ln -sfn .. .package/compmod
	cd .package && ../$(BIN)/mypy --config-file ../pyproject.toml -m compmod.cli -m compmod.api \
		-p compmod.pretrain -p compmod.transfer -p compmod.tables -p compmod.slurm

format: $(STAMP) ## rewrite the sources in the house format
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .
