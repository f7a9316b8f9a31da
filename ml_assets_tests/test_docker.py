"""The server mode without an engine: its files against the settings, and what can be started."""

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dagster as dg
import pytest
import yaml

from ml_assets.settings import Settings, load_settings, secret
from ml_assets_tests.paths import PROJECT
from ml_assets_tests.servers import PASSWORD, postgres_over_tcp
from ml_assets_tests.servers.postgres import INIT_SCRIPT
from ml_assets_tests.servers.running import POSTGRES
from ml_assets_tests.servers.stack import (
    DATABASES,
    MONITORING,
    PORTS,
    ROLE,
    SECRETS,
    STACK,
    environment,
    places,
    put,
)

DOCKER = PROJECT / "docker"
URLS = {
    "postgres_url": ("postgres", 5432),
    "chroma_url": ("chroma", 8000),
    "clickhouse_url": ("clickhouse", 8123),
    "redis_url": ("redis", 6379),
    "mlflow_tracking_uri": ("mlflow", 5000),
}
REFERENCE = re.compile(r"\$\{(?P<name>\w+)(?::(?P<kind>[?-])(?P<rest>[^}]*))?\}")


def interpolate(text: str, values: dict[str, str]) -> str:
    """As Compose does: `${A}`, `${A:-default}`, `${A:?message}`, `$$`."""

    def replace(match: re.Match[str]) -> str:
        value = values.get(match["name"], "")
        if not value and match["kind"] == "?":
            raise LookupError(f"{match['name']}: {match['rest']}")
        return value or (match["rest"] if match["kind"] == "-" else "")

    return REFERENCE.sub(replace, text).replace("$$", "$")


def read_compose(values: dict[str, str]) -> dict[str, Any]:
    loaded = yaml.safe_load(interpolate((DOCKER / "compose.yaml").read_text(), values))
    assert isinstance(loaded, dict)
    return loaded


@pytest.fixture
def compose() -> dict[str, Any]:
    return read_compose({name: f"value-of-{name.lower()}" for name in SECRETS})


