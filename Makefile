# Everything that a fresh clone needs, on a Debian-like system with Python (3.11 or later) and make.
#   make demo   set up, start the server, paint, and show what was painted under out/
#   make test   set up, then lint, types, import rules and all tests but those inside real hosts
#   make hosts  put real Krita, GIMP and Blender into a root of their own (as root), and run the tests inside them
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test hosts lint bench docs clean

demo: .venv/ready
	$(BIN)/brushwire demo

test: .venv/ready-dev lint
	$(BIN)/python -m pytest -q -n auto --dist loadfile --durations 15 --ignore tests/hosts

# One after the other: a host takes all of a small machine.
hosts: .venv/ready-dev
	tests/hosts/install.sh
	$(BIN)/python -m pytest -q tests/hosts

lint: .venv/ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/ready-dev
	$(BIN)/python -m tests.bench

docs: .venv/ready-docs
	$(BIN)/mkdocs build --strict

clean:
	rm -rf .venv out site build dist *.egg-info

# -- set-up: one environment, with the versions that were tested together

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Brushwire needs Python 3.11 or later; set PYTHON=python3.12, say."; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null \
		|| { echo "Installing python3-venv, which this system's Python lacks"; \
		     if [ "$$(id -u)" = 0 ]; then apt-get update -q && apt-get install -y -q python3-venv; \
		     else sudo apt-get update -q && sudo apt-get install -y -q python3-venv; fi; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --upgrade pip

.venv/ready: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install -q -c constraints.txt -e .
	@touch $@

.venv/ready-dev: .venv/ready
	$(BIN)/python -m pip install -q -c constraints.txt --group dev
	@touch $@

.venv/ready-docs: .venv/ready-dev
	$(BIN)/python -m pip install -q -c constraints.txt --group docs
	@touch $@
