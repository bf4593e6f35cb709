#!/usr/bin/env bash
# enter.sh COMMAND…: runs a command inside the hosts' root, with this machine's /proc, /dev (and so its shared memory),
# /tmp, and this repository at its own path. The mounts are seen by the command alone and end with it.
set -euo pipefail
root=${BRUSHWIRE_HOSTS:-${XDG_CACHE_HOME:-$HOME/.cache}/brushwire/hosts}
repository=$(cd "$(dirname "$0")/../.." && pwd)
mkdir -p "$root$repository"
exec unshare --mount bash -c '
    set -e
    root=$1 repository=$2
    shift 2
    mount --bind /proc "$root/proc"
    mount --rbind /dev "$root/dev"
    mount --bind /tmp "$root/tmp"
    mount --bind "$repository" "$root$repository"
    exec chroot "$root" "$@"
' bash "$root" "$repository" "$@"
