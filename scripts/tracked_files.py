"""Checks what git would publish: no machine's paths, no key material, no registry in a lock file, nothing oversized.

Every file that git tracks or would add is read once. A line that must hold such a text says why with ``leak-ok``.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

LARGEST_BYTES = 500_000

#: In any file: what -> how it looks. The patterns are written so that they do not match themselves.
EVERYWHERE = {
    "a home folder": re.compile(r"(?<![\w.])/(?:home|Users)/(?!user\b|me\b|<)[A-Za-z_][\w.-]*/|(?<![\w.])/root/\w"),
    "a temporary folder of a tool": re.compile(r"/tmp/(?:pytest-of-|tmp)\w+"),  # noqa: S108 - looked for, not used
    "a private key": re.compile(r"-----BEGIN (?:[A-Z]+ )*PRIVATE [K]EY-----"),
    # At a host that could be somewhere: tests of the fetch guard use names without a dot, and loopback addresses.
    "credentials in a URL": re.compile(r"https?://[^/\s:@'\"{}<>]+:[^/\s:@'\"{}<>]+@(?!127\.)[\w-]+\.[\w.-]+"),
    "a cloud access key": re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
    "a token": re.compile(r"\beyJ[A-Za-z0-9_-]{20,}\.eyJ[A-Za-z0-9_-]{20,}\."),
}

#: In lock files and package managers' settings: they must hold hashes, not where a file came from.
IN_LOCKS = {
    "a URL": re.compile(r"https?://|\bfile://|git\+"),
    "an index option": re.compile(
        r"--(?:extra-)?index-url|--find-links|--trusted-host|^registry\s*=|\"resolved\":", re.MULTILINE
    ),
}

LOCKS = re.compile(r"(^|/)([\w.-]+\.lock|requirements[\w.-]*\.txt|package-lock\.json|\.npmrc|pip\.conf|uv\.toml)$")
#: Links to pages of projects and licences that npm copies into its lock; they are no download addresses.
LOCK_LINKS = re.compile(r"^\s*\"(?:url|funding|license)\": \"https?://[^\"]*\",?$", re.MULTILINE)


def main() -> int:
    """Print what is wrong, a line each."""
    problems = [problem for file in files() for problem in check(file)]
    for problem in problems:
        print(problem)
    return 1 if problems else 0


def files() -> list[Path]:
    """What git tracks, or would add."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return [ROOT / entry for entry in listed.split("\0") if entry and (ROOT / entry).is_file()]


def check(file: Path) -> Iterator[str]:
    """The problems of one file."""
    name = file.relative_to(ROOT).as_posix()
    content = file.read_bytes()
    if len(content) > LARGEST_BYTES:
        yield f"{name}: {len(content)} bytes are too many for the repository; tests make their rasters"
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return
    patterns = dict(EVERYWHERE)
    if LOCKS.search(name):
        text = LOCK_LINKS.sub("", text)
        patterns |= IN_LOCKS
    for what, pattern in patterns.items():
        for match in pattern.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            if "leak-ok" not in text.splitlines()[line - 1]:
                yield f"{name}:{line}: {what}"


if __name__ == "__main__":
    sys.exit(main())
