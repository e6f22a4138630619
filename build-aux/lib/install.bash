# shellcheck shell=bash
# Packages of the system: only what is missing, with root rights only then.

# packages_FAMILY_PURPOSE: what `dev run` (build), the demo images and `dev test` need.
# shellcheck disable=SC2034  # used by name
{
    packages_apt_build=(
        build-essential pkg-config libgtk-4-dev libadwaita-1-dev libglib2.0-bin libglib2.0-dev-bin
        gettext adwaita-icon-theme fuse3
    )
    packages_apt_demo=(qemu-utils fdisk e2fsprogs dosfstools mtools)
    packages_apt_test=(
        gdisk parted ntfs-3g xfsprogs btrfs-progs exfatprogs f2fs-tools lvm2
        cryptsetup-bin genisoimage squashfs-tools util-linux mount procps
        xvfb xfwm4 python3-gi at-spi2-core dbus-daemon libxtst6 fonts-cantarell
        desktop-file-utils appstream shared-mime-info librsvg2-bin meson ninja-build
        shellcheck strace
    )
    packages_dnf_build=(
        gcc pkgconf-pkg-config gtk4-devel libadwaita-devel glib2-devel gettext adwaita-icon-theme
        fuse3
    )
    packages_dnf_demo=(qemu-img util-linux e2fsprogs dosfstools mtools)
    packages_dnf_test=(
        gdisk parted ntfs-3g ntfsprogs xfsprogs btrfs-progs exfatprogs f2fs-tools
        lvm2 cryptsetup genisoimage squashfs-tools procps-ng
        xorg-x11-server-Xvfb xfwm4 python3-gobject-base at-spi2-core dbus-daemon libXtst
        abattis-cantarell-fonts
        desktop-file-utils appstream shared-mime-info librsvg2-tools meson ninja-build
        ShellCheck strace
    )
}

# The texts of qemu-img that the tests compare with are those of this version.
readonly qemu_version_tested=10.0

# install_packages PURPOSE…: build, demo, test.
install_packages() {
    local family purpose list wanted=() missing
    family=$(package_family)
    if [[ -z $family ]]; then
        say "dev: neither apt nor dnf here: what Platter needs must be there already"
        return
    fi
    for purpose in "$@"; do
        list="packages_${family}_$purpose[@]"
        wanted+=("${!list}")
    done
    mapfile -t missing < <("missing_$family" "${wanted[@]}")
    ((${#missing[@]} == 0)) || "install_$family" "${missing[@]}"
}

package_family() {
    if command -v apt-get >/dev/null; then
        echo apt
    elif command -v dnf >/dev/null; then
        echo dnf
    fi
}

as_root() {
    if ((EUID == 0)); then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        fail "needs root rights for: $*"
    fi
}

# missing_FAMILY PACKAGE…: those of them that are not installed.
missing_apt() {
    local installed
    installed=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' "$@" 2>/dev/null |
        sed -n 's/ installed$//p') || true
    printf '%s\n' "$@" | grep -vxF "$installed" || true
}

missing_dnf() {
    local package
    for package in "$@"; do
        rpm -q --quiet --whatprovides "$package" || printf '%s\n' "$package"
    done
}

install_apt() {
    say "Installing $*"
    apt_get update
    apt_get install --no-install-recommends "$@"
}

apt_get() {
    quietly as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get -qq -y -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@"
}

install_dnf() {
    say "Installing $*"
    quietly as_root dnf -q -y --setopt=install_weak_deps=False install "$@"
}

# Runs a command, and shows what it says only when it fails.
quietly() {
    local said
    said=$("$@" 2>&1) || fail "$* failed:"$'\n'"$said"
}

# version_at_least WANTED FOUND
version_at_least() {
    [[ $(printf '%s\n' "$1" "$2" | sort -V | head -n 1) == "$1" ]]
}

qemu_version() {
    qemu-img --version 2>/dev/null | sed -n 's/^qemu-img version \([0-9.]*\).*/\1/p'
}

# Debian 12 has QEMU 7.2; its backports have the version of Debian 13.
install_qemu_oracle() {
    local found codename
    found=$(qemu_version) || true
    version_at_least "$qemu_version_tested" "${found:-0}" && return
    codename=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
    if [[ $codename == bookworm ]]; then
        install_from_backports "$codename" qemu-utils
    else
        say "dev: qemu-img ${found:-is missing}: the tests know the texts of $qemu_version_tested; some may differ"
    fi
}

# install_from_backports CODENAME PACKAGE…: the machine's own sources stay as they are.
install_from_backports() {
    local codename=$1 sources mirror
    shift
    say "Installing $* from $codename-backports"
    sources=$(mktemp -d)
    mirror=$(apt-get indextargets --format '$(REPO_URI)' "Codename: $codename" \
        'Created-By: Packages' | head -n 1)
    cp -r /etc/apt/sources.list.d/. "$sources"
    cat >"$sources/platter-backports.sources" <<SOURCE
Types: deb
URIs: ${mirror:-http://deb.debian.org/debian}
Suites: $codename-backports
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
SOURCE
    apt_get -o Dir::Etc::SourceParts="$sources" update
    apt_get -o Dir::Etc::SourceParts="$sources" -t "$codename-backports" \
        install --no-install-recommends "$@"
    rm -rf "$sources"
}
