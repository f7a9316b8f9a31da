"""The challenger becomes champion past its gates alone."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from ml_assets.errors import (
    GateError,
    NothingToDoError,
)
from ml_assets.features.views.document_text import DOCUMENT_TEXT
from ml_assets.monitoring.alerting.ledger import silence
from ml_assets.registry import comparison
from ml_assets.registry.decisions import challenger_standing
from ml_assets.registry.model import MODEL_NAME
from ml_assets.registry.promotion import approve
from ml_assets.registry.versions import (
    champion,
    current_challenger,
)
from ml_assets.releases import audit, pointer
from ml_assets.releases.gates import Decision
from ml_assets.stores import online
from ml_assets.training.training_set import without_learned
from ml_assets_tests.corpus import LABELS
from ml_assets_tests.fakes import SPACE
from ml_assets_tests.monitoring.alerting.examples import HOUR, critical_alert
from ml_assets_tests.registry.deciding import (
    Trained,
    alias,
    ask,
    decide,
    entries,
    let_answer,
    let_the_champion_score,
    numbers,
    register,
    run_of,
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


def test_an_open_critical_alert_holds_a_challenger_back_until_it_is_silenced(
    first: Trained,
) -> None:
    deployment, _ = first
    register(first)
    with critical_alert(deployment.connection):
        held = decide(first)
        assert not held.served
        assert held.reason == "model_lost_accuracy/a is open"
        standing = challenger_standing(deployment.connection)
        assert standing
        assert "`ml-assets alerts silence model_lost_accuracy/a --for 2h --reason" in standing.do
        now = datetime.now(UTC)
        silence(deployment.connection, "model_lost_accuracy", HOUR, "ann", "known", now)
        assert decide(first).served


def test_without_a_baseline_nothing_is_decided(first: Trained) -> None:
    deployment, _ = first
    register(first)
    deployment.connection.execute("delete from experiments where family = 'tfidf_baseline'")
    with pytest.raises(GateError, match=r"tfidf_baseline were not trained .*`ml-assets run`"):
        decide(first)
    assert champion(deployment.connection) is None


def test_a_baseline_that_cannot_be_fitted_is_no_measure(first: Trained) -> None:
    deployment, _ = first
    register(first)
    query = "update experiments set status = 'left out' where family = 'tfidf_baseline'"
    deployment.connection.execute(query)
    decision = decide(first)
    assert decision.served
    assert "majority_class" in numbers(decision)
    assert "tfidf_baseline" not in numbers(decision)


def test_a_challenger_worse_than_a_baseline_is_refused_once(
    first: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment, _ = first
    let_answer(run_of(first, "tfidf_baseline"), 0.99, monkeypatch)
    register(first)
    decision = decide(first)
    assert not decision.served
    assert "does not beat tfidf_baseline (" in decision.reason
    assert champion(deployment.connection) is None
    assert alias(deployment, "champion") is None
    repeated = decide(first)
    assert (repeated.served, repeated.changed) == (False, False)
    assert repeated.gates == decision.gates
    assert [action for action, _ in entries(deployment)] == ["register", "refuse"]
    # Another margin is another question.
    assert decide(first, promotion_margin=0.1).changed


def test_a_refusal_tells_its_numbers_and_what_helps(
    first: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment, _ = first
    assert challenger_standing(deployment.connection) is None
    version = register(first)
    assert challenger_standing(deployment.connection) is None, "nothing was decided"
    let_answer(run_of(first, "tfidf_baseline"), 1.0, monkeypatch)
    decide(first)
    standing = challenger_standing(deployment.connection)
    assert standing
    assert (standing.version, standing.outcome) == (version.version, "refused")
    assert "does not beat tfidf_baseline (1.0000), by -" in standing.reason
    assert "(95 %: -" in standing.reason
    assert standing.do == (
        "Add documents with labels, or correct labels, and run `ml-assets run`,"
        f" or promote it by hand: `ml-assets publish {version.version} --reason …`"
    )
    with pytest.raises(NothingToDoError, match=r"is served; version \d+ was refused: macro-F1 0\."):
        ask(deployment, ["w1"])


def test_a_decision_that_may_be_otherwise_at_the_next_run_is_made_again(first: Trained) -> None:
    """The online store is behind: no fault of the model, and soon mended."""
    deployment, _ = first
    version = register(first)
    with online.connect(None, deployment.settings.home) as store:
        rows = store.get_rows(DOCUMENT_TEXT.key, ["document-0000"])
        store.delete_many(DOCUMENT_TEXT.key, rows)
        try:
            refused, again = decide(first), decide(first)
        finally:
            store.put_many(DOCUMENT_TEXT.key, rows)
    assert not refused.served
    assert refused.reason == "the online store is behind in document_text_v2 (1 documents)"
    assert again.changed
    assert decide(first).served
    assert champion(deployment.connection) == version


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
    # On its own split it has other answers.
    assert numbers(refused)["champion"] != reigning.metrics["test_macro_f1"]

    # A champion that is always wrong loses.
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
    assert after["documents"] == before["documents"] - 2
    # All of it: nothing is left to compare the two by, and the champion stays.
    with deployment.open_duck() as duck:
        for name in tested["document_id"]:
            duck.execute(learn, [*given[:2], name])
    decision = decide(second, promotion_margin=0.92)
    assert not decision.served
    assert f"champion {reigning.version} cannot be compared: it was trained on" in decision.reason
    standing = challenger_standing(deployment.connection)
    assert standing
    assert f"`ml-assets publish {standing.version} --reason" in standing.do


def test_a_champion_of_an_unknown_training_set_stays(second: Trained) -> None:
    deployment, _ = second
    reigning = champion(deployment.connection)
    assert reigning
    with deployment.open_duck() as duck:
        given = [reigning.candidate.training_set_hash]
        duck.execute("delete from training_set_builds where hash = ?", given)
    decision = decide(second)
    assert not decision.served
    assert "cannot be compared: what it was trained on is not known here" in decision.reason


def test_a_tie_keeps_the_champion_and_says_that_it_is_one(
    second: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment, _ = second
    challenger = current_challenger(deployment.connection)
    assert challenger is not None
    let_the_champion_score(0.9, deployment, monkeypatch)
    let_answer(challenger.candidate.run_id, 0.9, monkeypatch)
    refused = decide(second)
    assert not refused.served
    assert "by +0.0000 (95 %: +0.0000 to +0.0000): noise" in refused.reason
    outcomes = {gate.name: gate.outcome for gate in refused.gates}
    assert outcomes["challenger_beats_the_champion"] == "cannot tell"


def test_the_margin_counts(second: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    """A challenger that is better by less than the margin stays one."""
    deployment, _ = second
    challenger = current_challenger(deployment.connection)
    assert challenger is not None
    let_the_champion_score(0.4, deployment, monkeypatch)
    refused = decide(second, promotion_margin=0.8, max_calibration_error=1.0)
    assert not refused.served
    assert refused.reason.endswith("but not by 0.8")
    assert decide(second, promotion_margin=0.01, max_calibration_error=1.0).served
    assert champion(deployment.connection) == challenger


def test_a_champion_that_knows_a_label_too_many_is_measured_as_it_answers(
    second: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A label left the training set: answers with it are wrong, and that it is lost is told."""
    deployment, _ = second
    reigning = champion(deployment.connection)
    assert reigning
    measure = comparison._answered

    def answered(*given: Any) -> Any:
        answers = measure(*given)
        if given[3].run_id != reigning.candidate.run_id:
            return answers
        others = ["vehicles" if label == LABELS[0] else label for label in answers.given]
        return replace(answers, given=others, labels={*LABELS, "vehicles"})

    monkeypatch.setattr(comparison, "_answered", answered)
    decision = decide(second, max_calibration_error=1.0)
    assert decision.served
    assert "it no longer answers 'vehicles', as the champion does" in decision.reason
    (gate,) = (each for each in decision.gates if each.name == "challenger_beats_the_champion")
    assert gate.numbers["champion"] <= 2 / 3, "of three labels it never gives one"


