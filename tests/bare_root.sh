#!/usr/bin/env bash
# Runs a command of this repository (./test, ./quickstart) in a bare Debian root that debootstrap makes, as a stranger's
# machine would, and says how long it took. Needs root and the package debootstrap. What the network around needs, such
# as sources of packages, pip's settings, certificates or a folder of wheels, is named by the caller.
set -euo pipefail

usage() {
  cat <<TEXT
usage: tests/bare_root.sh --root DIR [option]... -- COMMAND [ARGUMENT]...

  --root DIR           a new folder for the bare root; one that this script made is used again as it is
  --suite NAME         Debian release, default bookworm
  --copy PATH          copy a file or folder to the same place in the root, before anything is installed
  --bind PATH          show a folder at the same place in the root, read-only
  --environment NAME   pass on this environment variable
  --tail N             lines of output to print at the end, default 20
TEXT
}

fail() {
  echo "bare_root.sh: $*" >&2
  exit 2
}

repository=$(cd "$(dirname "$0")/.." && pwd)
root='' suite=bookworm tail_lines=20
copies=() binds=() environment=()
while (($#)) && [[ $1 != -- ]]; do
  [[ $1 != --help ]] || { usage && exit; }
  (($# >= 2)) || fail "$1 expects a value: see --help"
  case $1 in
    --root) root=$(realpath -m "$2") ;;
    --suite) suite=$2 ;;
    --copy) copies+=("$(realpath -s "$2")") ;;
    --bind) binds+=("$(realpath -s "$2")") ;;
    --environment) environment+=("$2=${!2:-}") ;;
    --tail) tail_lines=$2 ;;
    *) fail "unknown option '$1': see --help" ;;
  esac
  shift 2
done
[[ -n $root ]] || fail "--root DIR is missing: see --help"
(($# >= 2)) || fail "expected -- COMMAND at the end: see --help"
shift
[[ $(id -u) == 0 ]] || fail "debootstrap and chroot need root"
command -v debootstrap >/dev/null || fail "debootstrap was not found: install the package debootstrap"

if [[ ! -f $root/made-by-bare-root ]]; then
  [[ ! -e $root ]] || rmdir "$root" || fail "$root is there and is not a root that this script made"
  echo "Making a bare $suite root in $root"
  debootstrap --variant=minbase "$suite" "$root" >"${root}.debootstrap.log" 2>&1 ||
    fail "debootstrap failed: see ${root}.debootstrap.log"
  touch "$root/made-by-bare-root"
fi

mounted=()
unmount() {
  local index
  for ((index = ${#mounted[@]} - 1; index >= 0; index--)); do umount -l "${mounted[index]}"; done
}
trap unmount EXIT
mount_at() {
  mkdir -p "${*: -1}"
  mount "$@"
  mounted+=("${*: -1}")
}
mount_at -t proc proc "$root/proc"
mount_at --bind /dev "$root/dev"
mount_at --bind /dev/pts "$root/dev/pts"
mount_at -t tmpfs tmpfs "$root/dev/shm"
for path in "${binds[@]}"; do mount_at -o ro,bind "$path" "$root$path"; done
for path in "${copies[@]}"; do
  rm -rf "${root:?}$path"
  mkdir -p "$(dirname "$root$path")"
  cp -a "$path" "$root$path"
done

project=/srv/$(basename "$repository")
if [[ -d $root$project ]]; then
  git -C "$root$project" fetch -q "$repository" HEAD && git -C "$root$project" reset -q --hard FETCH_HEAD
else
  git clone -q "file://$repository" "$root$project"
fi

echo "Running in the bare root: $*"
started=$SECONDS
status=0
chroot "$root" /usr/bin/env -i HOME=/root LANG=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin "${environment[@]}" \
  bash -c 'cd "$1" && shift && exec "$@"' bash "$project" "$@" >"${root}.log" 2>&1 </dev/null || status=$?
tail -n "$tail_lines" "${root}.log"
echo "$((SECONDS - started)) s, exit status $status; the whole output is in ${root}.log"
exit "$status"
