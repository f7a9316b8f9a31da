"""What tuning and measuring give for fixed rankings and documents, bound to their versions."""

from dataclasses import replace

import numpy as np

from ml_assets.documents.sources.base import JudgedQuery
from ml_assets.search.answering.fusion import Scores
from ml_assets.search.answering.model import Engine
from ml_assets.search.evaluation import measurement, tuning
from ml_assets.search.evaluation.measuring import evaluate_generation
from ml_assets.settings import Settings
from ml_assets_tests import golden
from ml_assets_tests.fakes import HashEncoder
from ml_assets_tests.search.generations import DOCS as DOCS  # what the fixture fills in


def queries(seed: int, strength: float) -> list[tuning.TuningQuery]:
    """Sixty queries whose three answers the keyword index, too, finds by its `strength`."""
    generator = np.random.default_rng(seed)
    made: list[tuning.TuningQuery] = []
    for _ in range(60):
        relevant = {f"d{number}": 3 - number for number in range(3)}
        found = {}
        for index, weight in (("keyword", strength), ("vector", 1.0), ("feedback", 1.2)):
            scores = generator.normal(size=20)
            scores[:3] += weight
            order = np.argsort(-scores)
            found[index] = Scores({f"d{n}": round(float(scores[n]), 6) for n in order}, 3.0)
        made.append((found, relevant))
    return made


def test_golden_fusions() -> None:
    output = {}
    for strength in (0.3, 1.0, 2.0):
        chosen = tuning.tune(queries(7, strength), tuning.candidates())
        fusion = chosen.fusion
        output[str(strength)] = {
            "fusion": [fusion.method, fusion.keyword_weight, fusion.feedback],
            "quality": [chosen.default, chosen.chosen, chosen.gain, chosen.error],
        }
    output["few"] = str(tuning.tune(queries(7, 2.0)[:49], tuning.candidates()).fusion)
    constant = "ml_assets.search.evaluation.tuning.TUNING_VERSION"
    golden.check(constant, tuning.TUNING_VERSION, output, tolerance=1e-6)


def test_golden_measurement(engine: Engine, settings: Settings) -> None:
    judged = tuple(
        JudgedQuery(f"q{n}", f"text {n} or {n + 1}", {f"d{n}": 2, f"d{n + 1}": 1, "gone": 1}, half)
        for half, numbers in (("tuning", range(4)), ("reporting", range(4, 12)))
        for n in numbers
    )
    made = evaluate_generation(engine, {}, judged, HashEncoder, settings, state="state")
    output = measurement.as_json(replace(made, seconds=0.0, documents="", tuning_basis=""))
    constant = "ml_assets.search.evaluation.measurement.VERSION"
    golden.check(constant, measurement.VERSION, output, tolerance=1e-6)
