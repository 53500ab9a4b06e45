"""What may be wrong with an asset's href or its source, and what its operation is to say of it."""

from __future__ import annotations

from dataclasses import dataclass

_MISSING = "IngestionResourceUriNotFound"
_DENIED = "IngestionResourceForbidden"
_LOGIN = "IngestionAuthenticationFailed"
_HTTP = "GenericHttpIngestionError"
_BROKEN = "IngestionResourceConnectionFailed"
_LATE = "IngestionResourceTimeout"
_COG = "CogTransformationError"
_HREF = "InvalidAssetHref"
_PUBLIC = "PublicAccessRestricted"
_LARGE = "GenericIngestionError"

ALLOW = ("GRATICULE_FETCH_ALLOW",)
OFTEN = ("Tried 2 times", "try again later")


@dataclass(frozen=True)
class Fault:
    """An asset that cannot be brought in."""

    #: `{source}`, `{host}`, `{token}`, `{closed}` and the names of `certificates.tls_sources` are filled in.
    href: str
    code: str
    #: What the message says, among other things.
    words: tuple[str, ...]
    #: Is it said that trying again may help?
    retriable: bool = False


def bad(name: str, code: str, *words: str, retriable: bool = False) -> Fault:
    """A path of the `Misbehaving` source."""
    return Fault(f"{{source}}/bad/{name}.tif?{{token}}", code, words, retriable)


