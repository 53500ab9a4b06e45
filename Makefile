# Every target sets up what it needs. `make` alone lists them.
#
#   make test PYTEST_ARGS="tests/catalog -x"      make demo DEMO_ARGS=--once      make torture KILLS=300 DATABASE=postgresql

PYTEST_ARGS ?=
DEMO_ARGS ?=
KILLS ?= 300
DATABASE ?= sqlite,postgresql
BENCH_ARGS ?=
PYTHON ?=
export PYTHON

BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help setup demo test check format docs torture bench bench-search bench-load bench-busy bench-viewports bench-tiles bench-ingest lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## make .venv as requirements.lock says (no root; nothing to do when nothing changed)
	@scripts/setup.sh

demo: setup ## a catalog on free ports that ingests scenes made on the spot (DEMO_ARGS=--once, --live)
	@$(BIN)/graticule demo $(DEMO_ARGS)

test: setup ## every test, against real servers where they need them (PYTEST_ARGS=...)
	@$(BIN)/python tests/servers.py
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest $(PYTEST_ARGS)

check: setup ## format, lint, types, who may import whom, dependencies, docs, tracked files
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/deptry src
	$(BIN)/python docs/generate.py --check
	$(BIN)/python docs/check.py
	$(BIN)/python scripts/tracked_files.py

format: setup ## put the code into its format, with what ruff can repair by itself
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: setup ## write the generated pages of docs/reference again
	$(BIN)/python docs/generate.py

torture: setup ## kill worker, service and database server KILLS times during ingestion, then look for what was lost
	GRATICULE_TEST_KILLS=$(KILLS) GRATICULE_TEST_DATABASE=$(DATABASE) $(BIN)/python -m pytest tests/crash/test_random_kills.py --log-cli-level=WARNING $(PYTEST_ARGS)

bench: setup ## start, memory, ingestion and conversion on this machine, as one table
	@$(BIN)/python benchmarks/service.py $(BENCH_ARGS)

bench-search: setup ## search and read against stac-fastapi on pgstac, by turns (BENCH_ARGS="--stores sqlite,postgres")
	@$(BIN)/python -m benchmarks.search $(BENCH_ARGS)

bench-load: setup ## bulk loading against pypgstac (BENCH_ARGS=--install-peer)
	@$(BIN)/python -m benchmarks.load $(BENCH_ARGS)

bench-busy: setup ## search while items are written through the API (BENCH_ARGS="--rate 200")
	@$(BIN)/python -m benchmarks.busy $(BENCH_ARGS)

bench-viewports: setup ## viewports over thousands of small COGs, and memory after 10,000 tiles (BENCH_ARGS="--items 5000")
	@$(BIN)/python -m benchmarks.viewports $(BENCH_ARGS)

bench-tiles: setup ## tiles against titiler-pgstac, by turns (BENCH_ARGS="--peer-programs DIR/bin")
	@$(BIN)/python -m benchmarks.tiles $(BENCH_ARGS)

bench-ingest: setup ## ingestion against stac-fastapi-pgstac, conversion against GDAL (BENCH_ARGS="--bulk 100000")
	@$(BIN)/python -m benchmarks.ingest $(BENCH_ARGS)

lock: setup ## resolve requirements.lock anew from pyproject.toml
	@scripts/lock.sh

clean: ## remove all that the other targets made
	rm -rf .venv dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find src tests docs scripts -name __pycache__ -type d -prune -exec rm -rf {} +
