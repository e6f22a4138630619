# shellcheck shell=bash
# Format, lints, tests, and one line of totals at the end.

failures=()

# step NAME COMMAND…: runs it, and goes on after a failure to show everything that is wrong.
step() {
    local name=$1
    shift
    say "== $name"
    "$@" || failures+=("$name")
}

cmd_lint() {
    install_packages build demo test
    install_rust
    lints
    report_failures
}

lints() {
    step "format" cargo fmt --check
    step "scripts" shellcheck -x build-aux/dev build-aux/make-demo .ci/run
    step "lints, engine and command line" cargo clippy --quiet --locked --no-default-features \
        --all-targets -- -D warnings
    step "lints, window" cargo clippy --quiet --locked --all-targets -- -D warnings
    step "documentation" env RUSTDOCFLAGS="-D warnings" cargo doc --quiet --locked --no-deps --lib
    # The licences are in the tests too; cargo-deny also knows of duplicates and sources.
    if cargo deny --version >/dev/null 2>&1; then
        step "dependencies" cargo deny --offline --log-level error check bans licenses sources
    fi
}

cmd_test() {
    install_packages build demo test
    install_qemu_oracle
    install_rust
    lints
    local log=$CARGO_TARGET_DIR/dev-test.log
    mkdir -p "$CARGO_TARGET_DIR"
    step "tests" run_tests "$log" "$@"
    report_failures || true
    totals <"$log"
    ((${#failures[@]} == 0))
}

# What tests/README.md calls long runs.
cmd_test_long() {
    install_packages build test
    install_qemu_oracle
    install_rust
    export PLATTER_CRASH_POINTS=${PLATTER_CRASH_POINTS:-10000}
    export PLATTER_MATRIX_ROUNDS=${PLATTER_MATRIX_ROUNDS:-1000}
    export PLATTER_FAMILIES=${PLATTER_FAMILIES:-300}
    export PLATTER_COMMAND_LINES=${PLATTER_COMMAND_LINES:-2500}
    export PLATTER_KILLS=${PLATTER_KILLS:-2000}
    export PLATTER_LOCK_ROUNDS=${PLATTER_LOCK_ROUNDS:-1000}
    step "long tests" cargo test --locked --no-default-features --no-fail-fast \
        --test crash --test write_locks --test matrix --test families --test interrupted \
        --test cli_random "$@"
    step "long tests of moves" cargo test --locked --no-default-features --no-fail-fast --lib \
        -- --nocapture journal
    PLATTER_LONG=1 step "long tests of edits" cargo test --locked --no-default-features \
        --no-fail-fast --test edit --test fs_window_ends
    report_failures
}

# All tests of all targets; the terminal does not repeat each one that passed.
run_tests() {
    local log=$1
    shift
    cargo test --locked --no-fail-fast "$@" 2>&1 | tee "$log" |
        grep --line-buffered -vE '^(test .* ok|running [0-9]+ tests?|)$'
    return "${PIPESTATUS[0]}"
}

report_failures() {
    ((${#failures[@]} == 0)) && return
    printf 'dev: failed: %s\n' "${failures[@]}" >&2
    return 1
}

# Sums the `test result:` lines of all test programs.
totals() {
    awk '
        /^test result: / {
            for (i = 2; i <= NF; i++) {
                if ($i ~ /^passed/) passed += $(i - 1)
                if ($i ~ /^failed/) failed += $(i - 1)
                if ($i ~ /^ignored/) skipped += $(i - 1)
            }
        }
        END { printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped }
    '
}
