"""The commands of the models, at the prompt."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from ml_assets import cli
from ml_assets.registry import cards, labelling
from ml_assets.registry.labelling import Doubt, Doubts
from ml_assets.registry.model import ModelVersion
from ml_assets.stores import duckdb, postgres
from ml_assets.training.labels.issues import AmbiguousPair
from ml_assets.training.model import Candidate

DOUBT = Doubt("shop/1", "shop", "A [title]", "One\n  two", "x", "y", 0.97, "version 1 said so")


@pytest.fixture
def home(tmp_path: Path, connection: postgres.Connection, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of the commands, on the database of the test."""
    info = connection.info
    url = f"postgresql://{info.user}:{info.password}@{info.host}:{info.port}/{info.dbname}"
    monkeypatch.setenv("ML_ASSETS_HOME", str(tmp_path))
    monkeypatch.setenv("POSTGRES_URL", url)
    monkeypatch.setenv("COLUMNS", "60")
    return tmp_path


@pytest.fixture
def trained(home: Path) -> Path:
    with duckdb.connect(home / "offline.duckdb"):
        return home


def call(*words: str) -> Result:
    return CliRunner().invoke(cli.app, words)


def answers(monkeypatch: pytest.MonkeyPatch, name: str, found: Doubts) -> list[tuple[Any, ...]]:
    asked: list[tuple[Any, ...]] = []

    def ask(*given: Any) -> Doubts:
        asked.append(given)
        return found

    monkeypatch.setattr(labelling, name, ask)
    return asked


def test_before_the_first_run_nothing_was_trained(home: Path) -> None:
    done = call("errors")
    assert done.exit_code == 1
    assert "nothing was trained here yet. Run `ml-assets run`" in " ".join(done.output.split())
    assert "No model was registered yet." in call("models").output
    assert "there is no version 3" in call("models", "3").output


def test_wrong_answers_are_listed(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answers(monkeypatch, "mistakes", Doubts((DOUBT,), 12, 340))
    lines = [each.rstrip() for each in call("errors", "--limit", "1").output.splitlines() if each]
    assert asked[0][-1] == 1
    heading = "12 of 340 test documents are answered otherwise; the first 1, --limit shows more"
    assert " ".join(lines[:-4]) == heading
    assert lines[-4:] == [
        " 1. A [title]  shop",
        "    'x', rather 'y' (0.97): version 1 said so",
        "    One two",
        "    shop/1",
    ]
    found = json.loads(call("errors", "--json").output)
    assert found["rows"][0]["document_id"] == "shop/1"
    assert (found["count"], found["of"]) == (12, 340)
    answers(monkeypatch, "mistakes", Doubts((), 0, 340))
    assert "All 340 test documents are answered as they are labelled." in call("errors").output


def test_labels_in_doubt_are_listed_with_the_pairs(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = (AmbiguousPair("x", "y", 7, 0.1),)
    answers(monkeypatch, "label_errors", Doubts((DOUBT,), 1, 340, pairs))
    output = call("errors", "--labels").output
    assert "1 labels of 340 documents are in doubt\n" in output
    assert "shop/1" in output
    assert "Labels that are mistaken for each other" in output
    assert "x      y              7  0.100" in output
    answers(monkeypatch, "label_errors", Doubts((), 0, 340))
    output = call("errors", "--labels").output
    assert output.strip() == "No label of 340 documents is in doubt."


def test_what_to_label_next_is_listed(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = Doubt("1", "shop", "", "One", None, "y", 0.5, "why")
    asked = answers(monkeypatch, "to_label", Doubts((row,), 1_200, 1_200))
    output = call("errors", "--suggest", "1").output
    assert asked[0][-1] == 1
    assert "Of 1,200 documents without a label, label these first\n" in output
    assert "    no label, rather 'y' (0.50): why" in output
    assert " 1. 1  shop" in output
    answers(monkeypatch, "to_label", Doubts((), 0, 0))
    assert call("errors", "--suggest", "9").output.strip() == "There are no unlabelled documents."


def test_two_questions_at_once_are_refused(trained: Path) -> None:
    done = call("errors", "--labels", "--suggest", "3")
    assert done.exit_code == 1
    assert "--labels and --suggest are two questions" in done.output


def test_versions_and_cards_are_shown(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    candidate = Candidate("r", "h", "neural_network", "f", {}, {}, "models:/m")
    version = ModelVersion("document_classifier", 3, "s", 0, {}, {"test_accuracy": 0.9}, candidate)
    monkeypatch.setattr(cards, "list_versions", lambda _: [(version, "champion")])
    monkeypatch.setattr(cards, "read_card", lambda _, number: f"# model {number}\n\n[x] | y |")
    monkeypatch.setenv("COLUMNS", "120")
    output = call("models").output
    assert "neural_network" in output
    assert "0.900" in output
    assert "champion" in output
    (row,) = json.loads(call("models", "--json").output)
    assert (row["version"], row["role"], row["candidate"]["run_id"]) == (3, "champion", "r")
    assert call("models", "3").output.strip() == "# model 3\n\n[x] | y |"
    assert json.loads(call("models", "3", "--json").output)["card"].startswith("# model 3")
