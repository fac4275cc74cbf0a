# Every target says what it does after '##'; `make help` lists them.
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev
DBT_STAMP := $(VENV)/.parsed-dbt
# Byte-code is part of the set-up: Dagster starts processes, and compiling at each start costs seconds.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: install
install: $(DBT_STAMP) ## Set up .venv; then .venv/bin/sentinet works

$(BIN)/uv: constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "sentinet needs Python >= 3.11; $(PYTHON) is $$($(PYTHON) --version 2>&1). Set PYTHON=/path/to/python3.11"; exit 2; }
	@test -x $(BIN)/pip || PYTHON=$(PYTHON) sh scripts/make_venv.sh $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt uv
	@touch $@

$(STAMP): pyproject.toml constraints.txt $(BIN)/uv
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --constraint constraints.txt --editable '.[dagster,embedded,quality]'
	@touch $@

$(DBT_STAMP): $(STAMP) $(shell find dbt_project -type f)
	@$(BIN)/python -m sentinet_dagster.rollups
	@touch $@

$(DEV_STAMP): $(DBT_STAMP)
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --constraint constraints.txt --group dev
	@touch $@

.PHONY: install-dev
install-dev: $(DEV_STAMP) ## Set up .venv with what the checks need

.PHONY: demo
demo: $(DBT_STAMP) ## Simulated market, live, in the terminal (DEMO_FOR=150s, DEMO_ARGS='--summary FILE')
	@$(BIN)/sentinet demo $(if $(DEMO_FOR),--for $(DEMO_FOR)) $(DEMO_ARGS)

.PHONY: up
up: $(DBT_STAMP) ## Start Sentinet in the background: database, ingest daemon, Dagster
	@$(BIN)/sentinet up

.PHONY: down
down: $(STAMP) ## Stop what `make up` started
	@$(BIN)/sentinet down

.PHONY: status
status: $(STAMP) ## Show what runs and where
	@$(BIN)/sentinet status

.PHONY: dashboards
dashboards: $(DBT_STAMP) ## Start Sentinet with Superset and its dashboards; installs Superset if it is missing
	@$(BIN)/sentinet up --with-superset

.PHONY: lint
lint: $(DEV_STAMP) ## Format, lint, types, import contracts, SQL
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/sqlfluff lint --disable-progress-bar sql
	$(BIN)/sqlfluff lint --disable-progress-bar dbt_project/models

.PHONY: check
check: lint ## Everything CI runs: lint, then pytest (PYTEST_ARGS='-k view')
	$(BIN)/pytest $(PYTEST_ARGS)

.PHONY: test-superset
test-superset: $(DEV_STAMP) ## The dashboards' checks alone: a real Superset, a real browser; pictures in test-artifacts/
	$(BIN)/pytest tests/superset

.PHONY: test
test: check ## Install what is needed and run every check

.PHONY: scorecard
scorecard: $(DEV_STAMP) ## Write tests/scorecard.json anew: what later changes of the judgement are held against
	@$(BIN)/sentinet evaluate injected --short --json > tests/scorecard.json.new
	@$(BIN)/python -m json.tool tests/scorecard.json.new tests/scorecard.json
	@rm tests/scorecard.json.new

.PHONY: chaos
chaos: $(DEV_STAMP) ## Kill, cut, restart and flood the daemon for minutes; prints what was proved (CHAOS_ARGS='--seed 2')
	@$(BIN)/python -m tests.chaos $(CHAOS_ARGS)

.PHONY: benchmark-peer
benchmark-peer: $(DEV_STAMP) ## Rows a second beside cryptofeed's, which gets an environment of its own
	@test -x .venv-peer/bin/python || $(BIN)/uv venv --quiet --python $(BIN)/python .venv-peer
	@$(BIN)/uv pip install --quiet --python .venv-peer/bin/python --requirement tests/benchmarks/peer-requirements.txt
	@PYTHONPATH=. $(BIN)/python tests/benchmarks/peer.py --peer-python .venv-peer/bin/python $(BENCHMARK_ARGS)

.PHONY: constraints
constraints: ## Resolve the pins anew
	$(BIN)/uv pip compile --quiet --upgrade pyproject.toml --all-extras --group dev --no-header --no-annotate --output-file constraints.txt

.PHONY: dbt-docs
dbt-docs: $(DBT_STAMP) ## Write dbt's documentation of schema rollup (DOCS_DIR=.sentinet/dbt-docs)
	@$(BIN)/sentinet rollups docs $(or $(DOCS_DIR),.sentinet/dbt-docs)

.PHONY: clean
clean: ## Remove .venv and caches; state under .sentinet stays
	rm -rf $(VENV) .venv-peer .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis test-artifacts
