# The two commands are `make demo` and `make test`. Everything happens in .venv; a second run reuses it.

# Tests start hundreds of interpreters, which need compiled modules whatever the caller's settings are.
unexport PYTHONDONTWRITEBYTECODE

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Three processes, of which two compute on two processors while one waits for servers, clusters or the disk. Each takes
# a file of tests at a time, in the order of tests/conftest.py: a file's fixtures are made once. Each multiplies matrices
# in one thread, since waiting threads of OpenBLAS take the processor of another process, as those of OpenMP would (ncnn,
# PyTorch).
PYTEST := OPENBLAS_NUM_THREADS=1 OMP_WAIT_POLICY=passive $(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder
INSTALL = $(PYTHON) scripts/install.py $(VENV)
FOR_TESTS := --editable ".[cpu,ncnn,mtcnn,secure,milvus,parquet,ray,mqtt,web,metrics,toml]" --group lint
# The program that converts for ncnn; PyTorch, which its wheel names, is not used.
CONVERTER := --no-deps pnnx

.PHONY: help demo demo-house model demo-official test test-quick test-arm64 test-wheel check check-workflows format schemas docs dist clean python

help:
	@echo "make demo           recognize real people with the network of the project: a minute with a fast connection, nothing but PyPI"
	@echo "make demo-house     watch four made cameras in one process, with the page at http://127.0.0.1:8080/"
	@echo "make model          every form of the official network for a device (MODEL_ARGS=--pretrained: of the small one)"
	@echo "make demo-official  the same with the official checkpoint (downloads 225 MB)"
	@echo "make test           all tests; installs MindSpore and PyTorch, the references (several hundred MB to download, 5 GB on disk)"
	@echo "make test-quick     in two minutes: without slow tests, those that start servers and those that need MindSpore or PyTorch"
	@echo "make test-arm64     the built wheel on emulated Raspberry Pi and Jetson cores (Debian; about 14 minutes on Zen 5)"
	@echo "make test-wheel     the tests against the built wheel, with the newest and with the oldest dependencies"
	@echo "make check          ruff, mypy, import-linter and all tests"
	@echo "make schemas        docs/schema: the JSON Schemas of what commands print"
	@echo "make docs           the documentation site in build/site; every link is checked"
	@echo "make dist           the wheel and the sdist in dist/, as they are published"

demo: $(VENV)/.demo
	@echo "Starting the demo of four steps; the first time, Python compiles what it imports"
	@$(BIN)/python -m export demo

demo-house: $(VENV)/.demo-house
	@$(BIN)/python -m scripts.demo_house

model: $(VENV)/.demo
	@$(BIN)/python -m export model $(MODEL_ARGS)

demo-official: $(VENV)/.demo
	@$(BIN)/python -m export fetch
	@$(BIN)/python -m export demo

test: $(VENV)/.references
	$(PYTEST)

test-quick: $(VENV)/.test
	@echo "Leaving out slow tests, those that start servers and those that compare with MindSpore or PyTorch; make test runs them too."
	$(PYTEST) -m "not mindspore and not pytorch and not slow and not integration"

test-arm64:
	@scripts/arm64-smoke -o build/arm64-report

test-wheel:
	@PYTHON=$(PYTHON) scripts/test-wheel
	@PYTHON=$(PYTHON) scripts/test-wheel --oldest

check: $(VENV)/.references
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(PYTEST)

check-workflows: $(VENV)/.workflows
	$(BIN)/shellcheck $(shell grep -l '^#!/usr/bin/env bash' scripts/* .ci/*)
	$(BIN)/actionlint -shellcheck $(BIN)/shellcheck
	$(BIN)/zizmor --offline .github

format: $(VENV)/.test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

schemas: $(VENV)/.test
	$(BIN)/python -m scripts.json_schemas
	$(BIN)/python -m scripts.openapi

docs: $(VENV)/.docs
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "Open build/site/index.html"

# The sdist, and the wheel made from it; a wheel made from the checkout must be the same, byte by byte.
dist: $(VENV)/.dist
	rm -rf dist build/wheel-of-checkout
	$(BIN)/python -m build
	$(BIN)/python -m build --wheel --outdir build/wheel-of-checkout
	cmp dist/*.whl build/wheel-of-checkout/*.whl
	$(BIN)/twine check --strict dist/*

clean:
	rm -rf build dist $(VENV)

# A stamp per set of packages: it is newer than pyproject.toml exactly when the set is installed as that file says.
$(VENV)/.demo: pyproject.toml | python
	@echo "Installing the demo's packages into $(VENV)"
	@$(INSTALL) --editable ".[cpu,mtcnn]" --group demo
	@touch $@

$(VENV)/.demo-house: pyproject.toml | python
	@echo "Installing the packages of the demo with the page into $(VENV)"
	@$(INSTALL) --editable ".[cpu,mtcnn,web]" --group demo
	@touch $@

$(VENV)/.test: pyproject.toml | python
	@echo "Installing the packages for tests into $(VENV)"
	@$(INSTALL) $(FOR_TESTS)
	@$(INSTALL) $(CONVERTER)
	@touch $@

$(VENV)/.references: pyproject.toml | python
	@echo "Installing the packages for tests, MindSpore and PyTorch into $(VENV): several hundred MB"
	@$(INSTALL) $(FOR_TESTS) --group mindspore --group pytorch
	@$(INSTALL) $(CONVERTER)
	@touch $(VENV)/.test $@

$(VENV)/.docs: pyproject.toml | python
	@echo "Installing the packages for the documentation into $(VENV)"
	@$(INSTALL) --editable ".[cpu]" --group docs
	@touch $@

$(VENV)/.dist: pyproject.toml | python
	@$(INSTALL) --group dist
	@touch $@

$(VENV)/.workflows: pyproject.toml | python
	@$(INSTALL) --group workflows
	@touch $@

python:
	@test ! -e $(VENV) || $(BIN)/python -c "" 2>/dev/null || { echo "$(VENV) has no Python that runs: delete it (rm -r $(VENV)) and run make again"; exit 1; }
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.10 or newer is needed: apt install python3 python3-venv"; exit 1; }
