# Short names for plain cargo commands; nothing needs `just`.

# list the recipes
default:
    @just --list --unsorted

# formatting, lints, documentation, the house's own checks
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --workspace
    cargo run -q -p cork-tidy

# all Rust tests
test *args:
    cargo test --workspace {{args}}

# one fuzz target for some seconds, on a stable compiler
fuzz target seconds="60":
    mkdir -p target/fuzz/corpus/{{target}}
    mkdir -p fuzz/corpus/{{target}}
    cargo fuzz run {{target}} -s none target/fuzz/corpus/{{target}} fuzz/corpus/{{target}} -- -max_total_time={{seconds}}

# real clients against the release binary
e2e *args:
    cargo build --release
    dev/e2e/run {{args}}

# start the broker
run *args:
    cargo run --release -- {{args}}

# everything, as `.ci/run` does it
all:
    ./test.sh
