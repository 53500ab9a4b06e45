#!/bin/sh
# Resolves pyproject.toml, dev packages included, for all supported Python versions and platforms, into requirements.lock.
#
# The index is the one that pip is configured with; the lock records hashes only, and never where a file came from.
set -eu
cd "$(dirname "$0")/.."

if command -v uv >/dev/null; then uv=uv; else
    uv=.venv/bin/uv
    [ -x "$uv" ] || .venv/bin/python -m pip --disable-pip-version-check install --quiet uv
fi

index=${PIP_INDEX_URL:-$(.venv/bin/python -m pip config get global.index-url 2>/dev/null || true)}
if [ -n "$index" ]; then UV_DEFAULT_INDEX=$index; export UV_DEFAULT_INDEX; fi

"$uv" pip compile pyproject.toml --extra dev --universal --generate-hashes --no-header --no-annotate \
    --upgrade --quiet --output-file requirements.lock

if grep -nE '://|^ *--(index-url|extra-index-url|find-links|trusted-host)' requirements.lock; then
    echo "requirements.lock names where packages come from: remove these lines" >&2
    exit 1
fi
