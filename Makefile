# make demo   see over-optimization happen (five minutes on a laptop)
# make test   run the tests; besides,
#             test-browser opens the demo's report, and worse ones, in Debian's Chromium (chromium, chromium-driver),
#             test-faults kills runs at random instants, fills their disk, damages what they kept, and compares every bit,
#             test-objectives runs every objective for 20 updates from its YAML (some minutes),
#             test-real compares SmolLM2's own weights, which it fetches, with plain transformers,
#             test-sinks sends runs to TensorBoard, Trackio and Weights & Biases, which it installs; it needs no account,
#             test-theory is the long one: where the online loop ends, by Monte Carlo,
#             test-trl compares losses, updates and the tokens of conversations with TRL, which it installs
# make docs   build docs/ into site/; a broken link stops it
# PYTHON chooses the interpreter for .venv; PIP_ARGS passes through to pip (for example --index-url URL).

PYTHON ?= python3
PIP_ARGS ?=
BIN := .venv/bin
STAMP := .venv/installed.stamp
TRL_STAMP := .venv/trl.stamp
SINKS_STAMP := .venv/sinks.stamp
DOCS_STAMP := .venv/docs.stamp

.PHONY: help install demo test test-browser test-faults test-objectives test-real test-sinks test-theory test-trl docs lint example wheel clean

help:
	@echo "make install | demo | test | test-browser | test-faults | test-objectives | test-sinks | test-theory | test-trl | docs | lint | example | wheel | clean"

install: $(STAMP)

$(BIN)/python:
	$(PYTHON) -m venv .venv

$(STAMP): pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e '.[dev,gguf,rouge]'
	@touch $@

demo: $(STAMP)
	$(BIN)/overopt demo --out out/demo

test: $(STAMP)
	$(BIN)/python -m pytest

test-browser: demo
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e '.[dev,browser]'
	$(BIN)/python -m pytest tests/browser

test-theory: $(STAMP)
	$(BIN)/python -m pytest tests/theory -m long

$(TRL_STAMP): $(STAMP)
	$(BIN)/python -m pip install --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e '.[dev,gguf,trl]'
	@touch $@

test-trl: $(TRL_STAMP)
	$(BIN)/python -m pytest tests/parity

$(SINKS_STAMP): $(STAMP)
	$(BIN)/python -m pip install --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e '.[dev,gguf,tensorboard,trackio,wandb]'
	@touch $@

test-sinks: $(SINKS_STAMP)
	$(BIN)/python -m pytest tests/sinks

test-real: $(STAMP)
	$(BIN)/python examples/smollm2_llmbar/run.py --model-only
	$(BIN)/python -m pytest tests/real

test-objectives: $(STAMP)
	$(BIN)/python bench/objectives.py --out out/objectives

$(DOCS_STAMP): $(STAMP)
	$(BIN)/python -m pip install --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e '.[dev,gguf,docs]'
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

clean:
	rm -rf .venv out dist build site docs/reference .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
