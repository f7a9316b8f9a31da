"""Every gate passing, blocking, and saying that it cannot tell."""

from typing import Any

import numpy as np
import pytest

from ml_assets.errors import GateError, SettingError
from ml_assets.releases.gates import Gate, refuse_blocked
from ml_assets.search.evaluation.measurement import Measurement
from ml_assets.search.publishing.gates import (
    Reference,
    measured_gates,
    ndcg_gate,
    reach_gate,
    recall_gate,
    same_chunks_gate,
)
from ml_assets.settings import Settings, load_settings
from ml_assets_tests.search.measurements import measurement


@pytest.mark.parametrize(
    ("measured", "by_index", "outcome"),
    [
        ({}, {}, "pass"),
        ({"recall": {"pgvector": 1.0, "chroma": 0.949}}, {}, "warn"),
        ({"recall": {"pgvector": 0.949, "chroma": 0.949}}, {}, "block"),
        ({"recall": {"pgvector": 1.0, "chroma": 0.949}}, {"chroma": 0.9}, "pass"),
        ({}, {"chroma": 0.98}, "warn"),
        ({}, {"pgvector": 0.995}, "block"),
        ({"judged_recall": {"pgvector": 0.94}}, {}, "block"),
        ({"judged_recall": {}}, {}, "pass"),
        ({}, {"chrome": 0.5}, "block"),
        ({"recall": {}}, {}, "block"),
    ],
)
def test_recall(measured: dict[str, Any], by_index: dict[str, float], outcome: str) -> None:
    gate = recall_gate(measurement(**measured), "pgvector", 0.95, by_index)
    assert gate.outcome == outcome
    assert bool(gate.do) == (outcome != "pass")
    assert gate.numbers["minimum"] == 0.95


def test_the_gate_names_the_index_and_where() -> None:
    gate = recall_gate(measurement(judged_recall={"chroma": 0.5}), "chroma", 0.95, {})
    assert gate.outcome == "block"
    assert gate.message == "the recall of chroma on judged queries is too low"
    assert gate.numbers["chroma_judged"] == 0.5


@pytest.mark.parametrize(
    ("reached", "outcome"),
    [
        ({"pgvector": 1.0, "chroma": 0.99}, "pass"),
        ({"pgvector": 1.0, "chroma": 0.945}, "warn"),
        ({"pgvector": 0.945, "chroma": 0.945}, "block"),
        ({}, "block"),
    ],
)
def test_reach(reached: dict[str, float], outcome: str) -> None:
    gate = reach_gate(measurement(reached=reached), "pgvector")
    assert gate.outcome == outcome
    assert bool(gate.do) == (outcome != "pass")


def test_the_index_that_the_settings_choose_is_the_one_that_blocks(settings: Settings) -> None:
    poor = measurement(reached={"pgvector": 1.0, "chroma": 0.5})
    for chosen, outcome in (("pgvector", "warn"), ("chroma", "block"), ("faiss-flat", "warn")):
        asked = settings.model_copy(update={"vector_index": chosen})
        gate = measured_gates(poor, Reference(), asked)[1]
        assert (gate.outcome, "ML_ASSETS_VECTOR_INDEX" in gate.do) == (outcome, True)


def compared(differences: Any, *, same: bool = False) -> Gate:
    before = np.full(len(differences), 0.5)
    reference = Reference(True, same, measurement(before))
    return ndcg_gate(measurement(before + differences), reference, 0.02, 0)


def test_a_clear_loss_blocks_and_a_clear_tie_passes() -> None:
    noise = np.random.default_rng(0).normal(0, 0.05, 200)
    assert compared(noise - noise.mean() - 0.1).outcome == "block"
    passed = compared(noise - noise.mean())
    assert passed.outcome == "pass"
    assert passed.numbers["low"] > -0.02
    assert compared(noise - noise.mean() + 0.1).outcome == "pass"


def test_noise_neither_blocks_nor_passes() -> None:
    noise = np.random.default_rng(0).normal(0, 0.3, 60)
    gate = compared(noise - noise.mean() - 0.03)
    assert gate.outcome == "cannot tell"
    assert gate.numbers["low"] < -0.02 < gate.numbers["high"]
    # With as many queries as it asks for, the same difference is told.
    needed = int(gate.numbers["queries_needed"])
    more = np.random.default_rng(1).normal(0, 0.3, 2 * needed)
    assert compared(more - more.mean() - 0.03).outcome == "block"


def test_at_the_margin_itself_no_number_of_queries_would_do() -> None:
    noise = np.random.default_rng(0).normal(0, 0.3, 60)
    assert compared(noise - noise.mean() - 0.02).numbers["queries_needed"] == 1_000_000


