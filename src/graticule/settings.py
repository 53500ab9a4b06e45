"""Every setting of a catalog, read once from ``GRATICULE_*`` environment variables and passed down.

Nothing below ``cli`` and ``app`` reads the environment. ``Settings.effective()`` is what an operator may see: secrets
are masked.
"""

from __future__ import annotations

import ipaddress
import os
import platform
import re
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import platformdirs
from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from pydantic_settings import SettingsError as SettingsSourceError

from graticule.errors import SettingsError

#: The audience that Planetary Computer Pro clients ask a token for.
AUDIENCE = "https://geocatalog.spatio.azure.com"

#: ``s3://bucket/prefix`` or ``az://container/prefix``: a name that is legal there, and harmless segments.
_STORAGE_URL = re.compile(r"^(s3|az)://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/(?!\.{1,2}(/|$))[A-Za-z0-9_.=-]{1,100})*/?$")
_HOST_PORT = re.compile(r"^(\[[0-9a-fA-F:.]+\]|[^\s/:@]+)(?::(\d{1,5}))?$")

_MACHINE_IDENTITIES = ("azure", "azure-default", "aws", "google")

# A comma-separated list in the environment; pydantic-settings would otherwise want JSON there.
CommaList = Annotated[tuple[str, ...], NoDecode]

#: How strictly a kind of rule is applied to items.
Strictness = Literal["off", "warn", "fail"]


#: More API processes than that are for those who ask for them: each takes some 60 MiB.
_MOST_API_PROCESSES = 4


def cores() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0))


def default_data_dir() -> Path:
    """The user's data folder, as the platform names it."""
    return Path(platformdirs.user_data_dir("graticule", appauthor=False))


