"""What families do with a task, bound to their versions."""

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_info

from ml_assets.training.families.average import Average
from ml_assets.training.families.base import (
    Family,
    Task,
    UnfitError,
    at_once,
    fit_family,
    predict_probabilities,
)
from ml_assets.training.families.inputs import prepare
from ml_assets.training.families.registry import FAMILIES, TRUSTED_TYPES
from ml_assets.training.onnx.export import TOLERANCE, export
from ml_assets.training.onnx.model import OnnxModel
from ml_assets.training.selection.learning import Learned, build, learn
from ml_assets_tests import golden
from ml_assets_tests.corpus import family
from ml_assets_tests.training.tasks import LABELS, examples, made_folds, made_task


@cache
def all_learned() -> dict[str, tuple[Learned, Any]]:
    """What every family learns of one task, and its model."""
    task = made_task()
    folds = made_folds(task)
    done: dict[str, tuple[Learned, Any]] = {}
    for each in FAMILIES:
        answers = {name: learned.probabilities for name, (learned, _) in done.items()}
        learned = learn(each, task, folds, answers)
        done[each.name] = (
            learned,
            build(each, task, learned.chosen, lambda members: [done[m.name][1] for m in members]),
        )
    return done


def test_parts_are_worked_on_in_order_each_on_one_thread() -> None:
    def threads_of_numpy(part: int) -> tuple[int, set[int]]:
        found = [each for each in threadpool_info() if "numpy.libs" in each["filepath"]]
        return part, {each["num_threads"] for each in found}

    assert at_once(threads_of_numpy, [3, 1, 2]) == [(3, {1}), (1, {1}), (2, {1})]


def test_what_a_part_raises_is_raised() -> None:
    with pytest.raises(ValueError, match="'too few'"):
        at_once(int, ["1", "too few"])


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_golden_answers(family: Family) -> None:
    learned, model = all_learned()[family.name]
    answers = predict_probabilities(model, examples(12, 3, 0.5).inputs, LABELS)
    chosen = {**learned.chosen, "temperature": round(learned.chosen["temperature"], 2)}
    output = {
        "parameters": dict(family.parameters),
        "chosen": chosen,
        "steps": len({step.step for step in learned.steps}),
        "out_of_fold": np.round(learned.probabilities[:12], 4).tolist(),
        "answers": np.round(answers, 4).tolist(),
    }
    golden.check(f"{family.name}.version", family.version, output, tolerance=1e-2)


def test_the_average_is_the_cooled_mean_of_its_members() -> None:
    learned, model = all_learned()["average"]
    asked = examples(12, 3, 0.5).inputs
    shares = learned.chosen["shares"]
    members = [all_learned()[name][1] for name in shares]
    assert len({*shares.values()}) > 1
    answers = sum(
        share * each.predict_proba(asked)
        for share, each in zip(shares.values(), members, strict=True)
    )
    expected = answers ** (1 / learned.chosen["temperature"])
    expected /= expected.sum(axis=1, keepdims=True)
    assert model.predict_proba(asked) == pytest.approx(expected)
    assert (model.predict(asked) == np.array(LABELS)[expected.argmax(axis=1)]).all()


def test_an_average_of_one_is_none() -> None:
    task = made_task()
    answers = {"tfidf_baseline": all_learned()["tfidf_baseline"][0].probabilities}
    with pytest.raises(UnfitError, match="of its members 1 could be fitted"):
        learn(family("average"), task, made_folds(task), answers)


def test_the_average_is_saved_without_pickle() -> None:
    import skops.io

    _, model = all_learned()["average"]
    loaded = skops.io.loads(skops.io.dumps(model), trusted=list(TRUSTED_TYPES))
    asked = examples(12, 3, 0.5).inputs
    assert (loaded.predict_proba(asked) == model.predict_proba(asked)).all()


def test_one_that_was_saved_without_shares_has_equal_ones() -> None:
    _, model = all_learned()["average"]
    asked = examples(12, 3, 0.5).inputs
    old = Average(model.members, 1.0, ())
    del old.shares
    answers = [each.predict_proba(asked) for each in model.members]
    assert old.predict_proba(asked) == pytest.approx(np.mean(answers, axis=0))


def titled_task(titles: tuple[str, ...] = ("cook.eatIt", "play_music", "sport")) -> Task:
    """Texts that are alike, below titles that tell the label."""
    task = made_task(noise=9.0)
    places = [LABELS.index(label) for label in task.examples.truth]
    texts = [f"{titles[place]}\nw1 w2 w{row}" for row, place in enumerate(places)]
    inputs = task.examples.inputs.assign(text=texts)
    return replace(task, examples=replace(task.examples, inputs=inputs))


