#!/usr/bin/env bash
# The one test command: everything that must be green before a change is taken in.
#
#   ./test.sh          all stages; on a fresh Debian machine with Rust it installs what it needs itself
#   ./test.sh quick    unit tests and the simulation only
#
# FUZZ_SECONDS   time for each fuzz target (default: 5)
# CHAOS_SEED     repeats a chaos (default: another one each time); CHAOS_ROUNDS: disasters of each kind (default: 4)
#
# Stops at the first stage that fails. Prints the time of each stage at the end. A test of real components, or one that
# goes by a real clock, that fails is run once more; the closing lines count those (flaky, rerun): each is to be mended.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

FUZZ_SECONDS=${FUZZ_SECONDS:-5}
target=${CARGO_TARGET_DIR:-target}
logs=target/test
mkdir -p "$logs"

table=()
closing=()
stage_name=''
stage_start=0
run_start=$SECONDS

fail() { printf 'test.sh: %s\n' "$*" >&2; exit 1; }

# Prints where the time went, then what the test tools said last, then the verdict.
report() {
    local code=$? began
    began=$(jobs -p)
    if [ -n "$began" ]; then kill $began 2>/dev/null || true; fi
    if [ -n "$stage_name" ]; then
        table+=("$(printf '%-12s %7s  FAILED' "$stage_name" "$(clock $((SECONDS - stage_start)))")")
    fi
    if [ ${#table[@]} -gt 0 ]; then
        printf '\n%-12s %7s\n' stage time
        printf '%s\n' "${table[@]}"
        printf '%-12s %7s\n' all "$(clock $((SECONDS - run_start)))"
    fi
    if [ ${#closing[@]} -gt 0 ]; then
        printf '\n'
        printf '%s\n' "${closing[@]}"
    fi
    if [ -n "$stage_name" ]; then
        printf '\ntest.sh: stage "%s" failed\n' "$stage_name" >&2
    elif [ "$code" -eq 0 ]; then
        printf '\ntest.sh: all stages passed\n'
    fi
}
trap report EXIT

clock() { printf '%d:%02d' $(($1 / 60)) $(($1 % 60)); }

# stage NAME COMMAND...: runs it with its output on the terminal and in a log.
stage() {
    stage_name=$1
    stage_start=$SECONDS
    shift
    printf '\n== %s\n' "$stage_name"
    "$@" 2>&1 | tee "$logs/$stage_name.log"
    table+=("$(printf '%-12s %7s' "$stage_name" "$(clock $((SECONDS - stage_start)))")")
    stage_name=''
}

# keep STAGE PATTERN: remembers the closing lines of a stage's log, as its tool printed them.
keep() {
    local line
    while IFS= read -r line; do
        case "$line" in *' 0 passed; 0 failed; 0 ignored;'*) continue ;; esac  # a crate without tests of that kind
        closing+=("$line")
    done < <(grep -E "$2" "$logs/$1.log" || true)
}

# Installs Debian packages if we may; else says what to type.
debian() {
    if ! command -v apt-get >/dev/null || [ "$(id -u)" -ne 0 ]; then
        fail "missing Debian packages; run: sudo apt-get install $*"
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get install -y --no-install-recommends "$@" ||
        { apt-get update && apt-get install -y --no-install-recommends "$@"; }
}

set_up() {
    local missing=()
    command -v cargo >/dev/null || fail "no cargo: install Rust first"
    { command -v cc && command -v c++; } >/dev/null || missing+=(build-essential)
    if [ "$1" = all ]; then
        command -v mosquitto_sub >/dev/null || missing+=(mosquitto-clients)
        { command -v mosquitto || [ -x /usr/sbin/mosquitto ]; } >/dev/null || missing+=(mosquitto)
        command -v strace >/dev/null || missing+=(strace)
        command -v valgrind >/dev/null || missing+=(valgrind)
        [ "$(id -u)" -eq 0 ] || command -v fusermount3 >/dev/null || missing+=(fuse3)
        python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3 python3-venv)
    fi
    if [ ${#missing[@]} -gt 0 ]; then debian "${missing[@]}"; fi
    if [ "$1" = all ]; then
        component rustfmt fmt
        component clippy clippy
        if ! cargo fuzz --version >/dev/null 2>&1; then cargo install cargo-fuzz --locked; fi
        cargo fuzz --version
    fi
    cargo --version
}

# component NAME SUBCOMMAND: a part of the toolchain that a minimal installation leaves out.
component() {
    if cargo "$2" --version >/dev/null 2>&1; then return; fi
    command -v rustup >/dev/null || fail "the Rust toolchain has no $1"
    rustup component add "$1"
}

tests() {
    if cargo nextest --version >/dev/null 2>&1; then
        cargo nextest run --workspace --no-fail-fast --retries 1
        cargo test --workspace --doc
    else
        cargo test --workspace --no-fail-fast
    fi
}

# Ten thousand seeds of the simulation, and every planted defect; optimised, with all debug assertions.
storm() {
    cargo run -q --profile storm -p cork-storm -- --seeds 0..10000
    cargo run -q --profile storm -p cork-storm -- --plants 4000
}

# The optimised binaries are built beside the stages that need only debug builds: linking them takes one core for minutes.
# Nothing they do may disturb a test that runs meanwhile, so they come last wherever they stand in line.
optimised() { "$@" cargo build --release -p cork -p cork-overload -p cork-counts; }
begin_release() { optimised nice -n 19 >"$logs/release-began.log" 2>&1 & }
release() { optimised; } # waits until the one that began is done, and says what it could not

# What is only waited for from here on leaves both cores time: in it is built what the stages behind them need. Those
# run as if nothing had been there, find it done, and say what is wrong. Only in time that nobody else wants.
begin_rest() { chrt --idle 0 bash -c 'lints; docs; others; fuzz_build' >"$logs/rest-began.log" 2>&1 & }

lints() { cargo clippy --workspace --all-targets -- -D warnings; }
others() { cargo build -p cork-chaos -p cork-tidy && cargo test --no-run -p cork-client --test torture; }
docs() { RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --workspace; }

formatting() {
    cargo fmt --all --check
    if [ -e fuzz/Cargo.toml ]; then cargo fmt --manifest-path fuzz/Cargo.toml --check; fi
}

# `-s none` (no sanitizer) is what lets cargo-fuzz work with a stable compiler. New inputs go to a corpus under
# target/, so that a run leaves the checked-in corpus as it is.
fuzz_build() { cargo fuzz build -s none; }
fuzz() {
    local source name corpora found=0
    for source in fuzz/fuzz_targets/*.rs; do
        [ -e "$source" ] || break
        name=$(basename "$source" .rs)
        found=$((found + 1))
        printf -- '-- %s, %s s\n' "$name" "$FUZZ_SECONDS"
        corpora=("target/fuzz/corpus/$name")
        mkdir -p "${corpora[0]}"
        if [ -d "fuzz/corpus/$name" ]; then corpora+=("fuzz/corpus/$name"); fi
        cargo fuzz run "$name" -s none "${corpora[@]}" -- -max_total_time="$FUZZ_SECONDS" -verbosity=1
    done
    [ "$found" -gt 0 ] || fail "no fuzz target in fuzz/fuzz_targets"
    printf 'fuzz: %d targets, %s s each, no finding\n' "$found" "$FUZZ_SECONDS"
}

# Downloading and unpacking what the tests with real components need takes minutes of little work. They wait for its lock.
begin_installing() { dev/e2e/run --install >"$logs/e2e-install.log" 2>&1 & }

# Real clients, servers and a browser. In three parts at once: most of their time they wait for something.
e2e() {
    local page=dashboard far='bridge or chain or sinks or ends or history or http or manage or operate' code=0 part log
    local parts=()
    dev/e2e/run -raR --reruns 1 -k "$page" >"$logs/e2e-page.log" 2>&1 &
    parts+=($!)
    dev/e2e/run -raR --reruns 1 -k "($far) and not ($page)" >"$logs/e2e-far.log" 2>&1 &
    parts+=($!)
    dev/e2e/run -raR --reruns 1 -k "not ($far or $page)" || code=$?
    for part in "${parts[@]}"; do wait "$part" || code=$?; done
    for log in page far; do cat "$logs/e2e-$log.log"; done
    return "$code"
}

# The same clients once more against two shards, beside the stages after it; attacks say nothing new there, nor do tools,
# files, and what hangs on the broker by one session.
begin_shards() {
    rm -f "$logs/shards-passed"
    E2E_SHARDS=2 dev/e2e/run -raR --reruns 1 \
        -k 'not (attack or command_lines or test_sim or test_tools or test_bench or test_log or test_doors or test_bridge or test_sinks or test_http or test_operate or test_manage or test_dashboard or test_chain or test_filtered_ends or test_node_red or sensor_to_gauge or test_clock)' \
        >"$logs/shards-began.log" 2>&1 && touch "$logs/shards-passed" &
    shards=$!
}
shards() {
    tail --pid="$shards" -f /dev/null # a stage is no parent of what began before it
    cat "$logs/shards-began.log"
    [ -e "$logs/shards-passed" ]
}

# The real binary is killed, loses power, and meets failing and full disks. A seed of its own for each run: the report
# names it. One shard with an even one, two with an odd one.
chaos() {
    local seed=${CHAOS_SEED:-$((RANDOM * 32768 + RANDOM))}
    if [ ! -w /dev/fuse ]; then
        echo "chaos: left out: no /dev/fuse to put a file system of our own on (modprobe fuse; and run as root)"
        return
    fi
    cargo build -q -p cork-chaos
    "$target"/debug/cork-chaos all --binary "$CORK_BIN" --seed "$seed" --shards "$((1 + seed % 2))" \
        --rounds "${CHAOS_ROUNDS:-4}"
}

# What cargo test, nextest and pytest print last.
unit_lines='^test result:|^ *Summary \['
export -f lints docs fuzz_build others

case "${1:-all}" in
quick)
    stage set-up set_up quick
    stage test tests
    keep test "$unit_lines"
    ;;
all)
    stage set-up set_up all
    begin_installing
    stage fmt formatting
    begin_release
    stage test tests
    keep test "$unit_lines"
    stage storm storm
    keep storm 'seeds in .* failed$'
    stage release release
    CORK_BIN=$(realpath -m "$target")/release/cork
    export CORK_BIN
    # Instructions of what a broker does most, against what they were.
    stage counts cargo run -q --release -p cork-counts
    keep counts '^counts: '
    # What a well-behaved client notices of floods; the full sizes are run by hand.
    stage overload cargo run -q --release -p cork-overload -- "$CORK_BIN"
    keep overload ' (ok|SLOW|FAILED)'
    begin_rest
    stage e2e e2e
    keep e2e '^=+ .*(passed|failed|error).* =+$'
    stage clippy lints
    stage docs docs
    begin_shards
    # The client library's process is killed and its connection cut, against somebody else's broker and ours.
    stage torture env TORTURE_COUNT=100000 TORTURE_BROKERS=mosquitto,cork cargo test -q -p cork-client --test torture
    keep torture '^[a-z]+, V.*messages'
    stage chaos chaos
    keep chaos '^chaos '
    stage e2e-shards shards
    keep e2e-shards '^=+ .*(passed|failed|error).* =+$'
    stage fuzz fuzz
    keep fuzz '^fuzz: '
    stage tidy cargo run -q -p cork-tidy
    ;;
*)
    fail "unknown: $1; use ./test.sh or ./test.sh quick"
    ;;
esac
