# Everything is built into one target directory. Compiling shows its progress on a terminal and is silent elsewhere, so
# that the first line of `make test` names the Kafka that the tests run on.
CARGO_QUIET := $(shell [ -t 2 ] || echo --quiet)

.PHONY: help demo test test-slow lint fmt bench fuzz independent browser chaos ops-rules ops-check release-check dashboard dashboard-picture manifests up down

help: ## Show the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## Run the whole pipeline in one process, on an embedded broker and a simulated Platform, and audit it
	@cargo run $(CARGO_QUIET) --package customerio-aep -- demo

# The folder of cargo's binaries, for programs that cargo does not start.
TARGET_DIR = $(or $(CARGO_TARGET_DIR),target)

# Starts a real Kafka for a command. The end-to-end tests use the binaries that were built together with the tests. To
# build them alone would compile most crates once more, because the tests enable features of some libraries; a test
# (shipped_features.rs) checks that none of these features changes what a binary does.
WITH_REAL_KAFKA = E2E_BINARIES=built $(TARGET_DIR)/debug/with-real-kafka

# Most of the tests that take long only wait, so that more of them run at the same time than the machine has cores. The
# end-to-end tests take turns (e2e/src/turn.rs).
TEST_THREADS ?= 16

test: ## Run the tests; the first line names the real Kafka they run on (KAFKA_BOOTSTRAP_SERVERS, Java with Maven, or Docker)
	@cargo build $(CARGO_QUIET) --workspace --bins --tests
	@RUST_TEST_THREADS=$(TEST_THREADS) $(WITH_REAL_KAFKA) cargo test --workspace --no-fail-fast

# Each of these tests keeps the whole machine busy, or waits for time-outs of the brokers.
test-slow: ## Run the tests that take long: memory, clusters, network faults, alerts, chaos, full loads, and ops-check
	@cargo build $(CARGO_QUIET) --workspace --bins --tests
	@E2E_FULL=1 $(WITH_REAL_KAFKA) cargo test --workspace --test services --no-fail-fast -- --ignored
	@$(MAKE) --no-print-directory ops-check

# The database of known vulnerabilities, where `cargo deny fetch db` puts it.
ADVISORIES = $(or $(CARGO_HOME),$(HOME)/.cargo)/advisory-dbs

lint: ## Check formatting, lints, documentation (warnings are errors), the rules of the workspace (unused dependencies, words), and if they are installed, cargo-deny and typos
	cargo fmt --all --check
	cargo fmt --manifest-path fuzz/Cargo.toml --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items
	cargo test --workspace --test repository workspace_rules
	@if ! cargo deny --version >/dev/null 2>&1; then \
		echo "skipped: cargo deny check, because cargo-deny is not installed (cargo install cargo-deny)"; \
	elif [ -d "$(ADVISORIES)" ]; then cargo deny check --disable-fetch; \
	else cargo deny check bans licenses sources && \
		echo "skipped: cargo deny check advisories, because $(ADVISORIES) does not exist (cargo deny fetch db)"; fi
	@if typos --version >/dev/null 2>&1; then typos; \
	else echo "skipped: typos, because typos is not installed (cargo install typos-cli, or pip install typos)"; fi

fmt: ## Format the code
	cargo fmt --all

bench: ## Measure what one event costs in the mapping
	cargo bench --package bench

SECONDS_EACH ?= 60

fuzz: ## Fuzz whatever comes from outside (bodies, requests, options, answers, records), SECONDS_EACH=60 each
	@fuzz/run $(SECONDS_EACH) $(TARGETS)

DURATION ?= 10m
BROKERS ?= 1
RATE ?= 1000
PACE ?= 4s

chaos: ## Kill, pause, restart and scale everything under load: DURATION=10m BROKERS=1|3 RATE=1000 SEED=… (of a run to repeat)
	@cargo build $(CARGO_QUIET) --workspace --bins
	@E2E_BINARIES=built $(TARGET_DIR)/debug/chaos --duration $(DURATION) --brokers $(BROKERS) --rate $(RATE) --pace $(PACE) $(if $(SEED),--seed $(SEED))

PYTHON_ENV := .cache/python

