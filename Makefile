# make demo   runs the miniature study, in which over-optimization can be seen to happen (five minutes on a laptop)
# make test   runs the fast tests
# make lint   runs ruff and mypy
# make docs   builds docs/ into site/; a broken link stops it
# make example  trains a real pretrained model on human preferences (twelve minutes on a CPU)
# make dist   builds the wheel and the sdist into dist/; `make wheel` only the wheel
#
# Slow test suites, none of which `make test` runs:
#   rehearsal        runs every recipe of examples/recipes on a CPU (twenty minutes at most; SmolLM2 is downloaded)
#   test-browser     opens the report of the demo, and reports of damaged runs, in Debian's Chromium
#                    (packages chromium and chromium-driver)
#   test-faults      kills runs at random instants, fills their disk, damages their files, and compares every bit
#   test-distributed trains one run in two and three processes, compares it with one process, and kills them
#   test-judges      judges by an API that fails in every way and by `transformers serve` with SmolLM2, which it
#                    downloads, while the judging process and the server are killed
#   test-objectives  runs every objective for 20 updates from its YAML (some minutes)
#   test-ray         runs sweeps through Ray clusters of several nodes, all here, and removes nodes; it installs Ray
#   test-real        compares SmolLM2's weights, which it downloads, with plain transformers
#   test-sinks       sends runs to TensorBoard, Trackio and Weights & Biases, which it installs; no account is needed
#   test-theory      finds where the online loop converges, by Monte Carlo; the longest suite
#   test-trl         compares losses, updates and the tokens of conversations with TRL, which it installs
#
# PYTHON chooses the interpreter for .venv. PIP_ARGS is passed to pip, for example PIP_ARGS="--index-url URL".

PYTHON ?= python3
PIP_ARGS ?=
BIN := .venv/bin
PIP_INSTALL := $(BIN)/python -m pip install --disable-pip-version-check $(PIP_ARGS) -c constraints.txt
STAMP := .venv/installed.stamp
TRL_STAMP := .venv/trl.stamp
SINKS_STAMP := .venv/sinks.stamp
JUDGES_STAMP := .venv/judges.stamp
REHEARSAL_STAMP := .venv/rehearsal.stamp
RAY_STAMP := .venv/ray.stamp
DOCS_STAMP := .venv/docs.stamp

.PHONY: help install demo rehearsal test test-browser test-distributed test-faults test-judges test-objectives test-ray test-real test-sinks test-theory test-trl docs lint example wheel dist clean

help:
	@sed -n '/^#/!q; s/^# \{0,1\}//p' Makefile

install: $(STAMP)

$(BIN)/python:
	$(PYTHON) -m venv .venv

$(STAMP): pyproject.toml constraints.txt | $(BIN)/python
	$(PIP_INSTALL) -e '.[dev,bitsandbytes,gguf,peft,rouge]'
	@touch $@

demo: $(STAMP)
	$(BIN)/overopt demo --out out/demo

test: $(STAMP)
	$(BIN)/python -m pytest

test-browser: demo
	$(PIP_INSTALL) --quiet -e '.[dev,browser]'
	$(BIN)/python -m pytest tests/browser

test-theory: $(STAMP)
	$(BIN)/python -m pytest tests/theory -m long

$(TRL_STAMP): $(STAMP)
	$(PIP_INSTALL) -e '.[dev,gguf,trl]'
	@touch $@

test-trl: $(TRL_STAMP)
	$(BIN)/python -m pytest tests/parity

$(SINKS_STAMP): $(STAMP)
	$(PIP_INSTALL) -e '.[dev,gguf,tensorboard,trackio,wandb]'
	@touch $@

test-sinks: $(SINKS_STAMP)
	$(BIN)/python -m pytest tests/sinks

$(RAY_STAMP): $(STAMP)
	$(PIP_INSTALL) -e '.[dev,gguf,ray]'
	@touch $@

test-ray: $(RAY_STAMP)
	$(BIN)/python -m pytest tests/cluster

$(JUDGES_STAMP): $(STAMP)
	$(PIP_INSTALL) -e '.[dev,gguf,judge]' 'transformers[serving]'
	@touch $@

test-distributed: $(STAMP)
	$(BIN)/python -m pytest tests/distributed

test-judges: $(JUDGES_STAMP)
	$(BIN)/python examples/smollm2_llmbar/run.py --model-only
	$(BIN)/python -m pytest tests/judges

$(REHEARSAL_STAMP): $(STAMP)
	$(PIP_INSTALL) -e '.[dev,gguf,judge,peft]'
	@touch $@

rehearsal: $(REHEARSAL_STAMP)
	$(BIN)/python examples/smollm2_llmbar/run.py --model-only
	$(BIN)/python tests/rehearsal/run.py --out out/rehearsal

test-real: $(STAMP)
	$(BIN)/python examples/smollm2_llmbar/run.py --model-only
	$(BIN)/python -m pytest tests/real

test-objectives: $(STAMP)
	$(BIN)/python bench/objectives.py --out out/objectives

$(DOCS_STAMP): $(STAMP)
	$(PIP_INSTALL) -e '.[dev,gguf,docs]'
	@touch $@

docs: $(DOCS_STAMP)
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --nitpicky --builder html -d out/doctrees docs site

test-faults: $(STAMP)
	$(BIN)/python -m pytest tests/faults -m long

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

example: $(STAMP)
	$(BIN)/python examples/smollm2_llmbar/run.py

wheel: $(STAMP)
	$(BIN)/python -m pip wheel --disable-pip-version-check $(PIP_ARGS) --no-deps --wheel-dir dist .

dist: $(STAMP)
	$(PIP_INSTALL) --quiet hatchling
	$(BIN)/python -m hatchling build --directory dist

clean:
	rm -rf .venv out dist build site docs/reference .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
