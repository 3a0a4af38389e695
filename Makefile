# The verbs of this project: `make` lists them. Nothing is installed twice: a stamp in .venv stands for each set of
# packages, and is older than pyproject.toml when that has changed.

VENV := .venv
PYTHON := $(VENV)/bin/python
PIP := $(PYTHON) -m pip --disable-pip-version-check install --quiet

# A venv whose Python has been upgraded away is made anew.
ifeq ($(wildcard $(PYTHON)),)
$(shell rm -f $(VENV)/.made)
endif

.DEFAULT_GOAL := help
.PHONY: help demo test lint format bench install venv servers wheel clean
.DELETE_ON_ERROR:

help:                       ## list the verbs
	@sed -n 's/^\([a-z]*\):[^#]*## */  make \1\t/p' $(MAKEFILE_LIST) | expand -t 18

demo: $(VENV)/.demo         ## send a campaign through a local server and watch it, in a minute
	$(VENV)/bin/mailer demo

test: $(VENV)/.dev servers  ## install what the tests need and run everything; ARGS="tests/store -x" for a part
	$(VENV)/bin/pytest --numprocesses=auto --dist=worksteal $(ARGS)

lint: $(VENV)/.dev          ## style, types and who may import whom
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check --quiet
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

format: $(VENV)/.dev        ## put the code into its form
	$(VENV)/bin/ruff check --fix
	$(VENV)/bin/ruff format

bench: $(VENV)/.dev servers ## measure, all contenders in one run; ARGS="…" is passed on
	$(PYTHON) -m bench $(ARGS)

install: $(VENV)/.installed ## mailer alone, as .venv/bin/mailer
	@echo "Type: $(VENV)/bin/mailer init"

venv: $(VENV)/.dev          ## everything to work on mailer, in .venv

servers:                    ## the mail servers that the tests talk to (as root on Debian; elsewhere says how)
	@tools/install-servers

wheel: $(VENV)/.made        ## the package to ship, in dist/
	$(PYTHON) -m pip --disable-pip-version-check wheel --quiet --no-deps --wheel-dir dist .

clean:                      ## remove what was made here: .venv, caches, packages
	rm -rf $(VENV) dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/.made:
	@tools/make-venv $(VENV)
	@touch $@

$(VENV)/.installed: pyproject.toml $(VENV)/.made
	$(PIP) --editable '.[uvloop]'
	@touch $@

$(VENV)/.demo: pyproject.toml $(VENV)/.made
	$(PIP) --editable '.[demo]'
	@touch $(VENV)/.installed $@

$(VENV)/.dev: pyproject.toml $(VENV)/.made
	$(PIP) --editable '.[dev]'
	@touch $(VENV)/.installed $(VENV)/.demo $@
