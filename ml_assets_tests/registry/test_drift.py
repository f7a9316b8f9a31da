"""What comes after a champion was trained, beside what it was trained on."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest

from ml_assets.documents.model import Document
from ml_assets.features.drift.comparison import MIN_ROWS, Comparison
from ml_assets.features.drift.results import DayComparison, write_comparisons
from ml_assets.features.drift.statistics import documents_that_came, with_features
from ml_assets.registry import comparison, drift
from ml_assets.registry.drift import (
    compare_day,
    compare_what_is_left_out,
    compare_with_training_set,
    is_due,
)
from ml_assets.registry.versions import champion
from ml_assets.releases.gates import Decision
from ml_assets.training.model import TrainingSet
from ml_assets.training.training_set import build_training_set
from ml_assets_tests.corpus import LABELS, Deployment, labelled_documents, unlabelled
from ml_assets_tests.fakes import SPACE
from ml_assets_tests.registry.deciding import Trained, decide, register

TODAY = datetime.now(UTC).date() + timedelta(days=1)
"""A day later, in case that midnight passes: the window of 7 days has all that comes meanwhile."""
OLD = labelled_documents(300)


def others(count: int, seed: int, name: str, tail: str = "") -> list[Document]:
    """Documents of the same kind under ids of their own; `tail` makes them longer."""
    return [
        replace(each, document_id=f"{name}-{each.document_id}", text=f"{each.text}{tail}", group="")
        for each in labelled_documents(count, seed)
    ]


LONG = " and and and and and and and and and and and"


@dataclass(frozen=True)
class Story:
    """A home that was trained once, and what was said of it as documents came."""

    deployment: Deployment
    training_set: TrainingSet
    before: DayComparison
    fresh: list[DayComparison]
    few: DayComparison
    alike: DayComparison
    left_out_alike: Comparison
    unlike: DayComparison
    left_out_unlike: Comparison
    grown: Comparison
    anew: DayComparison
    due: list[bool]


@pytest.fixture(scope="module")
def story(kept_deployment: Callable[[], Deployment]) -> Story:
    deployment = kept_deployment()
    deployment.fill(OLD)
    training_set = deployment.build()

    def look() -> DayComparison:
        with deployment.open_duck() as duck:
            return compare_with_training_set(
                deployment.connection, duck, deployment.tracking, TODAY
            )

    def left_out() -> Comparison:
        current = champion(deployment.connection)
        with deployment.open_duck() as duck:
            return compare_what_is_left_out(deployment.connection, duck, training_set, current)

    before = look()
    deployment.train(training_set)
    register((deployment, training_set))
    assert decide((deployment, training_set)).served
    due = [is_due(deployment.connection, deployment.open_duck)]
    with deployment.open_duck() as duck:
        fresh = compare_day(deployment.connection, duck, deployment.tracking, TODAY, SPACE.space_id)
    few = others(50, 1, "few")
    deployment.fill(OLD + unlabelled(few))
    said_of_few = look()
    due.append(is_due(deployment.connection, deployment.open_duck))
    alike = few + others(MIN_ROWS, 2, "alike")
    deployment.fill(OLD + unlabelled(alike))
    said_of_alike, left_out_alike = look(), left_out()
    due.append(is_due(deployment.connection, deployment.open_duck))
    with deployment.open_duck() as duck:
        write_comparisons(duck, TODAY, [said_of_alike])
    due.append(is_due(deployment.connection, deployment.open_duck))
    long = others(MIN_ROWS + 40, 3, "long", LONG)
    deployment.fill(OLD + unlabelled(long))
    unlike, left_out_unlike = look(), left_out()
    deployment.fill(OLD + long)
    with deployment.open_duck() as duck:
        built = build_training_set(deployment.connection, duck, deployment.settings, SPACE.space_id)
        current = champion(deployment.connection)
        grown = compare_what_is_left_out(deployment.connection, duck, built, current)
    deployment.fill([replace(each, text=each.text + LONG) for each in OLD])
    return Story(
        deployment=deployment,
        training_set=training_set,
        before=before,
        fresh=fresh,
        few=said_of_few,
        alike=said_of_alike,
        left_out_alike=left_out_alike,
        unlike=unlike,
        left_out_unlike=left_out_unlike,
        grown=grown,
        anew=look(),
        due=due,
    )


def test_without_a_champion_there_is_nothing_to_compare(story: Story) -> None:
    assert story.before.comparison.outcome == "nothing to compare"
    assert story.before.comparison.message == "there was no champion"
    assert story.before.model_version is None


def test_a_fresh_home_does_not_drift_against_itself(story: Story) -> None:
    assert {each.comparison.outcome for each in story.fresh} == {"nothing to compare"}
    training, *_ = story.fresh
    assert training.comparison.message.startswith("no document came since the champion's")
    assert training.comparison.reference_rows == len(story.training_set.rows)
    assert training.model_version == 1


def test_few_documents_cannot_tell(story: Story) -> None:
    assert story.few.comparison.outcome == "cannot tell"
    assert story.few.comparison.message.startswith("50 rows against 300")


def test_documents_of_the_same_kind_do_not_drift(story: Story) -> None:
    compared = story.alike.comparison
    # In a corpus that has doubled, the nearest document is nearer.
    drifted = {each.feature for each in compared.drifted}
    assert drifted <= {"document_text__nearest_distance"}
    assert compared.current_rows == MIN_ROWS + 50
    assert {"embedding", "rows"} < {each.feature for each in compared.findings}
    assert "label" not in {each.feature for each in compared.findings}, "they have none"
    assert {each.feature for each in story.left_out_alike.drifted} == drifted


def test_longer_documents_drift_and_are_named(story: Story) -> None:
    compared = story.unlike.comparison
    assert compared.outcome == "drift"
    assert "document_text__words" in {each.feature for each in compared.drifted}
    assert story.left_out_unlike.strength > 2.5
    assert compared.current_rows == MIN_ROWS + 40, "what is gone again does not count"


def test_a_comparison_is_due_once_enough_was_written(story: Story) -> None:
    """After the champion, few documents, many, and the comparison of these."""
    assert story.due == [False, False, True, False]


def test_a_day_before_there_was_a_champion_is_not_compared_with_it(story: Story) -> None:
    deployment = story.deployment
    with deployment.open_duck() as duck:
        compared = compare_with_training_set(
            deployment.connection, duck, deployment.tracking, TODAY - timedelta(days=9)
        )
    assert compared.comparison.message == "there was no champion"


def test_a_training_set_that_is_not_here_cannot_tell(story: Story) -> None:
    deployment = story.deployment
    current = champion(deployment.connection)
    with deployment.open_duck() as duck:
        duck.begin()
        duck.execute("delete from training_set_builds")
        compared = compare_with_training_set(
            deployment.connection, duck, deployment.tracking, TODAY
        )
        left_out = compare_what_is_left_out(
            deployment.connection, duck, story.training_set, current
        )
        duck.rollback()
    assert compared.comparison.outcome == "cannot tell"
    assert left_out.outcome == "nothing to compare"


def test_other_feature_views_cannot_tell(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drift, "training_views", lambda: {"document_text_v9": "other"})
    deployment = story.deployment
    with deployment.open_duck() as duck:
        compared = compare_with_training_set(
            deployment.connection, duck, deployment.tracking, TODAY
        )
    assert compared.comparison.message == "the champion reads other feature views"


def test_documents_that_were_written_anew_came(story: Story) -> None:
    """A parser that says more of every text is drift, though no document is new."""
    compared = story.anew.comparison
    assert "document_text__words" in {each.feature for each in compared.drifted}
    assert compared.current_rows == len(OLD)


def test_what_a_training_set_has_is_not_left_out(story: Story) -> None:
    """It was labelled, and so is in the test split."""
    assert story.left_out_unlike.current_rows == MIN_ROWS + 40
    assert story.grown.outcome == "nothing to compare"
    assert story.grown.message == "the training set has all that came since the champion's"


def test_the_champions_answers_are_compared_with_those_on_its_test_split(story: Story) -> None:
    deployment, training_set = story.deployment, story.training_set
    version = champion(deployment.connection)
    assert version
    with deployment.open_duck() as duck:
        rows = with_features(deployment.connection, duck, documents_that_came(duck, alive=True))
        arguments = (deployment.connection, duck, deployment.tracking, version, training_set)
        answers = drift._answers(*arguments, rows, seed=0)
        of_less = drift._answers(*arguments, rows[["document_id"]], seed=0)
    assert of_less is None, "it reads features that are not there"
    assert answers
    before, now = (each["prediction"] for each in answers)
    assert before.rows == (training_set.rows["split"] == "test").sum()
    assert now.rows == len(rows) == len(OLD)
    assert {*now.counts} <= {*LABELS}


def test_a_challenger_is_kept_back_by_what_its_training_set_lacks(
    second: Trained, story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decided anew with another limit; what is below it is told."""
    monkeypatch.setattr(comparison, "compare_what_is_left_out", lambda *_: story.left_out_unlike)

    def outcome(decision: Decision) -> str:
        name = "documents_are_as_trained_on"
        return next(gate.outcome for gate in decision.gates if gate.name == name)

    refused = decide(second)
    assert (outcome(refused), refused.served) == ("block", False)
    assert outcome(decide(second, max_drift=1e6)) == "warn"
