#!/bin/sh
# Makes .venv: the packages of requirements.lock, each checked against its hash, and graticule itself as it stands here.
#
# Needs Python 3.11 or later and a package index as pip is configured on this machine. Never needs root, and changes
# nothing outside this folder. Does nothing when neither the lock nor the project file has changed.
set -eu
cd "$(dirname "$0")/.."

say() { printf '%s\n' "$*" >&2; }

# The interpreter to use: $PYTHON, else the first that is new enough; versions that the lock was tested with come first.
find_python() {
    for range in '(3, 11) <= v < (3, 14)' 'v >= (3, 11)'; do
        for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11 python3.14 python}; do
            if "$candidate" -c "import sys; v = sys.version_info; sys.exit(not ($range))" 2>/dev/null; then
                "$candidate" -c 'import sys; print(sys.executable)'
                return
            fi
        done
    done
    say "graticule needs Python 3.11 or later and found none. Install it, or name it: make setup PYTHON=/path/to/python3"
    return 1
}

# Debian and Ubuntu leave ensurepip out of python3. Without it pip comes from the system's pip, else from the package
# that python3-venv itself would use, unpacked into a temporary folder: that takes no root.
make_environment() {
    rm -rf .venv
    if "$python" -c 'import ensurepip' 2>/dev/null; then
        "$python" -m venv .venv
        return
    fi
    if ! "$python" -m venv --without-pip .venv 2>/dev/null; then
        say "Python's venv module is missing. Install it (Debian, Ubuntu: apt-get install python3-venv), then try again."
        return 1
    fi
    if "$python" -m pip --python .venv/bin/python install --quiet pip 2>/dev/null; then
        return
    fi
    wheel=$(pip_of_the_distribution) || wheel=
    if [ -z "$wheel" ] || ! .venv/bin/python "$wheel/pip" install --quiet pip; then
        say "There is no pip for $python. Install python3-venv (apt-get install python3-venv), then try again."
        return 1
    fi
}

pip_of_the_distribution() {
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || return 1
    mkdir -p "$scratch/lists/partial" "$scratch/cache/archives/partial"
    own_lists="-o Dir::State::Lists=$scratch/lists -o Dir::Cache=$scratch/cache"
    (
        cd "$scratch"
        # shellcheck disable=SC2086 - these are several words
        apt-get download python3-pip-whl || { apt-get $own_lists update && apt-get $own_lists download python3-pip-whl; }
        dpkg-deb -x python3-pip-whl_*.deb unpacked
    ) >"$scratch/log" 2>&1 || { cat "$scratch/log" >&2; return 1; }
    find "$scratch/unpacked" -name 'pip-*.whl'
}

want=$(cat requirements.lock pyproject.toml scripts/setup.sh | sha256sum | cut -d' ' -f1)" $PWD"
if [ -n "${PYTHON:-}" ] && [ -x .venv/bin/python ] && [ "$("$PYTHON" -V)" != "$(.venv/bin/python -V)" ]; then
    rm -f .venv/ready
fi
if [ -x .venv/bin/python ] && [ "$(cat .venv/ready 2>/dev/null)" = "$want" ]; then
    exit 0
fi

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT INT TERM
python=$(find_python)
if ! [ -x .venv/bin/python ] || ! .venv/bin/python -m pip --version >/dev/null 2>&1 \
    || { [ -n "${PYTHON:-}" ] && [ "$("$python" -V)" != "$(.venv/bin/python -V)" ]; }; then
    say "Making .venv with $("$python" -V) ($python)"
    make_environment
fi
rm -f .venv/ready
if [ -t 1 ]; then quiet=; else quiet=--quiet; fi
say "Installing the packages of requirements.lock (some 150 MB are downloaded the first time)"
# --no-build-isolation: the build back end comes from the lock too, so that nothing unchecked is installed.
.venv/bin/python -m pip --disable-pip-version-check install $quiet --require-hashes -r requirements.lock
.venv/bin/python -m pip --disable-pip-version-check install --quiet --no-deps --no-build-isolation --editable .
printf '%s' "$want" >.venv/ready
