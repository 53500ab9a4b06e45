"""Every secret that a catalog is told is a canary; afterwards none is in a log, an answer, a column or a file."""

from __future__ import annotations

import base64
import json
import secrets
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import psycopg
import pytest
import requests
from psycopg import sql

from acceptance.documents import collection, item, items
from acceptance.rasters import small_geotiff
from acceptance.serving import Served
from acceptance.source import Source
from acceptance.storage import settled
from ingestion.bulk_source import catalog, document

pytestmark = pytest.mark.acceptance

#: What was told to the catalog: by word, a text that is found again however it is escaped.
CANARIES = {
    word: f"canary{word}{secrets.token_hex(6)}"
    for word in (
        "sas", "badsas", "own", "s3key", "s3secret", "session", "header", "gcs", "identity", "master", "password",
        "typo", "bearer",
    )
}  # fmt: skip
SAS = f"sv=2024-11-04&sr=c&sp=rl&sig={CANARIES['sas']}"


class Heard(requests.Session):
    """A client that keeps all that it is answered."""

    def __init__(self, token: str) -> None:
        super().__init__()
        self.trust_env = False
        self.headers["Authorization"] = f"Bearer {token}"
        self.answers: list[bytes] = []

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        answer = super().send(request, **options)
        self.answers.append(f"{answer.headers}".encode() + answer.content)
        return answer


