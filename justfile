# Everything that CI checks, and what it can't.

check: fmt clippy deny docs test

fmt:
    cargo fmt --check

clippy:
    cargo clippy --all-features --all-targets -- -D warnings

deny:
    cargo deny --all-features check bans licenses sources

# Needs the advisory database from the network; CI can't reach it.
advisories:
    cargo deny --all-features check advisories

docs:
    RUSTDOCFLAGS="-D warnings" cargo doc --all-features --no-deps

test:
    cargo test --all-features

# How fast it is: about ten minutes on an idle machine of two cores.
bench:
    cargo bench --features e2e --bench real

# Regenerates deploy/crds from the Rust types.
crds:
    cargo run -q -- crd --output-dir deploy/crds

# Feeds one kind of input to libFuzzer for so many seconds: kubeconfig, secret, schedule, glob, termination or object.
# Needs a nightly compiler and cargo-fuzz. What it finds is written to fuzz/artifacts; the corpus stays in fuzz/corpus.
fuzz target seconds="600":
    mkdir -p fuzz/corpus/{{target}}
    cargo +nightly fuzz run --sanitizer none {{target}} fuzz/corpus/{{target}} fuzz/seeds/{{target}} -- \
        -max_total_time={{seconds}} -max_len=4096 -timeout=20 -rss_limit_mb=1024

# Which mistakes in the planner no test would notice. Takes hours; `just mutants 0/4` takes each fourth of them.
mutants shard="0/1":
    cargo mutants --no-default-features -f 'src/plan/**' -f src/plan.rs --shard {{shard}} --sharding round-robin --timeout 90 --cargo-test-arg=--lib -- plan::
