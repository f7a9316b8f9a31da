"""What families do with a task, bound to their versions; and on which split they choose."""

import numpy as np
import pytest

from ml_assets.training.evaluation import evaluate
from ml_assets.training.families.base import Family, Fitted, Task, fit_family, predict_probabilities
from ml_assets.training.families.linear import LOGISTIC_REGRESSION, fit_linear
from ml_assets.training.families.registry import FAMILIES
from ml_assets.training.model import Examples
from ml_assets_tests import golden
from ml_assets_tests.training.tasks import LABELS, examples, made_task


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_golden_answers(family: Family) -> None:
    fitted = fit_family(family, made_task())
    answers = predict_probabilities(fitted.model, examples(12, 3, 0.5).inputs, LABELS)
    output = {
        "parameters": dict(family.parameters),
        "chosen": dict(fitted.chosen),
        "steps": len(fitted.steps),
        "answers": np.round(answers, 4).tolist(),
    }
    golden.check(f"{family.name}.version", family.version, output, tolerance=2e-3)


def macro_f1(fitted: Fitted, given: Examples) -> float:
    answers = predict_probabilities(fitted.model, given.inputs, LABELS)
    return evaluate(LABELS, given.truth, answers).metrics["macro_f1"]


def test_the_penalty_is_chosen_on_validation() -> None:
    """With little of a signal a weak penalty fits the training split, and a strong one the rest."""
    task = made_task(noise=1.2)
    strengths = (0.05, 1.0)

    def fit(*chosen: float) -> Fitted:
        return fit_linear(task, {**LOGISTIC_REGRESSION.parameters, "C": chosen})

    strong, weak = (fit(strength) for strength in strengths)
    assert macro_f1(weak, task.train) > macro_f1(strong, task.train)
    assert macro_f1(strong, task.validation) > macro_f1(weak, task.validation)
    for order in (strengths, strengths[::-1]):
        assert fit(*order).chosen == {"C": strengths[0]}


@pytest.mark.parametrize("name", ["gradient_boosting", "neural_network"])
def test_a_family_that_iterates_is_stopped_by_validation(name: str) -> None:
    """It has another validation split to stop by, and learns for another while."""
    (family,) = (family for family in FAMILIES if family.name == name)
    easy = made_task()
    misleading = Examples(
        easy.validation.inputs, np.roll(easy.validation.truth, 1), easy.validation.document_ids
    )
    misled = Task(easy.train, misleading, easy.features, easy.labels, easy.seed)
    assert len(fit_family(family, misled).steps) < len(fit_family(family, easy).steps)
