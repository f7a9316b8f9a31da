"""Registering, promoting, refusing, and what happens when a run dies in between."""

import shutil
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ml_assets.errors import (
    FeatureViewError,
    GateError,
    ModelError,
    NothingToDoError,
    SourceError,
    SpaceMismatchError,
    StoreError,
)
from ml_assets.features.documents import read_vectors
from ml_assets.operations.rollback import roll_back
from ml_assets.registry import gates, serving
from ml_assets.registry.gates import champion_gate
from ml_assets.registry.model import MODEL_NAME, ModelVersion
from ml_assets.registry.promotion import promote, promote_by_hand
from ml_assets.registry.serving import predict_texts
from ml_assets.registry.versions import (
    best_candidate,
    champion,
    current_challenger,
    follow_release,
    read_version,
    register_challenger,
)
from ml_assets.releases import audit, pointer
from ml_assets.releases.gates import Decision
from ml_assets.search.generation import ensure_generation
from ml_assets.search.indexes.kinds import Indexes, index_parameters
from ml_assets.search.model import CHUNKING
from ml_assets.stores import mlflow
from ml_assets.training.experiments import is_stored, read_candidates, untrained
from ml_assets.training.model import TrainingSet
from ml_assets.training.onnx.export import TOLERANCE
from ml_assets.training.onnx.model import FILE
from ml_assets.training.training_set import without_learned
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


def decide(given: Trained, **changed: object) -> Decision:
    """Decide as the asset does: the aliases follow."""
    deployment, training_set = given
    settings = deployment.settings.model_copy(update=changed)
    decision = promote(
        deployment.connection, deployment.open_duck, deployment.tracking, training_set, settings
    )
    follow_release(deployment.connection, deployment.tracking)
    return decision


def numbers(decision: Decision) -> dict[str, float]:
    """What all gates compared."""
    return {name: value for gate in decision.gates for name, value in gate.numbers.items()}


def alias(deployment: Deployment, name: str) -> str | None:
    """The model that an alias names: its URI."""
    client = mlflow.activate(deployment.tracking).MlflowClient()
    number = client.get_registered_model(MODEL_NAME).aliases.get(name)
    return client.get_model_version(MODEL_NAME, number).source if number else None


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


