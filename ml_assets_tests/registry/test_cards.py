"""Where model cards are kept."""

import re

import pytest

from ml_assets.errors import NothingToDoError
from ml_assets.registry.cards import FILE, list_versions, read_card, write_card
from ml_assets.registry.model import MODEL_NAME
from ml_assets.stores import mlflow
from ml_assets_tests.registry.deciding import Trained, decide, register


def write(given: Trained) -> bool:
    deployment, training_set = given
    version = register(given)
    return write_card(
        deployment.connection,
        deployment.open_duck,
        deployment.tracking,
        training_set,
        version,
        "MiniLM",
        deployment.settings,
    )


def test_a_card_is_written_once_and_lies_with_the_run_and_the_version(
    first: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment, training_set = first
    assert write(first)
    version = register(first)
    card = read_card(deployment.connection, version.version)
    assert card.startswith(f"# {MODEL_NAME} {version.version}\n")
    tested = int((training_set.rows["split"] == "test").sum())
    assert f"| collection all | {tested} | {version.metrics['test_accuracy']:.3f} |" in card
    assert "| length least |" in card
    assert "| time most |" in card
    assert f"| accuracy | {version.metrics['test_accuracy']:.3f} | 0." in card
    assert all(re.search(rf"\| {label} \| [01]\.\d", card) for label in training_set.labels)
    assert "| macro\\_f1 of majority\\_class |" in card
    where = deployment.tracking
    assert mlflow.read_run_file(where, version.candidate.run_id, FILE).decode() == card
    client = mlflow.activate(where).MlflowClient()
    described = [
        one.description
        for one in client.search_model_versions(f"name='{MODEL_NAME}'")
        if one.source == version.candidate.served_uri
    ]
    assert described == [card]
    monkeypatch.setattr(mlflow, "activate", lambda where: pytest.fail("nothing is written again"))
    assert not write(first)


def test_versions_are_listed_with_what_they_are_now(first: Trained) -> None:
    deployment, _ = first
    assert list_versions(deployment.connection) == []
    version = register(first)
    assert list_versions(deployment.connection) == [(version, "challenger")]
    decide(first)
    assert list_versions(deployment.connection) == [(version, "champion")]


def test_a_card_that_is_not_there_is_said(first: Trained) -> None:
    deployment, _ = first
    version = register(first)
    with pytest.raises(NothingToDoError, match=r"no version 99\. `ml-assets models` shows"):
        read_card(deployment.connection, 99)
    with pytest.raises(NothingToDoError, match="is from before cards were written"):
        read_card(deployment.connection, version.version)