# Adobe's OpenAPI files: OPENAPI=DIR. They are not part of this repository.
independent: $(PYTHON_ENV)/installed ## Check map with jsonschema, typed records with fastavro and Java's Avro, the documented queries with DuckDB, the simulator with aepp, the requests of setup with openapi-core (OPENAPI=DIR) (needs Python 3, Java, Maven)
	@cargo build $(CARGO_QUIET) --workspace --bins --tests
	@$(PYTHON_ENV)/bin/python e2e/independent/check_map.py $(TARGET_DIR)/debug/customerio-aep
	@$(PYTHON_ENV)/bin/python e2e/independent/check_queries.py duckdb
	@$(PYTHON_ENV)/bin/python e2e/independent/walk_platform.py $(TARGET_DIR)/debug/customerio-aep
	@$(PYTHON_ENV)/bin/python e2e/independent/check_requests.py $(TARGET_DIR)/debug/customerio-aep $(OPENAPI)
	@AVRO_READER="$(CURDIR)/$(PYTHON_ENV)/bin/python $(CURDIR)/e2e/independent/read_avro.py" \
		$(WITH_REAL_KAFKA) cargo test --workspace --test services -- schema_registry::an_independent single_object::independent --nocapture

browser: $(PYTHON_ENV)/installed ## Check the console in Chromium on a real Kafka (PICTURES=DIR keeps pictures); not a part of `make independent` yet
	@cargo build $(CARGO_QUIET) --workspace --bins --tests
	@$(PYTHON_ENV)/bin/pip install --quiet --requirement e2e/independent/console/requirements.txt
	@$(WITH_REAL_KAFKA) $(PYTHON_ENV)/bin/python e2e/independent/console $(TARGET_DIR)/debug/customerio-aep \
		$(if $(PICTURES),--pictures $(PICTURES))

$(PYTHON_ENV)/installed: e2e/independent/requirements.txt
	@python3 -m venv $(PYTHON_ENV)
	@$(PYTHON_ENV)/bin/pip install --quiet --requirement $<
	@touch $@

PROMTOOL ?= promtool
AMTOOL ?= amtool

ops-rules: ## Check the alert rules with their tests, the configuration of Prometheus and Alertmanager, and the dashboard's file (needs promtool and amtool)
	@$(PROMTOOL) check rules --lint=all --lint-fatal deploy/prometheus/rules/*.yml
	@$(PROMTOOL) check config --lint=all --lint-fatal deploy/prometheus/prometheus.yml
	@$(PROMTOOL) test rules deploy/prometheus/tests/*.yml
	@$(AMTOOL) check-config deploy/alertmanager/alertmanager.yml
	@python3 deploy/grafana/dashboard.py --check

ops-check: ## Check everything in deploy/ with Prometheus 3, Grafana's SDK, Helm and kubeconform, which are compiled once (needs Go, Python 3)
	@deploy/checks/ops-check

release-check: ## Check what a release consists of, as far as it is possible offline: version, binaries (built with --release), SBOMs
	@deploy/checks/release-check

dashboard: ## Write the dashboard's file from deploy/grafana/dashboard.py
	@python3 deploy/grafana/dashboard.py

PROMETHEUS_URL ?= http://127.0.0.1:9090
MINUTES ?= 30

dashboard-picture: ## Draw the dashboard from a live Prometheus (PROMETHEUS_URL=http://127.0.0.1:9090 MINUTES=30) as dashboard.svg
	@python3 deploy/grafana/picture.py --prometheus $(PROMETHEUS_URL) --minutes $(MINUTES) --out dashboard.svg

manifests: ## Write deploy/kubernetes from the chart (after ops-check, which compiles helm)
	@HELM=$(CURDIR)/.cache/ops/bin/helm deploy/checks/render deploy/kubernetes

# The commit that the image and `customerio_build_info` show.
REVISION ?= $(shell git rev-parse HEAD 2>/dev/null || echo unknown)

up: ## Build the image and start everything with Docker Compose
	REVISION=$(REVISION) docker compose up --build --detach

down: ## Stop what `up` started; data stays (docker compose down --volumes removes it)
	docker compose down
