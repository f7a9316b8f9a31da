"""What is recorded beside a training: its training set as a file, and what is wrong with labels."""

import hashlib
import json
from importlib.metadata import version
from io import BytesIO

import pandas as pd
import pytest
from pyarrow import parquet

from ml_assets.errors import NothingToDoError
from ml_assets.stores import mlflow
from ml_assets.training import provenance
from ml_assets.training.experiments import read_candidates
from ml_assets.training.labels import review as reviews
from ml_assets.training.labels.issues import unlikely_labels
from ml_assets.training.labels.review import read_review, review_labels
from ml_assets.training.model import TrainingSet
from ml_assets.training.provenance import (
    ENVIRONMENT,
    FILE,
    as_parquet,
    file_of,
    with_lineage,
)
from ml_assets.training.selection.choice import choose
from ml_assets.training.selection.out_of_fold import read_out_of_fold
from ml_assets_tests.corpus import Deployment

Trained = tuple[Deployment, TrainingSet]


def test_the_training_set_is_a_file_of_the_run_that_trained_on_it(trained: Trained) -> None:
    deployment, training_set = trained
    with deployment.open_duck() as duck:
        found = file_of(duck, training_set.hash)
        assert file_of(duck, "another") is None
    assert found
    run_id, digest = found
    content = mlflow.read_run_file(deployment.tracking, run_id, FILE)
    assert hashlib.sha256(content).hexdigest() == digest
    table = parquet.read_table(BytesIO(content))
    rows = table.to_pandas()
    kept = rows[list(training_set.rows.columns)]
    pd.testing.assert_frame_equal(kept, training_set.rows, check_dtype=False)
    documents = deployment.connection.execute(
        "select document_id, collection, encode(content_hash, 'hex') from documents"
        " order by document_id"
    ).fetchall()
    lineage = rows[["document_id", "collection", "content_hash"]]
    assert list(lineage.itertuples(index=False, name=None)) == documents
    chunks = [[f"{name}#0"] for name in rows["document_id"]]
    assert [list(ids) for ids in rows["chunk_ids"]] == chunks
    # The same rows are the same bytes.
    assert as_parquet(with_lineage(deployment.connection, training_set)) == content


def test_a_run_knows_its_training_set_its_environment_and_its_owner(trained: Trained) -> None:
    deployment, training_set = trained
    candidate = read_candidates(deployment.connection, training_set.hash)[0]
    run = mlflow.activate(deployment.tracking).get_run(candidate.run_id)
    (given,) = run.inputs.dataset_inputs
    with deployment.open_duck() as duck:
        found = file_of(duck, training_set.hash)
    assert found
    assert (given.dataset.name, given.dataset.digest) == ("training_set", found[1][:36])
    # Runs on equal files share a record in MLflow, which names the file of the first of them.
    assert json.loads(given.dataset.source)["uri"].endswith(f"/artifacts/{FILE}")
    profile = json.loads(given.dataset.profile)
    assert (profile["hash"], profile["sha256"]) == (training_set.hash, found[1])
    assert profile["rows"] == len(training_set.rows)
    assert profile["test"] == (training_set.rows["split"] == "test").sum()
    columns = {each["name"]: each["type"] for each in json.loads(given.dataset.schema)["columns"]}
    assert columns["chunk_ids"] == "list<element: string>" or "list" in columns["chunk_ids"]
    assert columns.keys() >= {*training_set.features, "label", "split", "content_hash"}
    assert [(tag.key, tag.value) for tag in given.tags] == [("mlflow.data.context", "training")]
    content = json.loads(mlflow.read_run_file(deployment.tracking, candidate.run_id, ENVIRONMENT))
    assert content["libraries"]["scikit-learn"] == version("scikit-learn")
    assert content["libraries"]["psycopg"] == version("psycopg")
    assert "faiss-cpu" not in content["libraries"]
    assert run.data.tags["owner"] == "ann"
    described = run.data.tags["mlflow.note.content"]
    assert described == f"{candidate.family} on the training set {training_set.hash}"


def test_a_library_without_a_version_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    needed = ["numpy>=2", "no-such_library[x]>=1; python_version > '3'", 'spare; extra == "more"']
    monkeypatch.setattr(provenance, "requires", lambda name: needed)
    libraries = provenance.environment()["libraries"]
    assert libraries == {
        "ml-assets": version("ml-assets"),
        "no-such_library": "unknown",
        "numpy": version("numpy"),
    }


def test_a_document_that_left_is_no_part_of_a_file(trained: Trained) -> None:
    deployment, training_set = trained
    with deployment.connection.transaction(force_rollback=True):
        deployment.connection.execute(
            "update documents set deleted_at = now() where document_id = 'document-0007'"
        )
        with pytest.raises(NothingToDoError, match="1 of its 240 documents left since"):
            with_lineage(deployment.connection, training_set)


def test_labels_are_reviewed_once_by_the_best_answers(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment, training_set = trained
    asked = (deployment.connection, deployment.open_duck, deployment.tracking, training_set)
    review, new = review_labels(*asked)
    assert new
    assert review
    candidates = read_candidates(deployment.connection, training_set.hash)
    best = choose(candidates)
    assert best
    assert best.family == "logistic_regression"
    answers = read_out_of_fold(deployment.tracking, best)
    probabilities = answers.probabilities.astype(float)
    truth = answers.truth.tolist()
    issues = unlikely_labels(answers.document_ids, truth, probabilities, answers.labels)
    assert review.issues == tuple(issues)
    assert 0 < review.doubtful == len(issues)
    assert (review.run_id, review.documents) == (best.run_id, len(training_set.rows))
    monkeypatch.setattr(reviews, "read_out_of_fold", lambda *_: pytest.fail("it was asked again"))
    assert review_labels(*asked) == (review, False)
    with deployment.open_duck() as duck:
        assert read_review(duck) == review
    monkeypatch.setattr(reviews, "VERSION", 2)
    with deployment.open_duck() as duck:
        assert read_review(duck) is None


def test_documents_that_say_the_same_with_two_labels_are_reviewed(trained: Trained) -> None:
    deployment, training_set = trained
    with deployment.open_duck() as duck:
        duck.execute("delete from label_reviews")
    with deployment.connection.transaction(force_rollback=True):
        texts = {"document-0000": "One  word.", "document-0002": "one, WORD", "document-0001": "w1"}
        for name, text in texts.items():
            query = "update documents set text = %s where document_id = %s"
            deployment.connection.execute(query, [text, name])
        query = "update documents set deleted_at = now() where document_id = 'document-0009'"
        deployment.connection.execute(query)
        review, _ = review_labels(
            deployment.connection, deployment.open_duck, deployment.tracking, training_set
        )
    assert review
    same = [issue for issue in review.issues if issue.kind == "near duplicate"]
    assert [issue.document_id for issue in same] == ["document-0000", "document-0002"]
    assert [issue.suggested for issue in same] == ["music", "cooking"]


def test_without_candidates_no_label_is_looked_at(deployment: Deployment, trained: Trained) -> None:
    _, training_set = trained
    asked = (deployment.connection, deployment.open_duck, deployment.tracking, training_set)
    assert review_labels(*asked) == (None, False)
