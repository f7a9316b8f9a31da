"""The table `experiments`: one row per training of a family on a training set."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from math import inf
from typing import Any

from psycopg.rows import class_row, dict_row
from psycopg.types.json import Jsonb

from ml_assets.stores import duckdb, mlflow, postgres
from ml_assets.stores.sql import statement
from ml_assets.training.families.base import Family, UnfitError
from ml_assets.training.families.registry import FAMILIES
from ml_assets.training.model import Candidate, TrainingSet
from ml_assets.training.onnx.model import FILE
from ml_assets.training.results import Trained
from ml_assets.training.selection.budget import over_budget
from ml_assets.training.training_set import was_built
from ml_assets.usage import place


def read_candidates(connection: postgres.Connection, training_set_hash: str) -> list[Candidate]:
    """The candidates of a training set, of the present versions of the families, in their order."""
    return _candidates(connection, training_set_hash, None)


def read_candidate(connection: postgres.Connection, run_id: str) -> Candidate | None:
    """The candidate of an MLflow run."""
    return next(iter(_candidates(connection, None, run_id)), None)


def _candidates(
    connection: postgres.Connection, training_set_hash: str | None, run_id: str | None
) -> list[Candidate]:
    fingerprints = [each.fingerprint for each in FAMILIES]
    bound = {"hash": training_set_hash, "fingerprints": fingerprints, "run_id": run_id}
    with connection.cursor(row_factory=class_row(Candidate)) as cursor:
        return cursor.execute(statement("postgres/training/candidates"), bound).fetchall()


def experiment_statistics(connection: postgres.Connection) -> list[dict[str, Any]]:
    """How many experiments of each family ended how, since when, and how long they took."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(statement("postgres/training/statistics_by_status")).fetchall()


def find_runs(connection: postgres.Connection, name: str) -> list[str]:
    """The completed experiments of a family, or whose run begins with `name`, the newest first."""
    rows = connection.execute(statement("postgres/training/runs_named"), {"name": name})
    return [run_id for (run_id,) in rows]


def untrained(
    connection: postgres.Connection,
    where: mlflow.Tracking,
    training_set: TrainingSet,
    seconds: float = inf,
) -> list[Family]:
    """The families that are still to be trained on `training_set`, within `seconds` for all.

    A candidate whose model MLflow no longer has is one no more; its row stays for the versions that
    were made of it.
    """
    candidates = read_candidates(connection, training_set.hash)
    lost = {each.run_id for each in candidates if not is_stored(where, each)}
    if lost:
        query = "update experiments set status = 'lost' where run_id = any(%s)"
        connection.execute(query, [list(lost)])
    known = {each.fingerprint for each in candidates if each.run_id not in lost}
    size = training_set.hash, len(training_set.rows), len(training_set.labels)
    known |= left_out(connection, *size, seconds).keys()
    return [family for family in FAMILIES if family.fingerprint not in known]


def left_out(
    connection: postgres.Connection,
    training_set_hash: str,
    rows: int,
    labels: int,
    seconds: float = inf,
) -> dict[str, str]:
    """The fingerprints of the families that are not trained on a set of so many rows and labels.

    Each with a line that says why.
    """
    costly = {
        family.fingerprint: f"{family.name}: it would take about {cost:.0f} s of a processor,"
        f" and ML_ASSETS_TRAINING_SECONDS is {seconds:g}"
        for family, cost in over_budget(FAMILIES, rows, labels, seconds)
    }
    bound = {"hash": training_set_hash, "fingerprints": [each.fingerprint for each in FAMILIES]}
    unfit = connection.execute(statement("postgres/training/left_out"), bound).fetchall()
    return costly | {name: f"{family}: {reason}" for name, family, reason in unfit}


def trained_elsewhere(
    connection: postgres.Connection, duck: duckdb.Connection, where: mlflow.Tracking
) -> str:
    """Why models are left to the host that trained last, and what mends it; empty: it is this one.

    Its models lie in its home, or its history of feature values in its DuckDB. To train here, too,
    would have two hosts replace each other's models in turn.
    """
    row = connection.execute(statement("postgres/training/trained_last")).fetchone()
    if row is None or not where.shared:
        return ""
    training_set_hash, uri = row
    if mlflow.is_elsewhere(where, uri):
        what, do = "the models lie", "MLFLOW_TRACKING_URI to a tracking server on every host"
    elif not was_built(duck, training_set_hash):
        what, do = "the training set lies", "DUCKDB_PATH to a file that every training host reaches"
    else:
        return ""
    return (
        f"{what} in the home of another host. Set {do}, or train there;"
        " if that home is gone, `ml-assets repair` trains here"
    )


def forget_elsewhere(
    connection: postgres.Connection, duck: duckdb.Connection, where: mlflow.Tracking
) -> None:
    """Forget what was trained on another host, so that the next run trains on this one."""
    if trained_elsewhere(connection, duck, where):
        connection.execute("update experiments set status = 'lost' where status = 'completed'")


def is_stored(where: mlflow.Tracking, candidate: Candidate) -> bool:
    """Whether MLflow has all files of a candidate as they were logged.

    Of a server, and of a candidate from before its files were hashed: the forms of its models.
    """
    onnx = {FILE: candidate.onnx_sha256} if candidate.onnx_sha256 else {}
    served = candidate.served_uri
    if not all(mlflow.has_model(where, u, onnx if u == served else {}) for u in candidate.uris):
        return False
    if where.artifacts is None or not candidate.files:
        return True
    present = mlflow.hash_files(where, candidate.uris, candidate.run_id)
    return candidate.files.items() <= present.items()


@contextmanager
def experiment(
    connection: postgres.Connection,
    run_id: str,
    training_set: TrainingSet,
    family: Family,
    owner: str,
) -> Iterator[None]:
    """Record that a training runs, in place of one that did not complete; or that it failed.

    Raises:
        UnfitError: the family cannot be fitted, which is recorded, too: it is not tried again.
    """
    bound = {
        "run_id": run_id,
        "owner": owner,
        "hash": training_set.hash,
        "family": family.name,
        "fingerprint": family.fingerprint,
        **asdict(place()),
    }
    connection.execute(statement("postgres/training/start_experiment"), bound)
    try:
        yield
    except UnfitError as error:
        reason = {**bound, "reason": str(error)}
        connection.execute(statement("postgres/training/leave_out_experiment"), reason)
        raise
    except BaseException:
        if not connection.broken:
            connection.execute(statement("postgres/training/fail_experiment"), bound)
        raise


def complete_experiment(connection: postgres.Connection, trained: Trained) -> None:
    """Record the results of a training, with the metrics of its steps, in one statement."""
    candidate = trained.candidate
    names = ("parameters", "metrics", "files", "sizes", "resampled")
    bound = {
        **asdict(candidate),
        **{name: Jsonb(getattr(candidate, name)) for name in names},
        "history": Jsonb(trained.steps),
        "schema": Jsonb(trained.schema),
    }
    connection.execute(statement("postgres/training/complete_experiment"), bound)


def record_refit(connection: postgres.Connection, candidate: Candidate) -> None:
    """Record the model that serves, with what was measured of it."""
    jsons = {name: Jsonb(getattr(candidate, name)) for name in ("metrics", "files", "sizes")}
    bound = {**asdict(candidate), **jsons}
    connection.execute(statement("postgres/training/refit_experiment"), bound)
