"""The table `experiments`: one row per training of a family on a training set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, astuple

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from ml_assets.stores import postgres
from ml_assets.stores.sql import statement
from ml_assets.training.families.base import Family
from ml_assets.training.families.registry import FAMILIES
from ml_assets.training.model import Candidate, Step, TrainingSet


def read_candidates(
    connection: postgres.Connection, training_set_hash: str, families: Sequence[Family] = FAMILIES
) -> list[Candidate]:
    """The candidates of a training set, of the present versions of `families`, in their order."""
    order = {family.fingerprint: number for number, family in enumerate(families)}
    bound = {"hash": training_set_hash, "fingerprints": list(order)}
    with connection.cursor(row_factory=class_row(Candidate)) as cursor:
        candidates = cursor.execute(statement("postgres/training/candidates"), bound).fetchall()
    return sorted(candidates, key=lambda candidate: order[candidate.fingerprint])


def read_candidate(connection: postgres.Connection, run_id: str) -> Candidate | None:
    """The candidate of an MLflow run."""
    with connection.cursor(row_factory=class_row(Candidate)) as cursor:
        text = statement("postgres/training/candidate")
        return cursor.execute(text, {"run_id": run_id}).fetchone()


def untrained(
    connection: postgres.Connection,
    training_set: TrainingSet,
    families: Sequence[Family] = FAMILIES,
) -> list[Family]:
    """The families that are still to be trained on `training_set`."""
    if not training_set.hash:
        return []
    known = {c.fingerprint for c in read_candidates(connection, training_set.hash, families)}
    return [family for family in families if family.fingerprint not in known]


@contextmanager
def experiment(
    connection: postgres.Connection,
    run_id: str,
    training_set: TrainingSet,
    family: Family,
    owner: str,
) -> Iterator[None]:
    """Record that a training runs, in place of one that did not complete; or that it failed."""
    bound = {
        "run_id": run_id,
        "name": family.name,
        "description": f"{family.name} on the training set {training_set.hash[:12]}",
        "owner": owner,
        "hash": training_set.hash,
        "family": family.name,
        "fingerprint": family.fingerprint,
    }
    connection.execute(statement("postgres/training/start_experiment"), bound)
    try:
        yield
    except BaseException:
        if not connection.broken:
            connection.execute(statement("postgres/training/fail_experiment"), bound)
        raise


def complete_experiment(
    connection: postgres.Connection, candidate: Candidate, steps: Sequence[Step]
) -> None:
    """Record the results of a training, with the metrics of its steps."""
    bound = {
        **asdict(candidate),
        "parameters": Jsonb(candidate.parameters),
        "metrics": Jsonb(candidate.metrics),
        "history": Jsonb([astuple(step) for step in steps]),
    }
    connection.execute(statement("postgres/training/complete_experiment"), bound)
