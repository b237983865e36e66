# Side by side with the official connectors, on the emulator: `make bench`, `make bench BENCH_ROUNDS=9 BENCH_ONLY=connect,select/asyncpg`.

BENCH_ROUNDS ?= 5
BENCH_ONLY ?=

.PHONY: bench
bench: toolchain environment
	cargo build --locked --release -p iamsql-python -p iamsql-node -p iamsql-emulator -p iamsql-bench
	cd node && npm run --silent build:js
	@scripts/supervise $(CURDIR)/$(PYTHON) benches/run.py --rounds "$(BENCH_ROUNDS)" --only "$(BENCH_ONLY)"
