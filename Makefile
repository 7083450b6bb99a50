# Every target makes the part of the virtual environment that it needs, once.
#   make demo   train on the embedded digits and show what an attack does
#   make test   everything that continuous integration runs
#   make lint   the part of `make test` that runs no code
#   make lock   write requirements/*.txt anew from pyproject.toml (see CONTRIBUTING.md)
# Another interpreter: make PYTHON=/path/to/python3.11 demo

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --quiet
# The locks are complete, so pip resolves nothing: TensorFlow Federated 0.87 asks for a
# jaxlib that can no longer be installed, and a resolver would stop there.
LOCKED := --no-deps --require-hashes --requirement

# Arguments for `uv pip compile`; UPGRADE=--upgrade moves what pyproject.toml leaves open.
UPGRADE ?=
COMPILE = $(BIN)/uv pip compile pyproject.toml --quiet $(UPGRADE) --python-version 3.11 \
  --python-platform x86_64-manylinux_2_31 --generate-hashes --no-emit-index-url \
  --custom-compile-command 'make lock'

# What a Python reports about itself when it is the wrong one, else nothing.
define WRONG_PYTHON
import sys; v = sys.version_info; print('Python %d.%d' % v[:2] if v[:2] != (3, 11) else '')
endef

.PHONY: help demo test lint lock

help:
	@sed -n '2,6s/^# *//p' Makefile

demo: $(VENV)/.base
	$(BIN)/python -m binaries.demo

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The fast tests share the processor cores, file by file; the slow ones start processes of their own.
# pytest leaves with status 5 when it selects no test.
test: lint
	$(BIN)/python -m pytest -m 'not slow' --numprocesses=auto --maxprocesses=4 --dist=loadfile
	$(BIN)/python -m pytest -m slow || [ $$? -eq 5 ]

lock: $(BIN)/uv
	$(COMPILE) --output-file requirements/base.txt > /dev/null
	$(COMPILE) --constraint requirements/base.txt --extra dev \
	  --output-file requirements/dev.txt > /dev/null
	$(COMPILE) --constraint requirements/base.txt --extra gpu \
	  --output-file requirements/gpu.txt > /dev/null

$(BIN)/uv: $(VENV)/.created
	$(PIP_INSTALL) 'uv>=0.8,<1'

$(VENV)/.base: requirements/base.txt $(VENV)/.created
	$(PIP_INSTALL) $(LOCKED) $<
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.created
	$(PIP_INSTALL) $(LOCKED) $<
	@touch $@

$(VENV)/.created:
	@wrong="$$($(PYTHON) -c "$(WRONG_PYTHON)" 2>/dev/null || echo 'not a Python that starts')"; \
	if [ -n "$$wrong" ]; then \
	  echo "tff_robust needs Python 3.11, but '$(PYTHON)' is $$wrong:" \
	    "install Python 3.11 and name it, as in 'make PYTHON=/path/to/python3.11'." >&2; \
	  exit 1; \
	fi
	@rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	@touch $@
