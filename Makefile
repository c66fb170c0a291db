# Two commands do everything: `make demo` and `make test`. Both set up .venv by themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export OMP_WAIT_POLICY ?= PASSIVE
export HF_HUB_DISABLE_TELEMETRY ?= 1
# without .pyc files every process that a test starts compiles torch and lightning anew: 5 CPU s
unexport PYTHONDONTWRITEBYTECODE

.PHONY: install demo test lint bench docs clean

install: $(VENV)/.installed

# uv is about eight times faster; plain pip is the fallback
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet "uv>=0.5" || true
	@if [ -x $(BIN)/uv ]; then \
	  echo "installing with uv"; \
	  UV_FIND_LINKS="$${UV_FIND_LINKS:-$$PIP_FIND_LINKS}" $(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt -e ".[dev]" \
	  || $(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev]"; \
	else \
	  echo "installing with pip"; \
	  $(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev]"; \
	fi
	@touch $@

demo: install
	$(BIN)/python -m sfm.demo

# one process per core, one thread each; files stay together, in their order: else those of few tests,
# which are the longest, come last, and one process ends alone
WORKERS ?= 2
test: install lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile --no-loadscope-reorder

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# all families, hours; make bench ONLY=fluids, trunk, dft, md or transfer for one
bench: install
	$(BIN)/python benchmarks/run.py $(if $(ONLY),--only $(ONLY))

# the site, build/site/index.html: a warning or a dead link stops it
docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet
	@echo build/site/index.html

clean:
	rm -rf $(VENV) build dist demo .pytest_cache .mypy_cache .ruff_cache
