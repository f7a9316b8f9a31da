"""Where runs are kept: on a tracking server, or in a database of ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

from ml_assets.errors import OutageError, StoreError, first_line
from ml_assets.stores import postgres
from ml_assets.stores.folders import folder
from ml_assets.stores.mlflow.artifacts import FOLDER

OUR_DATABASE = "MLflow's own database, mlflow in PostgreSQL"


@dataclass(frozen=True, slots=True)
class Tracking:
    """Where MLflow keeps its runs, and our folder of artifacts; None: the server decides.

    `shared`: other hosts may use the same PostgreSQL, each with a home of its own.
    """

    uri: str
    artifacts: Path | None = None
    shared: bool = False


def tracking(uri: str | None, postgres_url: str | None, home: Path) -> Tracking:
    """Return where runs are kept: `uri`, else a database beside ours; mlflow is not imported."""
    if uri:
        if urlsplit(uri).scheme not in ("http", "https"):
            raise StoreError(
                "not a URL of a tracking server",
                where="MLFLOW_TRACKING_URI",
                do="Write http://host:5000",
            )
        return Tracking(uri, shared=postgres_url is not None)
    url = postgres.server_url(postgres_url, home, "mlflow")
    artifacts = folder(home / FOLDER)
    # MLflow brings psycopg2, and would take any other driver that SQLAlchemy prefers.
    uri = "postgresql+psycopg2://" + url.split("://", 1)[1]
    return Tracking(uri, artifacts, shared=postgres_url is not None)


@contextmanager
def records(where: Tracking) -> Iterator[psycopg.Connection]:
    """MLflow's own database, where it is ours.

    Raises:
        OutageError: it cannot be connected to, or the connection broke.
    """
    try:
        with psycopg.connect(where.uri.replace("+psycopg2", "", 1)) as connection:
            yield connection
    except psycopg.OperationalError as error:
        do = "Check that PostgreSQL is up"
        raise OutageError(first_line(error), where=OUR_DATABASE, do=do) from None
