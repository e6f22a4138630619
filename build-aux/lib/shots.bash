# shellcheck shell=bash
# Screenshots of the real window on the demo images, for the README and the metainfo.

cmd_shots() {
    install_packages build demo test
    install_rust
    cargo build --locked --bin platter
    run_environment
    local images scheme
    images=${TMPDIR:-/tmp}/platter-demo
    rm -rf "$images"
    build-aux/make-demo "$images"
    mkdir -p docs/screenshots
    for scheme in light dark; do
        /usr/bin/python3 tests/uidrive/uidrive.py run build-aux/shots.steps \
            --wm xfwm4-plain --size 1400x940 --env "ADW_DEBUG_COLOR_SCHEME=prefer-$scheme" \
            --env "GSETTINGS_SCHEMA_DIR=$GSETTINGS_SCHEMA_DIR" \
            --define "IMAGES=$images" --define "OUT=$PWD/docs/screenshots" --define "SCHEME=$scheme" \
            --artifacts "$CARGO_TARGET_DIR/shots" \
            -- "$CARGO_TARGET_DIR/debug/platter" "$images/web.qcow2"
    done
    rm -rf "$images"
}
