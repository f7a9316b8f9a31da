"""Training sets: what is in them, when they change, and when there is none."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from ml_assets.documents.model import Document
from ml_assets.errors import NothingToDoError
from ml_assets.features.documents import read_vectors
from ml_assets.features.offline import refresh_source
from ml_assets.features.sources.corpus import Corpus
from ml_assets.features.views import VIEWS
from ml_assets.stores.duckdb import connect
from ml_assets.training.examples import TEXT, read_examples
from ml_assets.training.model import TrainingSet
from ml_assets.training.quality import unknown_features
from ml_assets.training.split import NEAR
from ml_assets.training.training_set import (
    MIN_GROUPS,
    changed_labels,
    current_training_set,
    freeze,
)
from ml_assets_tests.corpus import LABELS, Deployment, labelled_documents, unlabelled
from ml_assets_tests.fakes import SPACE
from ml_assets_tests.features.own_views import WRITTEN


def test_it_is_frozen_once_and_read_back_as_it_was(deployment: Deployment) -> None:
    deployment.fill(labelled_documents(90))
    built = deployment.build()
    again = deployment.build()
    assert again.hash == built.hash
    assert built.labels == LABELS
    assert set(built.rows["split"]) == {"train", "validation", "test"}
    assert built.rows[list(built.features)].notna().all(axis=None)
    with deployment.open_duck() as duck:
        assert not freeze(duck, again)
        read = current_training_set(duck)
        assert duck.execute("select count(*) from training_sets").fetchone() == (90,)
        assert duck.execute("select count(*) from training_set_builds").fetchone() == (1,)
    assert read is not None
    assert (read.hash, read.feature_views) == (built.hash, built.feature_views)
    pd.testing.assert_frame_equal(read.rows, built.rows, check_dtype=False)


def test_what_an_author_wrote_before_is_joined_to_each_document(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(VIEWS, WRITTEN.name, WRITTEN)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    documents = [
        replace(
            document,
            # A key of metadata may be called as a column of the training set is.
            metadata={"author": number % 7, "label": "another"},
            created_at=start + timedelta(days=number // 3),
        )
        for number, document in enumerate(labelled_documents(90))
    ]
    deployment.fill(documents)
    with deployment.open_duck() as duck:
        refresh_source(Corpus(deployment.connection, duck), WRITTEN)
    built = deployment.build()
    assert built.feature_views.keys() == {"document_text_v2", "written_v1"}
    assert built.labels == LABELS
    found = built.rows.set_index("document_id")["written__documents"]
    for number, document in enumerate(documents):
        before = sum(other % 7 == number % 7 for other in range(number // 3 * 3))
        assert found[document.document_id] == before or (
            before == 0 and pd.isna(found[document.document_id])
        )


def test_the_hash_follows_what_a_model_sees(deployment: Deployment) -> None:
    documents = labelled_documents(90)
    deployment.fill(documents)
    first = deployment.build().hash
    edits = {
        "text": replace(documents[0], text="w1 w2 w3"),
        "label": replace(documents[0], label=LABELS[1]),
        "group": replace(documents[0], group="another"),
        "title": replace(documents[0], title="w7"),
    }
    seen = {first}
    for edited in edits.values():
        deployment.fill([edited, *documents[1:]])
        seen.add(deployment.build().hash)
    assert len(seen) == 1 + len(edits)

    deployment.fill([replace(documents[0], url="https://example.org"), *documents[1:]])
    assert deployment.build().hash == first


def test_going_back_makes_the_old_set_current_without_writing_it_again(
    deployment: Deployment,
) -> None:
    documents = labelled_documents(90)
    deployment.fill(documents)
    first = deployment.build()
    deployment.fill(documents[:80])
    assert deployment.build().hash != first.hash
    deployment.fill(documents)
    assert deployment.build().hash == first.hash
    with deployment.open_duck() as duck:
        current = current_training_set(duck)
        assert duck.execute("select count(*) from training_sets").fetchone() == (90 + 80,)
    assert current is not None
    assert current.hash == first.hash


def test_equal_texts_in_two_groups_stay_together(deployment: Deployment) -> None:
    documents = labelled_documents(90)
    copies = [
        replace(documents[0], document_id=f"copy-{n}", group=f"copy-{n}", text=text)
        for n, text in enumerate([documents[0].text.upper(), f"  {documents[0].text}\n"])
    ]
    deployment.fill(documents + copies)
    rows = deployment.build().rows.set_index("document_id")
    same = rows.loc[["document-0000", "document-0001", "copy-0", "copy-1"]]
    assert set(same["group_id"]) == {"copy-0"}
    assert same["split"].nunique() == 1


def test_a_small_label_is_left_out_and_said_so(deployment: Deployment) -> None:
    documents = labelled_documents(90)
    rare = [
        replace(
            documents[0],
            document_id=f"{label}-{n}",
            group=f"{label}-{n}",
            text=f"{label} w{n}",
            label=label,
        )
        for label in ("Rare", "rare")
        for n in range(MIN_GROUPS - 1)
    ]
    deployment.fill(documents + rare)
    built = deployment.build()
    assert built.left_out == {"Rare": MIN_GROUPS - 1, "rare": MIN_GROUPS - 1}
    with deployment.open_duck() as duck:
        current = current_training_set(duck)
    assert current is not None
    assert current.left_out == built.left_out
    assert built.labels == LABELS


def test_documents_without_vectors_are_counted_and_left_out(deployment: Deployment) -> None:
    deployment.fill(labelled_documents(90))
    deployment.connection.execute(
        "delete from document_embeddings where chunk_id like 'document-000%'"
    )
    built = deployment.build()
    assert built.unembedded == 10
    assert len(built.rows) == 80


@pytest.mark.parametrize("labels", [0, 1])
def test_without_two_labels_there_is_no_training_set(deployment: Deployment, labels: int) -> None:
    documents = labelled_documents(90)
    kept = [one for one in documents if one.label in LABELS[:labels]]
    deployment.fill(unlabelled(documents) if labels == 0 else kept)
    built = deployment.build()
    assert built.hash == ""
    assert len(built.rows) == 0
    assert ("no labels" in built.reason) == (labels == 0)
    with deployment.open_duck() as duck:
        current = current_training_set(duck)
        assert duck.execute("select count(*) from training_sets").fetchone() == (0,)
    assert current is not None
    assert current.reason == built.reason


def test_before_any_document_has_features_there_is_no_training_set(deployment: Deployment) -> None:
    built = deployment.build()
    assert (built.hash, len(built.rows)) == ("", 0)
    assert "no labels" in built.reason


def test_before_the_first_build_there_is_none(deployment: Deployment) -> None:
    with connect(deployment.settings.duckdb_file) as duck:
        assert current_training_set(duck) is None


def test_examples_hold_what_was_frozen(deployment: Deployment) -> None:
    documents = labelled_documents(90)
    deployment.fill([replace(documents[0], title="a title"), *documents[1:]])
    built = deployment.build()
    rows = built.rows.set_index("document_id")
    examples = read_examples(deployment.connection, built, rows["split"]["document-0000"])
    rows = rows[rows["split"] == rows["split"]["document-0000"]]
    assert examples.document_ids == tuple(rows.index)
    assert examples.inputs[TEXT][0] == f"a title\n{documents[0].text}"
    vectors = examples.inputs[[f"e{n}" for n in range(SPACE.dimension)]].to_numpy()
    assert (vectors**2).sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert list(examples.truth) == list(rows["label"])


def test_examples_of_documents_that_changed_are_refused(deployment: Deployment) -> None:
    documents = labelled_documents(90)
    deployment.fill(documents)
    built = deployment.build()
    deployment.fill([replace(documents[0], text="w5"), *documents[1:]])
    splits = built.rows.set_index("document_id")["split"]
    count = (splits == splits["document-0000"]).sum()
    message = f"1 of its {count} documents changed.*Materialize"
    with pytest.raises(NothingToDoError, match=message):
        read_examples(deployment.connection, built, splits["document-0000"])


def test_a_label_needs_ten_groups(deployment: Deployment) -> None:
    """Two documents to a group, three labels by turns: sixty documents are ten groups of each."""
    assert MIN_GROUPS == 10
    documents = labelled_documents(60)
    deployment.fill(documents)
    enough = deployment.build()
    assert (enough.labels, enough.left_out) == (LABELS, {})
    deployment.fill(documents[:-2])
    assert deployment.build().left_out == {LABELS[2]: 9}


def test_a_label_counts_as_changed_while_the_set_has_it_otherwise(deployment: Deployment) -> None:
    documents = labelled_documents(90)

    def changed(since: datetime | None) -> tuple[int, datetime | None]:
        return changed_labels(deployment.connection, deployment.open_duck, since)

    deployment.fill([*documents, Document("plain", "all", "w1 w2")])
    assert changed(None)[0] == 90
    deployment.build()
    ((trained,),) = deployment.connection.execute("select now()").fetchall()
    assert changed(trained) == (0, None)
    first, second, third, fourth, _, *others = documents
    deployment.fill(
        [
            replace(first, label=LABELS[1]),
            replace(second, text="w1 w2 w3"),
            replace(third, label=None),
            replace(fourth, url="https://example.org"),
            *others,
            Document("plain", "all", "w1 w2 w4"),
            replace(first, document_id="new"),
        ]
    )
    count, since = changed(trained)
    assert count == 5, "another label, another text, no label, gone, and new"
    assert since
    assert since > trained
    deployment.fill([*documents, Document("plain", "all", "w1 w2", label=None)])
    assert changed(trained) == (0, None), "all is as the set has it again"
    deployment.fill([*documents, Document("plain", "all", "w1 w2", label=LABELS[0])])
    assert changed(trained)[0] == 1


def splits_of(built: TrainingSet) -> dict[str, str]:
    return dict(zip(built.rows["document_id"], built.rows["split"], strict=True))


def copied(one: Document, name: str, **changed: object) -> Document:
    return replace(one, document_id=name, group=name, **changed)  # type: ignore[arg-type]


def test_near_duplicates_stay_on_one_side(deployment: Deployment) -> None:
    """The same words in another order, with other marks, and near as the encoder sees it."""
    documents = labelled_documents(90)
    turned = [
        copied(one, f"turned-{number}", text=" ".join([*reversed(one.text.split())]) + "!")
        for number, one in enumerate(documents[:30])
    ]
    deployment.fill([*documents, *turned])
    built = deployment.build()
    group = dict(zip(built.rows["document_id"], built.rows["group_id"], strict=True))
    split = splits_of(built)
    ids, vectors = read_vectors(deployment.connection, SPACE.space_id)
    units = dict(zip(ids, vectors, strict=True))
    near = [
        (f"turned-{number}", one.document_id)
        for number, one in enumerate(documents[:30])
        if units[f"turned-{number}"] @ units[one.document_id] >= NEAR
    ]
    assert all(group[copy] == group[one] and split[copy] == split[one] for copy, one in near)
    far = {f"turned-{number}" for number in range(30)} - {copy for copy, _ in near}
    assert all(group[copy] == copy for copy in far), "words alone do not make a duplicate"


@pytest.mark.parametrize("change", ["renamed", "edited", "duplicates", "edited and renamed"])
def test_what_was_trained_on_never_tests(deployment: Deployment, change: str) -> None:
    """Whatever becomes of ids: a text, or what it was before an edit, keeps its side."""
    documents = [copied(one, f"t-{one.document_id}") for one in labelled_documents(90)]
    deployment.fill(documents)
    before = splits_of(deployment.build())

    def edited(one: Document) -> str:
        return one.text.rsplit(" ", 1)[0] + " edited"

    match change:
        case "renamed":
            after = [copied(one, f"a-{one.document_id}") for one in documents]
        case "edited":
            after = [replace(one, text=edited(one)) for one in documents]
        case "duplicates":
            after = [*(copied(one, f"a-{one.document_id}") for one in documents), *documents]
        case _:
            after = [copied(one, f"a-{one.document_id}", text=edited(one)) for one in documents]
    deployment.fill(after)
    now = splits_of(deployment.build())
    assert len(now) == len(after)
    for name, split in now.items():
        assert split == before[name.removeprefix("a-")], name


def test_a_corrected_date_leaves_no_features_behind(deployment: Deployment) -> None:
    """Features began in a future that was a typing error; the label is no older than they are."""
    documents = labelled_documents(90)
    wrong = datetime(2062, 3, 1, tzinfo=UTC)
    deployment.fill([replace(one, created_at=wrong) for one in documents[:30]] + documents[30:])
    deployment.build()
    deployment.fill(
        [replace(one, created_at=datetime(2026, 3, 1, tzinfo=UTC)) for one in documents]
    )
    built = deployment.build()
    assert built.rows[list(built.features)].notna().all(axis=None)
    with deployment.open_duck() as duck:
        assert unknown_features(duck) == {"": [], **{name: [] for name in built.features}}
        duck.execute("update training_sets set features = map()")
        assert len(unknown_features(duck)[""]) == 90
