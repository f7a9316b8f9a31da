"""The servers of the server mode: one list, of which docker/compose.yaml is the other copy.

Words in braces are places: `{mlflow_host}`, `{mlflow_port}`, the folder `{root}` over all volumes,
`{bind}`, a secret. With those of compose a server is what docker/compose.yaml says, which a test
compares; with those of this machine it is what `make test-servers` starts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from ml_assets_tests.servers.starting import PASSWORD

SECRETS = ("POSTGRES_PASSWORD", "ML_ASSETS_DB_PASSWORD", "CLICKHOUSE_PASSWORD", "REDIS_PASSWORD")
PORTS = {
    "postgres": 5432,
    "chroma": 8000,
    "clickhouse": 8123,
    "redis": 6379,
    "mlflow": 5000,
    "code": 4000,
    "webserver": 3000,
    "service": 8080,
}
ROLE = "ml_assets"
DATABASES = ("ml_assets", "mlflow", "dagster")

_OURS = "ml-assets:0.1.0"
_DATABASE = "{ML_ASSETS_DB_PASSWORD}@{postgres_host}:{postgres_port}"
_WORKSPACE = "--workspace={root}/opt/dagster/workspace.yaml"

_DAGSTER = {
    "DAGSTER_HOME": "{root}/opt/dagster",
    "DAGSTER_POSTGRES_HOST": "{postgres_host}",
    "DAGSTER_POSTGRES_PORT": "{postgres_port}",
    "DAGSTER_POSTGRES_PASSWORD": "{ML_ASSETS_DB_PASSWORD}",
}
ML_ASSETS = {
    **_DAGSTER,
    "ML_ASSETS_HOME": "{root}/data/home",
    "ML_ASSETS_SOURCE": "{source}",
    "ML_ASSETS_SOURCE_URL": "",
    "POSTGRES_URL": f"postgresql://{ROLE}:{_DATABASE}/ml_assets",
    "CHROMA_URL": "http://{chroma_host}:{chroma_port}",
    "CLICKHOUSE_URL": "http://ml_assets:{CLICKHOUSE_PASSWORD}"
    "@{clickhouse_host}:{clickhouse_port}/ml_assets",
    "REDIS_URL": "redis://:{REDIS_PASSWORD}@{redis_host}:{redis_port}/0",
    "MLFLOW_TRACKING_URI": "http://{mlflow_host}:{mlflow_port}",
    "DUCKDB_PATH": "{root}/data/home/offline.duckdb",
    "KEYWORD_INDEX_PATH": "{root}/data/home/keyword",
    "TIMESERIES_URL": "",
    "ML_ASSETS_METRICS_STORE": "auto",
}


@dataclass(frozen=True)
class Server:
    """A service of compose, and how it is started here.

    command: that of compose, none where it is the image's own; here: what this machine adds, and
    where there is no command, starts; health: the check of compose, which is asked here too;
    after: what is healthy, or has ended, before; absent: why it cannot be had here.
    """

    name: str
    image: str
    command: tuple[str, ...] = ()
    here: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    health: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    absent: str = ""


_CLICKHOUSE_CHECK = (
    'clickhouse-client --user "$CLICKHOUSE_USER" --password "$CLICKHOUSE_PASSWORD"'
    ' --query "select 1"'
)


def _get(server: str, path: str) -> tuple[str, ...]:
    url = f"'http://127.0.0.1:{{{server}_port}}/{path}'"
    return ("CMD", "python", "-c", f"import urllib.request as r; r.urlopen({url}, timeout=4)")


STACK = (
    Server(
        "postgres",
        "pgvector/pgvector:0.8.1-pg17",
        environment={
            "POSTGRES_PASSWORD": "{POSTGRES_PASSWORD}",
            "ML_ASSETS_DB_PASSWORD": "{ML_ASSETS_DB_PASSWORD}",
        },
        health=(
            *("CMD", "pg_isready", "--host=127.0.0.1", "--port={postgres_port}"),
            *(f"--username={ROLE}", f"--dbname={DATABASES[0]}"),
        ),
    ),
    Server(
        "chroma",
        "chromadb/chroma:1.5.9",
        here=("chroma", "run", "--path={root}/chroma", "--host={bind}", "--port={chroma_port}"),
        health=("CMD", "/bin/bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/{chroma_port}"),
    ),
    Server(
        "clickhouse",
        "clickhouse/clickhouse-server:25.8.33.6",
        environment={
            "CLICKHOUSE_DB": "ml_assets",
            "CLICKHOUSE_USER": "ml_assets",
            "CLICKHOUSE_PASSWORD": "{CLICKHOUSE_PASSWORD}",
        },
        health=(
            "CMD-SHELL",
            _CLICKHOUSE_CHECK,
        ),
        absent="no registry here has a server of 24.8 or later; metrics go to the embedded chDB",
    ),
    Server(
        "redis",
        "redis:7.2.8-alpine",
        command=("redis-server", "--appendonly", "yes", "--requirepass", "{REDIS_PASSWORD}"),
        here=("--bind", "{bind}", "--port", "{redis_port}"),
        environment={"REDISCLI_AUTH": "{REDIS_PASSWORD}"},
        health=("CMD-SHELL", "redis-cli -p {redis_port} ping | grep -q PONG"),
    ),
    Server(
        "mlflow",
        _OURS,
        command=(
            *("mlflow", "server", "--host={bind}", "--port={mlflow_port}"),
            *("--workers=2", "--serve-artifacts"),
            "--uvicorn-opts=--timeout-worker-healthcheck=120",
        ),
        environment={
            "MLFLOW_BACKEND_STORE_URI": f"postgresql+psycopg2://{ROLE}:{_DATABASE}/mlflow",
            "MLFLOW_ARTIFACTS_DESTINATION": "{root}/mlartifacts",
            "MLFLOW_SERVER_ALLOWED_HOSTS": "{mlflow_host}:{mlflow_port}"
            ",localhost:{mlflow_port},127.0.0.1:{mlflow_port}",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        },
        health=_get("mlflow", "health"),
        after=("postgres",),
    ),
    Server(
        "migrate",
        _OURS,
        command=("python", "-m", "ml_assets.stores"),
        environment=ML_ASSETS,
        after=("postgres", "clickhouse"),
    ),
    Server(
        "code",
        _OURS,
        command=(
            *("dagster", "api", "grpc", "--host={bind}", "--port={code_port}"),
            "--module-name={module}",
        ),
        environment=ML_ASSETS,
        health=("CMD", "dagster", "api", "grpc-health-check", "--port={code_port}"),
        after=("migrate", "chroma", "redis", "mlflow"),
    ),
    Server(
        "service",
        _OURS,
        command=("ml-assets", "serve", "--host={bind}", "--port={service_port}"),
        environment=ML_ASSETS,
        health=_get("service", "health"),
        after=("migrate", "chroma", "redis", "mlflow"),
    ),
    Server(
        "webserver",
        _OURS,
        command=("dagster-webserver", "--host={bind}", "--port={webserver_port}", _WORKSPACE),
        environment=_DAGSTER,
        health=_get("webserver", "server_info"),
        after=("code",),
    ),
    Server(
        "daemon",
        _OURS,
        command=("dagster-daemon", "run", _WORKSPACE),
        environment=_DAGSTER,
        health=("CMD", "dagster-daemon", "liveness-check"),
        after=("code",),
    ),
)


MONITORING = (
    Server(
        "timescaledb",
        "timescale/timescaledb:2.19.3-pg17",
        environment={
            "POSTGRES_USER": ROLE,
            "POSTGRES_PASSWORD": "{ML_ASSETS_DB_PASSWORD}",
            "POSTGRES_DB": "ml_assets",
            "TIMESCALEDB_TELEMETRY": "off",
        },
        health=(
            *("CMD", "pg_isready", "--host=127.0.0.1", "--port=5432"),
            *(f"--username={ROLE}", "--dbname=ml_assets"),
        ),
    ),
    Server(
        "influxdb",
        "influxdb:2.7.11",
        environment={
            "DOCKER_INFLUXDB_INIT_MODE": "setup",
            "DOCKER_INFLUXDB_INIT_USERNAME": "ml_assets",
            "DOCKER_INFLUXDB_INIT_PASSWORD": "",
            "DOCKER_INFLUXDB_INIT_ADMIN_TOKEN": "",
            "DOCKER_INFLUXDB_INIT_ORG": "ml_assets",
            "DOCKER_INFLUXDB_INIT_BUCKET": "ml_assets",
        },
        health=("CMD", "influx", "ping"),
    ),
    Server(
        "exporter",
        _OURS,
        command=("ml-assets", "metrics-exporter", "--host={bind}", "--port=9464"),
        environment=ML_ASSETS,
        health=(
            *("CMD", "python", "-c"),
            "import socket; socket.create_connection(('127.0.0.1', 9464), 4)",
        ),
        after=("migrate",),
    ),
    Server(
        "prometheus",
        "prom/prometheus:v2.53.5",
        command=(
            "--config.file=/etc/prometheus/prometheus.yml",
            "--storage.tsdb.path=/prometheus",
            "--storage.tsdb.retention.time=30d",
        ),
        health=("CMD", "promtool", "query", "instant", "http://127.0.0.1:9090", "1"),
        after=("exporter", "alertmanager"),
    ),
    Server(
        "alertmanager",
        "prom/alertmanager:v0.28.1",
        command=(
            "--config.file=/etc/alertmanager/alertmanager.yml",
            "--storage.path=/alertmanager",
            "--cluster.listen-address=",
        ),
        health=("CMD", "amtool", "config", "show", "--alertmanager.url=http://127.0.0.1:9093"),
    ),
    Server(
        "grafana",
        "grafana/grafana:11.6.0",
        environment={
            "GF_SECURITY_ADMIN_PASSWORD": "",
            "GF_SERVER_HTTP_PORT": "3001",
            "GF_ANALYTICS_REPORTING_ENABLED": "false",
            "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
            "GF_INSTALL_PLUGINS": "grafana-clickhouse-datasource",
            "ML_ASSETS_DB_PASSWORD": "{ML_ASSETS_DB_PASSWORD}",
            "CLICKHOUSE_PASSWORD": "{CLICKHOUSE_PASSWORD}",
        },
        health=("CMD", "/bin/bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/3001"),
        after=("postgres", "clickhouse", "prometheus"),
    ),
)
"""What the profile `monitoring` adds. `make test` runs Prometheus and Alertmanager with the files
of `docker/`, and asks the stores what the dashboard of Grafana asks."""


def places(secrets: Mapping[str, str], ports: Mapping[str, int], **more: str) -> dict[str, str]:
    """What the words in braces stand for: those of compose, unless `more` says otherwise."""
    hosts = {f"{name}_host": name for name in PORTS}
    numbers = {f"{name}_port": str(port) for name, port in ports.items()}
    compose = {"bind": "0.0.0.0", "root": "", "source": "python_docs"}  # noqa: S104
    module = {"module": "ml_assets.definitions"}
    return {**hosts, **numbers, **compose, **module, **secrets, **more}


def places_here(root: Path, ports: Mapping[str, int], **more: str) -> dict[str, str]:
    """The places of this machine: all of it below `root`, on free ports, seen from here only."""
    hosts = {f"{name}_host": "127.0.0.1" for name in PORTS}
    return places(
        dict.fromkeys(SECRETS, PASSWORD),
        ports,
        **{**hosts, "bind": "127.0.0.1", "root": str(root), **more},
    )


def put(words: tuple[str, ...], where: Mapping[str, str]) -> list[str]:
    """The words with their places."""
    return [word.format_map(where) for word in words]


def environment(server: Server, where: Mapping[str, str]) -> dict[str, str]:
    """The settings of a server with their places; a server that is absent has no URL."""
    absent = {f"{server.name.upper()}_URL" for server in STACK if server.absent}
    local = where["bind"] == "127.0.0.1"
    return {
        name: value.format_map(where)
        for name, value in server.environment.items()
        if not (local and name in absent)
    }
