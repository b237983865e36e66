# `make demo` shows the same IAM login through every door; `make test` is all that CI runs; `make help` lists the rest.

export PYO3_BUILD_EXTENSION_MODULE := 1

PYTHON := .local/venv/bin/python

.PHONY: help demo test build environment lint fmt clean
.DEFAULT_GOAL := help

help:
	@echo 'make demo    the same IAM login through Rust, Python, Node and the proxy, against a local emulator'
	@echo 'make test    everything: formats, lints, unit tests, every door, the peers, the documentation'
	@echo 'make bench   side by side with the official connectors'
	@echo 'make build   the engine, the doors, the emulator; what Python and Node load is put in place'
	@echo 'make lint    formats, lints, dependency rules'
	@echo 'make fmt     formats the sources'

demo: toolchain
	@scripts/supervise scripts/demo

test: toolchain
	@scripts/supervise scripts/test

.PHONY: toolchain
toolchain:
	@echo 'what the build needs:'
	@scripts/toolchain

# What the packages, tests and benchmarks import; kept in .local and node_modules.
environment:
	scripts/python-env
	scripts/node-env

# One cargo invocation for everything: the bindings, and what they stand on, are built once.
build: environment
	cargo build --locked --workspace --all-targets
	scripts/natives
	cd node && npm run --silent build:js

lint: environment
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	scripts/cargo-deny bans licenses sources
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	cd python && ../$(PYTHON) -m mypy

fmt:
	cargo fmt --all
	$(PYTHON) -m ruff format .

clean:
	cargo clean
	rm -rf .local node/node_modules node/tests/runtimes/node_modules node/dist node/native tests/*/node/node_modules

-include benches/bench.mk