def let_the_champion_score(
    score: float, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pretend that the present champion does as well as `score` wherever it is tested."""
    reigning, measure = champion(deployment.connection), gates.score_on_test
    monkeypatch.setattr(
        gates,
        "score_on_test",
        lambda *given: score if given[-1] == reigning else measure(*given),
    )


def test_the_best_candidate_is_registered_once(first: Trained) -> None:
    deployment, training_set = first
    version = register(first)
    assert version == register(first) == current_challenger(deployment.connection)
    assert version.candidate.family == "logistic_regression"
    assert version.candidate.training_set_hash == training_set.hash
    assert version.feature_views == training_set.feature_views
    assert version.seed == training_set.seed == 0
    assert alias(deployment, "challenger") == version.candidate.model_uri
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


def test_the_first_champion_has_to_beat_the_baselines(first: Trained) -> None:
    deployment, _ = first
    version = register(first)
    decision = decide(first)
    assert decision.served
    assert decision.changed
    assert champion(deployment.connection) == version
    assert alias(deployment, "champion") == version.candidate.model_uri
    assert numbers(decision)["challenger"] > numbers(decision)["tfidf_baseline"]
    again = decide(first)
    assert (again.served, again.changed) == (True, False)
    assert [action for action, _ in entries(deployment)] == ["register", "promote"]
    assert audit.verify(deployment.connection) is None
    (release,) = pointer.list_releases(deployment.connection)
    assert (release.actor, release.action) == ("tester", "promote")
    assert release.parts == pointer.Parts(
        feature_views=version.feature_views,
        model_name=MODEL_NAME,
        model_version=version.version,
        model_space_id=SPACE.space_id,
    )


def test_without_a_baseline_nothing_is_decided(first: Trained) -> None:
    deployment, _ = first
    register(first)
    deployment.connection.execute("delete from experiments where family = 'tfidf_baseline'")
    with pytest.raises(GateError, match=r"tfidf_baseline were not trained .*`ml-assets run`"):
        decide(first)
    assert champion(deployment.connection) is None


def test_a_challenger_worse_than_a_baseline_is_refused_once(first: Trained) -> None:
    deployment, _ = first
    set_score(first, "tfidf_baseline", 0.999)
    register(first)
    decision = decide(first)
    assert not decision.served
    assert "does not beat tfidf_baseline (0.9990)" in decision.reason
    assert champion(deployment.connection) is None
    assert alias(deployment, "champion") is None
    repeated = decide(first)
    assert (repeated.served, repeated.changed) == (False, False)
    assert repeated.gates == decision.gates
    assert [action for action, _ in entries(deployment)] == ["register", "refuse"]
    # Another margin is another question.
    assert decide(first, promotion_margin=0.1).changed


@pytest.fixture(scope="module")
def champion_and_challenger(kept_deployment: Callable[[], Deployment]) -> Trained:
    """A champion of one training set, and the candidates of the next."""
    deployment = kept_deployment()
    deployment.fill(labelled_documents(180))
    before = deployment.build()
    deployment.train(before)
    register((deployment, before))
    assert decide((deployment, before)).served
    deployment.fill(labelled_documents(180) + extra_documents())
    after = deployment.build()
    deployment.train(after)
    register((deployment, after))
    return deployment, after


@pytest.fixture
def second(champion_and_challenger: Trained, tmp_path: Path) -> Iterator[Trained]:
    """The same; what a test writes to PostgreSQL and DuckDB is undone, and MLflow follows."""
    deployment, _ = champion_and_challenger
    file = deployment.settings.duckdb_file
    shutil.copy(file, tmp_path / file.name)
    with deployment.connection.transaction(force_rollback=True):
        follow_release(deployment.connection, deployment.tracking)
        yield champion_and_challenger
    shutil.copy(tmp_path / file.name, file)


@pytest.fixture
def models(tracking: mlflow.Tracking, tmp_path: Path) -> Iterator[Path]:
    """The folder of MLflow's models, for a test to damage; whole again afterwards."""
    assert tracking.artifacts is not None
    folder = tracking.artifacts / "models"
    shutil.copytree(folder, tmp_path / "models")
    yield folder
    shutil.copytree(tmp_path / "models", folder, dirs_exist_ok=True)


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
    assert reigning.candidate.training_set_hash != training_set.hash

    refused = decide(second, promotion_margin=0.9)
    assert not refused.served
    assert champion(deployment.connection) == reigning
    assert alias(deployment, "champion") == reigning.candidate.model_uri
    assert numbers(refused)["champion"] > numbers(refused)["tfidf_baseline"]
    # A score of its own split would be the stored one.
    assert numbers(refused)["champion"] != reigning.metrics["test_macro_f1"]

    # A champion that cannot answer at all loses to any challenger that beats the baselines.
    let_the_champion_score(0.0, deployment, monkeypatch)
    accepted = decide(second)
    assert accepted.served
    assert champion(deployment.connection) == challenger
    assert alias(deployment, "champion") == challenger.candidate.model_uri
    releases = pointer.list_releases(deployment.connection)
    assert [one.parts.model_version for one in releases] == [challenger.version, reigning.version]
    assert releases[1].served_until == releases[0].served_from
    assert audit.verify(deployment.connection) is None


def test_no_version_is_tested_on_what_it_was_trained_on(second: Trained) -> None:
    """A group that was joined by one of another name changes its side of the split."""
    deployment, training_set = second
    reigning = champion(deployment.connection)
    assert reigning is not None
    rows = training_set.rows
    tested = rows[rows["split"] == "test"]
    group = tested.groupby("group_id")["document_id"].agg(list).iloc[0]
    learned, companion = group  # two to a group: the other has the same object
    before = numbers(decide(second, promotion_margin=0.9))
    learn = (
        "insert into training_sets select ?, document_id, label, group_id, 'validation',"
        " label_time, text_hash, features from training_sets where hash = ? and document_id = ?"
    )
    given = [reigning.candidate.training_set_hash, training_set.hash, learned]
    with deployment.open_duck() as duck:
        duck.execute(learn, given)
        fair = without_learned(duck, training_set, given[:1])
        assert without_learned(duck, training_set, ["no such"]) is training_set
    assert set(tested["document_id"]) - set(fair.rows["document_id"]) == {learned, companion}
    assert (fair.rows["split"] == "train").sum() == (rows["split"] == "train").sum()
    after = numbers(decide(second, promotion_margin=0.91))
    assert after["champion"] == gates.score_on_test(
        deployment.connection, deployment.tracking, fair, reigning
    )
    assert after["tfidf_baseline"] == before["tfidf_baseline"]
    # All of it: nothing is left to compare the two by, and the baselines decide.
    with deployment.open_duck() as duck:
        for name in tested["document_id"]:
            duck.execute(learn, [*given[:2], name])
    decision = decide(second, promotion_margin=0.92)
    assert decision.served
    assert f"champion {reigning.version} was trained on every document of the" in decision.reason


def test_a_tie_does_not_promote(second: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    deployment, _ = second
    challenger = current_challenger(deployment.connection)
    assert challenger is not None
    score = challenger.metrics[gates.METRIC]
    assert score < 1
    let_the_champion_score(score, deployment, monkeypatch)
    refused = decide(second, promotion_margin=0.0)
    assert not refused.served
    assert "does not beat champion" in refused.reason


def test_the_margin_counts(second: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    """A challenger that is better by less than the margin stays one."""
    deployment, _ = second
    challenger = current_challenger(deployment.connection)
    assert challenger is not None
    score = challenger.metrics[gates.METRIC]
    let_the_champion_score(score - 0.02, deployment, monkeypatch)
    assert not decide(second, promotion_margin=0.03).served
    assert decide(second, promotion_margin=0.01).served
    assert champion(deployment.connection) == challenger


@pytest.mark.parametrize(
    ("score", "stands", "outcome"),
    [(0.80, 0.78, "block"), (0.82, 0.78, "pass"), (0.50, "its model is lost", "cannot tell")],
)
def test_the_gate_against_the_champion(
    first: Trained, score: float, stands: float | str, outcome: str
) -> None:
    version = register(first)
    gate = champion_gate(score, version, stands, 0.03)
    assert gate.outcome == outcome
    assert gate.numbers["margin"] == 0.03


def test_the_challenger_is_chosen_by_validation(first: Trained) -> None:
    deployment, training_set = first
    (better,) = (
        one
        for one in read_candidates(deployment.connection, training_set.hash)
        if one.family == "logistic_regression"
    )
    tested = {**better.metrics, "validation_macro_f1": 0.1, "test_macro_f1": 0.99}
    other = replace(better, run_id="other", metrics=tested)
    assert best_candidate([other, better]) == best_candidate([better, other]) == better


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
    assert alias(deployment, "champion") == version.candidate.model_uri
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
    assert alias(deployment, "champion") == reigning.candidate.model_uri
    assert alias(deployment, "challenger") == challenger.candidate.model_uri


def test_without_a_model_mlflow_is_not_asked(deployment: Deployment) -> None:
    assert follow_release(deployment.connection, mlflow.Tracking("nowhere")) == []


def test_what_a_person_rolled_back_from_no_run_promotes(
    second: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model and its feature views go back; a person promotes it again, past the gates."""
    deployment, training_set = second
    connection, settings = deployment.connection, deployment.settings
    reigning, challenger = champion(connection), current_challenger(connection)
    assert reigning is not None
    assert challenger is not None
    with monkeypatch.context() as patched:
        let_the_champion_score(0.0, deployment, patched)
        assert decide(second).served
    target = roll_back(connection, settings, deployment.tracking, "it insults people")
    assert target.parts.model_version == reigning.version
    assert champion(connection) == reigning
    assert alias(deployment, "champion") == reigning.candidate.model_uri
    again = decide(second)
    assert (again.served, again.changed) == (False, False)
    assert again.reason == (
        f"version {challenger.version} was withdrawn by tester: it insults people"
    )

    def by_hand(margin: float) -> Decision:
        chosen = settings.model_copy(update={"promotion_margin": margin})
        number, reason = challenger.version, "retaught"
        return promote_by_hand(
            connection,
            deployment.open_duck,
            deployment.tracking,
            training_set,
            chosen,
            number,
            reason,
        )

    with pytest.raises(GateError, match="is not promoted: challenger_beats_the_champion"):
        by_hand(0.9)
    assert by_hand(-1.0).served
    assert champion(connection) == challenger
    assert pointer.withdrawals(connection, "model_version") == {}
    assert not by_hand(-1.0).changed
    with pytest.raises(NothingToDoError, match="there is no version 10000"):
        promote_by_hand(
            connection,
            deployment.open_duck,
            deployment.tracking,
            training_set,
            settings,
            10_000,
            "typo",
        )


def test_a_model_that_was_withdrawn_stays_so_when_its_documents_come_back(
    second: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rolled back from, then other documents, then the same again: the run has its one version."""
    deployment, before = second
    connection, settings = deployment.connection, deployment.settings
    withdrawn = current_challenger(connection)
    assert withdrawn is not None
    with monkeypatch.context() as patched:
        let_the_champion_score(0.0, deployment, patched)
        assert decide(second).served
    roll_back(connection, settings, deployment.tracking, "it insults people")
    other = replace(before, hash="another")
    connection.execute(
        "insert into experiments (run_id, name, description, owner, status, ended_at,"
        " training_set_hash, family, fingerprint, metrics, model_uri)"
        " select 'other', name, description, owner, status, ended_at, 'another', family,"
        " fingerprint, metrics, model_uri from experiments where run_id = %s",
        [withdrawn.candidate.run_id],
    )
    later = register((deployment, other))
    assert later.version == withdrawn.version + 1
    assert register(second) == current_challenger(connection) == withdrawn
    assert alias(deployment, "challenger") == withdrawn.candidate.model_uri
    with monkeypatch.context() as patched:
        let_the_champion_score(0.0, deployment, patched)
        again = decide(second)
    assert (again.served, again.changed) == (False, False)
    assert again.reason == f"version {withdrawn.version} was withdrawn by tester: it insults people"


def test_a_model_whose_feature_views_are_gone_is_not_rolled_back_to(second: Trained) -> None:
    deployment, _ = second
    connection = deployment.connection
    reigning = champion(connection)
    assert reigning is not None
    assert decide(second, promotion_margin=-1.0).served
    connection.execute(
        'update model_artifacts set feature_views = \'{"old_v1": ""}\' where version = %s',
        [reigning.version],
    )
    before = pointer.present_release(connection)
    with pytest.raises(FeatureViewError, match="old_v1"):
        roll_back(connection, deployment.settings, deployment.tracking, "worse")
    assert pointer.present_release(connection) == before


def test_a_rollback_before_the_first_champion_leaves_none(first: Trained) -> None:
    deployment, _ = first
    entry = audit.Entry("ann", "publish", "search_generation:a", "first")
    pointer.publish(deployment.connection, lambda parts: replace(parts, generation_id="a"), entry)
    version = register(first)
    assert decide(first).served
    parts = pointer.present_parts(deployment.connection)
    assert (parts.generation_id, parts.model_version) == ("a", version.version)
    roll_back(deployment.connection, deployment.settings, deployment.tracking, "too early")
    assert pointer.present_parts(deployment.connection) == pointer.Parts(generation_id="a")
    assert champion(deployment.connection) is None
    assert alias(deployment, "champion") is None
    with pytest.raises(NothingToDoError, match=f"`ml-assets publish {version.version} --reason"):
        ask(deployment, ["w1"])


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
    assert decision.served
    assert "champion" not in numbers(decision)
    assert "has another vector space, feature view or split seed" in decision.reason


def test_a_challenger_of_an_older_training_set_is_not_promoted(second: Trained) -> None:
    deployment, training_set = second
    with pytest.raises(NothingToDoError, match="no version was registered"):
        decide((deployment, replace(training_set, hash="another")))


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
        for one in read_candidates(deployment.connection, training_set.hash)
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
    with pytest.raises(NothingToDoError, match=r"promoted yet\. Run `ml-assets run`"):
        ask(deployment, ["w1"])
    with deployment.connection.transaction(force_rollback=True):
        deployment.connection.execute("update documents set label = null")
        # A run cannot help.
        with pytest.raises(NothingToDoError, match=r"yet: no document has a label\. Give more"):
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
    forget_onnx(deployment)
    deployment.connection.execute(
        "update experiments set model_uri = 'models:/nothing' where run_id = %s",
        [version.candidate.run_id],
    )
    with pytest.raises(ModelError, match="cannot be loaded"):
        ask(deployment, ["w1"])


def test_a_model_that_holds_a_type_we_do_not_write_is_not_loaded(
    first: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment, _ = first
    register(first)
    decide(first)
    forget_onnx(deployment)
    monkeypatch.setattr(serving, "TRUSTED_TYPES", ())
    with pytest.raises(StoreError, match="Untrusted types"):
        ask(deployment, ["w1"])


def test_the_onnx_form_answers_as_the_model_itself(
    first: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment, _ = first
    register(first)
    decide(first)
    texts = [*(one.text for one in labelled_documents(60, seed=5)), "\u6f22\u5b57 w3", "w" * 300]
    with monkeypatch.context() as context:
        context.setattr(mlflow, "load_model", None)
        carried = ask(deployment, texts)
    forget_onnx(deployment)
    original = ask(deployment, texts)
    for given, expected in zip(carried, original, strict=True):
        assert given == pytest.approx(expected, abs=TOLERANCE)
        assert next(iter(given)) == next(iter(expected))


def test_an_onnx_form_that_is_not_the_recorded_one_does_not_answer(first: Trained) -> None:
    deployment, _ = first
    version = register(first)
    decide(first)
    deployment.connection.execute(
        "update experiments set onnx_sha256 = repeat('0', 64) where run_id = %s",
        [version.candidate.run_id],
    )
    with pytest.raises(StoreError, match="its sha256 is not the recorded 000000000000"):
        ask(deployment, ["w1"])


def forget_onnx(deployment: Deployment) -> None:
    """The champion answers from its skops file, as one that ONNX cannot carry."""
    deployment.connection.execute("update experiments set onnx_sha256 = ''")


def ask(
    deployment: Deployment, texts: list[str], space_id: str = SPACE.space_id
) -> list[dict[str, float]]:
    return predict_texts(
        deployment.connection,
        deployment.tracking,
        Indexes(deployment.settings),
        space_id,
        MeaningEncoder,
        lambda text: [text],
        texts,
    )


def test_only_documents_that_the_served_index_finds_near_are_read(
    first: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment, _ = first
    connection, indexes = deployment.connection, Indexes(deployment.settings)
    vectors = MeaningEncoder().encode(["w1 w2 w3", "w70 w71"])
    read: list[Collection[str] | None] = []

    def watched(*given: Any) -> Any:
        read.append(given[-1])
        return read_vectors(*given)

    monkeypatch.setattr(serving, "read_vectors", watched)
    nearest = serving._nearest_distances(connection, indexes, SPACE.space_id, vectors)
    [(chunker,)] = connection.execute("select chunker from chunkers where is_current").fetchall()
    parameters = {**index_parameters(deployment.settings), CHUNKING: {"chunker": chunker}}
    generation = ensure_generation(connection, SPACE.space_id, parameters)
    monkeypatch.setattr(serving, "published_generation", lambda _: generation)
    monkeypatch.setattr(serving, "_CANDIDATES", 1)
    found = serving._nearest_distances(connection, indexes, SPACE.space_id, vectors)
    assert found.tolist() == nearest.tolist()
    assert read[0] is None
    assert read[1] is not None
    assert 1 <= len(read[1]) <= 2
    # An index over vectors of another model knows nothing of what is near.
    another = replace(generation, space_id=other_space().space_id)
    monkeypatch.setattr(serving, "published_generation", lambda _: another)
    found = serving._nearest_distances(connection, indexes, SPACE.space_id, vectors)
    assert found.tolist() == nearest.tolist()
    assert read[2] is None


def test_a_version_that_is_not_there_is_none(first: Trained) -> None:
    assert read_version(first[0].connection, 10_000) is None


def folder_of(models: Path, version: ModelVersion) -> Path:
    return models / version.candidate.model_uri.rpartition("/")[2]


def test_a_champion_whose_model_is_lost_is_told_and_replaced(second: Trained, models: Path) -> None:
    deployment, _ = second
    reigning, challenger = (
        champion(deployment.connection),
        current_challenger(deployment.connection),
    )
    assert reigning is not None
    assert challenger is not None
    assert not decide(second, promotion_margin=0.9).served
    shutil.rmtree(folder_of(models, reigning))
    with pytest.raises(ModelError, match=r"cannot be loaded .* Run `ml-assets run`"):
        ask(deployment, ["w1"])
    # The refusal was of a champion that answered: now the baselines alone decide.
    decision = decide(second, promotion_margin=0.9)
    assert decision.served
    assert f"the model of champion {reigning.version} is lost" in decision.reason
    assert champion(deployment.connection) == challenger
    ask(deployment, ["w1"])
    with pytest.raises(
        GateError, match=r"version \d+ is not served: its model models:/m-\w+ is lost"
    ):
        roll_back(deployment.connection, deployment.settings, deployment.tracking, "worse")
    assert champion(deployment.connection) == challenger


def test_the_champion_itself_is_trained_again_when_its_model_is_lost(
    deployment: Deployment, models: Path
) -> None:
    deployment.fill(labelled_documents(180))
    training_set = deployment.build()
    deployment.train(training_set)
    given = (deployment, training_set)
    lost = register(given)
    assert decide(given).served
    shutil.rmtree(folder_of(models, lost))
    missing = untrained(deployment.connection, deployment.tracking, training_set)
    assert [family.name for family in missing if family in FAST] == [lost.candidate.family]
    deployment.train(training_set, missing[:1])
    again = register(given)
    assert again.version == lost.version + 1
    assert again.candidate.fingerprint == lost.candidate.fingerprint
    assert again.candidate.model_uri != lost.candidate.model_uri
    assert decide(given).served
    assert champion(deployment.connection) == again
    ask(deployment, ["w1"])
    assert read_version(deployment.connection, lost.version) == lost, "its record stays"


def test_a_model_in_the_home_of_another_host_is_told(second: Trained, tmp_path: Path) -> None:
    """It is not lost: the host that has it answers, and is named what all hosts need."""
    deployment, training_set = second
    connection, settings = deployment.connection, deployment.settings
    there = replace(deployment.tracking, shared=True, artifacts=tmp_path / "another")
    with pytest.raises(ModelError) as caught:
        ask(replace(deployment, tracking=there), ["w1"])
    assert str(caught.value).startswith("MLFLOW_TRACKING_URI is not set: the model models:/m-")
    assert "lies in the home of another host. Ask there, or set it" in str(caught.value)
    challenger = current_challenger(connection)
    assert challenger is not None
    with pytest.raises(GateError, match=r"is not served: its model lies in the home of another"):
        promote_by_hand(
            connection,
            deployment.open_duck,
            there,
            training_set,
            settings,
            challenger.version,
            "better",
        )


@pytest.mark.parametrize("damage", ["cut short", "altered", "onnx gone"])
def test_a_damaged_model_is_lost(first: Trained, models: Path, damage: str) -> None:
    deployment, _ = first
    version = register(first)
    assert is_stored(deployment.tracking, version.candidate)
    folder = folder_of(models, version) / "artifacts"
    skops = folder / "model.skops"
    match damage:
        case "cut short":
            skops.write_bytes(skops.read_bytes()[:-100])
        case "altered":
            onnx = bytearray((folder / FILE).read_bytes())
            onnx[len(onnx) // 2] ^= 1
            (folder / FILE).write_bytes(onnx)
        case _:
            (folder / FILE).unlink()
    assert not is_stored(deployment.tracking, version.candidate)


@pytest.mark.parametrize(
    "name",
    ["MLmodel", "conda.yaml", "requirements.txt", "input_example.json", "test_confusion.png"],
)
@pytest.mark.parametrize("damage", ["altered", "deleted"])
def test_a_model_whose_other_files_are_damaged_is_lost(
    first: Trained, name: str, damage: str
) -> None:
    deployment, _ = first
    version = register(first)
    (path,) = (path for path in version.candidate.files if path.endswith(f"/{name}"))
    file = deployment.tracking.artifacts and deployment.tracking.artifacts / path
    assert file
    content = file.read_bytes()
    assert is_stored(deployment.tracking, version.candidate)
    try:
        file.write_bytes(content[:-1]) if damage == "altered" else file.unlink()
        assert not is_stored(deployment.tracking, version.candidate)
        of_before = replace(version.candidate, files={})
        assert is_stored(deployment.tracking, of_before), "its files were not hashed then"
    finally:
        file.write_bytes(content)


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
    assert alias(deployment, "champion") == reigning.candidate.model_uri
    for version in client.search_model_versions(f"name='{MODEL_NAME}'"):
        client.delete_model_version(MODEL_NAME, version.version)
    answers = ask(deployment, ["w1"])
    assert len(follow_release(deployment.connection, deployment.tracking)) == 2
    assert alias(deployment, "champion") == reigning.candidate.model_uri
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