class Settings(BaseSettings):
    """The settings of one catalog. Field descriptions are the reference page's text."""

    model_config = SettingsConfigDict(env_prefix="GRATICULE_", extra="ignore", frozen=True)

    # --- where
    data_dir: Path = Field(default_factory=default_data_dir, description="Folder of the database, keys and assets.")
    database_url: SecretStr | None = Field(
        None,
        description="Address of a PostgreSQL database, postgresql://user:password@host/name, for several hosts on one"
        " catalog; needs GRATICULE_SECRET_KEY. Default: a SQLite file in the data folder.",
    )
    storage_url: str | None = Field(
        None,
        description="Where managed assets lie: s3://bucket/prefix or az://container/prefix (Azure Blob), with the"
        " credentials of the environment (AWS_*, AZURE_*) or of the host's role. Default: a folder in the data folder.",
    )
    storage_endpoint: str | None = Field(
        None,
        description="Address of a storage service that is not the cloud's own: MinIO, Azurite, a private endpoint.",
    )
    public_url: str | None = Field(
        None, description="Base URL that clients see, when a proxy stands in front. Default: the request's own."
    )
    trusted_proxies: CommaList = Field(
        (), description="Addresses or CIDRs of proxies whose X-Forwarded-* or Forwarded headers are believed."
    )
    api_processes: int | None = Field(
        None, ge=1, le=64, description="How many processes answer HTTP requests. Default: half the cores, at most 4."
    )
    restart_delay: float = Field(
        10, ge=0.2, le=300, description="Longest wait before a process that keeps dying is started again, seconds."
    )
    log_level: str = Field("info", description="debug, info, warning or error.")

    # --- secrets
    secret_key: SecretStr | None = Field(
        None, description="Master key for secrets at rest, at least 32 characters. Default: a file in the data folder."
    )

    # --- search
    strict_queryables: bool = Field(
        False, description="Refuse filter, query and sortby on properties that no collection searched declares."
    )

    # --- identity
    audience: CommaList = Field((AUDIENCE,), description="Audiences that a token may name.")
    oidc_issuer: str | None = Field(None, description="An OIDC issuer whose tokens are accepted beside our own.")
    oidc_jwks_url: str | None = Field(None, description="Its key set. Default: from its discovery document.")
    oidc_algorithms: CommaList = Field(("RS256",), description="Signature algorithms accepted from that issuer.")
    oidc_role_claim: str = Field("roles", description="The claim that carries roles; dots descend into objects.")
    oidc_role_map: dict[str, str] = Field(
        default_factory=dict,
        description='JSON object from a claim value to "administrator" or "reader", beside the built-in role names.',
    )
    entra_tenant: str | None = Field(None, description="A Microsoft Entra tenant id: accepts its v1 and v2 tokens.")
    entra_authority: str = Field(
        "https://login.microsoftonline.com", description="Where the tenant's keys are; differs in sovereign clouds."
    )

    # --- fetching
    fetch_allow: CommaList = Field(
        (), description="Private host[:port] or CIDR that ingestion may fetch from, also over plain http."
    )
    fetch_connect_timeout: float = Field(5, gt=0, description="Seconds to wait for a connection to a source.")
    fetch_idle_timeout: float = Field(8, gt=0, description="Seconds without a byte after which a download is given up.")
    fetch_slowest: int = Field(
        1000, ge=0, description="Bytes a second below which a download is given up, to be tried again; 0: never."
    )
    fetch_slow_seconds: float = Field(30, gt=0, description="Seconds over which that is counted.")
    fetch_tries: int = Field(5, ge=1, le=20, description="How often an asset is tried when the failure may pass.")
    fetch_concurrency: int = Field(4, ge=1, le=64, description="Assets of one item that are fetched at the same time.")

    # --- sources
    local_sources: CommaList = Field(
        (), description="Folders whose files ingestion may read, once a source of kind LocalFolder is registered."
    )
    machine_identity: CommaList = Field(
        ("azure",),
        description="Identities of this machine that ingestion sources may use: azure (managed identity),"
        " azure-default (azure-identity's whole chain), aws, google. Empty: none.",
    )
    machine_identity_hosts: CommaList = Field(
        (),
        description="host[:port] that this machine's identity may be shown to, beside Azure Blob's, Amazon S3's and"
        " Google Cloud Storage's own; only by https.",
    )
    managed_identities: dict[str, str] = Field(
        default_factory=dict,
        description="JSON object from the object id of a managed identity to its resource id: the ones that are listed,"
        " and then the only ones that sources may name.",
    )

    # --- ingestion
    worker_lost_after: float = Field(
        30,
        ge=3,
        le=3600,
        description="Seconds without a sign of life after which workers elsewhere take over a worker's jobs; the same"
        " on every host. A sign is given every third of it.",
    )
    worker_concurrency: int = Field(16, ge=1, le=256, description="Items that one worker has in hand at a time.")
    conversion_processes: int | None = Field(
        None, ge=1, le=64, description="Conversion processes of a worker. Default: the number of cores."
    )
    conversion_memory_mb: int = Field(4096, ge=512, description="Address space of a conversion process, MiB.")
    conversion_timeout: float = Field(3600, gt=0, description="Seconds after which a conversion is stopped.")
    max_item_bytes: int = Field(1_000_000, ge=1000, description="Largest Item, as JSON, bytes.")
    max_item_assets: int = Field(100, ge=1, description="Most assets in one Item.")
    max_items_per_post: int = Field(1000, ge=1, description="Most Items in one ItemCollection.")
    max_body_bytes: int = Field(64_000_000, ge=1000, description="Largest request body, bytes.")
    max_asset_bytes: int = Field(5_000_000_000, ge=1000, description="Largest asset, bytes.")
    max_pending_items: int = Field(1_000_000, ge=1, description="Items that may wait before posts are answered 429.")

    validate_core: Strictness = Field(
        "fail",
        description="Items that break the STAC specification: fail refuses them, warn tells of it in the operation's"
        " report, off does not look.",
    )
    validate_extensions: Strictness = Field(
        "warn", description="Items that break the schema of an extension they name: off, warn or fail."
    )
    validate_rasters: Strictness = Field(
        "warn",
        description="Items whose projection, shape, bands or media types are not those of their rasters: off, warn or"
        " fail.",
    )
    fill_in: bool = Field(
        True,
        description="Add proj:, raster: and file: members that an item lacks, from the files stored; a collection may"
        " say otherwise with graticule:fill_in.",
    )

    bulk_concurrency: int | None = Field(
        None,
        ge=1,
        le=1024,
        description="Parts of bulk runs (of 200 items) in work at a time, in the whole catalog. Default: half of"
        " GRATICULE_WORKER_CONCURRENCY; with several workers, more.",
    )
    bulk_retry_seconds: float = Field(
        600,
        ge=0,
        description="Seconds within which an item of a bulk run is tried again, up to five times in all, when what"
        " failed may pass; 0: not at all.",
    )
    max_waiting_runs: int = Field(
        100, ge=1, description="Bulk runs that may wait or go on before new ones are answered 429."
    )
    max_catalog_bytes: int = Field(
        64_000_000, ge=1000, description="Largest Catalog or Collection that a bulk run reads, bytes."
    )

    # --- searching
    search_timeout: float = Field(
        10,
        gt=0,
        description="Seconds after which a search ends its page, or fails if it has found nothing to go on from.",
    )
    max_page_bytes: int = Field(
        20_000_000,
        ge=1000,
        description="Items of a page, bytes: a page that would be larger ends early, with a next link.",
    )

    journal_retention_days: int = Field(
        30, ge=1, description="Days for which ended operations keep what became of each item and asset; counts stay."
    )

    # --- rendering
    render_processes: int | None = Field(
        None, ge=1, le=64, description="Render processes of each API process. Default: its share of the cores."
    )
    render_memory_mb: int = Field(4096, ge=1024, description="Address space of a render process, MiB.")
    render_cache_mb: int = Field(128, ge=1, description="Decoded blocks that a render process keeps, MiB.")
    render_timeout: float = Field(30, gt=0, description="Seconds after which rendering one picture is stopped.")
    render_max_pixels: int = Field(16_777_216, ge=65_536, description="Most pixels of one picture.")
    render_jobs_per_process: int = Field(
        20_000, ge=0, description="Pictures after which a render process is replaced by a new one; 0: never."
    )

    # --- signed access
    sas_default_minutes: int = Field(1440, ge=1, description="Life of a signed URL when the request names none.")
    sas_max_minutes: int = Field(7 * 1440, ge=1, description="Longest life of a signed URL that may be asked for.")

    tile_token_minutes: int = Field(
        60, ge=1, description="Life of a signed tile template (sign=true) when the request names no duration."
    )

    @field_validator(
        "trusted_proxies",
        "audience",
        "oidc_algorithms",
        "fetch_allow",
        "local_sources",
        "machine_identity",
        "machine_identity_hosts",
        mode="before",
    )
    @classmethod
    def _split_commas(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("fetch_allow")
    @classmethod
    def _check_fetch_allow(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for entry in value:
            match = _HOST_PORT.match(entry)
            if not _is_network(entry) and (match is None or not 0 < int(match[2] or 443) < 65536):
                raise ValueError(f"{entry!r} is neither host[:port] nor a CIDR")
        return value

    @field_validator("machine_identity_hosts")
    @classmethod
    def _check_identity_hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for entry in value:
            match = _HOST_PORT.match(entry)
            if match is None or not 0 < int(match[2] or 443) < 65536:
                raise ValueError(f"{entry!r} is not host[:port]")
        return value

    @field_validator("machine_identity")
    @classmethod
    def _check_machine_identity(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for entry in value:
            if entry not in _MACHINE_IDENTITIES:
                raise ValueError(f"{entry!r} is none of {', '.join(_MACHINE_IDENTITIES)}")
        return value

    @field_validator("local_sources")
    @classmethod
    def _check_local_sources(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for entry in value:
            if not Path(entry).is_absolute() or ".." in Path(entry).parts:
                raise ValueError(f"{entry!r} is not the absolute path of a folder")
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _check_proxies(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for entry in value:
            if not _is_network(entry):
                raise ValueError(f"{entry!r} is neither an address nor a CIDR")
        return value

    @field_validator("public_url")
    @classmethod
    def _check_public_url(cls, value: str | None) -> str | None:
        if value is None or value == "":
            return None
        if not re.match(r"^https?://[^/?#@\s]+(/[^?#\s]*)?$", value):
            raise ValueError("must be an absolute http(s) URL without user or query")
        return value.rstrip("/")

    @field_validator("storage_url")
    @classmethod
    def _check_storage_url(cls, value: str | None) -> str | None:
        if value is None or value == "":
            return None
        if not _STORAGE_URL.match(value):
            raise ValueError(
                "must be s3://bucket/prefix or az://container/prefix, prefix optional; credentials and the name of an"
                " Azure account come from the environment (AWS_*, AZURE_STORAGE_*)"
            )
        return value.rstrip("/")

    @field_validator("storage_endpoint")
    @classmethod
    def _check_storage_endpoint(cls, value: str | None) -> str | None:
        if value is None or value == "":
            return None
        if not re.match(r"^https?://[^/?#@\s]+(/[^?#\s]*)?$", value):
            raise ValueError("must be an http(s) URL without user or query")
        return value.rstrip("/")

    @field_validator("database_url")
    @classmethod
    def _check_database_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None or value.get_secret_value() == "":
            return None
        try:
            fits = re.match(r"^postgres(ql)?://\S*$", value.get_secret_value()) and urlsplit(value.get_secret_value())
        except ValueError:  # brackets that are no address
            fits = None
        if not fits:
            raise ValueError("must be the address of a PostgreSQL database: postgresql://user:password@host/name")
        return value

    @field_validator("log_level")
    @classmethod
    def _check_log_level(cls, value: str) -> str:
        value = value.lower()
        if value not in {"debug", "info", "warning", "error"}:
            raise ValueError("must be debug, info, warning or error")
        return value

    @field_validator("secret_key")
    @classmethod
    def _check_secret_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < 32:
            raise ValueError("must have at least 32 characters")
        return value

    @field_validator("data_dir")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @model_validator(mode="after")
    def _check_shared_key(self) -> Settings:
        if self.database_url is not None and self.secret_key is None:
            raise ValueError(
                "GRATICULE_DATABASE_URL needs GRATICULE_SECRET_KEY beside it, the same on every host: what one seals"
                " others have to open. Make one with: openssl rand -hex 32"
            )
        return self

    @model_validator(mode="after")
    def _check_local_folders(self) -> Settings:
        kept = self.data_dir.resolve()
        for entry in self.local_sources:
            folder = Path(entry).resolve()
            if folder.is_relative_to(kept) or kept.is_relative_to(folder):
                raise ValueError(
                    f"local_sources: {entry!r} holds, or lies in, the data folder with the catalog's keys:"
                    " name a folder apart from it"
                )
        return self

    @model_validator(mode="after")
    def _check_endpoint(self) -> Settings:
        if self.storage_endpoint is not None and self.storage_url is None:
            raise ValueError("GRATICULE_STORAGE_ENDPOINT is of use beside GRATICULE_STORAGE_URL only: name the bucket")
        return self

    @model_validator(mode="after")
    def _check_identity(self) -> Settings:
        if not self.audience:
            raise ValueError("audience: at least one is needed")
        for algorithm in self.oidc_algorithms:
            # "none" and HMAC with a public key are the classic token forgeries (RFC 8725 section 3.1, 3.2).
            if not re.match(r"^(RS|PS|ES)(256|384|512)$|^EdDSA$", algorithm):
                raise ValueError(f"oidc_algorithms: {algorithm!r} is not an asymmetric signature algorithm")
        for role in self.oidc_role_map.values():
            if role not in {"administrator", "reader"}:
                raise ValueError(f"oidc_role_map: {role!r} is neither administrator nor reader")
        if self.oidc_jwks_url and not self.oidc_issuer:
            raise ValueError("oidc_jwks_url: names the keys of an issuer, so oidc_issuer is needed too")
        return self

    @property
    def api_process_count(self) -> int:
        """How many processes answer HTTP requests: rendering and conversion take cores too."""
        return self.api_processes or min(max(cores() // 2, 1), _MOST_API_PROCESSES)

    @property
    def database_path(self) -> Path:
        """The SQLite file."""
        return self.data_dir / "graticule.db"

    @property
    def database_place(self) -> str:
        """Where the database is, in words: without user, password and options of its address."""
        if self.database_url is None:
            return str(self.database_path)
        parts = urlsplit(self.database_url.get_secret_value())
        return f"PostgreSQL, {parts.path.lstrip('/') or 'default'} at {parts.hostname or 'this host'}"

    @property
    def assets_place(self) -> str:
        """Where managed assets are, in words."""
        return str(self.assets_dir) if self.storage_url is None else self.storage_url

    @property
    def assets_dir(self) -> Path:
        """The root of the local managed storage; not used beside ``storage_url``."""
        return self.data_dir / "assets"

    @property
    def staging_dir(self) -> Path:
        """Where downloads and conversions live until they are stored; hosts that share a data folder have one each."""
        return self._of_this_host("staging")

    @property
    def bulk_lanes(self) -> int:
        """Parts of bulk runs that are in work at a time: never all that a worker has, so that posts find a place."""
        return self.bulk_concurrency or max(1, self.worker_concurrency // 2)

    @property
    def uploads_dir(self) -> Path:
        """Where files that clients send live until they are stored; a starting worker wipes only `staging_dir`."""
        return self._of_this_host("uploads")

    def _of_this_host(self, name: str) -> Path:
        folder = self.data_dir / name
        return folder if self.database_url is None else folder / platform.node()

    def effective(self) -> dict[str, Any]:
        """The settings as they are in force, ready to print; secrets are masked by their type."""
        return self.model_dump(mode="json")


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def load_settings(**overrides: Any) -> Settings:
    """Read the environment; keyword arguments that are not None win over it.

    Raises:
        SettingsError: a value cannot work; the message names the variable and never shows the value.
    """
    try:
        return Settings(**{key: value for key, value in overrides.items() if value is not None})
    except ValidationError as exc:
        problems = "; ".join(
            f"{'GRATICULE_' + '_'.join(str(part) for part in error['loc']).upper() if error['loc'] else 'settings'}: "
            f"{error['msg'].removeprefix('Value error, ')}"
            for error in exc.errors(include_input=False, include_url=False)
        )
        raise SettingsError(problems) from None
    except SettingsSourceError as exc:
        # Raised for a value that should be JSON. Its text names the field; its cause quotes the value.
        named = re.search(r'field "(\w+)"', str(exc))
        name = f"GRATICULE_{named[1].upper()}" if named else "settings"
        raise SettingsError(f"{name}: must be JSON") from None
