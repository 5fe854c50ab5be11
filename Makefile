# make demo   see over-optimization happen (five minutes on a laptop)
# make test   run the tests; make test-theory the long one: where the online loop ends, by Monte Carlo
# make test-faults   kill runs at random instants, fill their disk, damage what they kept; continue and compare every bit
# PYTHON chooses the interpreter for .venv; PIP_ARGS passes through to pip (for example --index-url URL).

PYTHON ?= python3
PIP_ARGS ?=
BIN := .venv/bin
STAMP := .venv/installed.stamp

.PHONY: help install demo test test-theory test-faults lint example wheel clean

help:
	@echo "make install | demo | test | test-theory | test-faults | lint | example | wheel | clean"

install: $(STAMP)

$(BIN)/python:
	$(PYTHON) -m venv .venv

$(STAMP): pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e '.[dev,gguf]'
	@touch $@

demo: $(STAMP)
	$(BIN)/overopt demo --out out/demo

test: $(STAMP)
	$(BIN)/python -m pytest

test-theory: $(STAMP)
	$(BIN)/python -m pytest tests/theory -m long

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
	rm -rf .venv out dist build .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
