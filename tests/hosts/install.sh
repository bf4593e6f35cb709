#!/usr/bin/env bash
# Puts real Krita, GIMP and Blender into a root of their own, beside the machine's: its Debian may be too old for them.
# Prints the root's path. What is there already is kept, so that only the first run pays (some three minutes, 1.7 GB).
#   BRUSHWIRE_HOSTS: where (default ~/.cache/brushwire/hosts). Needs root: it mounts and changes its root.
set -euo pipefail

root=${BRUSHWIRE_HOSTS:-${XDG_CACHE_HOME:-$HOME/.cache}/brushwire/hosts}
suite=trixie
packages=(gimp krita blender xvfb xdotool imagemagick fonts-dejavu-core fonts-noto-cjk python3-numpy python3-pyqt5 python3-gi
    gir1.2-gimp-3.0 gir1.2-gtk-3.0 libegl1 libgl1-mesa-dri)
want="$suite ${packages[*]}"

if [ "$(cat "$root/.installed" 2>/dev/null)" = "$want" ]; then
    echo "$root"
    exit 0
fi
if [ "$(id -u)" != 0 ]; then
    echo "The hosts need root to be installed: run this with sudo." >&2
    exit 3
fi
if ! unshare --mount true 2>/dev/null; then
    echo "The hosts need a machine that lets root mount: this one does not." >&2
    exit 3
fi
exec 3>&1 >&2

command -v debootstrap >/dev/null || { apt-get update -q && apt-get install -y -q --no-install-recommends debootstrap; }

# The mirror that this machine itself uses for Debian; without one, debootstrap takes its own.
mirror=$({ cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null || true; } |
    sed -n 's/^URIs: *\(\S*\/debian\)\/\?$/\1/p; s/^deb \(\[[^]]*\] \)\?\(\S*\/debian\)\/\? .*/\2/p' | sed -n 1p)

rm -rf "$root.part"
mkdir -p "$root.part"
debootstrap --variant=minbase --include=ca-certificates,python3 "$suite" "$root.part" ${mirror:+"$mirror"} >"$root.log" 2>&1 ||
    { tail -5 "$root.log"; exit 1; }

cp /etc/resolv.conf "$root.part/etc/resolv.conf"
cp /etc/apt/apt.conf.d/* "$root.part/etc/apt/apt.conf.d/" 2>/dev/null || true
printf 'path-exclude=/usr/share/%s/*\n' doc man info locale >"$root.part/etc/dpkg/dpkg.cfg.d/lean"
# Krita reads its own translations from there; the tests look at German and Chinese texts.
printf 'path-include=/usr/share/locale/%s/*\n' de zh_CN >>"$root.part/etc/dpkg/dpkg.cfg.d/lean"
echo force-unsafe-io >>"$root.part/etc/dpkg/dpkg.cfg.d/lean"
printf '#!/bin/sh\nexit 101\n' >"$root.part/usr/sbin/policy-rc.d"
chmod +x "$root.part/usr/sbin/policy-rc.d"

unshare --mount bash -c '
    set -e
    mount -t proc proc "$1/proc"
    mount --rbind /dev "$1/dev"
    shift_root=$1; shift
    chroot "$shift_root" env DEBIAN_FRONTEND=noninteractive apt-get update -q
    chroot "$shift_root" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@"
    chroot "$shift_root" apt-get clean
' bash "$root.part" "${packages[@]}" >>"$root.log" 2>&1 || { tail -20 "$root.log"; exit 1; }

echo "$want" >"$root.part/.installed"
rm -rf "$root"
mv "$root.part" "$root"
echo "$root" >&3
