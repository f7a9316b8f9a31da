"""What families do with a task, bound to their versions."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from ml_assets.training.families.base import Family, fit_family, predict_probabilities
from ml_assets.training.families.registry import FAMILIES
from ml_assets.training.families.softmax import fit_softmax, score, softmax
from ml_assets.training.selection.cross_validation import cross_validate
from ml_assets_tests import golden
from ml_assets_tests.corpus import family
from ml_assets_tests.training.tasks import LABELS, examples, made_folds, made_task


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_golden_answers(family: Family) -> None:
    task = made_task()
    crossed = cross_validate(family, task, made_folds(task))
    model = fit_family(family, task, crossed.setting)
    answers = predict_probabilities(model, examples(12, 3, 0.5).inputs, LABELS)
    output = {
        "parameters": dict(family.parameters),
        "chosen": dict(crossed.setting),
        "steps": len(crossed.steps),
        "out_of_fold": np.round(crossed.probabilities[:12], 4).tolist(),
        "answers": np.round(answers, 4).tolist(),
    }
    golden.check(f"{family.name}.version", family.version, output, tolerance=2e-3)


@pytest.mark.parametrize("name", [one.name for one in FAMILIES if one.name != "majority_class"])
def test_a_temperature_divides_the_scores(name: str) -> None:
    """Its probabilities are those without it to the power of 1 / T, made to sum to one."""
    task, asked = made_task(), examples(12, 3, 0.5).inputs
    chosen = {"C": 1.0, "epochs": 2}
    plain = fit_family(family(name), task, chosen).predict_proba(asked)
    cooled = fit_family(family(name), task, {**chosen, "temperature": 2.5}).predict_proba(asked)
    expected = plain ** (1 / 2.5)
    assert cooled == pytest.approx(expected / expected.sum(axis=1, keepdims=True), abs=1e-6)


@pytest.mark.parametrize("name", ["logistic_regression", "text_and_vector_regression"])
@pytest.mark.parametrize("labels", [LABELS, LABELS[:2]])
def test_a_regression_is_that_of_scikit_learn(name: str, labels: tuple[str, ...]) -> None:
    whole = made_task()
    task = whole.part(np.isin(whole.examples.truth, labels))
    model = fit_family(family(name), task, {"C": 0.5, "max_iter": 1000})
    prepared = model[0].transform(task.examples.inputs)
    expected = LogisticRegression(C=0.5, max_iter=1000).fit(prepared, task.examples.truth)
    assert list(model[-1].classes_) == list(expected.classes_)
    asked = examples(30, 3, 0.5).inputs
    given = model.predict_proba(asked)
    # Of two classes scikit-learn has one line, whose square alone it pays for: half as much.
    if len(labels) == 3:
        assert given == pytest.approx(expected.predict_proba(model[0].transform(asked)), abs=2e-3)
    assert given.shape == (30, len(labels))


def test_weights_of_rows_count_them_several_times() -> None:
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(60, 5)).astype(np.float32)
    truth = generator.integers(0, 3, 60)
    twice = np.where(truth == 2, 2.0, 1.0).astype(np.float32)
    repeated = np.concatenate([np.arange(60), np.flatnonzero(truth == 2)])
    ones = np.ones(len(repeated), dtype=np.float32)
    weighted = fit_softmax([rows], truth, 3, 1.0, twice, max_iter=500)
    doubled = fit_softmax([rows[repeated]], truth[repeated], 3, 1.0, ones, max_iter=500)
    assert weighted == pytest.approx(doubled, abs=2e-3)
    answers = softmax(score([rows], weighted))
    assert answers.sum(axis=1) == pytest.approx(1, abs=1e-6)
