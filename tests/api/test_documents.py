"""Items as they go out: spliced from the stored bytes, equal to what a parse would give."""

from __future__ import annotations

import orjson
from hypothesis import given
from hypothesis import strategies as st

from graticule.api.documents import Documents, item_links
from graticule.api.links import Links
from graticule.stac.links import feature_collection, stored_form, with_links

_MEMBERS: tuple[dict[str, list[str]], ...] = ({}, {"links": []})

names = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/\\"), min_size=1, max_size=20)


@given(collection=names, item=names, explicit=st.booleans())
def test_links_are_spliced_as_they_would_be_written(collection: str, item: str, explicit: bool) -> None:
    links = Links("https://geo.example.org/root", "2025-04-30-preview", explicit)
    document = {"type": "Feature", "id": item, "collection": collection, "links": [{"rel": "license", "href": "x"}]}
    stored = orjson.dumps(stored_form(document))
    documents = Documents.__new__(Documents)
    documents._links, documents._around = links, {}

    spliced = documents._linked(stored, collection, item)

    assert spliced == with_links(stored, item_links(links, collection, item))
    assert orjson.loads(spliced)["links"][:-1] == item_links(links, collection, item)


def test_a_collection_named_like_a_part_of_the_path_keeps_its_links() -> None:
    links = Links("https://geo.example.org/items/", "2026-04-15", explicit=True)
    documents = Documents.__new__(Documents)
    documents._links, documents._around = links, {}
    stored = orjson.dumps(stored_form({"type": "Feature", "id": "items", "collection": "items", "links": []}))

    assert documents._linked(stored, "items", "items") == with_links(stored, item_links(links, "items", "items"))


def test_a_page_is_valid_json_with_and_without_items_and_members() -> None:
    for features in ([], [b'{"id":1}'], [b'{"id":1}', b'{"id":2}']):
        for members in _MEMBERS:
            page = orjson.loads(feature_collection(features, **members))
            assert page == {"type": "FeatureCollection", "features": [orjson.loads(one) for one in features], **members}
