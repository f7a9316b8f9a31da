"""What a person is told of a challenger that is not served, and how they approve it."""

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from ml_assets import cli
from ml_assets.cli import releases as commands
from ml_assets.console.status import standing
from ml_assets.errors import NothingToDoError
from ml_assets.operations.lasting import LASTING_WARNINGS
from ml_assets.registry import promotion
from ml_assets.registry.gates import GATES, PASSING
from ml_assets.releases.gates import Decision, Gate
from ml_assets.stores import postgres
from ml_assets.training.model import TrainingSet
from ml_assets_tests.corpus import Deployment

CHALLENGER = {
    "version": 3,
    "family": "logistic_regression",
    "outcome": "refused",
    "reason": "macro-F1 0.8100 does not beat champion 2 (0.8000), by +0.0100: noise",
    "do": "Keep the champion, add documents with labels, about 2,400 in the test split",
    "decided_at": None,
}


def test_status_and_summary_tell_why_a_challenger_is_not_served() -> None:
    numbers = {"measurement": None, "candidates": [], "champion": None, "challenger": CHALLENGER}

    def told(numbers: dict[str, Any]) -> str:
        written = StringIO()
        for part in standing(numbers):
            Console(file=written, width=200).print(part)
        return " ".join(written.getvalue().split())

    text = told(numbers)
    assert "model version 3 (logistic_regression) outcome refused reason macro-F1 0.8100" in text
    assert "what helps Keep the champion, add documents with labels, about 2,400 in" in text
    assert told({**numbers, "challenger": None}) == ""


def test_a_warning_that_lasts_leaves_nothing_to_do_and_one_that_may_pass_does_not() -> None:
    names = {gate.__name__ for gate in GATES}
    assert names - LASTING_WARNINGS == PASSING
    assert {"no_feature_gives_the_label_away", "features_are_known"} <= LASTING_WARNINGS


@pytest.fixture
def home(tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of the commands, on the database of the test."""
    monkeypatch.setenv("ML_ASSETS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("POSTGRES_URL", postgres_url)
    monkeypatch.setenv("COLUMNS", "160")
    return tmp_path / "home"


def test_approve_at_the_prompt(
    home: Path,
    connection: postgres.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def approve(*words: str) -> Any:
        return CliRunner().invoke(cli.app, ["approve", *words])

    refused = approve("3", "--reason", "it reads well")
    assert refused.exit_code == 1
    assert "there is no training set to test a model on. Run `ml-assets run`" in refused.output
    assert approve("3").exit_code == 2, "an approval needs a reason"

    monkeypatch.setattr(commands, "_decide", lambda decide, *given: decide(*given))
    asked: list[object] = []

    def approved(*given: object) -> Decision:
        asked.extend(given[-2:])
        return Decision(True, True, "", [Gate("answers_in_time", "pass", "p99 2.0 ms", {})])

    monkeypatch.setattr(promotion, "approve", approved)
    done = approve("3", "--reason", "it reads well")
    assert done.exit_code == 0, done.output
    assert asked == [3, "it reads well"]
    assert "pass: answers_in_time: p99 2.0 ms" in done.output
    assert "3 is served." in done.output


def test_an_unknown_version_is_not_approved(
    trained: tuple[Deployment, TrainingSet],
) -> None:
    deployment, training_set = trained
    given = (
        deployment.connection,
        deployment.open_duck,
        deployment.tracking,
        training_set,
        deployment.settings,
    )
    with pytest.raises(NothingToDoError, match="there is no version 10000"):
        promotion.approve(*given, 10_000, "typo")
