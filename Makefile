# Everything is built into one target directory. Compiling shows its progress on a terminal and is silent elsewhere, so
# that the first line of `make test` names the Kafka that the tests run on.
CARGO_QUIET := $(shell [ -t 2 ] || echo --quiet)

.PHONY: help demo test lint fmt up down

help: ## Show the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-6s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## Run the whole pipeline in one process, on an embedded broker and a simulated Platform, and show the accounting
	@cargo run $(CARGO_QUIET) --package customerio-aep -- demo

test: ## Run all tests; the first line names the real Kafka they run on (KAFKA_BOOTSTRAP_SERVERS, Java with Maven, or Docker)
	@cargo run $(CARGO_QUIET) --package e2e --bin with-real-kafka -- cargo test --workspace --no-fail-fast

lint: ## Check formatting, lints and documentation, warnings being errors
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items

fmt: ## Format the code
	cargo fmt --all

up: ## Build the image and start everything with Docker Compose
	docker compose up --build --detach

down: ## Stop what `up` started; data stays (docker compose down --volumes removes it)
	docker compose down
