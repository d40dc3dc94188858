# What ./quickstart and ./test share: install, find LibTorch, build. Sourced, with the repository as working folder.
# Every step first looks whether its result is already there, so that a second run takes seconds and needs no root.
# shellcheck shell=bash disable=SC2034

export PYTHONUTF8=1
readonly TORCH_VERSION=2.13.0
readonly PYTHON=/usr/bin/python3
readonly BUILD=build/release
readonly BUILD_PACKAGES=(
  ca-certificates ccache cmake g++ libboost-dev libceres-dev libcli11-dev libgtest-dev libgmock-dev libhwy-dev libicu-dev libjemalloc-dev libjs-chart.js libonig-dev libopenmpi-dev libsentencepiece-dev libtomlplusplus-dev
  libxxhash-dev mold ninja-build nlohmann-json3-dev openmpi-bin pkg-config python3 python3-venv
  libzstd-dev zlib1g-dev
)

say() { printf '\n== %s\n' "$*"; }

# Ends the script with one sentence; 2 says that something the user chose is wrong.
fail() {
  local status=1
  if [[ $1 == --user ]]; then
    status=2
    shift
  fi
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit "$status"
}

# Runs a command as root; install_packages has checked that this can be done.
as_root() {
  if [[ $(id -u) == 0 ]]; then "$@"; else sudo "$@"; fi
}

# install_packages NAME...: the Debian packages that are not installed yet.
install_packages() {
  command -v dpkg-query >/dev/null || fail "this script installs Debian packages, but dpkg-query was not found:" \
    "use Debian 12, or build by hand as docs/install.md says"
  local missing
  missing=$(comm -23 <(printf '%s\n' "$@" | sort -u) \
    <(dpkg-query -W -f='${Package} ${db:Status-Status}\n' "$@" 2>/dev/null | sed -n 's/ installed$//p' | sort -u))
  [[ -n $missing ]] || return 0
  # Word splitting is wanted: one package a word.
  # shellcheck disable=SC2086
  set -- $missing
  [[ $(id -u) == 0 ]] || command -v sudo >/dev/null ||
    fail "these Debian packages are missing and neither root nor sudo is at hand: $* (install them, then run this again)"
  say "Installing $# Debian packages: $*"
  as_root apt-get update -q || fail "apt-get update failed: see its message above"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@" ||
    fail "apt-get install failed: see its message above"
}

# Succeeds where a compiler for CUDA is at hand.
has_cuda_toolkit() {
  command -v nvcc >/dev/null || [[ -x ${CUDA_HOME:-/usr/local/cuda}/bin/nvcc ]]
}

# pip_install VENV ARGUMENT...: makes the virtual environment if needed and installs into it.
pip_install() {
  local venv=$1
  shift
  [[ -x $venv/bin/python ]] || "$PYTHON" -m venv "$venv" || fail "$PYTHON -m venv $venv failed: see its message above"
  "$venv/bin/python" -m pip install --quiet --no-input --disable-pip-version-check "$@"
}

# Sets TORCH to the folder of LibTorch: DLCM_TORCH, or the torch wheel in .venv.
find_torch() {
  if [[ -n ${DLCM_TORCH:-} ]]; then
    TORCH=$(realpath -m "$DLCM_TORCH")
    [[ -f $TORCH/share/cmake/Torch/TorchConfig.cmake ]] ||
      fail --user "DLCM_TORCH=$DLCM_TORCH holds no share/cmake/Torch/TorchConfig.cmake:" \
        "name the folder of LibTorch, or of an installed Python package torch"
    return
  fi
  local stamp=.venv/torch-$TORCH_VERSION
  if [[ ! -f $stamp ]]; then
    say "Installing LibTorch $TORCH_VERSION (the torch wheel) into .venv"
    # Only the wheel's C++ libraries and headers are used, so its Python dependencies are left out.
    pip_install .venv --no-deps "torch==$TORCH_VERSION" || fail "pip could not install torch==$TORCH_VERSION" \
      "(see its message above): correct pip's settings, or set DLCM_TORCH=DIR to a LibTorch that is already there"
  fi
  TORCH=$(compgen -G "$PWD/.venv/lib/python3*/site-packages/torch" | head -n 1)
  [[ -f $TORCH/share/cmake/Torch/TorchConfig.cmake ]] ||
    fail "pip installed torch without share/cmake/Torch/TorchConfig.cmake: remove .venv and try again, or set" \
      "DLCM_TORCH=DIR to a LibTorch that is already there"
  if [[ -f $TORCH/lib/libtorch_cuda.so ]]; then
    has_cuda_toolkit || fail "pip brought a CUDA build of torch but no CUDA toolkit (nvcc) is here: remove .venv and" \
      "point pip at PyTorch's CPU wheels, or set DLCM_TORCH=DIR to a CPU build of LibTorch that is already there"
    # The CUDA build's own libraries are wheels that torch depends on.
    [[ -f $stamp ]] || pip_install .venv "torch==$TORCH_VERSION" || fail "pip could not install what torch needs for CUDA"
  fi
  touch "$stamp"
}

# How many compilers run at once: one a core, but no more than one for 2 GiB of free memory.
compile_jobs() {
  local cores memory
  cores=$(nproc)
  memory=$(awk '/^MemAvailable:/ { print int($2 / 2097152) }' /proc/meminfo 2>/dev/null || echo "$cores")
  echo $((memory < 1 ? 1 : memory < cores ? memory : cores))
}

# build [TARGET...]: configures if needed, then builds the targets (all without one). Warnings are errors in CI.
build() {
  local settings=(-DCMAKE_PREFIX_PATH="$TORCH" -DDLCM_WERROR="$([[ -n ${CI:-} ]] && echo ON || echo OFF)")
  if [[ ! -f $BUILD/build.ninja || $(cat "$BUILD/configured-with" 2>/dev/null) != "${settings[*]}" ]]; then
    say "Configuring $BUILD"
    cmake --preset release "${settings[@]}" || fail "cmake could not configure the build: see its message above"
    echo "${settings[*]}" >"$BUILD/configured-with"
  fi
  say "Building ${*:-everything} in $BUILD (the first time takes minutes)"
  cmake --build --preset release --parallel "$(compile_jobs)" ${1:+--target "$@"} || fail "the build failed: see above"
}
