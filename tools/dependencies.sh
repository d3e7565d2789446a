# dependencies.sh - sourced by the set-up scripts: what the project needs from the distribution, and how it gets there.
# Debian 12 and Ubuntu 24.04 know all of these names.

build_packages="cmake ninja-build g++ git python3 python3-pip nlohmann-json3-dev libfmt-dev libcli11-dev libeigen3-dev libopenblas-dev libzip-dev zlib1g-dev libvalijson-dev gnuplot-nox fonts-dejavu-core"
test_packages="libgtest-dev"

say() { printf '%s\n' "$*" >&2; }

# missing_packages NAME...  prints those that are not installed.
missing_packages() {
  local package
  for package in "$@"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || printf '%s ' "$package"
  done
}

# need_packages NAME...  installs what is missing, or says what the administrator has to type and returns 1.
need_packages() {
  if [ -d .deps/usr ]; then return 0; fi # vendored: tools/vendor has put them there
  if ! command -v dpkg-query >/dev/null 2>&1; then
    say "This is neither Debian nor Ubuntu: install the equivalents of these packages, then run cmake --preset cpu && cmake --build --preset cpu:"
    say "  $*"
    command -v cmake >/dev/null 2>&1 # go on with what is there
    return
  fi
  local missing
  missing=$(missing_packages "$@")
  if [ -z "$missing" ]; then return 0; fi
  local as_root=""
  if [ "$(id -u)" != 0 ]; then
    if sudo -n true 2>/dev/null; then as_root="sudo"; else
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
