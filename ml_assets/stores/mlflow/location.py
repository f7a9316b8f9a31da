"""Where runs are kept: on a tracking server, or in a database of ours."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ml_assets.errors import StoreError
from ml_assets.stores import postgres
from ml_assets.stores.folders import folder
from ml_assets.stores.mlflow.artifacts import FOLDER


@dataclass(frozen=True, slots=True)
class Tracking:
    """Where MLflow keeps its runs, and our folder of artifacts; None: the server decides."""

    uri: str
    artifacts: Path | None = None


def tracking(uri: str | None, postgres_url: str | None, home: Path) -> Tracking:
    """Return where runs are kept: `uri`, else a database beside ours; mlflow is not imported."""
    if uri:
        if "://" not in uri or uri.startswith("file:"):
            raise StoreError(
                "not a URL of a tracking server",
                where="MLFLOW_TRACKING_URI",
                do="Write http://host:5000",
            )
        return Tracking(uri)
    url = postgres.server_url(postgres_url, home, "mlflow")
    artifacts = folder(home / FOLDER)
    # MLflow brings psycopg2, and would take any other driver that SQLAlchemy prefers.
    return Tracking("postgresql+psycopg2://" + url.split("://", 1)[1], artifacts)


def database_url(where: Tracking) -> str:
    """The URL of our database as psycopg takes it."""
    return where.uri.replace("+psycopg2", "", 1)
