"""The text of a model card."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from ml_assets.registry.card import Data, Report, model_card, shortened
from ml_assets.registry.cards import wilson
from ml_assets.registry.model import ModelVersion
from ml_assets.training.model import Candidate

CANDIDATE = Candidate(
    run_id="run-1",
    training_set_hash="abc",
    family="logistic_regression",
    fingerprint="f",
    parameters={"C": 10, "members": ["a", "b"], "temperature": 1.0987},
    metrics={},
    model_uri="models:/m-1",
    onnx_sha256="0" * 64,
)
METRICS = {"test_accuracy": 0.9, "test_macro_f1": 0.85, "validation_macro_f1": 0.8}
VERSION = ModelVersion(
    "document_classifier", 3, "s1", 0, {"document_text": "v"}, METRICS, CANDIDATE
)
DATA = Data(
    hash="abc",
    splits={"train": 640, "validation": 160, "test": 200},
    labels={"a|b": 600, "c": 400},
    collections={"shop": 1000},
    first=datetime(2026, 1, 2, tzinfo=UTC),
    last=datetime(2026, 3, 4, tzinfo=UTC),
    left_out={"rare": 3},
    unembedded=7,
    file=("run-0", "f" * 64),
)
REPORT = Report(
    intervals={"accuracy": (0.9, 0.851, 0.934)},
    slices={"collection shop": (200, 0.9)},
    weakest=[("c", 0.71, 80)],
    baselines={"tfidf_baseline": 0.7},
    newest=replace(
        CANDIDATE,
        metrics={"newest_accuracy": 0.8, "newest_documents": 1200.0, "test_accuracy": 0.9},
    ),
)


def test_a_card_tells_what_a_person_asks() -> None:
    text = model_card(VERSION, "MiniLM", DATA, REPORT, "team:search")
    lines = text.splitlines()
    assert lines[0] == "# document_classifier 3"
    for line in (
        "- answers: one of 2 labels for a document, with probabilities",
        "- family: logistic\\_regression (C 10, members a + b, temperature 1.1)",
        "- vectors: MiniLM, space s1",
        "- feature views: document\\_text",
        "- owner: team:search",
        "- MLflow run: run-1",
        "- served by: ONNX",
        "- training set: abc",
        "- documents: 1,000: 640 train, 160 validation, 200 test",
        "- labels from: 2026-01-02 to 2026-03-04",
        "- file: training\\_set.parquet of run run-0",
        f"- sha256 of the file: {'f' * 64}",
        "| a\\|b | 600 |",
        "| shop | 1,000 |",
        "| accuracy | 0.900 | 0.851 to 0.934 | share of right answers |",
        "| macro\\_f1 | 0.850 |  | mean F1 of all labels |",
        "| macro\\_f1 of tfidf\\_baseline | 0.700 |  | a baseline |",
        "| c | 0.710 | 80 |",
        "| collection shop | 200 | 0.900 |",
        "- What was written after 2026-03-04 it has not seen.",
        "- 1 labels had too few documents: `rare`.",
        "- 7 labelled documents had no vector, and were left out.",
    ):
        assert line in lines, line
    assert "older documents alone, answers 0.800 of the 1,200 newest right; of documents" in text
    assert "of documents of any time 0.900." in text
    assert "`ml-assets publish 3 --reason …` serves this version again." in text


def test_what_is_not_known_is_left_out() -> None:
    bare = replace(DATA, left_out={}, unembedded=0, file=None)
    version = replace(VERSION, candidate=replace(CANDIDATE, onnx_sha256="", parameters={}))
    text = model_card(version, "MiniLM", bare, Report({}, {}, [], {}), "team:search")
    assert "- family: logistic\\_regression\n" in text
    assert "- served by: skops" in text
    for absent in (
        "sha256",
        "## In time",
        "too few",
        "no vector",
        "## Slices",
        "weakest",
        "baseline",
    ):
        assert absent not in text


def test_a_name_breaks_no_table_and_long_tables_end() -> None:
    labels = {f"`x` [{number}]\nline": 1 for number in range(30)}
    text = model_card(VERSION, "MiniLM", replace(DATA, labels=labels), REPORT, "o")
    assert "| \\`x\\` \\[0\\] line | 1 |" in text
    assert "\\[20\\]" not in text
    assert "… and 10 more" in text


@pytest.mark.parametrize("most", [300, 500, 900, 100_000])
def test_a_description_has_whole_sections(most: int) -> None:
    card = model_card(VERSION, "MiniLM", DATA, REPORT, "team:search")
    short = shortened(card, most)
    assert len(short) <= most
    if most > len(card):
        assert short == card
        return
    assert short.endswith("artifact `model_card.md` of the run.\n")
    kept, _, _ = short.rpartition("\nThe whole card")
    assert card.startswith(kept)
    assert kept == card or card[len(kept) :].startswith("\n## ")


def test_the_interval_of_a_share_is_wilsons() -> None:
    # Newcombe, "Two-sided confidence intervals for the single proportion" (1998), table I.
    assert wilson(81, 263) == pytest.approx((0.308, 0.2553, 0.3662), abs=1e-3)
    assert wilson(0, 20)[1:] == pytest.approx((0.0, 0.1611), abs=1e-3)
