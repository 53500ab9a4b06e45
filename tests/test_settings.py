"""Settings: what is read, what is refused with the variable's name, and that no refusal shows a value."""

from __future__ import annotations

from pathlib import Path

import pytest

from graticule.errors import SettingsError
from graticule.settings import Settings, load_settings

REFUSED = [
    ("API_PROCESSES", "many"),
    ("API_PROCESSES", "0"),
    ("PUBLIC_URL", "catalog.example.com"),
    ("PUBLIC_URL", "https://catalog.example.com?x=1"),
    ("PUBLIC_URL", "https://user:hunter22@catalog.example.com"),  # leak-ok: made up
    ("TRUSTED_PROXIES", "proxy.example.com"),
    ("LOG_LEVEL", "chatty"),
    ("SECRET_KEY", "hunter22"),
    ("DATABASE_URL", "mysql://user:hunter22@host/name"),  # leak-ok: made up
    ("DATABASE_URL", "host=db password=hunter22"),
    ("DATABASE_URL", "postgresql://user:hunter22@[::1/name"),  # leak-ok: made up
    ("FETCH_ALLOW", "http://host/path"),
    ("FETCH_ALLOW", "host:99999"),
    ("OIDC_ROLE_MAP", "{hunter22"),
    ("MAX_ITEM_BYTES", "-1"),
]


@pytest.mark.parametrize(("name", "value"), REFUSED)
def test_what_cannot_work_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"GRATICULE_{name}", value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert f"GRATICULE_{name}" in caught.value.message
    assert "hunter22" not in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"DATABASE_URL": "postgresql://db/catalog"}, "GRATICULE_SECRET_KEY"),
        ({"AUDIENCE": ""}, "audience"),
        ({"OIDC_ALGORITHMS": "HS256"}, "oidc_algorithms"),
        ({"OIDC_ALGORITHMS": "none"}, "oidc_algorithms"),
        ({"OIDC_ROLE_MAP": '{"x": "emperor"}'}, "oidc_role_map"),
        ({"OIDC_JWKS_URL": "https://idp.example.com/keys"}, "oidc_issuer"),
    ],
)
def test_what_cannot_work_together_is_refused(
    monkeypatch: pytest.MonkeyPatch, values: dict[str, str], named: str
) -> None:
    for name, value in values.items():
        monkeypatch.setenv(f"GRATICULE_{name}", value)
    with pytest.raises(SettingsError, match=named):
        load_settings()


def test_lists_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRATICULE_FETCH_ALLOW", "imagery.internal:8443, 10.0.0.0/8,[::1]:80,")
    assert load_settings().fetch_allow == ("imagery.internal:8443", "10.0.0.0/8", "[::1]:80")


def test_an_option_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GRATICULE_DATA_DIR", "/elsewhere")
    assert load_settings(data_dir=tmp_path).data_dir == tmp_path
    assert load_settings(data_dir=None).data_dir == Path("/elsewhere")


def test_a_public_url_loses_its_slash_and_may_have_a_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRATICULE_PUBLIC_URL", "https://example.com/geo/")
    assert load_settings().public_url == "https://example.com/geo"


def test_what_an_operator_sees_has_no_secrets() -> None:
    shown = Settings(secret_key="hunter22" * 4).effective()
    assert "hunter22" not in str(shown)
    assert set(shown) == set(Settings.model_fields)


def test_hosts_that_share_a_data_folder_have_working_folders_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRATICULE_DATA_DIR", "/srv/catalog")
    alone = load_settings()
    assert (alone.staging_dir, alone.uploads_dir) == (Path("/srv/catalog/staging"), Path("/srv/catalog/uploads"))
    monkeypatch.setenv("GRATICULE_DATABASE_URL", "postgresql://user:hunter22@db/catalog")  # leak-ok: made up
    monkeypatch.setenv("GRATICULE_SECRET_KEY", "k" * 32)
    monkeypatch.setattr("platform.node", lambda: "one")
    shared = load_settings()
    assert (shared.staging_dir, shared.uploads_dir) == (alone.staging_dir / "one", alone.uploads_dir / "one")
    assert shared.assets_dir == alone.assets_dir
    assert shared.database_place == "PostgreSQL, catalog at db"
    assert "hunter22" not in str(shared.effective()) + repr(shared)


@pytest.mark.parametrize("url", ["s3://bucket", "az://container/a/prefix", "s3://my.bucket-1/x=1/y_2.z/"])
def test_a_bucket_is_named_by_its_url(tmp_path: Path, url: str) -> None:
    assert load_settings(data_dir=tmp_path, storage_url=url).storage_url == url.rstrip("/")


@pytest.mark.parametrize(
    "url", ["gs://bucket", "s3://", "s3://UPPER", "az://c/../x", "az://c/a//b", "s3://key:secret@bucket", "/folder"]
)
def test_what_names_no_bucket_is_refused_without_being_shown(tmp_path: Path, url: str) -> None:
    with pytest.raises(SettingsError, match="GRATICULE_STORAGE_URL: must be s3://") as caught:
        load_settings(data_dir=tmp_path, storage_url=url)
    assert "secret" not in str(caught.value)


def test_an_endpoint_belongs_to_a_bucket(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="GRATICULE_STORAGE_URL"):
        load_settings(data_dir=tmp_path, storage_endpoint="http://127.0.0.1:9000")
    with pytest.raises(SettingsError, match="without user or query"):
        load_settings(data_dir=tmp_path, storage_url="s3://bucket", storage_endpoint="http://me:pw@127.0.0.1:9000")
    for empty in ("", None):
        assert load_settings(data_dir=tmp_path, storage_url=empty, storage_endpoint=empty).storage_url is None
