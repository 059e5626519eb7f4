# Rongtong 融通. `make run` starts it, `make test` proves it.
# Both install what is missing (Debian packages by apt, as root or with sudo) and say what.

SHELL := /bin/bash
export RONGTONG_CACHE ?= $(HOME)/.cache/rongtong
export CARGO_TARGET_DIR ?= $(RONGTONG_CACHE)/target

.PHONY: bench soak build run test lint release clean help

help:
	@echo "make run      build, start the server with demo cameras, print the address and how to sign in"
	@echo "make test     the whole suite: Rust, console, browsers, SDKs"
	@echo "make build    console and debug binary; the binary's path is then in .build/rongtong"
	@echo "make release  console and optimised binary"
	@echo "make bench    what forwarding costs, measured with an optimised binary (some minutes)"
	@echo "make soak     long proofs: hundreds of kills, a hundred thousand meetings in virtual time (half an hour)"
	@echo "make lint     rustfmt and clippy"

build:
	@scripts/build.sh

release:
	@scripts/build.sh release

# DEMO=0 starts without demo cameras; CONFIG=file takes a configuration.
run:
	@scripts/run.sh

test:
	@scripts/test.sh

bench:
	@scripts/bench.sh

soak:
	@scripts/soak.sh

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

clean:
	rm -rf .build console-web/dist console-web/node_modules tests/e2e/node_modules
