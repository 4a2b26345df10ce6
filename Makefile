# What can be done here: `make help`. It needs Python 3.11 or later and make, nothing else.

PYTHON ?= python3
VENV := .venv
JOBS ?=
PORT ?= 8000
ARGS ?=

BIN := $(VENV)/bin
PY := $(BIN)/python
READY := $(VENV)/.requirements.sha256

# the language of the shell must not change what is built or how files are sorted
export LC_ALL := C.UTF-8
export LANG := C.UTF-8
export PYTHONUTF8 := 1
export PYTHONNOUSERSITE := 1
export PYTHONUNBUFFERED := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export MPLCONFIGDIR := $(CURDIR)/$(VENV)/var/matplotlib
# chapters that run at once; empty for as many as there are processors, up to 4
export BOOK_JOBS := $(JOBS)
unexport PYTHONHOME PYTHONPATH PYTHONWARNINGS VIRTUAL_ENV MAKEFLAGS MFLAGS

.DEFAULT_GOAL := help
.PHONY: help setup book test test-fast check data-check lint format types pdf serve lock lab clean distclean

help: ## list what can be done
	@grep -hE '^[a-z-]+:.*##' $(firstword $(MAKEFILE_LIST)) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' | awk -F'|' '{ printf "%-18s %s\n", $$1, $$2 }'

setup: ## install the pinned requirements into .venv, when they changed
	@PYTHON='$(PYTHON)' sh .ci/setup.sh '$(VENV)'

book: setup ## check the data, run the chapters, write _build/html/index.html (JOBS=1: one at a time)
	@$(PY) -m analysis.bookbuild

test: book ## build the book and run all tests (ARGS=... goes to pytest)
	@$(PY) -m pytest -n $(or $(JOBS),auto) --dist loadgroup $(ARGS)

test-fast: setup ## run the tests that need no built book
	@$(PY) -m pytest -n $(or $(JOBS),auto) --dist loadgroup -m "not book" $(ARGS)

check: lint types data-check test-fast ## what to run before a commit: lint, types, data, fast tests

data-check: setup ## validate the data package
	@$(PY) -m analysis check

lint: setup ## check style
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .

format: setup ## put files into the project's style
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

types: setup ## check types
	@$(BIN)/mypy

pdf: book ## print the whole book into _build/book.pdf; needs Chromium (Debian: apt install chromium)
	@$(PY) -m analysis.bookbuild.pdf

serve: book ## build the book and show it at http://localhost:8000 (PORT=...)
	@echo "open http://localhost:$(PORT)/ and end with Ctrl-C"
	@$(PY) -m http.server $(PORT) --bind 127.0.0.1 --directory _build/html

lock: ## pin requirements.in anew, and say what that does to the estimates (UPGRADE=1: newest versions)
	@sh .ci/lock.sh '$(VENV)/lock' $(if $(UPGRADE),--upgrade)
	@$(MAKE) --no-print-directory setup
	@$(PY) -m analysis estimates --digits || [ $$? -eq 1 ]

lab: setup ## open chapters as notebooks in JupyterLab (PORT=...), which is installed on first use
	@sh .ci/lab.sh '$(VENV)'
	@$(VENV)/lab/bin/python -m jupyter lab --port $(PORT) --ServerApp.default_url=/lab/tree/chapters $(ARGS)

clean: ## remove what was built
	@rm -rf _build .pytest_cache .ruff_cache .mypy_cache .hypothesis .coverage htmlcov

distclean: clean ## remove what was built and what was installed
	@rm -rf $(VENV)
