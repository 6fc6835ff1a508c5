# `make setup` once (the others call it), `make demo` to see it work, `make test` to prove that it does.
PYTHON ?= python3
BIN := .venv/bin
AUDIT := .venv/audit/bin
# Page faults are dear on virtual machines: keep freed memory while training.
TRAINING_MEMORY := MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=17179869184 MALLOC_TOP_PAD_=268435456
# Two files at once: most tests wait for others; which ones take turns says tests/conftest.py. Threads of torch
# that find the cores taken spin for what they wait for.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2 --dist loadscope --no-loadscope-reorder
CONFIG ?= training/configs/ultrastructure-vnc.toml
export PYTHONSAFEPATH := 1
comma := ,

.PHONY: setup setup-locked demo test test-full serve lint bench train cross-validate model lock audit schemas chaos chaos-night reliability \
  clean

setup: .venv/.serve

# As `setup`, with exactly the files that requirements/serve.txt names by digest: CPython 3.11 on Linux.
setup-locked: | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/serve.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .

demo: setup
	$(BIN)/python examples/demo.py

test: .venv/.dev lint
	$(PYTEST) -m "not full" --durations=15

test-full: .venv/.dev lint
	$(PYTEST) --cov --cov-report=term --durations=25

serve: setup
	$(BIN)/ultraread serve

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pyright
	$(BIN)/lint-imports

bench: .venv/.dev
	$(BIN)/python benchmarks/model_speed.py
	$(BIN)/python benchmarks/range_scoring.py
	$(BIN)/python benchmarks/open_formats.py
	$(BIN)/python benchmarks/tile_service.py
	$(BIN)/python benchmarks/api_under_load.py

train: .venv/.train
	$(TRAINING_MEMORY) $(BIN)/ultraread train $(CONFIG)

cross-validate: .venv/.train
	$(TRAINING_MEMORY) $(BIN)/ultraread cross-validate $(CONFIG)

# All stages in their order; each goes on where it was stopped.
model: cross-validate train
	$(BIN)/ultraread calibrate $(CONFIG)
	$(BIN)/ultraread export $(CONFIG)

# Digests of all that the service needs, from the index that pip is set to.
lock: .venv/.dev
	$(BIN)/pip-compile --quiet --generate-hashes --extra serve --strip-extras --allow-unsafe --no-header \
	  --no-emit-index-url --no-emit-trusted-host --no-emit-find-links -o requirements/serve.txt pyproject.toml
	sed -i '1i # All that `ultraread[serve]` installs, with digests: CPython 3.11 on Linux. `make lock` writes it anew.' \
	  requirements/serve.txt

# What is in the service (CycloneDX), and which of it has a known weakness. Without an answer about every
# package it fails: silence is no all-clear.
audit: .venv/.audit
	mkdir -p build/audit
	$(AUDIT)/cyclonedx-py requirements requirements/serve.txt --pyproject pyproject.toml --mc-type application \
	  --output-reproducible --of JSON -o build/audit/sbom.cdx.json
	$(AUDIT)/pip-audit -r requirements/serve.txt --require-hashes --disable-pip --strict --progress-spinner off \
	  -f json -o build/audit/pip-audit.json

# Every fault at a small count: `make chaos ROWS=kill-random,s3 SEED=7`; `make test` runs them all.
chaos: .venv/.dev
	$(BIN)/pytest tests/chaos $(if $(ROWS),-k "$(subst $(comma), or ,$(ROWS))")

# Rows at their night counts; goes on where it was stopped.
chaos-night: .venv/.dev
	PYTHONPATH=tests nice $(BIN)/python -m chaos.night --rows "$(ROWS)" --seed $(or $(SEED),1)

reliability: .venv/.dev
	PYTHONPATH=tests $(BIN)/python -m chaos.report

# The JSON schemas that are generated from types; tests hold one to the other.
schemas: setup
	$(BIN)/python -m ultraread.serving.schemas

clean:
	rm -rf .venv build dist demo-out

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "UltraRead needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv .venv || { rm -rf .venv; echo "venv failed: install your system's python3-venv package" >&2; exit 1; }

.venv/.serve: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[serve]"
	touch $@

.venv/.train: pyproject.toml | .venv/.serve
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[serve,train]"
	touch $@

.venv/.audit: requirements/audit.txt | .venv/bin/python
	$(BIN)/python -m venv .venv/audit
	$(AUDIT)/python -m pip install --quiet --disable-pip-version-check -r requirements/audit.txt
	touch $@

.venv/.dev: pyproject.toml | .venv/.train .venv/.audit
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[serve,train,dev]"
	touch $@
