"""What the champion says about labels."""

from collections.abc import Iterator

import numpy as np
import pytest

from ml_assets.errors import NothingToDoError
from ml_assets.registry import labelling
from ml_assets.registry.labelling import Doubts, label_errors, mistakes, to_label
from ml_assets.registry.serving import answer, load_served
from ml_assets.registry.versions import champion
from ml_assets.training.labels.review import Review, review_labels
from ml_assets.training.labels.suggestions import choose, uncertainty
from ml_assets_tests.corpus import labelled_documents
from ml_assets_tests.fakes import SPACE
from ml_assets_tests.registry.deciding import Trained, decide, register

TEXTS = {one.document_id: one.text for one in labelled_documents()}


@pytest.fixture
def served(first: Trained) -> Trained:
    register(first)
    decide(first)
    return first


def wrong(given: Trained, limit: int = 100) -> Doubts:
    deployment, _ = given
    with deployment.open_duck() as duck:
        return mistakes(deployment.connection, duck, SPACE.space_id, limit)


def test_what_the_champion_gets_wrong_is_told_the_surest_first(served: Trained) -> None:
    deployment, training_set = served
    version = champion(deployment.connection)
    assert version
    with deployment.open_duck() as duck:
        rows = duck.execute(
            "select document_id, label, predicted, probability from model_predictions"
            " where run_id = ? and label <> predicted order by probability desc, document_id",
            [version.candidate.run_id],
        ).fetchall()
    found = wrong(served)
    assert rows
    given = [(row.document_id, row.label, row.suggested, row.confidence) for row in found.rows]
    assert given == rows
    assert found.of == (training_set.rows["split"] == "test").sum()
    assert found.count == len(rows)
    first = found.rows[0]
    assert (first.collection, first.title, first.text) == ("all", "", TEXTS[first.document_id])
    assert first.why == f"version {version.version} had not seen it"
    few = wrong(served, 1)
    assert (few.rows, few.count) == (found.rows[:1], found.count)


def test_a_label_that_was_corrected_is_wrong_no_more(served: Trained) -> None:
    deployment, _ = served
    (first, second, *_), count = wrong(served).rows, wrong(served).count
    query = "update documents set label = %s where document_id = %s"
    deployment.connection.execute(query, [first.suggested, first.document_id])
    deployment.connection.execute(query, [None, second.document_id])
    left = wrong(served)
    assert left.count == count - 2
    assert {first.document_id, second.document_id}.isdisjoint(row.document_id for row in left.rows)


def test_answers_that_are_elsewhere_are_said(
    first: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NothingToDoError, match="no model was promoted yet"):
        wrong(first)
    register(first)
    decide(first)
    monkeypatch.setattr(labelling, "read_answers", lambda duck, run_id: {})
    with pytest.raises(NothingToDoError, match="on its test documents are not here"):
        wrong(first)


@pytest.fixture
def reviewed(first: Trained) -> Iterator[tuple[Trained, Review]]:
    deployment, training_set = first
    where, open_duck = deployment.tracking, deployment.open_duck
    review, new = review_labels(deployment.connection, open_duck, where, training_set)
    assert review
    assert new
    yield first, review
    with deployment.open_duck() as duck:
        duck.execute("delete from label_reviews")


def test_labels_in_doubt_are_told_with_their_documents(reviewed: tuple[Trained, Review]) -> None:
    (deployment, training_set), review = reviewed
    with deployment.open_duck() as duck:
        found = label_errors(deployment.connection, duck, 3)
    assert len(found.rows) == min(3, len(review.issues)) > 0
    assert (found.count, found.of) == (len(review.issues), len(training_set.rows))
    assert found.pairs == review.pairs[:3]
    for row, issue in zip(found.rows, review.issues, strict=False):
        assert (row.document_id, row.text) == (issue.document_id, TEXTS[issue.document_id])
        assert (row.label, row.suggested) == (issue.label, issue.suggested)
        assert (row.confidence, row.why) == (issue.confidence, issue.why)


def test_labels_that_no_run_looked_at_are_said(reviewed: tuple[Trained, Review]) -> None:
    (deployment, _), _ = reviewed
    with deployment.open_duck() as duck:
        duck.execute("update label_reviews set training_set_hash = 'another'")
        with pytest.raises(NothingToDoError, match=r"no run has reviewed the labels as they are"):
            label_errors(deployment.connection, duck, 3)
        duck.execute("delete from label_reviews")
        with pytest.raises(NothingToDoError, match=r"Run `ml-assets run`"):
            label_errors(deployment.connection, duck, 3)


def suggested(given: Trained, count: int) -> Doubts:
    deployment, _ = given
    return to_label(
        deployment.connection, deployment.open_duck, deployment.tracking, SPACE.space_id, count
    )


def test_what_to_label_next_is_in_doubt_and_unlike_each_other(
    served: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment, _ = served
    assert suggested(served, 5) == Doubts((), 0, 0)
    deployment.connection.execute(
        "update documents set label = null where document_id < 'document-0030'"
    )
    found = suggested(served, 5)
    assert (len(found.rows), found.count) == (5, 30)
    assert all(row.label is None for row in found.rows)

    version = champion(deployment.connection)
    assert version
    ids = [f"document-{number:04}" for number in range(30)]
    names, texts, features, vectors = labelling._inputs(
        deployment.connection, deployment.open_duck, SPACE.space_id, ids
    )
    labels, given = answer(load_served(deployment.tracking, version), texts, features, vectors)
    assert not any(np.isnan(values).any() for values in features.values())
    doubts = uncertainty(given)
    places = choose(doubts, vectors, 5)
    assert [row.document_id for row in found.rows] == [names[place] for place in places]
    first = found.rows[0]
    assert first.suggested == labels[given[places[0]].argmax()]
    assert first.why == f"the likeliest label leads by {1 - doubts[places[0]]:.2f}"

    monkeypatch.setattr(labelling, "_TOGETHER", 7)
    assert suggested(served, 5) == found
    monkeypatch.setattr(labelling, "_DOUBTED", 5)
    most = sorted(doubts)[-5:]
    assert sorted(doubts[names.index(row.document_id)] for row in suggested(served, 5).rows) == most
