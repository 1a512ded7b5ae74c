# Every target does its own set-up, again only when a lock or project file changed. `make help` lists them.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.synced
# Extra arguments of the command a target runs, e.g. make test ARGS="-k ledger", make demo ARGS="--seed 7".
ARGS ?=
# make kafka BROKERS=3: three copies of every record, two of them before it counts as written.
BROKERS ?= 1

# Fast first, so that a mistake shows early; of chaos, what needs no Kafka. tests/containers needs Docker; bench is no gate.
TIERS := unit property contract conformance regression gates chaos
# What a new user meets, on the local stack's own broker. All of integration and e2e runs on Apache Kafka.
LOCAL_TESTS := tests/integration/test_local_stack.py tests/e2e/test_demo.py
KAFKA_TESTS = tests/integration tests/e2e $(shell grep -l 'mark\.kafka' tests/chaos/test_*.py)
CHECKED := services cli deploy tests

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' Makefile

$(STAMP): .ci/setup uv.lock pyproject.toml $(wildcard services/*/pyproject.toml)
	@.ci/setup $(VENV)
	@touch $@

.PHONY: setup
setup: $(STAMP) ## make the virtual environment from the lock file

.PHONY: demo
demo: $(STAMP) ## start everything, play a synthetic shop, print what happened; stops by itself
	@$(BIN)/touchstream demo $(ARGS)

.PHONY: up
up: $(STAMP) ## start the local stack and show its state; Ctrl-C drains and stops it
	@$(BIN)/touchstream up $(ARGS)

.PHONY: down
down: $(STAMP) ## stop the local stack
	@$(BIN)/touchstream down $(ARGS)

.PHONY: bench
bench: $(STAMP) ## measure throughput, latency and the cost of each stage
	@$(BIN)/touchstream bench $(ARGS)

.PHONY: kafka
kafka: $(STAMP) ## run Apache Kafka without Docker (Java 17, Maven), one broker or BROKERS=3, in the foreground
	@$(BIN)/python -m deploy.kafka --brokers $(BROKERS)

.PHONY: test
test: $(STAMP) ## run the tests that need no Java, fast ones first
	@$(BIN)/pytest $(TIERS:%=tests/%) $(LOCAL_TESTS) $(ARGS)

.PHONY: test-kafka
test-kafka: export TOUCHSTREAM_TEST_KAFKA = apache
test-kafka: $(STAMP) ## run the tests of everything on a broker, faults included, on Apache Kafka (Java 17, Maven)
	@$(BIN)/python -m deploy.kafka --prepare
	@# A broker that may not be trusted would fail everything else, and nobody could say why.
	@$(BIN)/pytest -m kafka tests/conformance
	@$(BIN)/pytest -m "not containers" $(KAFKA_TESTS) $(ARGS)

SEEDS ?= 1000
.PHONY: simulate
simulate: $(STAMP) ## run the pipeline under every fault, seed by seed; SEEDS=5000 of each configuration
	@$(BIN)/python -m tests.property.simulator --seeds $(SEEDS) $(ARGS)

.PHONY: chaos
chaos: SEEDS := 300
chaos: $(STAMP) ## break the running system on Apache Kafka, SEEDS=300 times, and look for what is lost or doubled
	@$(BIN)/python -m tests.chaos --seeds 1-$(SEEDS) $(ARGS)

.PHONY: test-containers
test-containers: $(STAMP) ## run the tests that need a Docker engine, on real Kafka, Valkey and ClickHouse
	@docker info >/dev/null 2>&1 || { \
		echo "make test-containers needs a running Docker engine: 'docker info' failed. Start it, or run 'make test'." >&2; \
		exit 1; }
	@$(BIN)/pytest -m containers tests/containers $(ARGS)

.PHONY: check check-format check-lint check-imports check-declared check-types check-docs
check: check-format check-lint check-imports check-declared check-types check-docs ## format, lint, imports, types, docs

check-format: $(STAMP)
	@$(BIN)/ruff format --check $(CHECKED)

check-lint: $(STAMP)
	@$(BIN)/ruff check $(CHECKED)

check-imports: $(STAMP)
	@$(BIN)/lint-imports --no-logo

# What a project imports it declares itself (DEP001, DEP003); what it declares for others (DEP002) is its own affair.
# deploy/local runs in the group of the local stack (DEP004). Only what is wrong is printed.
check-declared: $(STAMP)
	@declared() { \
		local said; \
		said=$$($(BIN)/deptry "$$@" --no-ansi -kf services -kf cli -kf deploy 2>&1) || { echo "$$said"; return 1; }; \
	}; \
	for project in services/*/pyproject.toml; do \
		declared "$${project%/*}" --config "$$project" --ignore DEP002; \
	done; \
	declared cli --ignore DEP002; \
	declared deploy --ignore DEP002,DEP004

check-types: $(STAMP)
	@$(BIN)/mypy

check-docs: $(STAMP)
	@$(BIN)/touchstream docs check

.PHONY: format
format: $(STAMP) ## rewrite the sources as `make check` wants them
	@$(BIN)/ruff check --fix-only --quiet $(CHECKED)
	@$(BIN)/ruff format $(CHECKED)