def test_few_queries_cannot_tell_however_clear_they_look() -> None:
    gate = compared(np.full(9, -0.5))
    assert gate.outcome == "cannot tell"
    assert "only 9" in gate.message
    assert compared(np.full(10, -0.5)).outcome == "block"


def test_what_is_served_already_is_not_blocked() -> None:
    assert compared(np.full(50, -0.5), same=True).outcome == "cannot tell"
    assert compared(np.full(50, 0.1), same=True).outcome == "pass"


def test_what_there_is_nothing_to_compare_with_passes_and_says_why() -> None:
    new, asked = measurement(), measurement([0.5] * 20)
    assert ndcg_gate(asked, Reference(), 0.02, 0).message == "no generation is published"
    assert "no judged queries" in ndcg_gate(new, against(new), 0.02, 0).message
    assert "no judged queries" in ndcg_gate(None, against(None), 0.02, 0).message
    assert "as the published one" in ndcg_gate(asked, Reference(True, True, asked), 0.02, 0).message
    for one, other in ((asked, new), (new, asked), (None, asked), (asked, None)):
        gate = ndcg_gate(one, against(other), 0.02, 0)
        assert (gate.outcome, gate.numbers["queries"]) == ("cannot tell", 0)


def against(other: Measurement | None) -> Reference:
    return Reference(True, False, other)


def test_what_was_never_measured_is_blocked() -> None:
    assert (
        recall_gate(None, "pgvector", 0.95, {}).outcome
        == reach_gate(None, "pgvector").outcome
        == "block"
    )


@pytest.mark.parametrize("loss", [0.0, 0.5])
def test_what_was_measured_on_other_documents_cannot_tell(loss: float) -> None:
    def gate(new: str, old: str, *, itself: bool = False) -> Gate:
        reference = Reference(True, itself, measurement([0.5] * 20, documents=old))
        return ndcg_gate(measurement([0.5 - loss] * 20, documents=new), reference, 0.02, 0)

    assert gate("1", "1").outcome == ("block" if loss else "pass")
    assert gate("2", "1").outcome == "cannot tell"
    assert "measured on other documents" in gate("2", "1").message
    assert gate("2", "1").numbers["difference"] == -loss
    # What is served is compared with itself, on the documents of then.
    assert gate("2", "1", itself=True).outcome == ("cannot tell" if loss else "pass")


def row(**changed: int) -> dict[str, Any]:
    same = {"expected": 5, "indexed": 5, "compared": 5, "missing": 0, "extra": 0, "outdated": 0}
    return {"index": "chroma", **same, **changed}


def test_the_same_chunks() -> None:
    assert same_chunks_gate([row()]).outcome == "pass"
    for wrong in ("missing", "extra", "outdated"):
        assert same_chunks_gate([row(), row(**{wrong: 1})]).outcome == "block"
    gate = same_chunks_gate([row(missing=2, indexed=3)])
    assert gate.message == "chroma lacks 2, has 0 too many and 0 outdated"
    assert gate.numbers == {"expected": 5, "compared": 5, "chroma": 3}


def test_the_first_blocked_gate_is_named_with_its_numbers(settings: Settings) -> None:
    good = measured_gates(measurement(), Reference(), settings)
    assert [gate.outcome for gate in good] == ["pass"] * 3
    refuse_blocked(good, "generation new is not published")
    bad = measured_gates(measurement(reached={"pgvector": 0.5}), Reference(), settings)
    line = r"^generation new is not published: indexes_reach.*: .*pgvector 0\.5, minimum"
    with pytest.raises(GateError, match=line):
        refuse_blocked(bad, "generation new is not published")


def test_a_gate_that_blocks_names_the_knob_or_the_command(settings: Settings) -> None:
    low = measured_gates(measurement(recall={"pgvector": 0.5}), Reference(), settings)
    with pytest.raises(GateError, match=r"too low .*or lower ML_ASSETS_MIN_RECALL$"):
        refuse_blocked(low, "generation new is not published")
    blocked = [*measured_gates(None, Reference(), settings), same_chunks_gate([row(missing=1)])]
    for gate in blocked:
        assert bool(gate.do) == (gate.outcome == "block")


def test_the_minima_of_indexes_are_a_setting(settings: Settings) -> None:
    assert settings.recall_minima == {}
    chosen = load_settings(home=settings.home, min_recall_by_index="chroma=0.9, pgvector = 0.99")
    assert chosen.recall_minima == {"chroma": 0.9, "pgvector": 0.99}
    assert measured_gates(measurement(), Reference(), chosen)[0].outcome == "pass"
    for wrong in ("chroma", "chroma=2", "chroma=high", "=0.5"):
        with pytest.raises(
            SettingError, match=r"ML_ASSETS_MIN_RECALL_BY_INDEX.*such as chroma=0\.9"
        ):
            load_settings(home=settings.home, min_recall_by_index=wrong)