HREFS = {
    "relative": Fault("../scene/a.tif?{token}", _HREF, ("../scene/a.tif", "relative", "absolute")),
    "nothing": Fault("", _HREF, ("is empty", "absolute")),
    "no-host": Fault("https:///a.tif?{token}", _HREF, ("no host", "absolute")),
    "space": Fault("{source}/a b.tif?{token}", _HREF, ("percent-encode",)),
    "port": Fault("https://x.example:99999/a.tif?{token}", _HREF, ("port",)),
    "userinfo": Fault("https://me:letmein@x.example/a.tif", _HREF, ("signed URL",)),  # leak-ok: made up
    "long-label": Fault(f"https://{'x' * 64}.example/a.tif", _HREF, ("no domain name",)),
    "octal": Fault("https://0177.0.0.1/a.tif", _HREF, ("four decimal numbers",)),
    "file": Fault("file:///etc/passwd", "IngestionResourceForbidden", ("file:///etc/passwd", "LocalFolder")),
    "vsi": Fault("/vsicurl/https://x.example/a.tif", _HREF, ("relative",)),
    "s3": Fault("s3://bucket/../a.tif", _HREF, ("dot segments",)),
    "gs": Fault("gs://bucket/a/../../b.tif", _HREF, ("dot segments",)),
    "abfs": Fault("abfs://container/a.tif", _HREF, ("names no account",)),
    "ftp": Fault("ftp://x.example/a.tif", _HREF, ("'ftp'",)),
    "javascript": Fault("javascript:letmein()", _HREF, ("'javascript'",)),
    "data-url": Fault("data:image/png;base64,letmein", _HREF, ("'data'",)),
    "own-and-gone": Fault(
        "{catalog}/blobs/c-00000000/000000000000/x/y.tif?sig=letmein", _HREF, ("does not exist", "name the source")
    ),
}
ADDRESSES = {
    "closed": Fault("http://{closed}/a.tif?{token}", _DENIED, ALLOW),
    "plain-http": Fault("http://192.0.2.1/a.tif", _DENIED, ("plain http", *ALLOW)),
    "metadata-service": Fault("http://169.254.169.254/latest/a.tif", _DENIED, ALLOW),
    "metadata-over-tls": Fault("https://169.254.169.254/latest/a.tif", _DENIED, ALLOW),
    "mapped": Fault("https://[::ffff:127.0.0.1]/a.tif", _DENIED, ALLOW),
    "by-name": Fault("https://localhost/a.tif", _DENIED, ALLOW),
    "unknown-name": Fault("https://no-such-host.invalid/a.tif", _BROKEN, ("does not resolve", *OFTEN), retriable=True),
    "nobody-listens": Fault("http://{silent_port}/a.tif", _BROKEN, ("no connection", *OFTEN), retriable=True),
    "http-not-https": Fault("https://{plain}/a.tif?{token}", _BROKEN, ("no TLS connection",), retriable=True),
    "tls-mute": Fault("https://{mute}/a.tif", _LATE, OFTEN, retriable=True),
    "tls-hangs-up": Fault("https://{no-tls}/a.tif", _BROKEN, OFTEN, retriable=True),
    "tls-expired": Fault("https://{expired}/a.tif", _BROKEN, ("expired", "Have it renewed")),
    "tls-other-host": Fault("https://{other-host}/a.tif", _BROKEN, ("certificate", "127.0.0.1")),
    "tls-unknown": Fault("https://{unknown-authority}/a.tif", _BROKEN, ("issuer", "SSL_CERT_FILE")),
    "tls-and-missing": Fault("https://{trusted}/a.tif", _MISSING, ("404",)),
}
STATUSES = {
    "missing": Fault("{source}/nowhere.tif?{token}", _MISSING, ("404", "Correct the URL")),
    "404": bad("404", _MISSING, "404"),
    "410": bad("410", _MISSING, "410"),
    "no-container": bad("no-container", _MISSING, "ContainerNotFound"),
    "401": bad("401", _LOGIN, "401", "Renew"),
    "403": bad("403", _DENIED, "403", "Grant read access"),
    "denied": bad("denied", _DENIED, "AccessDenied"),
    "narrow-sas": bad("narrow-sas", _DENIED, "AuthorizationPermissionMismatch", "Grant read access"),
    "foreign-sas": bad("foreign-sas", _LOGIN, "AuthorizationSourceIPMismatch"),
    "expired-sas": bad("expired-sas", _LOGIN, "Renew the SAS token"),
    "wrong-sas": bad("wrong-sas", _LOGIN, "Renew the SAS token"),
    "other-sas": Fault("{source}/sound.tif?sv=1&sig=letmein-other", _LOGIN, ("Renew the SAS token",)),
    "s3-expired-token": bad("s3-expired-token", _LOGIN, "ExpiredToken"),
    "s3-signature": bad("s3-signature", _LOGIN, "SignatureDoesNotMatch"),
    "s3-expired": bad("s3-expired", _LOGIN, "Renew"),
    "no-sas": Fault("{source}/sound.tif", _PUBLIC, ("register an ingestion source",)),
    "not-public": bad("not-public", _PUBLIC, "PublicAccessNotPermitted"),
    "private": Fault("{source}/bad/private.tif", _PUBLIC, ("register an ingestion source",)),
    **{
        number: bad(number, _HTTP, number, "check the URL")
        for number in ("202", "300", "304", "400", "402", "405", "407", "451", "501", "505", "511")
    },
    "206": bad("206", _HTTP, "206", "a part of the file"),
    "416": bad("416", _HTTP, "416"),
    "302": bad("302", _HTTP, "302", "use the final URL"),
    **{
        number: bad(number, _HTTP, number, *OFTEN, retriable=True)
        for number in ("408", "425", "429", "500", "502", "503", "504")
    },
    "s3-slow-down": bad("s3-slow-down", _HTTP, "SlowDown", *OFTEN, retriable=True),
    "azure-busy": bad("azure-busy", _HTTP, "ServerBusy", *OFTEN, retriable=True),
}
CONTENTS = {
    "204": bad("204", "EmptyAsset", "no bytes"),
    "empty": bad("empty", "EmptyAsset", "no bytes", "check the file"),
    "empty-chunks": bad("empty-chunks", "EmptyAsset", "no bytes"),
    "nothing": bad("nothing", "EmptyAsset", "no bytes"),
    "login": bad("login", _COG, "HTML page", "GeoTIFF"),
    "portal": bad("portal", _COG, "HTML page"),
    "error-as-200": bad("error-as-200", _COG, "XML"),
    "json-as-200": bad("json-as-200", _COG, "JSON"),
    "lfs-pointer": bad("lfs-pointer", _COG, "not a raster"),
    "zip": bad("zip", _COG, "archive"),
    "pdf": bad("pdf", _COG, "not a raster"),
    "zeros": bad("zeros", _COG, "not a raster"),
    "noise": bad("noise", _COG, "not a raster", "check the href"),
    "half-uploaded": Fault("{source}/half.tif?{token}", _COG, ("cut off",)),
    "large": Fault("{source}/large.tif?{token}", _LARGE, ("GRATICULE_MAX_ASSET_BYTES",)),
    "endless": bad("endless", _LARGE, "GRATICULE_MAX_ASSET_BYTES"),
    "gzip-bomb": bad("gzip-bomb", _LARGE, "GRATICULE_MAX_ASSET_BYTES"),
    "gzip-broken": bad("gzip-broken", _HTTP, "Content-Encoding"),
    "not-gzip": bad("not-gzip", _HTTP, "Content-Encoding"),
    "gzip-login": bad("gzip-login", _COG, "HTML page"),
    "brotli": bad("brotli", _HTTP, "Content-Encoding 'br'", "uncompressed"),
    "twice": bad("twice", _HTTP, "Content-Encoding"),
    "md5": bad("md5", _BROKEN, "Content-MD5", *OFTEN, retriable=True),
}
BROKEN_OFF = {
    name: bad(name, _BROKEN, *words, *OFTEN, retriable=True)
    for name, words in {
        "truncated": ("broke off",),
        "truncated-always": ("broke off",),
        "one-byte-less": ("broke off after 10244 of 10245",),
        "short": ("broke off",),
        "cut-in-chunk": ("broke off",),
        "closed": ("no connection",),
        "reset": ("no connection",),
        "reset-in-head": ("no connection",),
        "reset-after-head": (),
        "reset-in-body": ("broke off",),
        "changed": ("changed while it was being read",),
        "grown": ("changed while it was being read",),
        "other-part": ("changed while it was being read",),
        "part-of-nothing": ("changed while it was being read",),
        "range-refused": ("changed while it was being read",),
    }.items()
} | {
    name: bad(name, _LATE, *words, *OFTEN, retriable=True)
    for name, words in {
        "silent": (),
        "silent-in-head": (),
        "silent-after-head": (),
        "stalling": ("of 20488 bytes",),
        "drip": ("too slow",),
        "drip-in-head": (),
        "endless-102": (),
    }.items()
}
NOT_HTTP = {
    name: bad(name, _HTTP, "not HTTP", *OFTEN, retriable=True)
    for name in (
        "not-http",
        "long-header",
        "endless-head",
        "negative-length",
        "length-is-text",
        "two-lengths",
        "length-and-chunks",
    )
}
REDIRECTS = {
    "loop": bad("loop", _HTTP, "redirects more than 5 times"),
    "hops": bad("hops", _HTTP, "redirects more than 5 times"),
    "nowhere": bad("nowhere", _HTTP, "without saying where to"),
    "to-metadata": bad("to-metadata", _DENIED, *ALLOW),
    "to-private": bad("to-private", _DENIED, *ALLOW),
    "to-loopback": bad("to-loopback", _DENIED, *ALLOW),
    "to-name": bad("to-name", _DENIED, *ALLOW),
    "to-decimal": bad("to-decimal", _HTTP, "cannot be followed"),
    "to-file": bad("to-file", _HTTP, "'file'"),
    "to-ftp": bad("to-ftp", _HTTP, "'ftp'"),
    "to-user": bad("to-user", _HTTP, "cannot be followed"),
    "to-unsigned": bad("to-unsigned", _PUBLIC, "Sign the URL"),
}
FAULTS: dict[str, Fault] = {
    **HREFS,
    **ADDRESSES,
    **STATUSES,
    **CONTENTS,
    **{f"off-{name}": fault for name, fault in BROKEN_OFF.items()},
    **{f"http-{name}": fault for name, fault in NOT_HTTP.items()},
    **REDIRECTS,
}
