"""Checks the pages that people read: links lead somewhere, code says what language it is in, one diagram is drawn once.

Looks at every Markdown file that git knows or would add. Links to the web are not followed.
"""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).resolve().parents[1]
ARCHITECTURE = ROOT / "docs" / "architecture.md"


def main() -> int:
    """Print what is wrong, a line each."""
    pages = {page: MarkdownIt("commonmark").enable("table").parse(page.read_text()) for page in markdown_files()}
    problems = [problem for page, tokens in pages.items() for problem in (*links(page, tokens), *fences(page, tokens))]
    diagrams = [page for page, tokens in pages.items() for token in tokens if token.info.strip() == "mermaid"]
    if diagrams != [ARCHITECTURE]:
        where = ", ".join(name(page) for page in diagrams) or "none"
        problems.append(f"{name(ARCHITECTURE)} must have the one Mermaid diagram of the project; found: {where}")
    for problem in problems:
        print(problem)
    return 1 if problems else 0


def markdown_files() -> list[Path]:
    """Pages of the project, tracked or new."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "--", "*.md"],  # noqa: S607 - git of the PATH
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return sorted(ROOT / entry for entry in listed.split("\0") if entry and (ROOT / entry).is_file())


def links(page: Path, tokens: list[Token]) -> Iterator[str]:
    """Links and pictures that lead to no file, or to no heading of it."""
    for token in _walk(tokens):
        target = token.attrGet("href") if token.type == "link_open" else token.attrGet("src")
        if not isinstance(target, str):
            continue
        parts = urlsplit(target)
        if parts.scheme or parts.netloc:
            continue
        file = (page.parent / unquote(parts.path)).resolve() if parts.path else page
        if not file.is_relative_to(ROOT) or not file.exists():
            yield f"{name(page)}: the link {target} leads to no file"
        elif parts.fragment and file.suffix == ".md" and parts.fragment not in headings(file):
            yield f"{name(page)}: the link {target} leads to no heading of that page"


def fences(page: Path, tokens: list[Token]) -> Iterator[str]:
    """Code blocks without a language."""
    for token in tokens:
        line = (token.map or [0])[0] + 1
        if token.type == "fence" and not token.info.strip():
            yield f"{name(page)}:{line}: say what the code block holds, such as ```sh or ```text"
        if token.type == "code_block":
            yield f"{name(page)}:{line}: indented code; put it between ``` with its language"


def headings(page: Path) -> set[str]:
    """The anchors of a page's headings, as code hosts make them."""
    tokens = MarkdownIt("commonmark").parse(page.read_text())
    texts = [after.content for token, after in itertools.pairwise(tokens) if token.type == "heading_open"]
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in texts}


def name(page: Path) -> str:
    """A page as people call it: its path in the repository."""
    return page.relative_to(ROOT).as_posix()


def _walk(tokens: list[Token]) -> Iterator[Token]:
    for token in tokens:
        yield token
        yield from _walk(token.children or [])


if __name__ == "__main__":
    sys.exit(main())
