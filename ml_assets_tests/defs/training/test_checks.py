"""Each check of training and registry, passing and failing."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import dagster as dg
import pytest

from ml_assets.defs.registry.checks import (
    audit_chain_is_intact,
    champion_can_be_loaded,
    champion_has_earned_it,
    promotion_gates,
)
from ml_assets.defs.resources import OfflineStoreResource, PostgresResource
from ml_assets.defs.training.checks import (
    a_model_beats_the_baselines,
    features_are_known,
    labels_are_known,
    labels_are_plausible,
    splits_are_disjoint,
)
from ml_assets.problem import REPAIR
from ml_assets.registry.gates import GATES
from ml_assets.registry.promotion import promote
from ml_assets.registry.versions import register_challenger
from ml_assets.stores import mlflow
from ml_assets.training.labels.review import review_labels
from ml_assets.training.model import TrainingSet
from ml_assets.training.training_set import freeze
from ml_assets_tests.corpus import Deployment


@dataclass(frozen=True)
class FakeMlflow:
    """The resource, on the MLflow of the tests."""

    tracking: mlflow.Tracking


Check = Callable[..., dg.AssetCheckResult]


@pytest.fixture
def broken(trained: tuple[Deployment, TrainingSet]) -> Iterator[tuple[Deployment, TrainingSet]]:
    """The trained deployment, to be broken; whole again afterwards."""
    deployment, training_set = trained
    yield trained
    with deployment.open_duck() as duck:
        duck.execute("delete from training_sets")
        duck.execute("delete from training_set_builds")
        freeze(duck, training_set)


@pytest.fixture
def check(trained: tuple[Deployment, TrainingSet]) -> Check:
    """Run a check on the stores of the trained deployment."""
    deployment, _ = trained
    postgres = _postgres(deployment)
    duck = OfflineStoreResource(database=str(deployment.settings.duckdb_file))

    def run(definition: dg.AssetChecksDefinition, **resources: object) -> dg.AssetCheckResult:
        tracked = FakeMlflow(deployment.tracking)
        given = {"postgres": postgres, "duckdb": duck, "mlflow": tracked, **resources}
        names = given.keys() & definition.required_resource_keys
        return definition(**{name: given[name] for name in names})  # type: ignore[no-any-return]

    return run


def _postgres(deployment: Deployment) -> PostgresResource:
    info = deployment.connection.info
    url = f"postgresql://{info.user}:{info.password}@{info.host}:{info.port}/{info.dbname}"
    return PostgresResource(url=url, home=str(deployment.settings.home), actor="tester")


def test_features_are_known(broken: tuple[Deployment, TrainingSet], check: Check) -> None:
    deployment, _ = broken
    sound = check(features_are_known)
    assert sound.passed
    assert sound.metadata["unknown"].records == []
    with deployment.open_duck() as duck:
        duck.execute(
            "update training_sets set features = map() where document_id < 'document-0003'"
        )
    failed = check(features_are_known)
    assert (failed.passed, failed.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert failed.metadata["documents_without_features"].value == 3
    assert "document-0002" in str(failed.metadata["examples"].value)


def test_labels_are_known(broken: tuple[Deployment, TrainingSet], check: Check) -> None:
    deployment, _ = broken
    assert check(labels_are_known).passed
    with deployment.open_duck() as duck:
        duck.execute(
            "update training_sets set label = 'unheard of' where document_id = 'document-0000'"
        )
    failed = check(labels_are_known)
    assert not failed.passed
    assert failed.metadata["documents_with_another_label"].value == 1
    assert failed.metadata["examples"].value == "document-0000"


def test_every_label_is_trained_on(broken: tuple[Deployment, TrainingSet], check: Check) -> None:
    deployment, _ = broken
    with deployment.open_duck() as duck:
        duck.execute("update training_sets set split = 'test' where label = 'music'")
    failed = check(labels_are_known)
    assert not failed.passed
    assert failed.metadata["labels_not_trained_on"].value == 1
    assert failed.metadata["examples"].value == "music"
    assert failed.metadata["repair"].value == REPAIR


@pytest.mark.parametrize("kind", ["groups", "texts"])
def test_splits_are_disjoint(
    broken: tuple[Deployment, TrainingSet], check: Check, kind: str
) -> None:
    deployment, training_set = broken
    assert check(splits_are_disjoint).passed
    column = {"groups": "group_id", "texts": "text_hash"}[kind]
    train, test = (
        training_set.rows[training_set.rows["split"] == split].iloc[0]
        for split in ("train", "test")
    )
    with deployment.open_duck() as duck:
        duck.execute(
            f"update training_sets set {column} = ? where document_id = ?",
            [train[column], test["document_id"]],
        )
    failed = check(splits_are_disjoint)
    assert not failed.passed
    assert failed.metadata[f"{kind}_in_two_splits"].value == 1
    assert failed.metadata["examples"].value == train[column]


def test_a_model_beats_the_baselines(broken: tuple[Deployment, TrainingSet], check: Check) -> None:
    deployment, _ = broken
    assert check(a_model_beats_the_baselines).passed
    deployment.connection.execute(
        "update experiments set metrics = metrics || '{\"validation_macro_f1\": 0.999}'"
        " where family = 'tfidf_baseline'"
    )
    deployment.connection.execute(
        "update experiments set metrics = metrics || '{\"validation_macro_f1\": 0.5}'"
        " where family = 'logistic_regression'"
    )
    failed = check(a_model_beats_the_baselines)
    assert not failed.passed
    assert failed.severity == dg.AssetCheckSeverity.ERROR
    assert failed.metadata["tfidf_baseline"].value == 0.999
    documents = failed.metadata["documents"].value
    assert f"tfidf_baseline 0.9990; of {documents} documents" in str(
        failed.metadata["message"].text
    )
    # So few documents do not tell the two apart.
    with deployment.open_duck() as duck:
        duck.execute(
            "delete from training_sets where split <> 'test' and document_id not in"
            " (select document_id from training_sets where split <> 'test' limit 6)"
        )
    untold = check(a_model_beats_the_baselines)
    assert not untold.passed
    assert untold.severity == dg.AssetCheckSeverity.WARN
    assert untold.metadata["documents"].value == 6
    assert "do" in failed.metadata
    assert "do" not in untold.metadata
    with deployment.open_duck() as duck:
        duck.execute("delete from training_set_builds")
    assert check(a_model_beats_the_baselines).passed


def test_labels_are_plausible(broken: tuple[Deployment, TrainingSet], check: Check) -> None:
    deployment, training_set = broken
    unseen = check(labels_are_plausible)
    assert unseen.passed
    assert unseen.description == "no label was looked at"
    connection, open_duck = deployment.connection, deployment.open_duck
    review, _ = review_labels(connection, open_duck, deployment.tracking, training_set)
    assert review
    for documents, passed in ((10 * review.doubtful, True), (10 * review.doubtful - 1, False)):
        with deployment.open_duck() as duck:
            duck.execute("update label_reviews set documents = ?", [documents])
        result = check(labels_are_plausible)
        assert result.passed == passed
        assert result.severity == dg.AssetCheckSeverity.WARN
        assert result.metadata["documents_in_doubt"].value == review.doubtful
        assert result.metadata["documents"].value == documents
        assert result.metadata["share"].value == review.doubtful / documents
        assert ("do" in result.metadata) == (not passed)
    with deployment.open_duck() as duck:
        duck.execute("update label_reviews set training_set_hash = 'another'")
    assert check(labels_are_plausible).description == "no label was looked at"


def test_audit_chain_is_intact(trained: tuple[Deployment, TrainingSet], check: Check) -> None:
    deployment, training_set = trained
    connection = deployment.connection
    register_challenger(connection, deployment.tracking, training_set, deployment.settings)
    sound = check(audit_chain_is_intact)
    assert sound.passed
    assert sound.metadata["entries"].value == 1
    assert "repair" not in sound.metadata
    connection.execute("alter table model_audit_logs disable trigger all")
    connection.execute("update model_audit_logs set actor = 'somebody else'")
    failed = check(audit_chain_is_intact)
    assert not failed.passed
    assert "content was altered" in str(failed.metadata["first_broken_entry"].value)
    assert "ml-assets restore" in str(failed.metadata["repair"].value)
    connection.execute("update model_audit_logs set actor = 'tester'")
    assert check(audit_chain_is_intact).passed


def test_champion_has_earned_it(
    trained: tuple[Deployment, TrainingSet], check: Check, tmp_path: Path
) -> None:
    deployment, training_set = trained
    connection = deployment.connection
    assert "there is no champion" in str(check(champion_has_earned_it).description)
    assert check(champion_can_be_loaded).passed
    register_challenger(connection, deployment.tracking, training_set, deployment.settings)
    asked = promotion_gates(postgres=_postgres(deployment))
    assert all(result.passed and "no decision" in str(result.description) for result in asked)
    where, settings = deployment.tracking, deployment.settings
    strict = settings.model_copy(update={"max_latency_ms": 1e-6})
    assert not promote(connection, deployment.open_duck, where, training_set, strict).served
    asked = {each.check_name: each for each in promotion_gates(postgres=_postgres(deployment))}
    assert asked.keys() == {gate.__name__ for gate in GATES}
    late = asked["answers_in_time"]
    assert (late.passed, late.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "Raise ML_ASSETS_MAX_LATENCY_MS" in str(late.description)
    assert late.metadata["outcome"].value == "block"
    assert late.metadata["p99_ms"].value > 0
    assert asked["challenger_knows_something"].passed
    assert promote(connection, deployment.open_duck, where, training_set, settings).served
    assert all(result.passed for result in promotion_gates(postgres=_postgres(deployment)))
    earned = check(champion_has_earned_it)
    assert earned.passed
    assert check(champion_can_be_loaded).passed
    another = replace(deployment.tracking, shared=True, artifacts=tmp_path)
    elsewhere = check(champion_can_be_loaded, mlflow=FakeMlflow(another))
    assert elsewhere.passed
    assert elsewhere.description == "it lies in the home of another host"
    connection.execute("update experiments set refitted_uri = refitted_uri || '-gone'")
    lost = check(champion_can_be_loaded)
    connection.execute("update experiments set refitted_uri = replace(refitted_uri, '-gone', '')")
    assert not lost.passed
    assert "the model cannot be loaded" in str(lost.metadata["reason"].value)
    assert earned.metadata["promotions_in_the_audit_log"].value == 1
    # Somebody put another version in the release by hand.
    connection.execute(
        "insert into model_versions select model_name, version + 1000, run_id, uri,"
        " training_set_hash, space_id, feature_views, metrics, seed, created_at"
        " from model_versions"
    )
    connection.execute("alter table releases disable trigger user")
    connection.execute("update releases set model_version = model_version + 1000")
    failed = check(champion_has_earned_it)
    assert not failed.passed
    assert failed.metadata["promotions_in_the_audit_log"].value == 0
