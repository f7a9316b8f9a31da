"""Every gate passing, blocking, and saying that it cannot tell."""

from typing import Any

import numpy as np
import pytest

from ml_assets.errors import GateError, SettingError
from ml_assets.search.model import Generation
from ml_assets.search.publishing.gates import (
    Gate,
    measured_gates,
    ndcg_gate,
    reach_gate,
    recall_gate,
    refuse_blocked,
    same_chunks_gate,
)
from ml_assets.settings import Settings, load_settings

GOOD = {
    "recall": {"pgvector": 1.0, "chroma": 0.97},
    "judged_recall": {"pgvector": 0.99, "chroma": 0.96},
    "reached": {"pgvector": 1.0, "chroma": 0.99},
    "sampled": 200,
}


def generation(name: str = "new", ndcg: Any = (), **changed: Any) -> Generation:
    by_query = {str(number): float(value) for number, value in enumerate(ndcg)}
    measured = {**GOOD, **({"ndcg": {"hybrid": by_query}} if by_query else {}), **changed}
    return Generation(name, "s" * 16, 16, {}, "building", measured, measured)


@pytest.mark.parametrize(
    ("measured", "by_index", "outcome"),
    [
        ({}, {}, "passed"),
        ({"recall": {"pgvector": 1.0, "chroma": 0.949}}, {}, "blocked"),
        ({"recall": {"pgvector": 1.0, "chroma": 0.949}}, {"chroma": 0.9}, "passed"),
        ({}, {"chroma": 0.98}, "blocked"),
        ({"judged_recall": {"pgvector": 0.94}}, {}, "blocked"),
        ({"judged_recall": {}}, {}, "passed"),
        ({}, {"chrome": 0.5}, "blocked"),
        ({"recall": {}}, {}, "blocked"),
    ],
)
def test_recall(measured: dict[str, Any], by_index: dict[str, float], outcome: str) -> None:
    gate = recall_gate({**GOOD, **measured}, 0.95, by_index)
    assert gate.outcome == outcome
    assert gate.figures["minimum"] == 0.95


def test_the_gate_names_the_index_and_where() -> None:
    gate = recall_gate({**GOOD, "judged_recall": {"chroma": 0.5}}, 0.95, {})
    assert gate.said == "the recall of chroma on judged queries is too low"
    assert gate.figures["chroma_judged"] == 0.5


@pytest.mark.parametrize(
    ("reached", "outcome"),
    [
        ({"pgvector": 1.0, "chroma": 0.99}, "passed"),
        ({"pgvector": 1.0, "chroma": 0.945}, "blocked"),
        ({}, "blocked"),
    ],
)
def test_reach(reached: dict[str, float], outcome: str) -> None:
    assert reach_gate({**GOOD, "reached": reached}).outcome == outcome


def compared(differences: Any, *, same: bool = False) -> Gate:
    before = np.full(len(differences), 0.5)
    old = generation("new" if same else "old", before)
    return ndcg_gate(generation("new", before + differences), old, 0.02, 0)


def test_a_clear_loss_blocks_and_a_clear_tie_passes() -> None:
    noise = np.random.default_rng(0).normal(0, 0.05, 200)
    assert compared(noise - noise.mean() - 0.1).outcome == "blocked"
    passed = compared(noise - noise.mean())
    assert passed.outcome == "passed"
    assert passed.figures["low"] > -0.02
    assert compared(noise - noise.mean() + 0.1).outcome == "passed"


def test_noise_neither_blocks_nor_passes() -> None:
    noise = np.random.default_rng(0).normal(0, 0.3, 60)
    gate = compared(noise - noise.mean() - 0.03)
    assert gate.outcome == "inconclusive"
    assert gate.figures["low"] < -0.02 < gate.figures["high"]
    # With as many queries as it asks for, the same difference is told.
    needed = int(gate.figures["queries_needed"])
    more = np.random.default_rng(1).normal(0, 0.3, 2 * needed)
    assert compared(more - more.mean() - 0.03).outcome == "blocked"


