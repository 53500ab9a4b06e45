"""A private container, registered with its token: hrefs without one are read, and the token is seen nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from acceptance.documents import collection, item
from acceptance.rasters import small_geotiff
from acceptance.serving import Served
from acceptance.source import TOKEN, Source
from acceptance.storage import settled

pytestmark = pytest.mark.acceptance


def test_hrefs_in_a_registered_container_need_no_token(tmp_path: Path) -> None:
    with (
        Source({"private/a.tif": small_geotiff(), "private": b"<EnumerationResults/>"}) as source,
        Served(tmp_path, env={"GRATICULE_FETCH_ALLOW": source.host}) as served,
    ):
        client = served.client()
        items = f"{served.url}/stac/collections/c/items"
        assert client.post(f"{served.url}/stac/collections", json=collection("c")).status_code == 202
        document = item("scene", {"image": source.href("private/a.tif", signed=False)})

        refused = served.finished(client, client.post(items, json=document))
        assert (refused["status"], refused["error"]["code"]) == ("Failed", "PublicAccessRestricted")

        info = {"containerUrl": f"{source.url}/private", "sasToken": f"?{TOKEN}"}
        made = client.post(f"{served.url}/inma/ingestion-sources", json={"kind": "SasToken", "connectionInfo": info})
        assert (made.status_code, "warning" in made.json()["connectionInfo"]) == (201, False), made.text
        operation = served.finished(client, client.post(items, json=document))
        assert operation["status"] == "Succeeded", operation
        assert source.requests[-1] == f"/private/a.tif?{TOKEN}"
        assert len(settled(served.data_dir).of("scene")) == 1

        wrong = {**info, "sasToken": "sv=1&sp=rl&sig=wrong"}
        renewed = client.put(made.headers["location"], json={"kind": "SasToken", "connectionInfo": wrong})
        assert "answered 403" in renewed.json()["connectionInfo"]["warning"]
        operation = served.finished(client, client.put(f"{items}/scene", json=document))
        assert operation["error"]["code"] == "IngestionAuthenticationFailed"

        assert client.delete(made.headers["location"]).status_code == 204
        log = served.log_text()
        answers = made.text + renewed.text + str(operation)
    kept = b"".join(file.read_bytes() for file in served.data_dir.rglob("*") if file.is_file())
    assert "letmein" not in log + answers
    assert b"letmein" not in kept
