#!/bin/sh
# For meson: builds both binaries and puts them where meson wants them.
# cargo.sh SOURCE_ROOT TARGET_DIR PROFILE_DIR PLATTER PLATTER_IMG CARGO_ARGUMENT...
set -eu

source_root=$1 target_dir=$2 profile_dir=$3 platter=$4 platter_img=$5
shift 5
cargo build --manifest-path "$source_root/Cargo.toml" --target-dir "$target_dir" --bins "$@"
cp "$target_dir/$profile_dir/platter" "$platter"
cp "$target_dir/$profile_dir/platter-img" "$platter_img"
