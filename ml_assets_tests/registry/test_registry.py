"""Registering, promoting, refusing, and what happens when a run dies in between."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from ml_assets.registry.audit import verify_audit
from ml_assets.registry.releases import champion

from ml_assets.errors import (
    FeatureViewError,
    NothingToDoError,
    SourceError,
    SpaceMismatchError,
    StoreError,
)
from ml_assets.registry import promotion, serving
from ml_assets.registry.model import MODEL_NAME, Promotion
from ml_assets.registry.promotion import promote
from ml_assets.registry.serving import predict_texts
from ml_assets.registry.versions import current_challenger, read_version, register_challenger
from ml_assets.stores import mlflow
from ml_assets.training.candidates import read_candidates
from ml_assets.training.model import TrainingSet
from ml_assets_tests.corpus import FAST, Deployment, MeaningEncoder, labelled_documents
from ml_assets_tests.fakes import SPACE, other_space

Trained = tuple[Deployment, TrainingSet]


@pytest.fixture
def first(trained: Trained) -> Iterator[Trained]:
    """The trained deployment; what a test writes to PostgreSQL is rolled back."""
    with trained[0].connection.transaction(force_rollback=True):
        yield trained


def register(given: Trained) -> Any:
    deployment, training_set = given
    return register_challenger(
        deployment.connection, deployment.tracking, training_set, deployment.settings
    )


def decide(given: Trained, **changed: object) -> Promotion:
    deployment, training_set = given
    settings = deployment.settings.model_copy(update=changed)
    return promote(deployment.connection, deployment.tracking, training_set, settings)


def alias(deployment: Deployment, name: str) -> int | None:
    client = mlflow.activate(deployment.tracking).MlflowClient()
    found = client.get_registered_model(MODEL_NAME).aliases.get(name)
    return int(found) if found else None


def entries(deployment: Deployment) -> list[tuple[str, str]]:
    return deployment.connection.execute(
        "select action, subject from model_audit_logs order by entry_id"
    ).fetchall()


def set_score(given: Trained, family: str, score: float) -> None:
    """Pretend that a family did as well as `score` on the test split."""
    deployment, training_set = given
    deployment.connection.execute(
        "update experiments set metrics = jsonb_set(metrics, '{test_macro_f1}', %s::text::jsonb)"
        " where training_set_hash = %s and family = %s",
        [str(score), training_set.hash, family],
    )


def test_the_best_candidate_is_registered_once(first: Trained) -> None:
    deployment, training_set = first
    version = register(first)
    assert version == register(first) == current_challenger(deployment.connection)
    assert version.family == "logistic_regression"
    assert version.training_set_hash == training_set.hash
    assert version.feature_views == training_set.feature_views
    assert version.seed == training_set.seed == 0
    assert alias(deployment, "challenger") == version.version
    assert entries(deployment) == [("register", f"{MODEL_NAME}/{version.version}")]
    module = mlflow.activate(deployment.tracking)
    tags = module.MlflowClient().get_model_version(MODEL_NAME, str(version.version)).tags
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


def test_the_first_champion_has_to_beat_the_baselines(first: Trained) -> None:
    deployment, _ = first
    version = register(first)
    decision = decide(first)
    assert decision.promoted
    assert decision.changed
    assert champion(deployment.connection) == version
    assert alias(deployment, "champion") == version.version
    assert decision.gates["challenger"] > decision.gates["tfidf_baseline"]
    again = decide(first)
    assert (again.promoted, again.changed) == (True, False)
    assert [action for action, _ in entries(deployment)] == ["register", "promote"]
    assert verify_audit(deployment.connection) is None
    active = deployment.connection.execute(
        "select model_version, space_id, actor from releases where active"
    ).fetchall()
    assert active == [(version.version, SPACE.space_id, "tester")]


def test_a_challenger_worse_than_a_baseline_is_refused_once(first: Trained) -> None:
    deployment, _ = first
    set_score(first, "tfidf_baseline", 0.999)
    register(first)
    decision = decide(first)
    assert not decision.promoted
    assert "does not beat tfidf_baseline (0.9990)" in decision.reason
    assert champion(deployment.connection) is None
    assert alias(deployment, "champion") is None
    repeated = decide(first)
    assert (repeated.promoted, repeated.changed) == (False, False)
    assert repeated.gates == decision.gates
    assert [action for action, _ in entries(deployment)] == ["register", "refuse"]
    # Another margin is another question.
    assert decide(first, promotion_margin=0.1).changed


@pytest.fixture
def second(deployment: Deployment) -> tuple[Deployment, TrainingSet]:
    """A champion of one training set, and the candidates of the next."""
    deployment.fill(labelled_documents(180))
    before = deployment.build()
    deployment.train(before)
    register((deployment, before))
    assert decide((deployment, before)).promoted
    deployment.fill(labelled_documents(180) + extra_documents())
    after = deployment.build()
    deployment.train(after)
    register((deployment, after))
    return deployment, after


def extra_documents() -> list[Any]:
    return [
        replace(one, document_id=f"new-{one.document_id}", group=f"new-{one.group}")
        for one in labelled_documents(90, seed=1)
    ]


def test_the_champion_is_measured_on_the_challengers_test_split(
    second: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment, training_set = second
    reigning = champion(deployment.connection)
    challenger = current_challenger(deployment.connection)
    assert reigning is not None
    assert challenger is not None
    assert reigning.training_set_hash != training_set.hash

    refused = decide(second, promotion_margin=0.9)
    assert not refused.promoted
    assert refused.champion == champion(deployment.connection) == reigning
    assert alias(deployment, "champion") == reigning.version
    assert refused.gates["champion"] > refused.gates["tfidf_baseline"]
    # A score of its own split would be the stored one.
    assert refused.gates["champion"] != reigning.metrics["test_macro_f1"]

    # A champion that cannot answer at all loses to any challenger that beats the baselines.
    monkeypatch.setattr(promotion, "_test_score", lambda *_: 0.0)
    accepted = decide(second)
    assert accepted.promoted
    assert champion(deployment.connection) == challenger
    assert alias(deployment, "champion") == challenger.version
    releases = deployment.connection.execute(
        "select model_version, active from releases order by release_id"
    ).fetchall()
    assert releases == [(reigning.version, False), (challenger.version, True)]
    assert verify_audit(deployment.connection) is None


def test_a_tie_does_not_promote(second: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    deployment, _ = second
    challenger = current_challenger(deployment.connection)
    assert challenger is not None
    held = challenger.metrics[promotion.METRIC]
    assert held < 1
    monkeypatch.setattr(promotion, "_test_score", lambda *_: held)
    refused = decide(second, promotion_margin=0.0)
    assert not refused.promoted
    assert "does not beat champion" in refused.reason


def test_a_run_killed_between_alias_and_release_decides_again(second: Trained) -> None:
    deployment, _ = second
    reigning = champion(deployment.connection)
    challenger = current_challenger(deployment.connection)
    assert reigning is not None
    assert challenger is not None
    # What the killed run left: the alias moved, nothing committed.
    mlflow.activate(deployment.tracking).MlflowClient().set_registered_model_alias(
        MODEL_NAME, "champion", str(challenger.version)
    )
    assert champion(deployment.connection) == reigning
    assert not decide(second, promotion_margin=0.9).promoted
    assert alias(deployment, "champion") == reigning.version


@pytest.mark.parametrize("change", ["space_id = 'another'", "seed = 1", "seed = null"])
def test_a_champion_of_another_space_or_split_cannot_be_compared_and_that_is_said(
    second: Trained, change: str
) -> None:
    deployment, _ = second
    reigning = champion(deployment.connection)
    assert reigning is not None
    deployment.connection.execute(
        f"update model_artifacts set {change} where version = %s", [reigning.version]
    )
    decision = decide(second, promotion_margin=0.9)
    assert decision.promoted
    assert "champion" not in decision.gates
    assert "has another vector space, feature view or split seed" in decision.reason


def test_a_challenger_of_an_older_training_set_is_not_promoted(second: Trained) -> None:
    deployment, _ = second
    deployment.fill(labelled_documents(150))
    with pytest.raises(NothingToDoError, match="no version was registered"):
        decide((deployment, deployment.build()))


def test_the_champion_answers_for_texts_it_never_saw(first: Trained) -> None:
    deployment, _ = first
    register(first)
    decide(first)
    answers = ask(deployment, ["w3 w6 w9 w30 w60", "w1 w4 w7 w31", "w2 w5 w8 w32"])
    assert [next(iter(answer)) for answer in answers] == ["cooking", "music", "sport"]
    for answer in answers:
        assert sum(answer.values()) == pytest.approx(1)
        assert list(answer.values()) == sorted(answer.values(), reverse=True)
    assert ask(deployment, []) == []


def test_a_document_gets_the_answer_it_got_in_training(first: Trained) -> None:
    deployment, training_set = first
    register(first)
    decide(first)
    (candidate,) = [
        one
        for one in read_candidates(deployment.connection, training_set.hash, FAST)
        if one.family == "logistic_regression"
    ]
    texts = {one.document_id: one.text for one in labelled_documents()}
    with deployment.open_duck() as duck:
        rows = duck.execute(
            "select document_id, predicted, probability from model_predictions where run_id = ?",
            [candidate.run_id],
        ).fetchall()
    answers = ask(deployment, [texts[document_id] for document_id, _, _ in rows])
    # But for the nearest document, which now is the document itself.
    same = [next(iter(a)) == row[1] for a, row in zip(answers, rows, strict=True)]
    assert sum(same) / len(same) > 0.9


def test_what_cannot_be_answered_is_said(first: Trained) -> None:
    deployment, _ = first
    with pytest.raises(NothingToDoError, match="no model was promoted yet"):
        ask(deployment, ["w1"])
    version = register(first)
    decide(first)
    with pytest.raises(SourceError, match="text 2: it is empty"):
        ask(deployment, ["w1", " \n"])
    with pytest.raises(SpaceMismatchError, match="vectors of space"):
        ask(deployment, ["w1"], space_id=other_space().space_id)
    with deployment.connection.transaction(force_rollback=True):
        deployment.connection.execute(
            'update model_artifacts set feature_views = \'{"old_v1": ""}\''
        )
        with pytest.raises(FeatureViewError, match="old_v1"):
            ask(deployment, ["w1"])
    deployment.connection.execute(
        "update model_artifacts set uri = 'models:/nothing/1' where version = %s", [version.version]
    )
    with pytest.raises(StoreError, match="cannot be loaded"):
        ask(deployment, ["w1"])


def test_a_model_that_holds_a_type_we_do_not_write_is_not_loaded(
    first: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment, _ = first
    register(first)
    decide(first)
    monkeypatch.setattr(serving, "TRUSTED_TYPES", ())
    with pytest.raises(StoreError, match="Untrusted types"):
        ask(deployment, ["w1"])


def ask(
    deployment: Deployment, texts: list[str], space_id: str = SPACE.space_id
) -> list[dict[str, float]]:
    return predict_texts(
        deployment.connection,
        deployment.tracking,
        space_id,
        MeaningEncoder,
        lambda text: [text],
        texts,
    )


def test_a_version_that_is_not_there_is_none(first: Trained) -> None:
    assert read_version(first[0].connection, version=10_000) is None
