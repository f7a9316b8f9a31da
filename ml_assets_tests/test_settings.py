"""Settings: a value that cannot be used is one line in plain words, that names the variable."""

import subprocess
import sys

import pytest
from pydantic_settings import DotEnvSettingsSource, SecretsSettingsSource

from ml_assets.errors import SettingError
from ml_assets.settings import load_settings, secret


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("CHUNK_TOKENS", "many", "'many' is not a whole number"),
        ("CHUNK_TOKENS", "3", "3 is less than 16"),
        ("CHUNK_OVERLAP", "111", "111 is more than half of ML_ASSETS_CHUNK_TOKENS=220"),
        ("FUSION", "sum", "'sum' is not 'auto', 'tmm', 'minmax', 'zscore' or 'rrf'"),
        ("BUILD_MEMORY", "lots", "'lots' is not a size such as 512MiB"),
        ("MIN_RECALL", "high", "'high' is not a number"),
        ("MIN_RECALL", "2", "2 is more than 1.0"),
        ("MIN_RECALL", "nan", "'nan' is not a number"),
        ("PROMOTION_MARGIN", "inf", "'inf' is not a number"),
        ("SEED", "-1", "-1 is less than 0"),
        ("SEED", "4294967296", "4294967296 is more than 4294967295"),
        ("SEED", "1" * 400, "is more than 4294967295"),
        ("KEEP_GENERATIONS_DAYS", "inf", "'inf' is not a number"),
        ("KEEP_GENERATIONS_DAYS", "1e9", "1e9 is more than 36500"),
        ("CHUNK_TOKENS", "1000000", "1000000 is more than 65536"),
        ("MAX_DOCUMENT_BYTES", "9" * 30, "is more than 536870912"),
        ("BUILD_MEMORY", "9999PB", "is more than 1099511627776"),
        ("ACTOR", "caf\udce9", "it is not in utf-8, as the locale says"),
        ("HOME", "caf\udce9/home", "it is not in utf-8, as the locale says"),
        ("HOME", "why?/home", "Dagster keeps no records in a path with a ?"),
        ("MIN_RECALL_BY_INDEX", "chroma", "'chroma' is not an index and its minimum"),
    ],
)
def test_what_cannot_be_used_is_said_in_plain_words(
    name: str, value: str, complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ML_ASSETS_CHUNK_TOKENS", raising=False)
    monkeypatch.setenv(f"ML_ASSETS_{name}", value)
    with pytest.raises(SettingError) as caught:
        load_settings()
    assert str(caught.value).startswith(f"ML_ASSETS_{name}: ")
    assert complaint in str(caught.value)
    assert str(caught.value).endswith("Correct it, or unset it for the default")


def test_an_overlap_of_half_a_chunk_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ML_ASSETS_CHUNK_TOKENS", "220")
    monkeypatch.setenv("ML_ASSETS_CHUNK_OVERLAP", "110")
    assert load_settings().chunk_overlap == 110


@pytest.mark.parametrize(
    "url", ["host=/tmp dbname=x password=tests-only", "mysql://me:tests-only@host/x", "nonsense"]
)
def test_postgres_is_named_by_a_url(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTGRES_URL", url)
    with pytest.raises(SettingError, match=r"^POSTGRES_URL: it is not a URL") as caught:
        load_settings()
    assert "tests-only" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["CHROMA_URL", "CLICKHOUSE_URL", "REDIS_URL", "MEMCACHED_URL", "MLFLOW_TRACKING_URI"]
)
@pytest.mark.parametrize("user", ["me:tests/only@", "me:1/only@", "me:only#@"])
def test_a_password_that_ends_early_is_not_shown(
    name: str, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, f"http://{user}host:8000/path")
    with pytest.raises(SettingError, match=r"write / as %2F, # as %23") as caught:
        load_settings()
    assert "only" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["http://h/a@b", "redis://h:1?password=a@b", "http://me:a@b@h:1", "sqlite:///x@y"]
)
def test_an_at_sign_elsewhere_is_part_of_a_url(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", url)
    assert load_settings().redis_url


@pytest.mark.parametrize(
    ("urls", "store", "kind"),
    [
        ((), "auto", "clickhouse"),
        (("CLICKHOUSE_URL",), "auto", "clickhouse"),
        (("TIMESERIES_URL",), "auto", "timeseries"),
        (("TIMESERIES_URL",), "clickhouse", "clickhouse"),
        (("CLICKHOUSE_URL", "TIMESERIES_URL"), "clickhouse", "clickhouse"),
        (("CLICKHOUSE_URL", "TIMESERIES_URL"), "timeseries", "timeseries"),
    ],
)
def test_one_store_has_the_metrics(
    urls: tuple[str, ...], store: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"CLICKHOUSE_URL": "http://host:8123", "TIMESERIES_URL": "postgresql://host/metrics"}
    for name in urls:
        monkeypatch.setenv(name, given[name])
    settings = load_settings(metrics_store=store)
    assert settings.metrics_kind == kind
    place = given["TIMESERIES_URL" if kind == "timeseries" else "CLICKHOUSE_URL"]
    assert secret(settings.metrics_url) == (place if place in map(given.get, urls) else None)


@pytest.mark.parametrize(
    ("urls", "store", "complaint"),
    [
        (("CLICKHOUSE_URL", "TIMESERIES_URL"), "auto", "name clickhouse or timeseries"),
        (("CLICKHOUSE_URL",), "timeseries", "it needs the URL of a PostgreSQL in TIMESERIES_URL"),
    ],
)
def test_a_second_store_of_metrics_is_refused(
    urls: tuple[str, ...], store: str, complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"CLICKHOUSE_URL": "http://host:8123", "TIMESERIES_URL": "postgresql://host/metrics"}
    for name in urls:
        monkeypatch.setenv(name, given[name])
    with pytest.raises(SettingError, match=f"^ML_ASSETS_METRICS_STORE: .*{complaint}"):
        load_settings(metrics_store=store)


def test_only_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(_: object) -> dict[str, object]:
        raise AssertionError("files are looked at")

    for source in (DotEnvSettingsSource, SecretsSettingsSource):
        monkeypatch.setattr(source, "__call__", read)
    monkeypatch.setenv("ML_ASSETS_SEED", "7")
    assert load_settings().seed == 7
    assert load_settings(seed=8).seed == 8


def test_plugins_of_pydantic_are_not_looked_for_at_a_prompt() -> None:
    code = """
import importlib.metadata
def looked(**_): raise AssertionError("every installed package is read")
importlib.metadata.entry_points = looked
import ml_assets.cli
"""
    subprocess.run([sys.executable, "-c", code], check=True)
