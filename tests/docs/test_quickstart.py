"""The tutorial, run as it stands."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

PAGE = "tutorials/quickstart.md"

#: The calls of the published quickstart, in its order: what the tutorial must make too.
CALLS = (
    r"requests\.post\(f\"{geocatalog_url}/stac/collections\"",
    r"/configurations/render-options",
    r"/configurations/mosaics",
    r"/configurations/tile-settings",
    r"{collection_url}/assets",
    r"/api/stac/v1/search",
    r"/api/sas/v1/token/",
    r"requests\.post\(f\"{collection_url}/items\"",
    r"response\.headers\[\"location\"\]",
    r"requests\.get\(f\"{collection_url}/items\"",
    r"/stac/search.*\"collection\"",
    r"/sas/sign",
    r"requests\.delete\(item_url",
    r"requests\.delete\(collection_url",
)


@pytest.mark.acceptance
def test_every_block_of_the_quickstart_runs_in_order(
    python_blocks: Callable[[str], list[Any]], serving: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving() as surroundings:
        monkeypatch.setenv("GEOCATALOG_URL", surroundings.catalog_url)
        monkeypatch.setenv("SOURCE_URL", surroundings.source_url)
        for name in ("PATH", "GRATICULE_DATA_DIR"):
            monkeypatch.setenv(name, surroundings.environment[name])
        names: dict[str, Any] = {}
        for block in python_blocks(PAGE):
            # Blank lines before it, so that a traceback names the page's own line.
            exec(compile("\n" * (block.line - 1) + block.code, PAGE, "exec"), names)  # the tutorial is code under test
    assert names["operation"]["status"] == "Succeeded"


def test_the_quickstart_makes_the_published_calls_in_their_order(python_blocks: Callable[[str], list[Any]]) -> None:
    text = "\n".join(block.code for block in python_blocks(PAGE))
    assert re.search(".*".join(CALLS), text, re.DOTALL)
