"""The two API versions that are served, and how a request names one (api.md 1.1)."""

from __future__ import annotations

from collections.abc import Sequence

from graticule.errors import UnsupportedApiVersion

STABLE = "2026-04-15"
PREVIEW = "2025-04-30-preview"
SUPPORTED = (STABLE, PREVIEW)


def api_version(values: Sequence[str]) -> str:
    """The version a request asks for; without one it is the stable version.

    Raises:
        UnsupportedApiVersion: it is not served; the message names those that are.
    """
    for value in values:
        if value not in SUPPORTED:
            raise UnsupportedApiVersion(
                f"The api-version {value[:40]!r} is not served. Supported: {', '.join(SUPPORTED)}.",
                target="api-version",
            )
    return values[-1] if values else STABLE
