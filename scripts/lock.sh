#!/bin/sh
# Resolves pyproject.toml (dev packages included) into requirements.lock, and the servers of tests into tests/servers.lock and
# tests/moto.lock, for all supported Python versions and platforms.
#
# The index is the one that pip is configured with; a lock records hashes only, and never where a file came from.
set -eu
cd "$(dirname "$0")/.."

if command -v uv >/dev/null; then uv=uv; else
    uv=.venv/bin/uv
    [ -x "$uv" ] || .venv/bin/python -m pip --disable-pip-version-check install --quiet uv
fi

index=${PIP_INDEX_URL:-$(.venv/bin/python -m pip config get global.index-url 2>/dev/null || true)}
if [ -n "$index" ]; then UV_DEFAULT_INDEX=$index; export UV_DEFAULT_INDEX; fi

compile() {
    "$uv" pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --upgrade --quiet "$@"
}

compile pyproject.toml --extra dev --output-file requirements.lock
compile tests/servers.in --output-file tests/servers.lock
compile tests/moto.in --output-file tests/moto.lock

if grep -nE '://|^ *--(index-url|extra-index-url|find-links|trusted-host)' requirements.lock tests/servers.lock tests/moto.lock; then
    echo "A lock file names where packages come from; see the lines above" >&2
    exit 1
fi
