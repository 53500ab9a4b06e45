"""``graticule forge``: STAC for rasters that have none: a static catalog, JSON lines, or straight into a catalog."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from graticule.cli.options import DataDir, Json

if TYPE_CHECKING:
    from graticule.cli.progress import Display
    from graticule.forge import CatalogFolder, CollectionMaker, Forge, Forged, Found, JsonLines, Scene

#: Files that are no part of a scene, told of by name.
_TOLD: Final = 10


class Outline(Enum):
    """What a footprint goes around."""

    BOUNDS = "bounds"
    DATA = "data"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("forge")(forge)


def forge(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILES…", show_default=False, help="Rasters (GeoTIFF, JPEG, PNG, JPEG 2000), and folders."
        ),
    ],
    collection: Annotated[
        str, typer.Option("--collection", "-c", metavar="ID", show_default=False, help="The collection they become.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="PATH",
            show_default=False,
            help="A folder for a static catalog, or NAME.ndjson. Default: the folder ID-stac.",
        ),
    ] = None,
    data_dir: DataDir = None,
    group: Annotated[
        str,
        typer.Option(
            metavar="RULE",
            help="Which files are one scene: auto (by folder, MTL and band names), file (each raster), folder, or a"
            " regular expression on paths with (?P<scene>…) and (?P<asset>…).",
        ),
    ] = "auto",
    asset_key: Annotated[
        str, typer.Option(metavar="KEY", help="Key of a raster that has no name of its own.")
    ] = "data",
    datetime: Annotated[
        str | None,
        typer.Option(metavar="TIME", show_default=False, help="Of all: 2021, 2021-07, 2021-07-14T10:20:30Z, or A/B."),
    ] = None,
    datetime_pattern: Annotated[
        str | None,
        typer.Option(metavar="PATTERN", show_default=False, help="Where the path has it, such as '_%Y%m%d_'."),
    ] = None,
    fallback_datetime: Annotated[
        str | None, typer.Option(metavar="TIME", show_default=False, help="Of those that tell none.")
    ] = None,
    crs: Annotated[
        str | None,
        typer.Option(metavar="CRS", show_default=False, help="Of rasters that name none, such as EPSG:32618."),
    ] = None,
    footprint: Annotated[
        Outline, typer.Option(metavar="WHAT", help="Outline the whole raster (bounds), or the pixels with data (data).")
    ] = Outline.BOUNDS,
    template: Annotated[
        Path | None,
        typer.Option(metavar="FILE", show_default=False, help="Jinja2, renders JSON that is merged into each Item."),
    ] = None,
    title: Annotated[str | None, typer.Option(metavar="TEXT", show_default=False, help="Of the collection.")] = None,
    description: Annotated[
        str | None, typer.Option(metavar="TEXT", show_default=False, help="Of the collection.")
    ] = None,
    license_id: Annotated[
        str, typer.Option("--license", metavar="ID", help="Of the collection: an SPDX identifier, or other.")
    ] = "other",
    asset_base: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            show_default=False,
            help="Where the (one) folder is served: hrefs are this and the path in it.",
        ),
    ] = None,
    *,
    checksum: Annotated[
        bool, typer.Option("--checksum", help="Read every file for its SHA-256 (file:checksum).")
    ] = False,
    copy: Annotated[bool, typer.Option("--copy", help="Copy the files into the static catalog too.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Write into what is there already.")] = False,
    post: Annotated[bool, typer.Option("--post", help="Ingest into the catalog that runs on the data folder.")] = False,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="With --post: pass over ids that the collection has.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be made.")] = False,
    as_json: Json = False,
) -> int:
    """Describe rasters as STAC Items of one Collection: files in, catalog out. Needs no server, but with --post.

    A file that cannot be described is named with the remedy, and the others go on: exit code 1.
    """
    from graticule.cli.logs import set_up_logging  # noqa: PLC0415 - not needed for `--help`
    from graticule.cli.posting import post_items  # noqa: PLC0415
    from graticule.cli.progress import Display  # noqa: PLC0415
    from graticule.errors import NotForged  # noqa: PLC0415
    from graticule.forge import (  # noqa: PLC0415
        RASTERS,
        CatalogFolder,
        CollectionMaker,
        Destination,
        Forge,
        Grouping,
        ItemTemplate,
        JsonLines,
        Recipe,
        TimeRules,
        find_files,
        group_scenes,
        read_crs,
    )

    set_up_logging("warning")
    if post and (output or copy or asset_base):
        raise typer.BadParameter("--post writes no catalog: leave out --output, --copy and --asset-base.")
    recipe = Recipe(
        collection=collection,
        times=TimeRules.from_options(datetime, fallback_datetime, datetime_pattern),
        crs=None if crs is None else read_crs(crs),
        valid_data=footprint is Outline.DATA,
        checksum=checksum,
        template=None if template is None else ItemTemplate(template),
    )
    maker = CollectionMaker(collection, title=title, description=description, license_id=license_id)
    destination = Destination.below(asset_base, files)
    place = output or Path(f"{collection}-stac")  # the files are often in a folder of the collection's own name
    scenes, rest = group_scenes(find_files(files, besides=place.absolute()), Grouping(group, asset_key))
    if not scenes:
        raise NotForged(f"There is no raster ({', '.join(RASTERS)}) among {', '.join(map(str, files))}.")
    with Display("Describing", as_json=as_json, total=len(scenes)) as display:
        making = _Making(Forge(recipe), maker, display, tell_each=dry_run, as_json=as_json)
        items = making.items(scenes)
        posted = True
        if dry_run or post:
            forged = list(items)
            if post and not dry_run and forged:
                posted = post_items(data_dir, maker.document(), forged, display, skip_existing=skip_existing)
        elif place.suffix in {".ndjson", ".jsonl"}:
            making.write(items, JsonLines(place, destination, overwrite=overwrite))
        else:
            making.write(items, CatalogFolder(place, destination, copy=copy, overwrite=overwrite))
        making.tell_end(rest, None if dry_run or post else place)
    return 0 if posted and not making.refused else 1


class _Making:
    """Scenes becoming Items, told of as they pass."""

    def __init__(
        self, forge: Forge, maker: CollectionMaker, display: Display, *, tell_each: bool, as_json: bool
    ) -> None:
        self._forge = forge
        self._maker = maker
        self._display = display
        self._tell_each = tell_each
        self._as_json = as_json
        self._assets = self._made = 0
        self._rows: list[tuple[str, ...]] = []
        self.refused = 0

    def items(self, scenes: Sequence[Scene]) -> Iterator[Forged]:
        """The Items of the scenes; a scene that none can be made of is told of, and passed over."""
        from graticule.errors import NotForged  # noqa: PLC0415

        for number, scene in enumerate(scenes):
            try:
                forged = self._forge.make(scene)
            except NotForged as exc:
                self.refused += 1
                self._display.note(
                    "refused", f"{scene.id}: {exc.message}", item=scene.id, file=scene.place, message=exc.message
                )
                continue
            finally:
                self._display.update(number + 1, f"{number + 1:,} of {len(scenes):,} scenes", scenes=number + 1)
            self._maker.add(forged.item)
            self._made += 1
            self._assets += len(forged.item["assets"])
            if self._tell_each:
                self._tell(forged)
            yield forged

    def write(self, items: Iterator[Forged], writer: CatalogFolder | JsonLines) -> None:
        """Write them; without any there is no catalog."""
        with writer:
            for forged in items:
                writer.write(forged)
            if self._made:
                writer.finish(self._maker.document())

    def tell_end(self, rest: Sequence[Found], place: Path | None) -> None:
        """What would be made, as a table; what was left out; what was made."""
        if self._rows:
            print(_table(self._rows))
        for file in rest[:_TOLD]:
            self._display.note("passed-over", f"{file.place}: belongs to no raster; passed over", file=file.place)
        if len(rest) > _TOLD:
            self._display.note("more", f"and {len(rest) - _TOLD:,} more files that belong to no raster")
        made = f"{self._made:,} items with {self._assets:,} assets"
        if place is not None and self._made:
            made += f" in {place}"
        counts = {"refused": self.refused, "passed over": len(rest)}
        text = made + "".join(f", {count:,} {what}" for what, count in counts.items() if count)
        self._display.note(
            "done",
            text,
            items=self._made,
            assets=self._assets,
            refused=self.refused,
            passed_over=len(rest),
            output=None if place is None or not self._made else str(place),
        )

    def _tell(self, forged: Forged) -> None:
        item = forged.item
        properties = item["properties"]
        time = properties.get("datetime") or f"{properties.get('start_datetime')}/{properties.get('end_datetime')}"
        box = ",".join(f"{number:.4f}" for number in item["bbox"])
        crs = properties.get("proj:code") or "various"
        if self._as_json:
            self._display.note("item", "", item=item, time_source=forged.time_source)
        else:
            self._rows.append((item["id"], time, forged.time_source, crs, box, " ".join(item["assets"])))


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    """Columns one below the other; the last one is as long as it is."""
    rows = [("ITEM", "TIME", "BY", "CRS", "BBOX", "ASSETS"), *rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)