@contextmanager
def identity_endpoint() -> Iterator[str]:
    """Where azure-identity asks for tokens."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            token = {"access_token": CANARIES["identity"], "expires_in": "86400", "token_type": "Bearer"}
            body = json.dumps({**token, "resource": "https://storage.azure.com"}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """Where the database is, and the master key."""
    shared = {"GRATICULE_SECRET_KEY": f"{CANARIES['master']}{secrets.token_hex(32)}", "GRATICULE_LOG_LEVEL": "debug"}
    if request.param == "sqlite":
        yield shared
        return
    with request.getfixturevalue("postgres").emptied_database("template1") as url:
        yield shared | {"GRATICULE_DATABASE_URL": url.replace("tests@", f"tests:{CANARIES['password']}@")}


def test_no_secret_is_told_or_kept_in_the_open(tmp_path: Path, settings: dict[str, str], moto: Any) -> None:
    bucket = moto.new_bucket().url.removeprefix("s3://")
    tif, links = small_geotiff(), (("item", "./good.json"), ("item", "./bad.json"), ("item", "./gone.json"))
    for name, data in {
        "a.tif": tif,
        "catalog.json": catalog(*links),
        "good.json": document("bulk-good", assets={"image": {"href": "./a.tif", "type": "image/tiff"}}),
        "bad.json": document("bulk-bad", assets={"image": {"href": "./none.tif", "type": "image/tiff"}}),
    }.items():
        assert requests.put(f"{moto.url}/{bucket}/{name}", data=data, timeout=10).status_code == 200
    files = {"private/a.tif": tif, "wrong/a.tif": tif, "private": b"<EnumerationResults/>"}
    with (
        identity_endpoint() as identity,
        Source(files, token=SAS) as source,
        Source({"api/a.tif": tif, "own.tif": tif, "broken.tif": b"II*\0nothing"}, token=None) as open_source,
        Served(
            tmp_path,
            env=settings
            | {
                "GRATICULE_FETCH_ALLOW": "127.0.0.1",
                "GRATICULE_MACHINE_IDENTITY_HOSTS": source.host,
                "GRATICULE_FETCH_TRIES": "2",
                "AZURE_POD_IDENTITY_AUTHORITY_HOST": identity,
            },
        ) as served,
    ):
        token = served.token()
        client = Heard(token)
        register(client, served.url, source, open_source, moto.url, bucket)
        ingest(client, served, source, open_source, bucket)
        forge_tokens(client, served.url)
        look_around(client, served.url)
        commands = [" ".join(process.cmdline()) for process in processes(served)]
        settled(served.data_dir, served.database_url)
        columns = dump(served)
        answers, log = b"\n".join(client.answers), served.log_text().encode()
    kept = b"\n".join(file.read_bytes() for file in served.data_dir.rglob("*") if file.is_file())
    hidden = {**CANARIES, "jwt": token.rpartition(".")[2]}
    for where, text in {
        "log": log,
        "answers": answers,
        "command lines": "\n".join(commands).encode(),
        "columns": columns,
        "files": kept,
    }.items():
        assert text, where
        assert [word for word, canary in hidden.items() if found(canary, text)] == [], where
    # The search is no blind one: what is no secret is found by it.
    assert found(f"{bucket}/none.tif", columns)
    assert found("AuthorizationHeaderName", columns)


def register(client: Heard, url: str, source: Source, open_source: Source, moto: str, bucket: str) -> None:
    def post(kind: str, container: str, **info: Any) -> dict[str, Any]:
        document = {"kind": kind, "connectionInfo": {"containerUrl": container, **info}}
        made = client.post(f"{url}/inma/ingestion-sources", json=document)
        assert made.status_code == 201, made.text
        shown: dict[str, Any] = made.json()["connectionInfo"]
        return shown

    keys = {
        "accessKeyId": CANARIES["s3key"],
        "secretAccessKey": CANARIES["s3secret"],
        "sessionToken": CANARIES["session"],
    }
    assert "warning" not in post("SasToken", f"{source.url}/private", sasToken=SAS)
    assert "403" in post("SasToken", f"{source.url}/wrong", sasToken=f"sp=rl&sig={CANARIES['badsas']}")["warning"]
    assert "warning" not in post("S3", f"s3://{bucket}", endpoint=moto, **keys)
    assert "no connection" in post("S3", "s3://closed", endpoint="http://127.0.0.1:9", **keys)["warning"]
    sent = {"AuthorizationHeaderName": CANARIES["header"], "Authorization": f"Basic {CANARIES['header']}"}
    assert "warning" not in post("HttpHeaders", f"{open_source.url}/api", headers=sent)
    key = {"type": "service_account", "client_email": "me", "private_key_id": "x", "private_key": CANARIES["gcs"]}
    assert "nothing can be signed" in post("Gcs", "gs://bucket", serviceAccountKey=key)["warning"]
    assert "no TLS" in post("BlobManagedIdentity", f"https://{source.host}/identity", objectId="me")["warning"]
    for body in (
        '{"kind": "SasToken", "connectionInfo": {"sasToken": "' + CANARIES["typo"],
        json.dumps({"kind": CANARIES["typo"], "connectionInfo": {}}),
        json.dumps({"kind": "SasToken", "connectionInfo": {"containerUrl": f"https://u:{CANARIES['typo']}@h/c"}}),
        json.dumps({"kind": "S3", "connectionInfo": {"containerUrl": "s3://b", "accessKeyId": [CANARIES["typo"]]}}),
    ):
        headers = {"Content-Type": "application/json"}
        assert client.post(f"{url}/inma/ingestion-sources", data=body, headers=headers).status_code == 400


def ingest(client: Heard, served: Served, source: Source, open_source: Source, bucket: str) -> None:
    """Good and failing posts and runs, by every kind of source."""
    assert client.post(f"{served.url}/stac/collections", json=collection("c")).status_code == 202
    own = f"sig={CANARIES['own']}"
    hrefs = {
        "sas": (f"{source.url}/private/a.tif", None),
        "s3": (f"s3://{bucket}/a.tif", None),
        "header": (f"{open_source.url}/api/a.tif", None),
        "own": (f"{open_source.url}/own.tif?{own}", None),
        "bad-sas": (f"{source.url}/wrong/a.tif", "IngestionAuthenticationFailed"),
        "bad-own": (f"{source.url}/other/a.tif?{own}", "IngestionAuthenticationFailed"),
        "bad-user": (f"https://user:{CANARIES['own']}@host.test/a.tif", "InvalidAssetHref"),
        "bad-s3": ("s3://closed/a.tif", "IngestionResourceConnectionFailed"),
        "bad-gcs": ("gs://bucket/a.tif", "IngestionAuthenticationFailed"),
        "bad-identity": (f"https://{source.host}/identity/a.tif", "IngestionResourceConnectionFailed"),
        "bad-header": (f"{open_source.url}/api/none.tif", "IngestionResourceUriNotFound"),
        "bad-raster": (f"{open_source.url}/broken.tif?{own}", "CogTransformationError"),
    }
    bodies = [item(name, {"image": href}) for name, (href, _) in hrefs.items()]
    operation = served.finished(client, client.post(f"{served.url}/stac/collections/c/items", json=items(*bodies)))
    report = client.get(f"{served.url}/inma/operations/{operation['id']}/items?$top=100").json()["value"]
    assert {entry["itemId"]: entry.get("code") for entry in report} == {
        name: code for name, (_, code) in hrefs.items()
    }, report
    refused = client.post(f"{served.url}/stac/collections/c/items", json=item("x", {"image": {"href": [own]}}))
    assert refused.status_code == 400

    ingestions = f"{served.url}/inma/collections/c/ingestions"
    for place in (f"s3://{bucket}/catalog.json", f"{open_source.url}/none.json?{own}"):
        made = client.post(ingestions, json={"importType": "StaticCatalog", "sourceCatalogUrl": place})
        assert made.status_code == 201, made.text
        run = client.post(f"{ingestions}/{made.json()['id']}/runs")
        assert run.status_code == 201, run.text
        polled = requests.Response()
        polled.status_code = 202
        polled.headers["location"] = f"{served.url}/inma/operations/{run.json()['id']}"
        ended = served.finished(client, polled)
        assert ended["status"] == "Failed", ended
        client.get(f"{served.url}/inma/operations/{ended['id']}/items")
        client.get(f"{ingestions}/{made.json()['id']}/runs/{ended['id']}")


def forge_tokens(client: Heard, url: str) -> None:
    """Requests whose credentials are wrong."""
    mine = client.headers["Authorization"]
    for wrong in (f"Bearer {CANARIES['bearer']}", f"Bearer a.{CANARIES['bearer']}.c", f"Basic {CANARIES['bearer']}"):
        client.headers["Authorization"] = wrong
        assert client.get(f"{url}/stac/collections").status_code == 401
    client.headers["Authorization"] = mine
    assert client.get(f"{url}/blobs/x/y?sp=r&sig={CANARIES['bearer']}").status_code in {403, 404}


def look_around(client: Heard, url: str) -> None:
    """Everything that can be read of it."""
    sources = client.get(f"{url}/inma/ingestion-sources").json()["value"]
    assert len(sources) == 7
    for source in sources:
        assert client.get(f"{url}/inma/ingestion-sources/{source['id']}").status_code == 200
    for path in ("inma/operations", "stac/collections/c/items", "stac/search", "inma/collections/c/ingestions"):
        assert client.get(f"{url}/{path}").status_code == 200


def processes(served: Served) -> list[psutil.Process]:
    assert served.process is not None
    supervisor = psutil.Process(served.process.pid)
    return [supervisor, *supervisor.children(recursive=True)]


def dump(served: Served) -> bytes:
    """Every column of every table, as bytes."""
    parts: list[bytes] = []
    if served.database_url is None:
        with sqlite3.connect(served.data_dir / "graticule.db") as connection:
            tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")]
            for table in tables:
                for row in connection.execute(f'SELECT * FROM "{table}"'):
                    parts += [value if isinstance(value, bytes) else str(value).encode() for value in row]
        connection.close()
        return b"\n".join(parts)
    with psycopg.connect(served.database_url) as raw:
        names = raw.execute("SELECT tablename FROM pg_tables WHERE schemaname='public'").fetchall()
        for (name,) in names:
            for values in raw.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(name))):
                parts += [value if isinstance(value, bytes) else str(value).encode() for value in values]
    return b"\n".join(parts)


def found(canary: str, text: bytes) -> bool:
    """Is it there: as it is, escaped for a URL or for JSON, in hexadecimal, or in base64 at any of its three phases?"""
    plain = canary.encode()
    spellings = [plain, plain[::-1], quote(canary, safe="").encode(), json.dumps(canary)[1:-1].encode()]
    spellings += [plain.hex().encode(), canary.encode("utf-16-le")]
    for phase in range(3):
        coded = base64.b64encode(b"\0" * phase + plain)
        middle = coded[(0, 2, 3)[phase] : -4]  # characters that depend on the canary alone
        spellings += [middle, middle.translate(bytes.maketrans(b"+/", b"-_"))]
    lowered = text.lower()
    return any(spelling.lower() in lowered for spelling in spellings)
