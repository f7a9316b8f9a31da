"""The bench of models, on a task made by hand and on a small file."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench import promotion, training
from ml_assets.registry.gates import Answers
from ml_assets.training.families.registry import FAMILIES
from ml_assets_tests.fakes import HashEncoder
from ml_assets_tests.training.tasks import made_task


def test_every_family_is_measured_and_one_is_chosen() -> None:
    task = made_task()
    tested = np.arange(len(task.examples.truth)) >= 150
    rows = dict(training.measure(task, tested, 0))
    assert [*rows] == [*(family.name for family in FAMILIES), "chosen"]
    chosen = rows["chosen"]
    assert chosen["macro_f1"] > rows["majority_class"]["macro_f1"] + 0.2
    assert chosen["accuracy"] in {row["accuracy"] for name, row in rows.items() if name != "chosen"}
    assert chosen["seconds"] >= max(row["seconds"] for row in rows.values())
    assert 0 < chosen["noise"] < 0.5


def test_texts_are_read_with_vectors_and_features(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "load_encoder", lambda _: HashEncoder())
    frame = pd.DataFrame(
        {"text": ["One  text.", "Another text.", "One  text."], "label": [1, 2, 1]}
    )
    kept = tmp_path / "vectors.npy"
    task = training.read_task(frame, kept)
    assert task.labels == ("1", "2")
    assert "document_text__words" in task.features
    first, other, again = task.examples.document_ids
    assert first == again != other
    assert task.examples.inputs["document_text__nearest_distance"].tolist()[::2] == [0, 0]
    monkeypatch.undo()  # the vectors are those that were kept
    assert training.read_task(frame, kept).examples.inputs.equals(task.examples.inputs)


def test_a_text_is_on_one_side_of_a_split() -> None:
    shares = [training.place(f"text {number}", 0) < training.SHARE for number in range(2000)]
    assert 0.17 < np.mean(shares) < 0.23
    assert training.place("text", 0) != training.place("text", 1)


def test_champions_are_worse_by_as_much_as_asked_and_who_knows_nothing_replaces_none() -> None:
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 3, 1000)

    def right(share: float) -> Answers:
        given = np.where(generator.random(1000) < share, truth, (truth + 1) % 3)
        return Answers(given, np.full(1000, share))

    tried = promotion.Try(("a", "b", "c"), truth, *map(right, (0.8, 0.8, 0.4, 0.7)))
    (worse,) = promotion.worsened([tried], 0.2)
    assert worse.loss() == pytest.approx(0.2, abs=0.01)
    assert worse.outcome() == "pass"
    assert tried.outcome() == "cannot tell"
    assert tried.dealt(0).outcome() == "block"
    with pytest.raises(SystemExit, match="are not worse by"):
        promotion.worsened([tried], 0.5)


def test_models_of_a_try_answer_texts_that_none_has_seen() -> None:
    tried = promotion.attempt(made_task(), 0, 60)
    answered = (tried.challenger, tried.champion, tried.poor, tried.less)
    assert {len(each.given) for each in answered} == {len(tried.truth)} == {60}
    assert (tried.challenger.confidence != tried.champion.confidence).any()
    assert 0.4 < np.mean(tried.truth == tried.challenger.given) < 1
