# dependencies.sh - sourced by the set-up scripts: what the project needs from the distribution, and how it gets there.
# Debian 12 and Ubuntu 24.04 know all of these names (there chromium comes as a snap).

build_packages="cmake ninja-build g++ git python3 python3-pip nlohmann-json3-dev libfmt-dev libcli11-dev libeigen3-dev libopenblas-dev libzip-dev zlib1g-dev libvalijson-dev gnuplot-nox fonts-dejavu-core"
test_packages="libgtest-dev chromium"

say() { printf '%s\n' "$*" >&2; }

# missing_packages NAME...  prints those that are not installed.
missing_packages() {
  local package
  for package in "$@"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || printf '%s ' "$package"
  done
}

# need_tools NAME...  says which of these programs are missing and returns 1.
need_tools() {
  local tool absent=""
  for tool in "$@"; do command -v "$tool" >/dev/null 2>&1 || absent="$absent $tool"; done
  if [ -z "$absent" ]; then return 0; fi
  say "These programs are missing and cannot come from .deps:$absent. Ask the administrator for them (GPU clusters often have them as modules: module avail)."
  return 1
}

# need_packages NAME...  installs what is missing, or says what the administrator has to type and returns 1.
need_packages() {
  if [ -d .deps/usr ]; then # vendored: tools/vendor has put the libraries there
    need_tools cmake ninja g++
    return
  fi
  if ! command -v dpkg-query >/dev/null 2>&1; then
    say "This is neither Debian nor Ubuntu; what the build needs has these names there, install its equivalents if it fails:"
    say "  $*"
    need_tools cmake ninja g++
    return
  fi
  local missing
  missing=$(missing_packages "$@")
  if [ -z "$missing" ]; then return 0; fi
  local as_root=""
  if [ "$(id -u)" != 0 ]; then
    # With a terminal sudo may ask for the password; without one it must not need any.
    if command -v sudo >/dev/null 2>&1 && { sudo -n true 2>/dev/null || { [ -t 0 ] && sudo -v; }; }; then as_root="sudo"; else
      say "Some packages are missing and this user may not install them. Either ask the administrator to run"
      say "  sudo apt-get install --no-install-recommends $missing"
      say "or, without an administrator, run tools/vendor on a connected machine of the same distribution and copy its .deps folder here."
      return 1
    fi
  fi
  say "Installing: $missing"
  $as_root apt-get update -qq
  $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
}

# The interactive report needs Plotly's script, once; without it the report shows static figures.
fetch_report_script() {
  if [ ! -s .deps/plotly.min.js ]; then tools/fetch-plotly >/dev/null 2>&1 || say "Plotly's script could not be fetched: reports will have static figures only."; fi
}

# What tests and tools/format need of PyPI, into .deps/python; without it those are skipped by name.
fetch_python_packages() {
  local wanted
  wanted="$(python3 --version && cat tools/python-packages.txt)"
  if [ "$(cat .deps/python/packages.txt 2>/dev/null)" = "$wanted" ]; then return 0; fi
  rm -rf .deps/python.new
  if python3 -m pip install --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
    --target .deps/python.new --requirement tools/python-packages.txt >/dev/null 2>&1; then
    printf '%s\n' "$wanted" >.deps/python.new/packages.txt
    rm -rf .deps/python
    mv .deps/python.new .deps/python
  else
    rm -rf .deps/python.new
    say "The Python packages of tools/python-packages.txt could not be fetched: what needs them will be skipped." \
      "On a connected machine with the same Python tools/test puts them into .deps/python; copy that folder here."
  fi
}

# Where kernels can be compiled, NVIDIA's disassembler reads their machine code; small installations of CUDA lack it.
fetch_disassembler() {
  if ! command -v nvcc >/dev/null 2>&1; then return 0; fi
  if command -v cuobjdump >/dev/null 2>&1 && command -v nvdisasm >/dev/null 2>&1; then return 0; fi
  tools/fetch-cuobjdump >/dev/null 2>&1 ||
    say "NVIDIA's disassembler could not be fetched: the machine code of the kernels will not be checked."
}
