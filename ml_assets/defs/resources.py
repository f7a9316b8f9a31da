"""Resources: source, encoder, and one per database, a thin handle on the module that knows it.

URLs with secrets arrive as `dg.EnvVar`, so that the UI shows the variable and not its value. An
empty URL means embedded.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
from dagster_duckdb import DuckDBResource
from pydantic import PrivateAttr

from ml_assets.documents.chunking import Chunker
from ml_assets.documents.sources import Source, open_source
from ml_assets.embeddings.encoder import Encoder, load_encoder, load_float32
from ml_assets.embeddings.space import VectorSpace, current_chunker, current_space
from ml_assets.progress import Progress
from ml_assets.releases.anchor import follow
from ml_assets.search.indexes.kinds import Indexes
from ml_assets.settings import Settings
from ml_assets.stores import clickhouse, duckdb, mlflow, online, postgres

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client


OpenSource = Callable[[], Source]
"""Opens the configured source of documents; raises a UserError when it cannot be used."""


PROGRESS_SECONDS = 10
"""Between two lines about the progress of a step."""


@dataclass(frozen=True)
class EncoderResource:
    """The configured model; nothing is loaded before it is asked for.

    `load` gives the encoder that suits a job of about so many tokens, `load_float32` the reference
    that checks compare stored vectors with.
    """

    space: Callable[[], VectorSpace]
    chunker: Callable[[], Chunker]
    load: Callable[..., Encoder]
    load_float32: Callable[[], Encoder]


@contextmanager
def logged(stage: str) -> Iterator[Progress]:
    """Say in the log of the step, now and then, how far it is."""
    log, started, logged_at = dg.get_dagster_logger(), time.perf_counter(), time.perf_counter()

    def report(done: int, total: int) -> None:
        nonlocal logged_at
        now = time.perf_counter()
        if now - logged_at < PROGRESS_SECONDS:
            return
        logged_at = now
        of = f" of {total:,}" if total else ""
        log.info(f"{stage}: {done:,}{of}, {done / (now - started):,.0f}/s")

    yield report


class PostgresResource(dg.ConfigurableResource):
    """PostgreSQL with pgvector; the steps of a run use one connection after the other."""

    url: str = ""
    home: str
    actor: str
    _idle: list[postgres.Connection] | None = PrivateAttr(None)

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator[PostgresResource]:
        """Keep connections until the end of the run."""
        self._idle = []
        try:
            yield self
        finally:
            for connection in self._idle:
                connection.close()
            self._idle = None

    @contextmanager
    def connect(self) -> Iterator[postgres.Connection]:
        """Open a migrated connection, in autocommit; the home keeps the end of the audit log."""
        home = Path(self.home)
        with postgres.connect(self.url or None, home, idle=self._idle) as connection:
            yield connection
            follow(connection, home, self.actor, shared=bool(self.url))


@dg.resource(required_resource_keys={"settings"})
def opened_indexes(context: dg.InitResourceContext) -> Iterator[Indexes]:
    """The indexes of the deployment that the settings describe."""
    with Indexes(context.resources.settings) as indexes:
        yield indexes


class OfflineStoreResource(DuckDBResource):
    """DuckDB: offline features, training sets, analytics."""

    @contextmanager
    def get_connection(self) -> Iterator[duckdb.Connection]:
        """Open the file, migrated; closed at the end, also after an error."""
        with duckdb.connect(Path(self.database)) as connection:
            yield connection

    def reading(self) -> AbstractContextManager[duckdb.Connection]:
        """Open the file for what only reads, and leaves it as it is."""
        return duckdb.connect(Path(self.database), read_only=True)


class ClickHouseResource(dg.ConfigurableResource):
    """ClickHouse: a server by URL, else chDB under `home`."""

    url: str = ""
    home: str

    def connect(self) -> AbstractContextManager[Client]:
        """Open a migrated client; closed at the end."""
        return clickhouse.connect(self.url or None, Path(self.home))


class MlflowResource(dg.ConfigurableResource):
    """MLflow through dagster-mlflow: a tracking server by URI, else a database beside ours.

    Loading the resource imports neither mlflow nor dagster-mlflow: a run that trains nothing needs
    them not.
    """

    tracking_uri: str = ""
    postgres_url: str = ""
    home: str
    _context: dg.InitResourceContext = PrivateAttr()

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Remember the Dagster run, for when an MLflow run is opened for it."""
        self._context = context

    @property
    def tracking(self) -> mlflow.Tracking:
        """Where runs are kept; the embedded database is created at the first look."""
        url = self.postgres_url or None
        return mlflow.tracking(self.tracking_uri or None, url, Path(self.home))

    @contextmanager
    def run(self) -> Iterator[mlflow.Tracking]:
        """Open the one MLflow run of this Dagster run, found by its tag `dagster_run_id`.

        It is closed here: as FAILED after an error, as KILLED after Ctrl-C. What a killed run, or
        an earlier try of this one, could not close is closed before.
        """
        where, context = self.tracking, self._context

        def is_over(run_id: str) -> bool:
            run = context.instance.get_run_by_id(run_id) if context.instance and run_id else None
            return run_id == context.run_id or bool(run and run.is_finished)

        mlflow.end_abandoned(where, is_over)
        module = mlflow.activate(where)
        config = {"experiment_name": mlflow.EXPERIMENT, "mlflow_tracking_uri": where.uri}
        with warnings.catch_warnings():
            # dagster-mlflow is marked as beta, and reads a deprecated attribute of its context.
            warnings.simplefilter("ignore")
            from dagster_mlflow.resources import MlFlow

            MlFlow(context.replace_config(config))  # type: ignore[no-untyped-call]
        status = "FAILED"
        with mlflow.explained(where):
            try:
                yield where
                status = "FINISHED"
            except KeyboardInterrupt:
                status = "KILLED"
                raise
            finally:
                module.end_run(status)


class OnlineStoreResource(dg.ConfigurableResource):
    """Latest feature values: DynamoDB or Redis by URL, else SQLite under `home`."""

    url: str = ""
    home: str

    def connect(self) -> AbstractContextManager[online.OnlineStore]:
        """Open the store; closed at the end."""
        return online.connect(self.url or None, Path(self.home))


def build_resources(settings: Settings) -> dict[str, object]:
    """The resources of one deployment, embedded where no URL is set."""
    home = str(settings.home)

    def url(variable: str) -> str:
        return dg.EnvVar(variable) if getattr(settings, variable.lower()) else ""

    tracking = url("MLFLOW_TRACKING_URI")
    return {
        "settings": settings,
        "progress": logged,
        "thorough": False,
        "source": partial(open_source, settings.source, settings),
        "encoder": EncoderResource(
            partial(current_space, settings),
            partial(current_chunker, settings),
            partial(load_encoder, settings),
            partial(load_float32, settings),
        ),
        "postgres": PostgresResource(url=url("POSTGRES_URL"), home=home, actor=settings.actor),
        "indexes": opened_indexes,
        "duckdb": OfflineStoreResource(database=str(settings.duckdb_file)),
        "clickhouse": ClickHouseResource(url=url("CLICKHOUSE_URL"), home=home),
        "mlflow": MlflowResource(
            tracking_uri=tracking, postgres_url=url("POSTGRES_URL"), home=home
        ),
        "online_store": OnlineStoreResource(url=url("DYNAMODB_URL") or url("REDIS_URL"), home=home),
    }
