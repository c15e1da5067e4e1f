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

# Regenerates deploy/crds from the Rust types.
crds:
    cargo run -q -- crd --output-dir deploy/crds

# Which mistakes in the planner no test would notice. Takes hours; `just mutants 0/4` takes each fourth of them.
mutants shard="0/1":
    cargo mutants --no-default-features -f 'src/plan/**' -f src/plan.rs --shard {{shard}} --sharding round-robin --timeout 90 --cargo-test-arg=--lib -- plan::
