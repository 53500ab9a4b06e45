"""Owns: how clients spell the kinds of sources beyond the original's, and which kind a document is of.

``S3``: a bucket at Amazon or any endpoint, with keys or this machine's role. ``Gcs``: a bucket of Google Cloud Storage,
with a service account's key or this machine's. ``HttpHeaders``: headers for every request below an address.
``LocalFolder``: a folder that the operator has opened.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson

from graticule.errors import InvalidAssetHref, InvalidRequestBody, SourceForbidden
from graticule.settings import Settings
from graticule.sources.guard import Guard
from graticule.sources.hrefs import Href, redact
from graticule.sources.identity import AMAZON, Cloud, bears_identity
from graticule.sources.models import (
    GCS,
    HTTP_HEADERS,
    KINDS,
    LOCAL_FOLDER,
    LONGEST,
    MANAGED_IDENTITY,
    S3,
    SAS_TOKEN,
    Definition,
    Kind,
    lower,
    origin_of,
    read_container,
    read_sas,
    text_member,
)
from graticule.sources.places import FileHref, ObjectHref, parse_place

GOOGLE: Final = "https://storage.googleapis.com"
_REGION: Final = re.compile(r"[a-z0-9-]{1,40}\Z")
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}\Z")
_HEADER_VALUE: Final = re.compile(r"[\x20-\x7e]{1,4096}\Z")
_MOST_HEADERS: Final = 20
#: What makes the request itself: these are the client's own.
_OWN_HEADERS: Final = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "if-match",
        "if-modified-since",
        "if-none-match",
        "if-range",
        "if-unmodified-since",
        "keep-alive",
        "range",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)

_Members = Mapping[str, Any]


def read_definition(
    document: Mapping[str, Any], guard: Guard, settings: Settings, *, secret_needed: bool = True
) -> Definition:
    """Read a source as clients send it: names in any case, the kind as kind or sourceType, a token with its `?`.

    Args:
        document: the body.
        guard: says whether the container may be read at all.
        settings: what the operator has opened.
        secret_needed: False where a replaced source may keep its secret.

    Raises:
        InvalidRequestBody: a part is missing or wrong; the message names it, and never shows a secret.
    """
    members = lower(document)
    wanted = members.get("kind", members.get("sourcetype"))
    reader = _READERS.get(wanted.lower()) if isinstance(wanted, str) else None
    if reader is None:
        raise InvalidRequestBody(f"The source's 'kind' must be one of {', '.join(KINDS)}.", target="kind")
    info = members.get("connectioninfo")
    if not isinstance(info, dict):
        raise InvalidRequestBody("The source has no 'connectionInfo' object.", target="connectionInfo")
    return reader(lower(info), guard, settings, secret_needed)


def _sas(info: _Members, guard: Guard, _settings: Settings, secret_needed: bool) -> Definition:
    return read_sas(info, guard, secret_needed=secret_needed)


def _identity(info: _Members, guard: Guard, settings: Settings, _secret_needed: bool) -> Definition:
    container = read_container(info.get("containerurl", info.get("containeruri")), guard)
    if not bears_identity(container, settings, "azure"):
        raise InvalidRequestBody(
            f"The containerUrl {container} is on no Azure Blob host, and an identity's token is sent nowhere else"
            " (an operator may name the host in GRATICULE_MACHINE_IDENTITY_HOSTS; https only).",
            target="connectionInfo.containerUrl",
        )
    client_id = text_member(info, "clientId")
    object_id = text_member(info, "objectId", needed_for=None if client_id else "the id of the managed identity")
    details = {} if client_id is None else {"clientId": client_id}
    return Definition(MANAGED_IDENTITY, container, object_id=object_id, details=details)


def _s3(info: _Members, guard: Guard, settings: Settings, secret_needed: bool) -> Definition:
    url = info.get("containerurl")
    region = text_member(info, "region")
    hosted = AMAZON.match(_host(url))
    if hosted is not None:
        region = region or hosted["region"]
    region = region or "us-east-1"
    if not _REGION.match(region):
        raise InvalidRequestBody("The region is the name of none.", target="connectionInfo.region")
    suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    endpoint = text_member(info, "endpoint") or f"https://s3.{region}.{suffix}"
    if hosted is not None and hosted["bucket"]:  # https://bucket.s3.region.amazonaws.com/prefix
        url = f"s3://{hosted['bucket']}/{_path(url)}"
    container = _bucket(url, "s3", endpoint, guard)
    details: dict[str, Any] = {"region": region}
    if info.get("machinerole") is True:
        _check_role(container, settings, "aws")
        return Definition(S3, container, details={**details, "machineRole": True})
    names = ("accessKeyId", "secretAccessKey")
    if not secret_needed and not any(name.lower() in info for name in names):
        return Definition(S3, container, details=details)
    secret = {
        name: text_member(info, name, needed_for="and no 'machineRole': one of the two opens the bucket")
        for name in names
    }
    secret["sessionToken"] = text_member(info, "sessionToken")
    return Definition(S3, container, secret=orjson.dumps(secret).decode(), details=details)


def _gcs(info: _Members, guard: Guard, settings: Settings, secret_needed: bool) -> Definition:
    endpoint = text_member(info, "endpoint") or GOOGLE
    container = _bucket(info.get("containerurl"), "gs", endpoint, guard)
    if info.get("machinerole") is True:
        _check_role(container, settings, "google")
        return Definition(GCS, container, details={"machineRole": True})
    key = info.get("serviceaccountkey")
    if key is None and not secret_needed:
        return Definition(GCS, container)
    target = "connectionInfo.serviceAccountKey"
    try:
        key = orjson.loads(key) if isinstance(key, str) else key
    except orjson.JSONDecodeError:
        key = None
    # Only keys that sign by themselves: other kinds of this file name addresses and programs to be asked.
    wanted = ("client_email", "private_key", "private_key_id")
    if (
        not isinstance(key, dict)
        or key.get("type") != "service_account"
        or not all(isinstance(key.get(name), str) and key[name] for name in wanted)
    ):
        raise InvalidRequestBody(
            "The connectionInfo has no 'serviceAccountKey', the JSON key file of a service account, and no"
            " 'machineRole': one of the two opens the bucket.",
            target=target,
        )
    secret = {"type": "service_account", **{name: key[name] for name in wanted}}
    return Definition(GCS, container, secret=orjson.dumps(secret).decode())


def _headers(info: _Members, guard: Guard, _settings: Settings, secret_needed: bool) -> Definition:
    container = read_container(info.get("containerurl"), guard)
    sent = info.get("headers")
    if sent is None and not secret_needed:
        return Definition(HTTP_HEADERS, container)
    target = "connectionInfo.headers"
    if not isinstance(sent, dict) or not 0 < len(sent) <= _MOST_HEADERS:
        raise InvalidRequestBody(
            f"The connectionInfo has no 'headers', an object of 1 to {_MOST_HEADERS} names and values.", target=target
        )
    for name, value in sent.items():
        if not _HEADER_NAME.match(name):
            raise InvalidRequestBody("A name in 'headers' is none of a header.", target=target)
        if name.lower() in _OWN_HEADERS:
            raise InvalidRequestBody(f"The header {name} is the client's own: leave it out.", target=target)
        if not isinstance(value, str) or not _HEADER_VALUE.match(value):
            raise InvalidRequestBody(f"The value of header {name} is no line of printable ASCII.", target=target)
    details = {"headerNames": sorted(sent, key=str.lower)}
    return Definition(HTTP_HEADERS, container, secret=orjson.dumps(sent).decode(), details=details)


def _folder(info: _Members, guard: Guard, _settings: Settings, _secret_needed: bool) -> Definition:
    target = "connectionInfo.containerUrl"
    url = info.get("containerurl")
    try:
        place = parse_place(url.rstrip("/") if isinstance(url, str) else url)
    except InvalidAssetHref as exc:
        raise InvalidRequestBody(f"The containerUrl cannot be a source. {exc.message}", target=target) from None
    if not isinstance(place, FileHref):
        raise InvalidRequestBody("The containerUrl of a local folder is file:///folder.", target=target)
    try:
        guard.check_file(place)
    except SourceForbidden as exc:
        raise InvalidRequestBody(f"The containerUrl cannot be a source. {exc.message}", target=target) from None
    return Definition(LOCAL_FOLDER, place)


_READERS: Final[dict[str, Callable[[_Members, Guard, Settings, bool], Definition]]] = {
    kind.lower(): reader
    for kind, reader in (
        (SAS_TOKEN, _sas),
        (MANAGED_IDENTITY, _identity),
        (S3, _s3),
        (GCS, _gcs),
        (HTTP_HEADERS, _headers),
        (LOCAL_FOLDER, _folder),
    )
}


# --- inside


def _bucket(url: object, scheme: str, endpoint: str, guard: Guard) -> Href:
    """The address of a bucket, or of a folder in it: s3://bucket/folder at an endpoint, or the address itself."""
    if isinstance(url, str) and url.lower().startswith(f"{scheme}://"):
        name = url[len(scheme) + 3 :].strip("/")
        if name:
            try:
                place = parse_place(f"{scheme}://{name}" if "/" in name else f"{scheme}://{name}/x")
            except InvalidAssetHref as exc:
                raise InvalidRequestBody(
                    f"The containerUrl cannot be a source. {exc.message}", target="connectionInfo.containerUrl"
                ) from None
            assert isinstance(place, ObjectHref)
            path = place.path if "/" in name else f"/{place.bucket}"
            base = read_container(f"{endpoint.rstrip('/')}/x", guard)  # without a path of its own
            if base.path != "/x":
                raise InvalidRequestBody(
                    f"The endpoint {redact(endpoint)} has a path: give scheme, host and port.",
                    target="connectionInfo.endpoint",
                )
            return read_container(f"{origin_of(base, short=True)}{path}", guard)
    return read_container(url, guard)