def test_at_the_margin_itself_no_number_of_queries_would_do() -> None:
    noise = np.random.default_rng(0).normal(0, 0.3, 60)
    assert compared(noise - noise.mean() - 0.02).figures["queries_needed"] == 1_000_000


def test_few_queries_cannot_tell_however_clear_they_look() -> None:
    gate = compared(np.full(9, -0.5))
    assert gate.outcome == "inconclusive"
    assert "only 9" in gate.said
    assert compared(np.full(10, -0.5)).outcome == "blocked"


def test_what_is_served_already_is_not_blocked() -> None:
    assert compared(np.full(50, -0.5), same=True).outcome == "inconclusive"
    assert compared(np.full(50, 0.1), same=True).outcome == "passed"


def test_what_there_is_nothing_to_compare_with_passes_and_says_why() -> None:
    new, asked = generation(), generation("new", [0.5] * 20)
    assert ndcg_gate(asked, None, 0.02, 0).said == "no generation is published"
    assert "no judged queries" in ndcg_gate(new, generation("old"), 0.02, 0).said
    assert "as the published one" in ndcg_gate(asked, asked, 0.02, 0).said
    for one, other in ((asked, generation("old")), (new, generation("old", [0.5] * 20))):
        gate = ndcg_gate(one, other, 0.02, 0)
        assert (gate.outcome, gate.figures["queries"]) == ("inconclusive", 0)


@pytest.mark.parametrize("loss", [0.0, 0.5])
def test_what_was_measured_on_other_documents_cannot_tell(loss: float) -> None:
    def gate(new: str, old: str, name: str = "old") -> Gate:
        before = generation(name, [0.5] * 20, documents=old)
        return ndcg_gate(generation("new", [0.5 - loss] * 20, documents=new), before, 0.02, 0)

    assert gate("1", "1").outcome == ("blocked" if loss else "passed")
    assert gate("2", "1").outcome == "inconclusive"
    assert "measured on other documents" in gate("2", "1").said
    assert gate("2", "1").figures["difference"] == -loss
    # What is served is compared with itself, on the documents of then.
    assert gate("2", "1", "new").outcome == ("inconclusive" if loss else "passed")


def row(**changed: int) -> dict[str, Any]:
    same = {"expected": 5, "held": 5, "compared": 5, "missing": 0, "extra": 0, "outdated": 0}
    return {"index": "chroma", **same, **changed}


def test_the_same_chunks() -> None:
    assert same_chunks_gate([row()]).outcome == "passed"
    for wrong in ("missing", "extra", "outdated"):
        assert same_chunks_gate([row(), row(**{wrong: 1})]).outcome == "blocked"
    gate = same_chunks_gate([row(missing=2, held=3)])
    assert gate.said == "chroma lacks 2, has 0 too many and 0 outdated"
    assert gate.figures == {"expected": 5, "compared": 5, "chroma_held": 3}


def test_the_first_blocked_gate_is_named_with_its_numbers(settings: Settings) -> None:
    good = measured_gates(generation(), None, settings)
    assert [gate.outcome for gate in good] == ["passed"] * 3
    refuse_blocked("new", good)
    bad = measured_gates(generation(reached={"pgvector": 0.5}), None, settings)
    with pytest.raises(GateError, match=r"indexes_reach_their_chunks: .*pgvector 0\.5, minimum"):
        refuse_blocked("new", bad)


def test_the_minima_of_indexes_are_a_setting(settings: Settings) -> None:
    assert settings.recall_minima == {}
    chosen = load_settings(home=settings.home, min_recall_by_index="chroma=0.9, pgvector = 0.99")
    assert chosen.recall_minima == {"chroma": 0.9, "pgvector": 0.99}
    assert measured_gates(generation(), None, chosen)[0].outcome == "passed"
    for wrong in ("chroma", "chroma=2", "chroma=high", "=0.5"):
        with pytest.raises(
            SettingError, match=r"ML_ASSETS_MIN_RECALL_BY_INDEX.*such as chroma=0\.9"
        ):
            load_settings(home=settings.home, min_recall_by_index=wrong)
