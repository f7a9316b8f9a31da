"""An export answers as its original does, or is not used."""

import numpy as np
import pytest

from ml_assets.training.examples import read_examples
from ml_assets.training.families.base import Task, fit_family
from ml_assets.training.model import DEVELOPMENT, TrainingSet
from ml_assets.training.onnx import export as exporting
from ml_assets.training.onnx.export import TOLERANCE, export
from ml_assets.training.onnx.model import OnnxModel
from ml_assets_tests.corpus import Deployment, family

Trained = tuple[Deployment, TrainingSet]
CARRIED = ("logistic_regression", "text_and_vector_regression", "neural_network")
CHOSEN = {"C": 2.0, "epochs": 5, "temperature": 1.5}
TEXTS = ("", "w3 w6 w3 w9 \u6f22\u5b57", "W3 w6. W9! w3-w6 1 22", "w" * 5000)


@pytest.fixture(scope="module")
def task(trained: Trained) -> Task:
    deployment, training_set = trained
    return Task(
        read_examples(deployment.connection, training_set, *DEVELOPMENT),
        features=training_set.features,
        labels=training_set.labels,
        seed=training_set.seed,
    )


@pytest.mark.parametrize("name", CARRIED)
def test_the_export_answers_as_its_original(name: str, task: Task, trained: Trained) -> None:
    deployment, training_set = trained
    model = fit_family(family(name), task, CHOSEN)
    exported = export(model, task)
    assert exported.reason == ""
    assert len(exported.sha256) == 64

    rows = read_examples(deployment.connection, training_set, "test").inputs
    rows.loc[rows.index[: len(TEXTS)], "text"] = list(TEXTS)
    rows.loc[rows.index[::3], task.features[-1]] = np.nan
    carried = OnnxModel(exported.content)
    given = carried.predict_proba(
        rows["text"].tolist(),
        {feature: rows[feature].to_numpy() for feature in task.features},
        rows[task.vector].to_numpy(),
    )
    expected = model.predict_proba(rows)
    assert carried.labels == list(model.classes_)
    assert len(rows) < 64 < len(task.examples.truth)
    assert np.abs(given - expected).max() <= TOLERANCE
    assert (given.argmax(axis=1) == expected.argmax(axis=1)).all()


def test_more_rows_than_a_batch_are_answered_in_their_order(task: Task) -> None:
    model = fit_family(family("logistic_regression"), task, CHOSEN)
    rows = task.examples.inputs
    given = OnnxModel(export(model, task).content).predict_proba(
        rows["text"].tolist(),
        {feature: rows[feature].to_numpy() for feature in task.features},
        rows[task.vector].to_numpy(),
    )
    assert given == pytest.approx(model.predict_proba(rows), abs=TOLERANCE)


def test_a_graph_that_onnx_runtime_refuses_is_a_reason(
    task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = fit_family(family("logistic_regression"), task, CHOSEN)
    monkeypatch.setattr(exporting, "_convert", lambda model: b"rubbish")
    exported = export(model, task)
    assert exported.content == b""
    assert exported.reason.startswith("ONNX Runtime does not take it ([ONNXRuntimeError]")


def test_an_export_that_answers_differently_is_not_used(
    task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = fit_family(family("logistic_regression"), task, CHOSEN)
    split = exporting._split_quantiles

    def shifted(*arguments: object) -> object:
        quantiles, scaler = split(*arguments)
        quantiles.values[0][:] = [value + 1 for value in quantiles.values[0]]
        return quantiles, scaler

    monkeypatch.setattr(exporting, "_split_quantiles", shifted)
    exported = export(model, task)
    assert exported.content == b""
    assert exported.sha256 == ""
    assert "probabilities by up to" in exported.reason


@pytest.mark.parametrize(("shift", "used"), [(TOLERANCE / 2, True), (TOLERANCE * 2, False)])
def test_probabilities_may_differ_by_the_tolerance(
    shift: float, used: bool, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = fit_family(family("logistic_regression"), task, CHOSEN)
    answer = OnnxModel.predict_proba
    monkeypatch.setattr(OnnxModel, "predict_proba", lambda *given: answer(*given) + shift)
    assert bool(export(model, task).content) == used


def test_an_export_with_another_label_is_not_used(
    task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = fit_family(family("logistic_regression"), task, CHOSEN)
    answer = OnnxModel.predict_proba
    monkeypatch.setattr(exporting, "TOLERANCE", 1.0)
    assert export(model, task).content
    monkeypatch.setattr(OnnxModel, "predict_proba", lambda *given: answer(*given)[:, ::-1])
    assert "labels" in export(model, task).reason


def test_a_model_that_does_not_convert_says_why(task: Task) -> None:
    model = fit_family(family("majority_class"), task, CHOSEN)
    assert export(model, task).reason.startswith("DummyClassifier does not convert")
