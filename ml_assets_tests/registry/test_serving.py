"""What the champion says about texts, and what cannot be answered."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from ml_assets.errors import (
    FeatureViewError,
    ModelError,
    NothingToDoError,
    SourceError,
    SpaceMismatchError,
    StoreError,
    UserError,
)
from ml_assets.features import Feature, FeatureView, Table
from ml_assets.features.documents import read_vectors
from ml_assets.features.offline import refresh_source
from ml_assets.features.sources.corpus import Corpus
from ml_assets.features.views import VIEWS
from ml_assets.registry import serving
from ml_assets.search.generation import ensure_generation
from ml_assets.search.indexes.kinds import Indexes, index_parameters
from ml_assets.search.model import CHUNKING, Generation
from ml_assets.stores import cache, mlflow, online
from ml_assets.training.experiments import read_candidates
from ml_assets.training.families.average import mean
from ml_assets.training.families.base import cool
from ml_assets.training.families.registry import FAMILIES
from ml_assets.training.onnx.export import TOLERANCE
from ml_assets.training.selection.out_of_fold import read_out_of_fold
from ml_assets_tests.corpus import LABELS, Deployment, MeaningEncoder, labelled_documents
from ml_assets_tests.fakes import SPACE, other_space
from ml_assets_tests.registry.deciding import (
    Trained,
    ask,
    decide,
    forget_onnx,
    register,
)


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


def test_an_answer_is_kept_until_the_corpus_changes(first: Trained, tmp_path: Path) -> None:
    """To the last bit, and in its order; of several texts those alone are computed that are new."""
    deployment, _ = first
    register(first)
    decide(first)
    loads: list[int] = []

    def load() -> MeaningEncoder:
        loads.append(1)
        return MeaningEncoder()

    texts = ["w3 w6 w9", "w1 w4 w7"]
    with cache.ReadThrough(lambda: cache.connect(None, tmp_path)) as answers:

        def cached(*texts: str) -> list[dict[str, float]]:
            return ask(deployment, list(texts), cache=answers, load=load)

        plain = [ask(deployment, [text])[0] for text in texts]
        computed = [cached(text)[0] for text in texts]
        assert [list(each.items()) for each in computed] == [list(each.items()) for each in plain]
        recalled = cached(texts[1], "w2 w5 w8", texts[0])
        assert [list(recalled[2].items()), list(recalled[0].items())] == [
            list(each.items()) for each in plain
        ]
        assert next(iter(recalled[1])) == "sport"
        assert len(loads) == 3
        assert answers.statistics()["predictions"] == cache.CacheStatistics(hits=2, misses=3)
        deployment.connection.execute(
            "insert into change_log (stage, collection, document_id, action, reason)"
            " values ('documents', 'a', 'x', 'changed', 'test')"
        )
        cached(texts[0])
        assert len(loads) == 4, "documents changed, and with them which is nearest"
    content = b"".join(file.read_bytes() for file in tmp_path.glob("cache.sqlite*"))
    assert b"w3 w6" not in content


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
    # By the model that was fitted anew on all rows, these among them.
    same = [next(iter(a)) == row[1] for a, row in zip(answers, rows, strict=True)]
    assert sum(same) / len(same) > 0.9


def test_a_document_has_the_same_features_trained_and_served(deployment: Deployment) -> None:
    """Titles, a text that stands twice, and no document is its own neighbour."""
    documents = [
        replace(one, title=f"About w{number}" if number % 2 else "")
        for number, one in enumerate(labelled_documents(100))
    ]
    documents.append(replace(documents[1], document_id="twin", group="twin"))
    deployment.fill(documents)
    training_set = deployment.build()
    features = training_set.rows.set_index("document_id")[list(training_set.features)]
    texts = {one.document_id: f"{one.title}\n{one.text}".lstrip() for one in documents}
    vectors = serving._embed(MeaningEncoder(), [[text] for text in texts.values()])
    indexes = Indexes(deployment.settings)
    placed = serving._placed(
        deployment.connection, indexes, None, SPACE.space_id, vectors, [*texts.values()]
    )
    described = serving.inputs_of([*texts.values()], None, online_values).described
    served = serving._features(described, range(len(texts)), placed[1])
    for name in training_set.features:
        expected = features.loc[[*texts], name].to_numpy()
        assert served[name] == pytest.approx(expected, abs=1e-6, nan_ok=True), name
    nearest = dict(zip(texts, placed[1], strict=True))
    assert nearest["twin"] == nearest["document-0001"] == 0
    assert min(value for name, value in nearest.items() if name.startswith("document-0002")) > 0.01


def online_values(view: str, entities: Sequence[str]) -> online.Reading:
    raise AssertionError(f"{view} is not of entities")


def test_a_model_trained_with_features_of_an_author_is_told_who_that_is(
    deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The label follows the author's rating. What is not known is what training makes of a null."""
    ratings = "".join(f"{label},2020-01-01,{rating}\n" for rating, label in enumerate(LABELS))
    (tmp_path / "ratings.csv").write_text(f"author,at,rating\n{ratings}")
    rated = FeatureView(
        "rated",
        1,
        "author",
        "How an author is rated",
        (Feature("rating", "double", "stars"),),
        frozenset({"training", "serving"}),
        source=Table(str(tmp_path / "ratings.csv"), "author", "at"),
    )
    monkeypatch.setitem(VIEWS, rated.name, rated)
    documents = [
        replace(
            one, text=f"w{number % 9}", metadata={"author": one.label or ""}, group=f"g{number}"
        )
        for number, one in enumerate(labelled_documents(90))
    ]
    deployment.fill([replace(one, text=f"{one.text} w{n}") for n, one in enumerate(documents)])
    with deployment.open_duck() as duck:
        refresh_source(Corpus(deployment.connection, duck), rated)
    given = (deployment, deployment.build())
    deployment.train(given[1])
    version = register(given)
    tracking, space_id = deployment.tracking, SPACE.space_id
    opened = serving.open_version(deployment.connection, tracking, version, None, space_id)
    store = online.keep(None, tmp_path)
    indexes = Indexes(deployment.settings)

    def read(view: str, entities: Sequence[str]) -> online.Reading:
        with store.reading() as reading:
            return reading.get_many(view, entities)

    with cache.ReadThrough(lambda: cache.connect(None, tmp_path)) as answers:

        def asked(*authors: str | None) -> list[serving.Prediction]:
            metadata = [{} if author is None else {"author": author} for author in authors]
            inputs = serving.inputs_of(["w5 w5"] * len(authors), metadata, read)
            return serving.predict_with(
                deployment.connection,
                indexes,
                opened,
                MeaningEncoder,
                lambda text: [text],
                inputs,
                answers,
                3600,
            )

        ended = datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
        rows = {label: online.Row({"rating": float(n)}, "1") for n, label in enumerate(LABELS)}
        with store.reading() as opened_store:
            opened_store.put_many(
                rated.key, {**rows, "old": online.Row({"rating": 0.0}, "1", ended)}
            )
        told = asked(*LABELS)
        lowest, _, highest = ([each.probabilities[label] for each in told] for label in LABELS)
        assert lowest[0] > lowest[1] > lowest[2]
        assert highest[0] < highest[1] < highest[2]
        assert [each.features["rated__rating"] for each in told] == [0, 1, 2]
        assert not any(each.unknown for each in told)
        nobody, absent, old = asked(None, "absent", "old")
        assert nobody.unknown == {"rated": "no author was given"}
        assert absent.unknown == {"rated": "there are no values of 'absent'"}
        assert old.unknown == {"rated": "the values of 'old' held till 2026-03-29 01:30:00 UTC"}
        # The median of the ratings is that of the second label.
        for each in (nobody, absent, old):
            assert each.features["rated__rating"] is None
            assert each.probabilities == pytest.approx(told[1].probabilities)
        assert asked("absent") == [absent], "from the cache"
        with store.reading() as opened_store:
            opened_store.put_many(rated.key, {"absent": online.Row({"rating": 2.0}, "1")})
        assert asked("absent")[0].probabilities == pytest.approx(told[2].probabilities)
    store.close()
    with pytest.raises(UserError, match="metadata of 2 texts, and 1 texts"):
        serving.inputs_of(["w1"], [{}, {}], read)


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
            'update model_versions set feature_views = \'{"old_v1": ""}\''
        )
        with pytest.raises(FeatureViewError, match="old_v1"):
            ask(deployment, ["w1"])
    forget_onnx(deployment)
    deployment.connection.execute(
        "update experiments set refitted_uri = 'models:/nothing' where run_id = %s",
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


def test_only_documents_that_the_served_index_finds_near_are_read(
    first: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment, _ = first
    connection, indexes = deployment.connection, Indexes(deployment.settings)
    vectors = MeaningEncoder().encode(["w1 w2 w3", "w70 w71"])
    read: list[Collection[str] | None] = []
    chunkers: list[str | None] = []

    def watched(*given: Any, chunker: str | None) -> Any:
        read.append(given[-1])
        chunkers.append(chunker)
        return read_vectors(*given, chunker=chunker)

    monkeypatch.setattr(serving, "read_vectors", watched)

    def placed(served: Generation | None = None) -> list[float]:
        texts, space_id = ["w1 w2 w3", "w70 w71"], SPACE.space_id
        return serving._placed(connection, indexes, served, space_id, vectors, texts)[1].tolist()

    nearest = placed()
    [(chunker,)] = connection.execute("select chunker from chunkers where is_current").fetchall()
    parameters = {**index_parameters(deployment.settings), CHUNKING: {"chunker": chunker}}
    generation = ensure_generation(connection, SPACE.space_id, parameters)
    monkeypatch.setattr(serving, "_CANDIDATES", 1)
    assert placed(generation) == nearest
    assert read[0] is None
    assert read[1] is not None
    assert chunkers == [None, chunker], "its tables are named, so that one plan serves all"
    assert 1 <= len(read[1]) <= 2
    # An index over vectors of another model knows nothing of what is near.
    another = replace(generation, space_id=other_space().space_id)
    assert placed(another) == nearest
    assert read[2] is None


def test_an_average_is_trained_served_and_refitted_as_others_are(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the models and answers of its members in MLflow to a prediction without scikit-learn."""
    deployment.fill(labelled_documents())
    given = (deployment, deployment.build())
    deployment.train(given[1], FAMILIES)
    candidates = read_candidates(deployment.connection, given[1].hash)
    assert [each.family for each in candidates] == [each.name for each in FAMILIES]
    average = candidates[-1]
    shares = average.parameters["shares"]
    members = [each for each in candidates[1:-1] if each.family in shares]
    assert len(members) == len(shares) >= 2
    given_answers = [read_out_of_fold(deployment.tracking, each).probabilities for each in members]
    expected = cool(
        mean(given_answers, [shares[each.family] for each in members]),
        average.parameters["temperature"],
    )
    answers = read_out_of_fold(deployment.tracking, average).probabilities
    assert answers == pytest.approx(expected, abs=1e-6)

    # Let it be the one that is chosen.
    better = {**average.metrics, "validation_macro_f1": 1.0, "validation_log_loss": 0.0}
    deployment.connection.execute(
        "update experiments set metrics = %s, resampled = '[]', refitted_uri = ''"
        " where run_id = %s",
        [Jsonb(better), average.run_id],
    )
    deployment.train(given[1], [])
    version = register(given)
    assert version.candidate.family == "average"
    assert version.candidate.onnx_reason == ""
    assert decide(given).served
    texts = [each.text for each in labelled_documents(60, seed=5)]
    with monkeypatch.context() as context:
        context.setattr(mlflow, "load_model", None)
        carried = ask(deployment, texts)
    forget_onnx(deployment)
    for one, other in zip(carried, ask(deployment, texts), strict=True):
        assert one == pytest.approx(other, abs=TOLERANCE)
