# fanin: what a maintainer and a user type. Every target sets itself up.
PYTHON ?= python3
DATA ?= digits
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
ARGS ?=
# A test starts hundreds of processes; each would compile every module anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup study test test-all lint bench bench-grid bench-report report tensorboard reference docs figures clean

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: $(READY)  ## make .venv and install fanin with its development tools, exact versions

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

study: $(READY)  ## the 50-layer initialization study; DATA=mnist for real MNIST, ARGS='seed=0,1' for overrides
	$(BIN)/fanin experiment=init_study data=$(DATA) $(ARGS)

test: $(READY)  ## the quick tests, under 5 minutes on 2 cores
	$(BIN)/python -m pytest -m 'not slow' -n 3 --dist loadfile $(ARGS)

test-all: $(READY)  ## every test, the long training runs too
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

lint: $(READY)  ## ruff, and mypy in strict mode
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(READY)  ## speed of the study's step, and of looks at its curvature, as ratios in one run
	$(BIN)/python scripts/bench.py $(ARGS)
	$(BIN)/python scripts/bench_curvature.py

bench-grid: $(READY)  ## speed of grids, as ratios in one run; brings Lightning along to compare with
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[bench]'
	$(BIN)/python scripts/bench_grid.py $(ARGS)

bench-report: $(READY)  ## speed of the report, of 1,000 and of 10,000 runs
	$(BIN)/python scripts/bench_report.py $(ARGS)

report: $(READY)  ## tables, figures and a page from everything in outputs/
	$(BIN)/fanin-report outputs $(ARGS)

tensorboard: $(READY)  ## TensorBoard on everything in outputs/
	$(BIN)/tensorboard --logdir outputs --samples_per_plugin scalars=100000,images=100 $(ARGS)

reference: $(READY)  ## docs/reference/, schemas/ and docs/files.md, from conf/ and docstrings
	$(BIN)/python scripts/reference.py $(ARGS)

docs: $(READY)  ## the pages of docs/ as a site, build/site/index.html
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet $(ARGS)
	@echo build/site/index.html

figures: $(READY)  ## the pictures of the README, from a real MNIST run (needs MNIST and Chromium)
	$(BIN)/python scripts/readme_figures.py $(ARGS)

clean:  ## remove the environment and caches, never outputs/
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
