# `make` alone lists the commands. `make check` changes nothing, `make fix` does.

PYTHON ?= python3
BIN := .venv/bin
PATHS := analytics cli etl fhir-gateway models portal privacy tests
PYTEST := $(BIN)/pytest
# Of the benches.
ROUNDS ?= 3
SECONDS ?= 5
WORKERS ?= 2
SIZES ?= 10k,100k,1M
DATABASES ?= sqlite
BENCH_GROUP := import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["dependency-groups"]["bench"])

.DEFAULT_GOAL := help
.PHONY: acro bench-validation clients help setup demo test test-slow test-unit test-spec test-gateway test-portal test-lake test-others test-integration test-acceptance check fix \
	bench bench-audit bench-enforcement bench-gateway bench-postgresql-read bench-sqlite-read bench-workers bench-cds-hooks bench-model-scoring bench-model-training bench-subscriptions bench-lake bench-latency bench-memory bench-operations bench-deid bench-forecasts bench-overload bench-paint bench-portal bench-people operation-pages view-library deid-page omop-pages pictures texts profile lock assets architecture browser postgresql clean

help: ## list the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-18s %s\n", $$1, $$2}'

setup: .venv/.ready ## everything needed to run: .venv, Java, Delta's jar (quick when done)

.venv/.ready: requirements.lock pyproject.toml cli/setup/java.sh cli/setup/openmp.sh
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "eHR Commons needs Python 3.11 or newer: make setup PYTHON=python3.11")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || { echo "Python's venv module is missing (Debian: apt-get install python3-venv)."; exit 1; }
	@echo "Installing the locked dependencies into .venv (some minutes the first time) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
	@sh cli/setup/openmp.sh $(BIN)/python
	@sh cli/setup/java.sh
	@$(BIN)/python -m ehr_etl.spark.jars
	@touch $@

browser: ## Chromium for the browser tests
	@sh cli/setup/chromium.sh

postgresql: ## PostgreSQL for the tests, which start a server of their own
	@sh cli/setup/postgresql.sh

clients: ## the FHIR client of Node's for the tests; without Node they say so
	@if command -v npm >/dev/null; then cd tests/clients && npm ci --silent --no-audit --no-fund; \
		else echo "Node is not installed: the test of fhir-kit-client is passed over."; fi

demo: setup ## the whole way once: sample in, lake, study, model, web pages up
	@$(BIN)/ehr demo

test: setup browser clients postgresql ## checks and all tests but the slow ones, in runs beside each other
	@$(MAKE) --no-print-directory --keep-going --jobs=5 test-lake test-gateway test-others test-portal check PYTEST="$(PYTEST) -q"

test-slow: setup browser postgresql ## the tests that take minutes; generated ones with new examples each time
	@$(PYTEST) -m slow --hypothesis-profile=explore

test-unit: setup postgresql ## one kind of test: also test-spec, test-integration, test-acceptance
	@$(PYTEST) tests/unit

test-spec: setup postgresql
	@$(PYTEST) tests/spec

# The parts of `make test`, as even as they can be in time. Four, though CI has two cores: each waits
# for a browser, a server, Spark or a disk for a good part of its time. A new folder is in the last.
OF_GATEWAY := tests/spec tests/unit/audit tests/unit/gateway tests/unit/privacy
OF_PORTAL := tests/acceptance tests/unit/portal
OF_LAKE := $(wildcard tests/integration/test_*.py)
ELSEWHERE := $(OF_GATEWAY) $(OF_PORTAL) $(OF_LAKE)

test-gateway: setup postgresql ## the gateway: semantics, and the units of store, audit and consent
	@$(PYTEST) $(OF_GATEWAY)

test-portal: setup browser clients ## the portal: its units, and the stories of people in Chromium
	@$(PYTEST) $(OF_PORTAL)

test-lake: setup clients postgresql ## the platform as a whole: the lake on Spark, the demo, research, servers
	@$(PYTEST) $(OF_LAKE)

test-others: setup clients postgresql ## all other tests, with the examples of the docstrings
	@$(PYTEST) --doctest-modules $(ELSEWHERE:%=--ignore=%) tests analytics cli etl fhir-gateway models portal privacy

test-integration: setup clients
	@$(PYTEST) tests/integration

test-acceptance: setup browser
	@$(PYTEST) tests/acceptance

check: .venv/.ready ## format, lint, types, layers: changes nothing
	@$(BIN)/ruff format --check --quiet $(PATHS)
	@$(BIN)/ruff check --quiet $(PATHS)
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo 2>/dev/null || $(BIN)/lint-imports

fix: .venv/.ready ## format and mend what can be mended
	@$(BIN)/ruff format --quiet $(PATHS)
	@$(BIN)/ruff check --fix --quiet $(PATHS)

bench: setup ## measured rates against their references, in one run (BULK=folder of NDJSON)
	@$(BIN)/python -m tests.perf.bench_fhirpath
	@$(BIN)/python -m tests.perf.bench_load $(BULK)

bench-validation: .venv/.ready ## resources validated against US Core in a processor second (DATA=folder of the published data)
	@$(BIN)/python -m tests.perf.bench_validation $(or $(DATA),../shared/data)

bench-gateway: setup .venv/.bench ## the gateway beside helios-hfs, or AGAINST=checkout (ROUNDS=3 SECONDS=5 WORKERS=2 DATABASE=postgresql)
	@$(BIN)/python -m tests.perf.bench_gateway --rounds $(ROUNDS) --seconds $(SECONDS) \
		--workers $(WORKERS) $(if $(DATABASE),--database $(DATABASE)) $(if $(AGAINST),--against $(AGAINST))

bench-postgresql-read: setup ## the ceiling of reads on PostgreSQL: a bare sketch by several drivers (SECONDS=5)
	@$(BIN)/python -m tests.perf.bench_postgresql_read $(SECONDS)

