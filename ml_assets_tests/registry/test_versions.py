"""The best candidate becomes a version, found again by its model; MLflow's aliases follow."""

import pytest

from ml_assets.errors import (
    NothingToDoError,
)
from ml_assets.registry.model import MODEL_NAME
from ml_assets.registry.promotion import promote
from ml_assets.registry.versions import (
    champion,
    current_challenger,
    follow_release,
    read_version,
)
from ml_assets.stores import mlflow
from ml_assets_tests.corpus import Deployment, labelled_documents
from ml_assets_tests.fakes import SPACE
from ml_assets_tests.registry.deciding import (
    Trained,
    alias,
    ask,
    decide,
    entries,
    register,
)


def test_the_best_candidate_is_registered_once(first: Trained) -> None:
    deployment, training_set = first
    version = register(first)
    assert version == register(first) == current_challenger(deployment.connection)
    assert version.candidate.family == "logistic_regression"
    assert version.candidate.training_set_hash == training_set.hash
    assert version.feature_views == training_set.feature_views
    assert version.seed == training_set.seed == 0
    assert alias(deployment, "challenger") == version.candidate.served_uri
    assert entries(deployment) == [("register", f"{MODEL_NAME}/{version.version}")]
    module = mlflow.activate(deployment.tracking)
    tags = module.MlflowClient().get_model_version_by_alias(MODEL_NAME, "challenger").tags
    assert tags["training_set_hash"] == training_set.hash
    assert tags["space_id"] == SPACE.space_id
    assert "document_text_v1" in tags["feature_views"]


def test_a_version_whose_record_was_lost_is_found_again(first: Trained) -> None:
    """A run killed between MLflow and PostgreSQL: the rerun records the version there is."""
    deployment, _ = first
    with deployment.connection.transaction(force_rollback=True):
        lost = register(first)
    assert current_challenger(deployment.connection) is None
    assert register(first) == lost


def test_nothing_is_registered_without_candidates(deployment: Deployment) -> None:
    deployment.fill(labelled_documents(90))
    training_set = deployment.build()
    assert register((deployment, training_set)) is None
    with pytest.raises(NothingToDoError, match="Materialize registered_model"):
        decide((deployment, training_set))


def test_a_run_killed_between_release_and_alias_is_repaired_by_the_next(first: Trained) -> None:
    deployment, training_set = first
    version = register(first)
    decision = promote(
        deployment.connection,
        deployment.open_duck,
        deployment.tracking,
        training_set,
        deployment.settings,
    )
    assert decision.served
    # What the killed run left: the release is committed, the alias is where it was.
    mlflow.set_alias(deployment.tracking, MODEL_NAME, "champion", None)
    moved = follow_release(deployment.connection, deployment.tracking)
    assert moved == [f"champion → {version.version}"]
    assert alias(deployment, "champion") == version.candidate.served_uri
    assert follow_release(deployment.connection, deployment.tracking) == []


def test_an_alias_that_was_moved_by_hand_is_repaired_and_told(second: Trained) -> None:
    deployment, _ = second
    reigning = champion(deployment.connection)
    challenger = current_challenger(deployment.connection)
    assert reigning is not None
    assert challenger is not None
    client = mlflow.activate(deployment.tracking).MlflowClient()
    number = client.get_model_version_by_alias(MODEL_NAME, "challenger").version
    mlflow.set_alias(deployment.tracking, MODEL_NAME, "champion", int(number))
    mlflow.set_alias(deployment.tracking, MODEL_NAME, "challenger", None)
    assert champion(deployment.connection) == reigning
    assert follow_release(deployment.connection, deployment.tracking) == [
        f"challenger → {challenger.version}",
        f"champion → {reigning.version}",
    ]
    assert alias(deployment, "champion") == reigning.candidate.served_uri
    assert alias(deployment, "challenger") == challenger.candidate.served_uri


def test_without_a_model_mlflow_is_not_asked(deployment: Deployment) -> None:
    assert follow_release(deployment.connection, mlflow.Tracking("nowhere")) == []


def test_a_version_that_is_not_there_is_none(first: Trained) -> None:
    assert read_version(first[0].connection, 10_000) is None


def test_what_was_renamed_or_deleted_in_mlflow_is_registered_again(second: Trained) -> None:
    """No number of MLflow's says what answers: after a renaming it begins again at 1."""
    deployment, _ = second
    reigning, challenger = (
        champion(deployment.connection),
        current_challenger(deployment.connection),
    )
    assert reigning is not None
    assert challenger is not None
    client = mlflow.activate(deployment.tracking).MlflowClient()
    client.rename_registered_model(MODEL_NAME, "support_classifier")
    assert follow_release(deployment.connection, deployment.tracking) == [
        f"challenger → {challenger.version}",
        f"champion → {reigning.version}",
    ]
    assert alias(deployment, "champion") == reigning.candidate.served_uri
    for version in client.search_model_versions(f"name='{MODEL_NAME}'"):
        client.delete_model_version(MODEL_NAME, version.version)
    answers = ask(deployment, ["w1"])
    assert len(follow_release(deployment.connection, deployment.tracking)) == 2
    assert alias(deployment, "champion") == reigning.candidate.served_uri
    assert champion(deployment.connection) == reigning
    assert ask(deployment, ["w1"]) == answers


def test_a_version_number_is_never_given_twice(deployment: Deployment) -> None:
    """MLflow's first version of a fresh registry is not our version 1."""
    deployment.fill(labelled_documents(180))
    before = deployment.build()
    deployment.train(before)
    reigning = register((deployment, before))
    assert decide((deployment, before)).served
    client = mlflow.activate(deployment.tracking).MlflowClient()
    client.rename_registered_model(MODEL_NAME, "another_classifier")
    deployment.fill(labelled_documents(150))
    training_set = deployment.build()
    deployment.train(training_set)
    version = register((deployment, training_set))
    assert (reigning.version, version.version) == (1, 2)
    assert not decide((deployment, training_set), promotion_margin=0.9).served
    assert champion(deployment.connection) == reigning
