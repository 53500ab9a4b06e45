"""Configuration is kept, answered in order and forgotten with its collection."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from graticule.catalog import Catalog, OnConflict
from graticule.configuration import Configuration, Kind, forget_collection
from graticule.database import Database
from graticule.errors import Conflict, InvalidRequestBody, NotFound
from graticule.stac.documents import Item


def entry(kind: Kind, entry_id: str, **members: Any) -> dict[str, Any]:
    if kind is Kind.QUERYABLE:
        return {"name": entry_id, "definition": {"type": "number"}, **members}
    rest: dict[str, Any] = {"cql": []} if kind is Kind.MOSAIC else {"options": "assets=image"}
    return {"id": entry_id, "name": entry_id.title(), **rest, **members}


def ids(kind: Kind, documents: list[dict[str, Any]]) -> list[str]:
    return [document[kind.key] for document in documents]


ITEM: Item = {
    "type": "Feature",
    "id": "scene",
    "geometry": {"type": "Point", "coordinates": [1, 2]},
    "bbox": [1, 2, 1, 2],
    "properties": {"datetime": "2024-01-01T00:00:00Z"},
}

each_kind = pytest.mark.parametrize("kind", list(Kind))


async def test_a_new_collection_has_the_defaults(configuration: Configuration) -> None:
    assert await configuration.whole("naip") == {
        "tileSettings": {"minZoom": 0, "maxItemsPerTile": 100, "defaultLocation": None},
        "mosaicInfo": {"mosaics": [], "renderOptions": [], "defaultLocation": None, "defaultCustomQuery": None},
    }
    assert await configuration.partition_type("naip") == {"scheme": "none"}


async def test_the_whole_configuration_holds_what_was_written(configuration: Configuration) -> None:
    option, mosaic = entry(Kind.RENDER_OPTION, "natural"), entry(Kind.MOSAIC, "recent")
    settings = {"minZoom": 6, "maxItemsPerTile": 35, "defaultLocation": {"zoom": 12, "coordinates": [8.96, -79.54]}}
    await configuration.add("naip", Kind.RENDER_OPTION, option)
    await configuration.add("naip", Kind.MOSAIC, mosaic)
    await configuration.replace_tile_settings("naip", settings)
    assert await configuration.whole("naip") == {
        "tileSettings": settings,
        "mosaicInfo": {
            "mosaics": [mosaic],
            "renderOptions": [option],
            "defaultLocation": None,
            "defaultCustomQuery": None,
        },
    }


@each_kind
async def test_entries_come_back_in_the_order_they_were_added(configuration: Configuration, kind: Kind) -> None:
    await configuration.add("naip", kind, entry(kind, "z"))
    await configuration.add("naip", kind, [entry(kind, "m"), entry(kind, "a")])
    await configuration.replace("naip", kind, "z", entry(kind, "z", note="new"))
    found = await configuration.entries("naip", kind)
    assert ids(kind, found) == ["z", "m", "a"]
    assert found[0]["note"] == "new"


@each_kind
async def test_an_entry_is_answered_as_it_was_sent(configuration: Configuration, kind: Kind) -> None:
    sent = entry(kind, "eo:cloud_cover", beyond={"the": ["contract", None]})
    assert await configuration.add("naip", kind, sent) == [sent]
    assert await configuration.entry("naip", kind, "eo:cloud_cover") == sent


@each_kind
async def test_a_duplicate_adds_nothing_of_its_list(configuration: Configuration, kind: Kind) -> None:
    await configuration.add("naip", kind, entry(kind, "a"))
    for duplicate in ("a", "b"):
        with pytest.raises(Conflict, match=f"'{duplicate}'"):
            await configuration.add("naip", kind, [entry(kind, "b"), entry(kind, duplicate)])
    assert ids(kind, await configuration.entries("naip", kind)) == ["a"]


@each_kind
async def test_what_does_not_exist_is_not_found(configuration: Configuration, kind: Kind) -> None:
    with pytest.raises(NotFound, match="'no-such'"):
        await configuration.replace("naip", kind, "no-such", entry(kind, "no-such"))
    with pytest.raises(NotFound, match="'no-such'"):
        await configuration.remove("naip", kind, "no-such")
    with pytest.raises(NotFound, match="'no-such'"):
        await configuration.entry("naip", kind, "no-such")


@each_kind
async def test_a_removed_entry_is_gone_and_its_id_free(configuration: Configuration, kind: Kind) -> None:
    await configuration.add("naip", kind, entry(kind, "a"))
    await configuration.remove("naip", kind, "a")
    assert await configuration.entries("naip", kind) == []
    await configuration.add("naip", kind, entry(kind, "a"))


async def test_an_unknown_collection_has_no_configuration(configuration: Configuration) -> None:
    reads = [
        configuration.whole("no-such"),
        configuration.entries("no-such", Kind.MOSAIC),
        configuration.entry("no-such", Kind.MOSAIC, "a"),
        configuration.tile_settings("no-such"),
        configuration.partition_type("no-such"),
        configuration.queryables("no-such"),
        configuration.add("no-such", Kind.MOSAIC, entry(Kind.MOSAIC, "a")),
        configuration.replace("no-such", Kind.MOSAIC, "a", entry(Kind.MOSAIC, "a")),
        configuration.remove("no-such", Kind.MOSAIC, "a"),
        configuration.replace_tile_settings("no-such", {"minZoom": 0, "maxItemsPerTile": 1}),
        configuration.replace_partition_type("no-such", {"scheme": "year"}),
    ]
    for read in reads:
        with pytest.raises(NotFound, match="Collection 'no-such'"):
            await read


async def test_a_collection_that_is_being_deleted_has_none_either(
    configuration: Configuration, database: Database, catalog: Catalog
) -> None:
    database.write_now(lambda tx: catalog.mark_deleting(tx, "naip"))
    with pytest.raises(NotFound):
        await configuration.whole("naip")


async def test_collections_do_not_see_each_other(configuration: Configuration, add_collection: Any) -> None:
    add_collection("other")
    await configuration.add("naip", Kind.MOSAIC, entry(Kind.MOSAIC, "a"))
    await configuration.add("other", Kind.MOSAIC, entry(Kind.MOSAIC, "a"))
    await configuration.remove("naip", Kind.MOSAIC, "a")
    assert ids(Kind.MOSAIC, await configuration.entries("other", Kind.MOSAIC)) == ["a"]


async def test_forgetting_a_collection_leaves_nothing_of_it(
    configuration: Configuration, database: Database, add_collection: Any
) -> None:
    add_collection("other")
    for collection_id in ("naip", "other"):
        for kind in Kind:
            await configuration.add(collection_id, kind, entry(kind, "a"))
        await configuration.replace_tile_settings(collection_id, {"minZoom": 3, "maxItemsPerTile": 1})
        await configuration.replace_partition_type(collection_id, {"scheme": "year"})
    database.write_now(lambda tx: forget_collection(tx, "naip"))
    assert (await configuration.whole("naip"))["tileSettings"]["minZoom"] == 0
    for kind in Kind:
        assert await configuration.entries("naip", kind) == []
        assert len(await configuration.entries("other", kind)) == 1
    assert await configuration.partition_type("naip") == {"scheme": "none"}
    assert await configuration.partition_type("other") == {"scheme": "year"}


# --- what render options name


async def test_options_are_held_against_what_items_have(
    configuration: Configuration, database: Database, catalog: Catalog
) -> None:
    option = entry(Kind.RENDER_OPTION, "a", options="assets=other")
    await configuration.add("naip", Kind.RENDER_OPTION, option)  # nothing is known yet
    assets: dict[str, Any] = {"image": {"href": "x", "eo:bands": [{}, {}, {}, {}]}, "map": {"href": "y"}}
    item: Item = {**ITEM, "assets": assets}
    database.write_now(lambda tx: catalog.put_items(tx, "naip", [item], on_conflict=OnConflict.ERROR))
    with pytest.raises(
        InvalidRequestBody, match=r"no item of the collection has an asset 'other'.*image, map"
    ) as caught:
        await configuration.replace("naip", Kind.RENDER_OPTION, "a", option)
    assert caught.value.target == "options"
    good = entry(Kind.RENDER_OPTION, "b", options="assets=image&asset_bidx=image|4,1,2")
    bad = entry(Kind.RENDER_OPTION, "c", options="assets=image&asset_bidx=image|5,1,2")
    with pytest.raises(InvalidRequestBody, match="4 bands") as caught:
        await configuration.add("naip", Kind.RENDER_OPTION, [good, bad])
    assert caught.value.target == "[1].options"
    assert [one["id"] for one in await configuration.entries("naip", Kind.RENDER_OPTION)] == ["a"], "all or nothing"
    vector = {"tilejsonKey": "tiles", "sourceLayer": "fires"}
    lines = entry(Kind.RENDER_OPTION, "d", type="vt-line", vectorOptions=vector, options="whatever")
    assert await configuration.add("naip", Kind.RENDER_OPTION, [good, lines]) == [good, lines]


async def test_options_are_held_against_item_assets(
    configuration: Configuration, database: Database, catalog: Catalog
) -> None:
    assets: dict[str, Any] = {"data": {"raster:bands": [{}]}, "visual": {}}
    doc = orjson.dumps({"type": "Collection", "links": [], "id": "dem", "item_assets": assets})
    database.write_now(lambda tx: catalog.add_collection(tx, "dem", doc, "dem-0badcafe"))
    await configuration.add("dem", Kind.RENDER_OPTION, entry(Kind.RENDER_OPTION, "a", options="assets=visual&bidx=9"))
    for options in ("assets=data&bidx=2", "assets=dta", "expression=data_b1*vis_b1", "assets=data&colormap_name=x"):
        with pytest.raises(InvalidRequestBody):
            await configuration.add("dem", Kind.RENDER_OPTION, entry(Kind.RENDER_OPTION, "b", options=options))


# --- partition type


async def test_the_partition_type_is_set_before_the_first_item(
    configuration: Configuration, database: Database, catalog: Catalog
) -> None:
    await configuration.replace_partition_type("naip", {"scheme": "month"})
    database.write_now(lambda tx: catalog.put_items(tx, "naip", [ITEM], on_conflict=OnConflict.ERROR))
    await configuration.replace_partition_type("naip", {"scheme": "Month"})
    with pytest.raises(InvalidRequestBody, match="before the first"):
        await configuration.replace_partition_type("naip", {"scheme": "year"})
    assert await configuration.partition_type("naip") == {"scheme": "month"}


# --- queryables


async def test_id_datetime_and_geometry_can_always_be_filtered_by(configuration: Configuration) -> None:
    assert list(await configuration.queryables("naip")) == ["id", "datetime", "geometry"]
    assert list(await configuration.catalog_queryables()) == ["id", "datetime", "geometry"]


async def test_a_definition_is_the_schema_of_its_property(configuration: Configuration) -> None:
    definition = {"data_type": "number", "title": "Cloud cover"}
    await configuration.add("naip", Kind.QUERYABLE, {"name": "eo:cloud_cover", "definition": definition})
    assert (await configuration.queryables("naip"))["eo:cloud_cover"] == definition


async def test_a_built_in_queryable_can_be_described_anew_and_comes_back(configuration: Configuration) -> None:
    built_in = (await configuration.queryables("naip"))["datetime"]
    described = {"title": "Flown", "type": "string", "format": "date-time"}
    await configuration.add("naip", Kind.QUERYABLE, {"name": "datetime", "definition": described})
    assert (await configuration.queryables("naip"))["datetime"] == described
    await configuration.remove("naip", Kind.QUERYABLE, "datetime")
    assert (await configuration.queryables("naip"))["datetime"] == built_in


async def test_the_catalog_has_the_queryables_of_all_its_collections(
    configuration: Configuration, database: Database, catalog: Catalog, add_collection: Any
) -> None:
    add_collection("other")
    add_collection("going")
    await configuration.add("other", Kind.QUERYABLE, entry(Kind.QUERYABLE, "gsd", definition={"title": "older"}))
    await configuration.add("naip", Kind.QUERYABLE, entry(Kind.QUERYABLE, "naip:state"))
    await configuration.add("naip", Kind.QUERYABLE, entry(Kind.QUERYABLE, "gsd", definition={"title": "newer"}))
    await configuration.add("going", Kind.QUERYABLE, entry(Kind.QUERYABLE, "going:away"))
    database.write_now(lambda tx: catalog.mark_deleting(tx, "going"))
    found = await configuration.catalog_queryables()
    assert list(found) == ["id", "datetime", "geometry", "gsd", "naip:state"]
    assert found["gsd"] == {"title": "older"}