def test_titles_count_beside_the_text() -> None:
    task = titled_task()
    model = fit_family(family("text_and_vector_regression"), task, {"C": 1.0})
    asked = examples(9, 3, 0.1).inputs
    titled = ["w1 Eat\nw2", "Music Play2\n", "the sport\nw1"] * 3
    answers = model.predict(asked.assign(text=titled))
    assert answers.tolist() == [*LABELS] * 3
    exported = export(model, task)
    assert exported.reason == ""
    given = OnnxModel(exported.content).predict_proba(
        titled,
        {name: asked[name].to_numpy() for name in task.features},
        asked[task.vector].to_numpy(),
    )
    expected = model.predict_proba(asked.assign(text=titled))
    assert given == pytest.approx(expected, abs=TOLERANCE)


def test_a_part_of_the_titles_is_hidden_while_a_family_learns() -> None:
    task = titled_task()
    parameters = dict(family("text_and_vector_regression").parameters)
    prepared, (_, learned) = prepare(task, parameters)
    (_, shown) = prepared.blocks([part.prepare(task.examples.inputs) for part in prepared.parts])
    hidden = (shown != learned).sum(axis=1) > 0
    assert hidden.mean() == pytest.approx(0.25, abs=0.1)
    _, (_, again) = prepare(titled_task(), parameters)
    assert (again != learned).nnz == 0


def test_titles_that_have_nothing_in_common_are_no_part() -> None:
    task = titled_task(("", "", ""))
    model = fit_family(family("text_and_vector_regression"), task, {"C": 30.0})
    assert [part.name for part in model[0].parts] == ["features", "vector", "text"]


def test_a_vocabulary_is_saved_as_one_text() -> None:
    """A node for each word would be most of a model's file, and of the time it takes."""
    part = fit_family(family("tfidf_baseline"), made_task(), {"C": 1.0})[0].parts[-1]
    words = part.fitted.vocabulary_
    state = part.__getstate__()
    assert state["fitted"].vocabulary_.split("\n") == sorted(words, key=words.__getitem__)
    other = object.__new__(type(part))
    other.__setstate__(state)
    assert other.fitted.vocabulary_ == words == part.fitted.vocabulary_


def test_what_two_families_read_alike_is_prepared_once() -> None:
    task = made_task()
    words, both = (family(name) for name in ("tfidf_baseline", "text_and_vector_regression"))
    one, other = (fit_family(each, task, {"C": 1.0})[0].parts[-1].fitted for each in (words, both))
    assert one is other
    elsewhere = fit_family(words, task.part(np.arange(200) < 100), {"C": 1.0})[0].parts[-1].fitted
    assert elsewhere.vocabulary_ != one.vocabulary_


def test_the_onnx_form_of_the_average_answers_as_it_does() -> None:
    _, model = all_learned()["average"]
    task, asked = made_task(), examples(80, 3, 0.5).inputs
    exported = export(model, task)
    assert exported.reason == ""
    given = OnnxModel(exported.content).predict_proba(
        asked["text"].tolist(),
        {name: asked[name].to_numpy() for name in task.features},
        asked[task.vector].to_numpy(),
    )
    assert given == pytest.approx(model.predict_proba(asked), abs=TOLERANCE)


def test_members_that_prepare_an_input_in_different_ways_do_not_convert() -> None:
    _, model = all_learned()["average"]
    task = made_task()
    half = task.part(np.arange(200) < 100)
    members = [*model.members, fit_family(family("logistic_regression"), half, {"C": 0.2})]
    exported = export(Average(members, 1.0, [1.0] * len(members)), task)
    assert exported.reason.startswith("Average does not convert (its members prepare")


@pytest.mark.parametrize("name", [one.name for one in FAMILIES[1:] if not one.members])
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


def test_the_order_of_what_is_read_plays_no_part() -> None:
    """PostgreSQL gives parameters back in another order than they were written in."""
    task, combined = made_task(), family("text_and_vector_regression")
    turned = dict(reversed(combined.parameters["weights"].items()))
    one, other = (
        fit_family(combined, task, {"C": 1.0, **more}) for more in ({}, {"weights": turned})
    )
    asked = examples(12, 3, 0.5).inputs
    assert (one.predict_proba(asked) == other.predict_proba(asked)).all()