@pytest.fixture
def code_settings(compose: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name, value in compose["services"]["code"]["environment"].items():
        monkeypatch.setenv(name, value)
    return load_settings()


def test_compose_is_the_list_of_servers(compose: dict[str, Any]) -> None:
    """What `make test-servers` starts is what compose says: a change of one alone fails."""
    where = places({name: f"value-of-{name.lower()}" for name in SECRETS}, PORTS)
    for server in (*STACK, *MONITORING):
        service = compose["services"][server.name]
        profiles = ["monitoring"] if server in MONITORING else []
        assert service.get("profiles", []) == profiles
        assert service["image"] == server.image
        assert service.get("command", []) == put(server.command, where), server.name
        assert service.get("environment", {}) == environment(server, where), server.name
        check = service.get("healthcheck", {"test": []})["test"]
        assert check == put(server.health, where), server.name
        assert set(service.get("depends_on", {})) == set(server.after), server.name
    assert set(compose["services"]) == {server.name for server in (*STACK, *MONITORING)}


def test_the_init_script_makes_the_role_and_the_databases_of_the_list() -> None:
    script = INIT_SCRIPT.read_text()
    assert re.findall(r"^create role (\w+) (.*)$", script, re.MULTILINE) == [
        (ROLE, "login password :'password';")
    ]
    made = re.findall(r"^create database (\w+) owner (\w+);$", script, re.MULTILINE)
    assert made == [(database, ROLE) for database in DATABASES]


def test_what_is_started_here_is_of_the_version_of_compose() -> None:
    images = {server.name: server.image for server in STACK}
    assert images["postgres"].endswith(f"-pg{POSTGRES}")
    assert re.match(r"redis:7\.", images["redis"]), "Debian's is 7.0"


@pytest.mark.parametrize("missing", SECRETS)
def test_compose_does_not_start_without_a_secret(missing: str) -> None:
    with pytest.raises(LookupError, match=rf"{missing}: set it in docker/\.env"):
        read_compose({name: "x" for name in SECRETS if name != missing})


def test_no_secret_is_in_the_files() -> None:
    example = (DOCKER / ".env.example").read_text()
    assignments = dict(re.findall(r"^(\w+)=(.*)$", example, re.MULTILINE))
    assert assignments == dict.fromkeys(SECRETS, "")
    text = (DOCKER / "compose.yaml").read_text()
    named = re.findall(r"^\s*(\w*(?:PASSWORD|AUTH)\w*):\s*(.+)$", text, re.MULTILINE)
    for name, value in named:
        assert REFERENCE.fullmatch(value.strip('"')), f"{name} is written out"
    in_urls = re.findall(r"://[^:/@\s]*:([^@\s]+)@", REFERENCE.sub("<secret>", text))
    assert set(in_urls) == {"<secret>"}
    assert named
    assert ".env" in (PROJECT / ".gitignore").read_text().splitlines()


def test_the_code_location_has_the_url_of_every_store(
    compose: dict[str, Any], code_settings: Settings
) -> None:
    known = {name for name in Settings.model_fields if name.endswith(("_url", "_uri"))}
    known.remove("postgres_read_url")  # a replica is another server's copy
    known -= {"source_url", "embedding_url", "llm_url"}  # what is asked is no store
    known -= {"alert_webhook_url", "alert_slack_url", "alert_smtp_url"}  # nor what is told
    known.remove("timeseries_url")  # in the place of ClickHouse
    known -= {"memcached_url", "dynamodb_url"}  # in the place of Redis, which compose has
    assert known == set(URLS), "a store was added: compose.yaml must name its server"
    for name, place in URLS.items():
        parts = urlsplit(secret(getattr(code_settings, name)) or "")
        assert (parts.hostname, parts.port) == place
        assert parts.hostname in compose["services"]


def test_the_files_of_the_code_location_are_on_its_volume(code_settings: Settings) -> None:
    for path in (code_settings.home, code_settings.duckdb_file, code_settings.keyword_folder):
        assert path.is_relative_to("/data")
    assert code_settings.dagster_folder == Path("/opt/dagster")


def test_only_what_reads_settings_knows_the_stores(compose: dict[str, Any]) -> None:
    services = compose["services"]
    knowing = {name for name in services if "POSTGRES_URL" in services[name].get("environment", {})}
    assert knowing == {"code", "migrate", "service", "exporter"}


def test_every_image_is_pinned(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert re.search(r":v?\d+\.\d+", service["image"]), f"{name}: {service['image']}"
    base = re.search(r"^ARG PYTHON=(.+)$", (DOCKER / "Dockerfile").read_text(), re.MULTILINE)
    assert base
    assert re.fullmatch(r"3\.1[123]\.\d+-slim-\w+", base[1])


def test_the_chroma_server_is_the_version_of_the_client(compose: dict[str, Any]) -> None:
    version = compose["services"]["chroma"]["image"].partition(":")[2]
    assert f"chromadb=={version}" in (PROJECT / "constraints.txt").read_text().splitlines()


def test_every_health_check_can_pass_in_its_image(compose: dict[str, Any]) -> None:
    programs = {
        "postgres": "pg_isready",
        "chroma": "/bin/bash",
        "clickhouse": "clickhouse-client",
        "redis": "redis-cli",
        "mlflow": "python",
        "code": "dagster",
        "service": "python",
        "webserver": "python",
        "daemon": "dagster-daemon",
        "timescaledb": "pg_isready",
        "influxdb": "influx",
        "exporter": "python",
        "prometheus": "promtool",
        "alertmanager": "amtool",
        "grafana": "/bin/bash",
    }
    checked = {
        name: service["healthcheck"]["test"]
        for name, service in compose["services"].items()
        if "healthcheck" in service
    }
    assert {name: test[1].split()[0] for name, test in checked.items()} == programs
    for test in checked.values():
        assert not {"curl", "wget"} & set(re.findall(r"\w+", " ".join(test)))


def test_dependencies_exist_and_can_become_healthy(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for service in services.values():
        for name, dependency in service.get("depends_on", {}).items():
            ends = dependency["condition"] == "service_completed_successfully"
            assert ends == (services[name]["restart"] == "no")
            assert ends or "healthcheck" in services[name]


def test_volumes_and_networks_are_named_and_used(compose: dict[str, Any]) -> None:
    services = compose["services"].values()
    mounts = [mount.split(":")[0] for service in services for mount in service.get("volumes", [])]
    assert {name for name in mounts if not name.startswith(".")} == set(compose["volumes"])
    for path in (name for name in mounts if name.startswith(".")):
        assert (DOCKER / path).exists()
    networks = {name for service in services for name in service["networks"]}
    assert networks == set(compose["networks"])
    assert compose["networks"]["stores"] == {"internal": True}


def test_ports_are_open_on_this_machine_only(compose: dict[str, Any]) -> None:
    ports = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert sorted(ports) == [
        f"127.0.0.1:{port}:{port}" for port in (3000, 3001, 5000, 8080, 9090, 9093)
    ]


def test_the_image_is_locked_and_runs_without_root() -> None:
    lines = (DOCKER / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    users = [line for line in lines if line.startswith("USER ")]
    assert users == ["USER ml_assets"]
    assert lines.index(users[0]) > max(i for i, line in enumerate(lines) if line[:4] == "COPY")
    installs = [part for line in lines for part in line.split("&&") if "pip install" in part]
    assert len(installs) == 4
    *libraries, package = installs
    assert all("--constraint constraints.txt" in install for install in libraries)
    assert "--no-deps --build-constraint constraints.txt" in package


def test_the_image_checks_the_service_that_it_runs(compose: dict[str, Any]) -> None:
    dockerfile = (DOCKER / "Dockerfile").read_text()
    service = compose["services"]["service"]
    _, *check = service["healthcheck"]["test"]
    asked = ", ".join(f'"{word}"' for word in check)
    assert f"CMD [{asked}]" in dockerfile
    started = ", ".join(f'"{word}"' for word in service["command"])
    assert dockerfile.rstrip().endswith(f"CMD [{started}]")


def test_the_image_gets_what_it_copies() -> None:
    allowed = {
        line[1:]
        for line in (DOCKER / "Dockerfile.dockerignore").read_text().split()
        if line[0] == "!"
    }
    text = (DOCKER / "Dockerfile").read_text()
    for line in re.findall(r"^COPY (?!--from)(?:--\S+ )?(.+)$", text, re.MULTILINE):
        for path in line.split()[:-1]:
            assert (PROJECT / path).exists()
            assert path in allowed or path.split("/")[0] in allowed


def test_the_volumes_of_the_image_belong_to_its_user(compose: dict[str, Any]) -> None:
    ours = [s for s in compose["services"].values() if s["image"].startswith("ml-assets:")]
    places = {mount.split(":")[1] for service in ours for mount in service.get("volumes", [])}
    owned = re.search(
        r"install --directory --owner ml_assets .*", (DOCKER / "Dockerfile").read_text()
    )
    assert owned
    assert places <= set(owned[0].split())


@dg.asset(pool="duckdb")
def probe() -> None:
    print("seen in the compute log")


def materialize_probe(instance: dg.DagsterInstance) -> str:
    result = dg.materialize([probe], instance=instance, resources={"io_manager": dg.mem_io_manager})
    assert result.success
    return result.run_id


def assert_settled(instance: dg.DagsterInstance, most: int) -> None:
    assert not instance.telemetry_enabled
    assert not instance.nux_enabled
    assert instance.run_monitoring_enabled
    assert instance.run_monitoring_settings["free_slots_after_run_end_seconds"] > 0
    concurrency = instance.get_concurrency_config()
    assert concurrency.pool_config.default_pool_limit == 1
    # By `op`, a waiting in-process run keeps a core busy and cannot be interrupted.
    assert concurrency.pool_config.pool_granularity
    assert concurrency.pool_config.pool_granularity.value == "run"
    assert concurrency.run_queue_config
    assert concurrency.run_queue_config.max_concurrent_runs == most


def test_the_embedded_instance_writes_into_its_home_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    home.mkdir()
    elsewhere.mkdir()
    (home / "dagster.yaml").write_text((PROJECT / "dagster.yaml").read_text())
    monkeypatch.setenv("HOME", str(elsewhere))
    monkeypatch.chdir(elsewhere)
    with dg.DagsterInstance.from_config(str(home)) as instance:
        run_id = materialize_probe(instance)
        assert_settled(instance, most=1)
        assert [run.run_id for run in instance.get_runs()] == [run_id]
    assert (home / "history" / "runs.db").exists()
    assert "seen in the compute log" in "".join(p.read_text() for p in home.rglob("*.out"))
    assert list(elsewhere.rglob("*")) == []


def test_the_server_instance_keeps_runs_and_events_in_postgres(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (DOCKER / "dagster.yaml").read_text()
    config = text.replace("username: ml_assets", "username: postgres").replace(
        "db_name: dagster", "db_name: postgres"
    )
    (tmp_path / "dagster.yaml").write_text(config.replace("/logs", str(tmp_path / "logs")))
    with postgres_over_tcp(tmp_path_factory.mktemp("dagster_postgres")) as url:
        parts = urlsplit(url)
        monkeypatch.setenv("DAGSTER_POSTGRES_HOST", str(parts.hostname))
        monkeypatch.setenv("DAGSTER_POSTGRES_PORT", str(parts.port))
        monkeypatch.setenv("DAGSTER_POSTGRES_PASSWORD", PASSWORD)
        with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
            run_id = materialize_probe(instance)
            assert_settled(instance, most=1)
        with dg.DagsterInstance.from_config(str(tmp_path)) as again:
            assert [run.run_id for run in again.get_runs()] == [run_id]
            event = again.get_latest_materialization_event(dg.AssetKey("probe"))
            assert event
            assert event.run_id == run_id
    assert not list(tmp_path.rglob("*.db")), "nothing of the server mode is in SQLite"
    assert list((tmp_path / "logs").rglob("*.out"))


def test_the_workspaces_load_the_definitions() -> None:
    (local,) = yaml.safe_load((PROJECT / "workspace.yaml").read_text())["load_from"]
    assert local["python_module"]["module_name"] == "ml_assets.definitions"
    (server,) = yaml.safe_load((DOCKER / "workspace.yaml").read_text())["load_from"]
    command = read_compose(dict.fromkeys(SECRETS, "x"))["services"]["code"]["command"]
    assert server["grpc_server"]["host"] == "code"
    assert f"--port={server['grpc_server']['port']}" in command
    assert "--module-name=ml_assets.definitions" in command