bench-sqlite-read: setup ## the ceiling of reads on SQLite: a bare sketch beside the gateway (SECONDS=5)
	@$(BIN)/python -m tests.perf.bench_sqlite_read $(SECONDS)

bench-workers: setup ## what more workers give, on both databases
	@$(BIN)/python -m tests.perf.bench_workers

bench-portal: setup ## the first pages of patient and clinician with 5,000 records (RESOURCES=5000)
	@$(BIN)/python -m tests.perf.bench_portal --resources $(or $(RESOURCES),5000)

bench-cds-hooks: setup ## how long a card of decision support takes (RESOURCES=5000)
	@$(BIN)/python -m tests.perf.bench_cds_hooks --resources $(or $(RESOURCES),5000)

bench-model-scoring: setup ## what scoring many people takes, beside the frame of all rows (PEOPLE="1000 10000")
	@$(BIN)/python -m tests.perf.bench_model_scoring $(PEOPLE)

bench-model-training: setup ## what training and evaluation take, beside one plain fit (ONE_IN="16 8")
	@$(BIN)/python -m tests.perf.bench_model_training $(ONE_IN)

bench-subscriptions: .venv/.ready ## what a write costs with 1, 100 and 10,000 subscriptions
	@$(BIN)/python -m tests.perf.bench_subscriptions

bench-lake: setup ## what the lake costs: changes, a first build, freshness (RECORDS=39000,154000,463000)
	@$(BIN)/python -m tests.perf.bench_lake $(RECORDS)

bench-latency: setup ## how searches slow down as the store grows, as a plot (SIZES=10k,100k,1M DATABASES=sqlite,postgresql)
	@$(BIN)/python -m tests.perf.bench_latency --sizes $(SIZES) --databases $(DATABASES)

bench-operations: setup ## what each operation takes over HTTP, by the examples of its page (SIZE=10000 DATABASES=sqlite,postgresql)
	@$(BIN)/python -m tests.perf.bench_operations --size $(or $(SIZE),10000) --databases $(DATABASES)

bench-enforcement: setup ## what consent costs searches and reads (PATIENTS=2000 ROUNDS=9 DATABASE=sqlite)
	@$(BIN)/python -m tests.perf.bench_enforcement $(or $(PATIENTS),2000) $(ROUNDS) $(or $(DATABASE),sqlite)

bench-audit: setup ## how fast the audit log is verified (ten million events take 6 GB of disk)
	@$(BIN)/python -m tests.perf.bench_audit

bench-overload: setup postgresql ## more requests and connections than can be served, on both databases
	@$(BIN)/python -m tests.perf.bench_overload

bench-people: setup .venv/.bench ## many people at the portal at once, by k6 (PEOPLE=200 SECONDS=20 WORKERS=2)
	@$(BIN)/python -m tests.perf.bench_people $(or $(PEOPLE),200) $(SECONDS) $(WORKERS)

bench-paint: setup browser ## bytes on the wire and largest contentful paint of each page's first visit
	@$(BIN)/python -m tests.perf.bench_paint

bench-forecasts: setup ## what training both forecasts takes (HOSPITALS=18 DAYS=1096)
	@$(BIN)/python -m tests.perf.bench_forecasts $(or $(HOSPITALS),18) $(or $(DAYS),1096)

bench-deid: setup ## de-identification on one and two processes, resources a second
	@$(BIN)/python -m tests.perf.bench_deid $(FOLDER)

bench-memory: setup ## what a load of files of two sizes takes in memory
	@$(BIN)/python -m tests.perf.bench_memory

profile: setup .venv/.bench ## where the gateway's time goes: steps in microseconds, then functions
	@$(BIN)/python -m tests.perf.bench_steps
	@$(BIN)/python -m tests.perf.profile_gateway

.venv/.bench: .venv/.ready
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $$($(BIN)/python -c '$(BENCH_GROUP)')
	@touch $@

acro: .venv-acro/bin/python ## acro in an environment of its own, for the slow test of disclosure control

.venv-acro/bin/python:
	@$(PYTHON) -m venv .venv-acro
	@.venv-acro/bin/python -m pip install --quiet --disable-pip-version-check acro==1.0.2

assets: ## build the portal's style sheets anew (needs Node)
	@cd portal && npm ci && npm run build

pictures: setup browser ## take the pictures of docs/images/screens anew
	@$(BIN)/python -m tests.docs.take_pictures

texts: .venv/.ready ## bring the portal's catalogues up to date with its texts; list what is untranslated
	@$(BIN)/python -m tests.lib.texts

architecture: .venv/.ready ## draw docs/images/architecture.svg anew from the import contracts
	@$(BIN)/python -m tests.docs.draw_architecture

operation-pages: .venv/.ready ## make the tables of docs/reference/operations anew; begin the pages that are missing
	@$(BIN)/python -m tests.docs.operation_pages

omop-pages: .venv/.ready ## make the pages on OMOP's conformance and columns anew
	@$(BIN)/python -m tests.docs.omop_pages

view-library: .venv/.ready ## make docs/reference/view-library.md anew from the ViewDefinitions
	@$(BIN)/python -m tests.docs.view_library_page

deid-page: .venv/.ready ## make docs/reference/deidentification.md anew from the rules
	@$(BIN)/python -m tests.docs.deid_page

lock: ## write requirements.lock anew (needs uv)
	@uv pip compile pyproject.toml --group dev --group build --generate-hashes --universal \
		--no-emit-index-url --no-header --python-version 3.11 --quiet -o requirements.lock

clean: ## remove what was built, keep the data in var/
	@rm -rf .venv .venv-acro .mypy_cache .ruff_cache .pytest_cache .hypothesis dist
