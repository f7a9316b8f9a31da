"""Where model cards are kept: beside the version, with its MLflow run, and as its description."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from math import sqrt

from ml_assets.documents.history import Excerpt, read_excerpts
from ml_assets.errors import ModelError, NothingToDoError
from ml_assets.registry.card import Data, Interval, Report, model_card, shortened
from ml_assets.registry.model import MODEL_NAME, ModelVersion
from ml_assets.registry.versions import champion, current_challenger, read_version
from ml_assets.settings import Settings
from ml_assets.stores import duckdb, mlflow, postgres
from ml_assets.stores.sql import statement
from ml_assets.training.candidates import SLICES
from ml_assets.training.experiments import read_candidates
from ml_assets.training.families.registry import BASELINES
from ml_assets.training.model import SPLITS, Candidate, TrainingSet
from ml_assets.training.provenance import file_of
from ml_assets.training.results import read_answers

FILE = "model_card.md"

_WEAKEST = 10


def write_card(
    connection: postgres.Connection,
    open_duck: duckdb.Opener,
    where: mlflow.Tracking,
    training_set: TrainingSet,
    version: ModelVersion,
    encoder: str,
    settings: Settings,
) -> bool:
    """Write the card of a version that was trained on `training_set`, once; return whether it did.

    PostgreSQL comes last: what was killed before is written again.

    Raises:
        StoreError: MLflow does not answer.
    """
    if _card(connection, version.version):
        return False
    candidate = version.candidate
    ids = training_set.rows["document_id"].tolist()
    excerpts = read_excerpts(connection, ids, characters=0)
    with open_duck() as duck:
        data = _data(duck, training_set, excerpts)
        answers = read_answers(duck, candidate.run_id)
        query = statement("duckdb/training/weakest_labels")
        weakest = duck.execute(query, [candidate.run_id, _WEAKEST]).fetchall()
    candidates = read_candidates(connection, training_set.hash)
    baselines = {
        each.family: each.metrics["test_macro_f1"]
        for each in candidates
        if each.family in BASELINES
    }
    newest = next((each for each in candidates if "newest_accuracy" in each.metrics), None)
    truth = dict(zip(ids, training_set.rows["label"], strict=True))
    right = {name: given == truth.get(name) for name, (given, _) in answers.items()}
    intervals = {"accuracy": wilson(sum(right.values()), len(right))} if right else {}
    report = Report(intervals, _slices(where, candidate), weakest, baselines, newest)
    card = model_card(version, encoder, data, report, settings.owners)
    module = mlflow.activate(where)
    with mlflow.explained(where, "the model card cannot be logged"):
        mlflow.log_run_file(module, candidate.run_id, FILE, card.encode())
    mlflow.describe_version(
        where, version.name, candidate.served_uri, candidate.run_id, shortened(card)
    )
    connection.execute(
        "update model_versions set card = %s where model_name = %s and version = %s",
        [card, version.name, version.version],
    )
    return True


def read_card(connection: postgres.Connection, number: int) -> str:
    """The card of a version.

    Raises:
        NothingToDoError: there is no such version, or it is from before cards were written.
    """
    card = _card(connection, number)
    if card is None:
        what, do = f"there is no version {number}", "`ml-assets models` shows those there are"
        raise NothingToDoError(what, where=MODEL_NAME, do=do)
    if not card:
        what = f"version {number} is from before cards were written"
        raise NothingToDoError(what, where=MODEL_NAME, do="`ml-assets mlflow` shows its run")
    return card


def list_versions(connection: postgres.Connection) -> list[tuple[ModelVersion, str]]:
    """Every version, the newest first, and what it is now: champion, challenger or neither."""
    query = "select version from model_versions where model_name = %s order by version desc"
    numbers = [number for (number,) in connection.execute(query, [MODEL_NAME]).fetchall()]
    roles = {"challenger": current_challenger(connection), "champion": champion(connection)}
    role_of = {version.version: role for role, version in roles.items() if version}
    versions = (read_version(connection, number) for number in numbers)
    return [(version, role_of.get(version.version, "")) for version in versions if version]


def wilson(right: int, count: int) -> Interval:
    """The share of `right` answers, and its 95 % interval (Wilson 1927)."""
    share, z = right / count, 1.96
    middle = share + z * z / (2 * count)
    margin = z * sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    scale = 1 + z * z / count
    return share, (middle - margin) / scale, (middle + margin) / scale


def _card(connection: postgres.Connection, number: int) -> str | None:
    query = "select card from model_versions where model_name = %s and version = %s"
    row = connection.execute(query, [MODEL_NAME, number]).fetchone()
    return row[0] if row else None


def _data(
    duck: duckdb.Connection, training_set: TrainingSet, excerpts: Mapping[str, Excerpt]
) -> Data:
    rows = training_set.rows
    splits = Counter(rows["split"])
    return Data(
        hash=training_set.hash,
        splits={split: splits[split] for split in SPLITS},
        labels=dict(Counter(rows["label"]).most_common()),
        collections=dict(Counter(each.collection for each in excerpts.values()).most_common()),
        first=rows["label_time"].min().to_pydatetime(),
        last=rows["label_time"].max().to_pydatetime(),
        left_out=training_set.left_out,
        unembedded=training_set.unembedded,
        file=file_of(duck, training_set.hash),
    )


def _slices(where: mlflow.Tracking, candidate: Candidate) -> dict[str, tuple[int, float]]:
    """Of each part of the test documents, how many they are, and how many are answered right."""
    try:
        parts = json.loads(mlflow.read_run_file(where, candidate.run_id, SLICES))
    except ModelError:  # a candidate of before they were kept
        return {}
    return {
        f"{each['by']} {each['value']}": (each["documents"], each["accuracy"]) for each in parts
    }
