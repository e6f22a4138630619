# shellcheck shell=bash
# A Rust toolchain that is new enough, from what is there, the distribution, or rust-lang.org.

rust_version_needed() {
    sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml
}

cargo_is_new_enough() {
    local found
    found=$(cargo --version 2>/dev/null | cut -d ' ' -f 2) || return 1
    version_at_least "$(rust_version_needed)" "${found:-0}"
}

install_rust() {
    [[ :$PATH: == *:$HOME/.cargo/bin:* ]] || PATH=$HOME/.cargo/bin:$PATH
    cargo_is_new_enough && return
    say "Installing Rust $(rust_version_needed) or newer"
    command -v rustup >/dev/null || install_rustup
    rustup toolchain install stable --no-self-update --profile minimal \
        --component clippy --component rustfmt >&2
    export RUSTUP_TOOLCHAIN=stable
    cargo_is_new_enough || fail "cargo $(rust_version_needed) or newer is needed"
}

# The distribution's rustup where it has one: Debian 13, Ubuntu 24.04, Fedora.
install_rustup() {
    case $(package_family) in
        apt)
            apt_get update
            if [[ -n $(apt-cache madison rustup) ]]; then
                apt_get install --no-install-recommends rustup
            else
                install_rustup_upstream
            fi
            ;;
        dnf)
            install_dnf rustup
            rustup-init -q -y --no-modify-path --default-toolchain none >&2
            ;;
        *) install_rustup_upstream ;;
    esac
    hash -r
}

install_rustup_upstream() {
    command -v curl >/dev/null || apt_get install --no-install-recommends curl ca-certificates
    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs |
        sh -s -- -q -y --no-modify-path --default-toolchain none >&2
}
