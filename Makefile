# `make help` lists the targets.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

# Without make's own count of jobs: cargo uses all cores also under `make -j2`.
CARGO ?= env -u MAKEFLAGS -u MFLAGS cargo
# Where the tests find kustomize, kube-apiserver and the others.
export GITMOOR_TOOLS := $(CURDIR)/target/tools/bin

.PHONY: help prerequisites tools test check unit offline cluster demo bench soak verify-upstream image fmt clippy

help: ## Lists the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

prerequisites: ## Says which prerequisite is missing
	@missing=0; \
	need() { command -v "$$1" >/dev/null || { echo "$$1 is missing: $$2" >&2; missing=1; }; }; \
	need cargo "install Rust (https://rustup.rs)"; \
	need cc "install a C compiler (Debian: apt install build-essential)"; \
	need perl "install Perl (Debian: apt install perl)"; \
	need git "install Git (Debian: apt install git)"; \
	need go "install Go 1.26 or newer (https://go.dev/doc/install)"; \
	need python3 "install Python 3.11 or newer (Debian: apt install python3-venv)"; \
	exit $$missing

tools: prerequisites ## Builds the real parts that tests, demo and benches run on into target/tools
	@nice -n 5 tests/tools/build.sh

test: prerequisites ## Runs what CI runs: formatting, clippy, unit, offline and cluster tests
	$(CARGO) fmt --all --check
	@# Go and Rust each have phases that leave a core idle: both at once.
	$(MAKE) -j2 check tools
	$(CARGO) test --workspace

# Everything that the compiler can say, and the test programs ready to run.
check: clippy
	$(CARGO) build --workspace --bins
	$(CARGO) test --workspace --no-run

unit: ## Runs the unit tests alone (no tools needed)
	$(CARGO) test --workspace --lib --bins

# Always the whole workspace: dependencies of a part alone would have other features, and be compiled once more.
offline: tools ## Runs the offline tests: the real binaries, without a cluster
	$(CARGO) test --workspace --test offline

cluster: tools ## Runs the cluster tests: a real API server
	$(CARGO) build --workspace --bins
	$(CARGO) test --workspace --test cluster

# No packages: whoever looks at it needs not be root.
DEMO_TOOLS := kustomize etcd kube-apiserver kubectl kwok kube-controller-manager kube-scheduler helm

demo: prerequisites ## Shows a fork roll out on a local control plane (DEMO_EXIT=1: leave when done)
	@nice -n 5 tests/tools/build.sh $(DEMO_TOOLS)
	$(CARGO) build --workspace --bins
	@$(CARGO) run --quiet --bin demo

bench: tools ## Measures syncs, pushes and restarts against floors (BENCH="push --json": what and how)
	$(CARGO) build --release --workspace --bins
	@$(CARGO) run --quiet --release --bin bench -- $(BENCH)
	@$(CARGO) run --quiet --release --bin bench-init
	@$(CARGO) run --quiet --release --bin bench-seal
	@$(CARGO) run --quiet --release --bin bench-secrets

soak: tools ## Runs the long forms of the tests: hundreds of kills, thousands of objects
	$(CARGO) build --release --workspace --bins
	$(CARGO) test --release --workspace --test cluster -- --ignored --nocapture soak
	@$(CARGO) run --quiet --release --bin bench -- --applications 10,1000

verify-upstream: tools ## Renders and checks Applications with upstream charts (network, or GITMOOR_REPLACE_SOURCE=FROM=TO,…)
	$(CARGO) build --workspace --bins
	$(CARGO) test --workspace --test cluster -- --ignored --nocapture verify_upstream

image: tools ## Builds the agent's container image into target/gitmoor-agent.tar, with buildah or docker
	$(CARGO) build --release --workspace --bins
	@AT_MOST_AGENT=40 AT_MOST_IMAGE=150 agent/image/build.sh target/release/gitmoor-agent target/gitmoor-agent.tar

fmt: ## Formats the code
	$(CARGO) fmt --all

clippy: ## Runs clippy with warnings as errors
	$(CARGO) clippy --workspace --all-targets -- -D warnings