def _check_role(container: Href, settings: Settings, machine: Cloud) -> None:
    if machine not in settings.machine_identity:
        raise InvalidRequestBody(
            f"This machine's role is not open to sources: an operator adds {machine} to GRATICULE_MACHINE_IDENTITY, or"
            " the source brings keys.",
            target="connectionInfo.machineRole",
        )
    if not bears_identity(container, settings, machine):
        raise InvalidRequestBody(
            f"This machine's role is not shown to {container.authority}: an operator names the host in"
            " GRATICULE_MACHINE_IDENTITY_HOSTS (https only).",
            target="connectionInfo.containerUrl",
        )


def _host(url: object) -> str:
    match = re.match(r"https://([^/?#:@]+)(?:[/?#]|\Z)", url.lower()) if isinstance(url, str) else None
    return match[1] if match and len(match[1]) <= LONGEST else ""


def _path(url: object) -> str:
    return re.sub(r"^[a-z]+://[^/?#]*/?", "", url, flags=re.IGNORECASE).rstrip("/") if isinstance(url, str) else ""


def kind_named(text: str) -> Kind:
    """A kind as the table keeps it."""
    return next(kind for kind in (SAS_TOKEN, MANAGED_IDENTITY, S3, GCS, HTTP_HEADERS, LOCAL_FOLDER) if kind == text)