@pytest.mark.parametrize("change", ["space_id = 'another'", "feature_views = '{}'"])
def test_a_champion_that_cannot_answer_any_more_gives_way_and_that_is_said(
    second: Trained, change: str
) -> None:
    deployment, _ = second
    reigning = champion(deployment.connection)
    assert reigning is not None
    deployment.connection.execute(
        f"update model_versions set {change} where version = %s", [reigning.version]
    )
    decision = decide(second, promotion_margin=0.9)
    assert decision.served
    assert "champion" not in numbers(decision)
    assert "has another vector space or feature view, and cannot answer" in decision.reason


def test_a_challenger_of_an_older_training_set_is_not_promoted(second: Trained) -> None:
    deployment, training_set = second
    with pytest.raises(NothingToDoError, match="no version was registered"):
        decide((deployment, replace(training_set, hash="another")))


def test_what_passed_waits_for_a_person_who_is_named(second: Trained) -> None:
    deployment, training_set = second
    connection = deployment.connection
    reigning, challenger = champion(connection), current_challenger(connection)
    assert reigning
    assert challenger

    def by_hand(reason: str, **changed: object) -> Decision:
        settings = deployment.settings.model_copy(update=changed)
        return approve(
            connection,
            deployment.open_duck,
            deployment.tracking,
            training_set,
            settings,
            challenger.version,
            reason,
        )

    with pytest.MonkeyPatch.context() as patched:
        let_the_champion_score(0.2, deployment, patched)
        waiting = decide(second, approval=True)
        assert (waiting.served, waiting.changed, waiting.waits) == (False, True, True)
        again = decide(second, approval=True)
        assert (again.served, again.changed, again.waits) == (False, False, True)
        assert champion(connection) == reigning
        standing = challenger_standing(connection)
        assert standing
        assert standing.outcome == "waits for approval"
        assert standing.do == f"Run `ml-assets approve {challenger.version} --reason …`"
        assert str(standing).startswith(f"version {challenger.version} waits for approval: macro")
        # The champion is another by now: what passed does not pass any more.
        let_the_champion_score(1.0, deployment, patched)
        with pytest.raises(GateError, match="is not approved: challenger_beats_the_champion"):
            by_hand("it reads well")
        assert champion(connection) == reigning
    with pytest.MonkeyPatch.context() as patched:
        let_the_champion_score(0.2, deployment, patched)
        assert by_hand("it reads well", actor="ann").served
    assert champion(connection) == challenger
    assert challenger_standing(connection) is None
    assert not by_hand("twice").changed
    approval, promotion = audit.read_entries(connection, 2)
    assert (approval.action, promotion.action) == ("approve", "promote")
    assert {approval.actor, promotion.actor} == {"ann"}
    assert {approval.reason, promotion.reason} == {"it reads well"}
    assert audit.verify(connection) is None


def test_an_approval_and_its_release_are_written_together_or_not_at_all(
    second: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment, training_set = second
    connection = deployment.connection
    challenger = current_challenger(connection)
    assert challenger
    let_the_champion_score(0.2, deployment, monkeypatch)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pointer, "publish", killed)
    before = entries(deployment)
    with pytest.raises(KeyboardInterrupt):
        approve(
            connection,
            deployment.open_duck,
            deployment.tracking,
            training_set,
            deployment.settings,
            challenger.version,
            "it reads well",
        )
    assert entries(deployment) == before


def test_without_approval_set_what_waited_is_promoted(
    second: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment, _ = second
    let_the_champion_score(0.2, deployment, monkeypatch)
    assert decide(second, approval=True).waits
    assert decide(second).served
