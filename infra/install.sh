#!/bin/bash
# Install Slipway and exactly the packages of requirements.lock into .venv, unless that was done and finished before.
set -euo pipefail
cd "$(dirname "$0")/.."

venv=.venv
finished=$venv/finished # what was installed, written when all of it was
begun=$venv/begun       # there while an installation is under way, and after one that was cut off

fail() {
  printf 'slipway: %s\n' "$*" >&2
  exit 1
}

fits() {
  "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null
}

interpreter() {
  local name
  for name in ${PYTHON:-python3 python3.11 python3.12 python3.13}; do
    if command -v "$name" >/dev/null && fits "$name"; then
      printf '%s\n' "$name"
      return
    fi
  done
  fail "Python 3.11, 3.12 or 3.13 is needed, and none of '${PYTHON:-python3 python3.11 python3.12 python3.13}' is one." \
    "On Debian: apt install python3.11 python3.11-venv. Elsewhere: PYTHON=/path/to/python3.11 make ..."
}

make_venv() {
  local python version
  python=$(interpreter)
  version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  "$python" -c 'import venv, ensurepip' 2>/dev/null ||
    fail "Python $version is there, but without its modules venv and ensurepip. On Debian: apt install python$version-venv"
  rm -rf "$venv"
  "$python" -m venv "$venv"
}

# One installation at a time; the lock goes with the process that holds it.
if command -v flock >/dev/null; then
  exec 9<requirements.lock
  flock --nonblock 9 || { echo "Another installation is under way: waiting for it."; flock 9; }
fi

wanted="$(cat requirements.lock pyproject.toml | sha256sum | cut -d' ' -f1) $PWD"
if [ -f "$finished" ] && [ "$(cat "$finished")" = "$wanted" ] && fits "$venv/bin/python"; then
  exit 0
fi
if [ -f "$begun" ]; then
  echo "The last installation was cut off: beginning anew."
  rm -rf "$venv"
fi
if ! fits "$venv/bin/python" || { [ -f "$finished" ] && [ "$(cut -d' ' -f2- "$finished")" != "$PWD" ]; }; then
  make_venv
fi
touch "$begun"
rm -f "$finished"
echo "Installing Slipway's packages into $PWD/$venv: some minutes at first, nothing at all next time."
pip=("$venv/bin/python" -m pip --disable-pip-version-check --quiet --quiet install)
"${pip[@]}" --no-deps --require-hashes --only-binary :all: --requirement requirements.lock
"${pip[@]}" --no-build-isolation --no-deps --editable .
rm "$begun"
printf '%s\n' "$wanted" >"$finished.draft"
mv "$finished.draft" "$finished"
echo "Installed."
