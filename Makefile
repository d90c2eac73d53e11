# The two commands of the README are `make demo` and `make test`; `make` alone lists the others.

SEEDS ?= 100000
SECONDS_EACH ?= 60
MINUTES ?= 60
ARGS ?=
PROGRAM = $${CARGO_TARGET_DIR:-target}/release/ftvmm
# Where scripts/cargo-static builds.
STATIC = $${CARGO_TARGET_DIR:-target}/x86_64-unknown-linux-gnu/release

.PHONY: help demo lab test test-lab soak check build setup sim sabotage bench bench-kv bench-commit bench-seed \
	bench-stop bench-migrate bench-compute bench-dirty bench-busy bench-compile bench-compile-criterion bench-exits \
	fuzz clean clean-cache

help: ## list what there is to make
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 32

demo: ## show the whole story on this machine: a protected VM, two kills, a verdict (ARGS=--json)
	@scripts/setup demo
	@scripts/build-program
	@scripts/as-root $(PROGRAM) demo $(ARGS)

test: ## set up, check and run all tests; closes with "N passed, M failed"
	@scripts/part "setup" scripts/setup test
	@scripts/part "checks" $(MAKE) --no-print-directory check
	@scripts/test

test-lab: ## of all tests, those that need the lab: Linux guests, hosts that lose power (TESTS=power: those with that name)
	@scripts/setup lab
	scripts/with-lab scripts/cargo-static test --release -p ftvmm-tests --test lab -- --test-threads=1 $(TESTS)

soak: ## a secondary is damaged once a minute for MINUTES=60, under load, and healed each time; closes with a table
	@scripts/setup lab
	scripts/soak $(MINUTES)

lab: ## two machines to use by hand, one of which can lose power (ARGS=linux boots a Linux guest in one)
	@scripts/setup lab
	@scripts/cargo-static build --release -p ftvmm-tests --bin lab
	@scripts/with-lab scripts/as-root $(STATIC)/lab $(ARGS)

check: ## formatting, lints, documentation, licences, and that the specification names real tests
	cargo fmt --all --check
	cd guest-images/micro && cargo fmt --check
	cd fuzz && cargo fmt --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cd guest-images/micro && cargo clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --document-private-items
	scripts/check-docs
	@if command -v cargo-deny >/dev/null; then cargo deny --offline check bans licenses sources; \
	else echo "cargo deny: skipped, it is not installed"; fi

build: ## the release program, in target/release/ftvmm
	@scripts/setup demo
	@scripts/build-program

setup: ## install what is missing (Debian; as root or with sudo)
	@scripts/setup test

sim: ## the simulator with SEEDS=100000 seeds, or exactly one: FTVMM_SIM_SEED=7 make sim
	FTVMM_SIM_SEEDS=$(SEEDS) cargo test --release --locked -p ftvmm-tests --test sim -- --nocapture \
		safety_and_liveness one_fault a_host_that_lies

sabotage: ## show that the tests notice: CHECK=gate, arbiter or digest disables that check in all they run
	@scripts/sabotage $(CHECK)

bench: ## microbenchmarks (criterion)
	cargo bench --locked -p ftvmm-benches --bench exits --bench log $(ARGS)

bench-kv: ## the benchmark table: throughput, latency, takeovers (ARGS="--rounds 5 --json")
	@scripts/setup test
	@scripts/build-program
	cargo build --release --locked -p ftvmm-benches --bins
	@scripts/as-root $${CARGO_TARGET_DIR:-target}/release/bench-kv $(ARGS)

bench-commit: ## the path of an output, a time for each stage (ARGS="--against PROGRAM --json")
	@scripts/setup test
	@scripts/build-program
	cargo build --release --locked -p ftvmm-benches --bins
	@scripts/as-root $${CARGO_TARGET_DIR:-target}/release/bench-commit $(ARGS)

bench-seed: ## how a seed delays what is said beside it, over slow and fast wires (ARGS="--against PROGRAM --json")
	@scripts/setup test
	@scripts/build-program
	cargo build --release --locked -p ftvmm-benches --bins
	@scripts/as-root $${CARGO_TARGET_DIR:-target}/release/bench-seed $(ARGS)

bench-stop: ## how long a guest stands for a seed, in parts, under redis-benchmark (ARGS="--seeds 20 --mib 512 --json")
	@scripts/setup test
	@scripts/build-program
	cargo build --release --locked -p ftvmm-benches --bins
	@scripts/as-root $${CARGO_TARGET_DIR:-target}/release/bench-stop $(ARGS)

bench-compute: ## what it costs to stop a guest that computes (ARGS="--pages 128 --patience 20 --json")
	@scripts/setup test
	@scripts/build-program
	cargo build --release --locked -p ftvmm-benches --bins
	@scripts/as-root $${CARGO_TARGET_DIR:-target}/release/bench-compute $(ARGS)

bench-dirty: ## how to learn which pages a guest has written, and huge pages (ARGS=--lab on a lab host with kvm_amd)
	@scripts/setup lab
	@scripts/cargo-static build --release -p ftvmm-benches --bin bench-dirty
	@scripts/with-lab scripts/as-root $(STATIC)/bench-dirty $(ARGS)

bench-busy: ## what clients of a Linux guest wait for while programs in it compute (ARGS="--seconds 60 --json")
	@scripts/setup lab
	@scripts/cargo-static build --release -p ftvmm-benches --bin bench-busy
	@scripts/with-lab scripts/as-root $(STATIC)/bench-busy $(ARGS)

bench-compile: ## a Linux guest compiles the kernel, protected and not, on two lab hosts (ARGS="--quick", ARGS=--here)
	@scripts/setup lab
	@scripts/cargo-static build --release -p ftvmm-benches --bin bench-compile
	@scripts/with-lab scripts/as-root $(STATIC)/bench-compile $(ARGS)

bench-migrate: ## a Linux guest sent to another host, beside QEMU's live migration, on two lab hosts (ARGS="--quick --json")
	@scripts/setup lab
	@scripts/cargo-static build --release -p ftvmm-benches --bin bench-migrate
	@peer=$$(tests/lab-host/build-peer) && FTVMM_LAB_PEER=$$peer scripts/with-lab scripts/as-root $(STATIC)/bench-migrate $(ARGS)

bench-exits: ## VM exits of a Linux guest for a tick, a system call, a packet, a disk request
	@scripts/setup lab
	@scripts/cargo-static build --release -p ftvmm-benches --bin bench-exits
	@scripts/with-lab scripts/as-root $(STATIC)/bench-exits

bench-compile-criterion: ## a few files of that compile, on the same hosts, by criterion
	@scripts/setup lab
	scripts/with-lab scripts/cargo-static bench -p ftvmm-benches --bench compile $(ARGS)

fuzz: ## every fuzz target for SECONDS_EACH=60 seconds (needs nightly and cargo-fuzz)
	scripts/fuzz $(SECONDS_EACH)

clean: ## remove everything that was built
	cargo clean
	cd guest-images/micro && cargo clean
	rm -rf fuzz/target

clean-cache: ## remove every kernel, image and lab host in ~/.cache/ftvmm, after which a recipe makes it anew
	@scripts/clean-cache
