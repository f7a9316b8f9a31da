"""The challenger becomes champion past its gates alone."""

from dataclasses import replace

import pytest

from ml_assets.errors import (
    GateError,
    NothingToDoError,
)
from ml_assets.registry import gates
from ml_assets.registry.gates import champion_gate
from ml_assets.registry.model import MODEL_NAME
from ml_assets.registry.versions import (
    champion,
    current_challenger,
)
from ml_assets.releases import audit, pointer
from ml_assets.training.training_set import without_learned
from ml_assets_tests.fakes import SPACE
from ml_assets_tests.registry.deciding import (
    Trained,
    alias,
    decide,
    entries,
    let_the_champion_score,
    numbers,
    register,
    set_score,
)


def test_the_first_champion_has_to_beat_the_baselines(first: Trained) -> None:
    deployment, _ = first
    version = register(first)
    decision = decide(first)
    assert decision.served
    assert decision.changed
    assert champion(deployment.connection) == version
    assert alias(deployment, "champion") == version.candidate.served_uri
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
    assert alias(deployment, "champion") == reigning.candidate.served_uri
    assert numbers(refused)["champion"] > numbers(refused)["tfidf_baseline"]
    # A score of its own split would be the stored one.
    assert numbers(refused)["champion"] != reigning.metrics["test_macro_f1"]

    # A champion that cannot answer at all loses to any challenger that beats the baselines.
    let_the_champion_score(0.0, deployment, monkeypatch)
    accepted = decide(second)
    assert accepted.served
    assert champion(deployment.connection) == challenger
    assert alias(deployment, "champion") == challenger.candidate.served_uri
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
