"""The figures of `status`: what is there, and nothing written to find out."""

from datetime import date

import pytest
from pydantic import SecretStr

from ml_assets.features.drift.comparison import Comparison
from ml_assets.features.drift.results import DayComparison, write_comparisons
from ml_assets.operations.status import read_status
from ml_assets.settings import Settings
from ml_assets.training.labels.review import review_labels
from ml_assets_tests.corpus import FAST, Deployment, labelled_documents


@pytest.fixture
def deployed(settings: Settings, postgres_url: str) -> Settings:
    """Settings on the database of the test's own."""
    return settings.model_copy(update={"postgres_url": SecretStr(postgres_url)})


def test_without_a_training_set_there_are_no_candidates_and_no_file(deployed: Settings) -> None:
    assert read_status(deployed)["candidates"] == []
    assert read_status(deployed)["label_review"] is None
    assert read_status(deployed)["drift"] is None
    assert not deployed.duckdb_file.exists()


def test_candidates_are_those_of_the_current_training_set(
    deployment: Deployment, deployed: Settings
) -> None:
    deployment.fill(labelled_documents(180))
    first = deployment.build()
    deployment.train(first)
    # An earlier version of a family, on the same set.
    deployment.connection.execute(
        "insert into experiments"
        " (run_id, name, description, owner, status, ended_at, training_set_hash, family,"
        " fingerprint, parameters, metrics)"
        " select 'old', name, description, owner, status, ended_at, training_set_hash, family,"
        " 'old', parameters, metrics"
        " from experiments where family = 'logistic_regression'"
    )
    assert read_status(deployed)["label_review"] is None
    where, open_duck = deployment.tracking, deployment.open_duck
    review, _ = review_labels(deployment.connection, open_duck, where, first)
    assert review
    counts = {"documents": 180, "in_doubt": review.doubtful}
    assert read_status(deployed)["label_review"] == counts
    rows = read_status(deployed)["candidates"]
    assert [row["family"] for row in rows] == [one.name for one in FAST]
    assert {row["training_set_hash"] for row in rows} == {first.hash}
    assert all("validation_macro_f1" in row["metrics"] for row in rows)
    assert read_status(deployed)["left_out"] == []
    hurried = read_status(deployed.model_copy(update={"training_seconds": 1e-6}))["left_out"]
    assert "neural_network: it would take about" in "\n".join(hurried)

    assert read_status(deployed)["drift"] is None
    day = date(2026, 3, 20)
    compared = DayComparison(day, "7 days", day, Comparison("no drift", "10 aspects", 500, 400))
    with open_duck() as duck:
        write_comparisons(duck, day, [compared])
    drift = {"day": day, "references": {"7 days": "10 aspects"}, "drifted": []}
    assert read_status(deployed)["drift"] == drift
    # The next training set has no candidates yet; those of the old one are no longer shown.
    deployment.fill(labelled_documents(150))
    assert deployment.build().hash != first.hash
    assert read_status(deployed)["candidates"] == []
    assert read_status(deployed)["label_review"] is None
