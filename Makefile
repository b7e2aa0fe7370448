# `make demo` and `make test` each do all the set-up on a fresh machine that has Python 3.11+, make and a package registry.

PYTHON ?= python3
BIN := .venv/bin
DEMO_HOME ?= firstlook-demo
VIDEOS ?=

.PHONY: setup demo serve test test-long lint lock clean

setup: .venv/.ready

# One hashed lock for everything. It names no registry: the one that pip is set up with serves.
.venv/.ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "firstlook wants Python 3.11 or newer; $$($(PYTHON) --version) came. Try: make setup PYTHON=python3.12"; exit 1; }
	@echo "Setting up .venv; the first time this fetches about 3 GB of packages (7 GB on disk) and takes a minute or more."
	@start=$$(date +%s); \
		test -x $(BIN)/python || $(PYTHON) -m venv .venv; \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check 'uv>=0.8' && \
		$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock && \
		$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable . && \
		$(BIN)/python -m ingest.spaces && \
		touch $@ && \
		echo "Set up in $$(( $$(date +%s) - start )) s; .venv holds $$(du -sh .venv | cut -f1)."

demo: setup
	@$(BIN)/python -m service.demo --home $(DEMO_HOME) $(if $(VIDEOS),--videos "$(VIDEOS)")

# The demo library over HTTP. What stands behind `#key=` is a key for the page, or for curl; it holds for a week.
serve: demo
	@key=$$($(BIN)/firstlook keys create --scope search,uploads,videos --days 7 --label 'make serve' \
		--home $(DEMO_HOME)/samples) && \
		echo && echo "Once it answers, look at it here: http://127.0.0.1:8000/#key=$$key"
	@$(BIN)/firstlook serve --home $(DEMO_HOME)/samples

# Two at a time, a file on one side: those of a file share what takes long to make.
test: setup
	@$(BIN)/python -m pytest -q -n 2 --dist loadfile

test-long: setup
	@$(BIN)/python -m pytest -q -m 'long or data or peer or ci' --timeout=3600

lint: setup
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

lock:
	@$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-annotate --no-header \
		--no-emit-index-url --no-emit-find-links --group dev --all-extras --override overrides.txt \
		pyproject.toml --output-file requirements.lock

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache $(DEMO_HOME)
