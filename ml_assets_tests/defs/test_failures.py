"""What a run says of a step that failed: one line for what a person can mend, the story else."""

import json
from collections.abc import Callable

import dagster as dg
import pytest

from ml_assets.defs.assets import plain, table
from ml_assets.defs.run import _failure
from ml_assets.errors import GateError, IncompleteReadError, StoreError


def fail(act: Callable[[], None]) -> list[str]:
    @dg.op
    def step() -> None:
        act()

    @dg.job
    def job() -> None:
        step()

    result = job.execute_in_process(raise_on_error=False)
    (event,) = [event for event in result.all_events if event.is_step_failure]
    return _failure(event)


def refuse(error: Exception, cause: Exception | None = None) -> Callable[[], None]:
    def act() -> None:
        raise error from cause

    return act


def test_a_store_that_fails_is_one_line_whatever_caused_it() -> None:
    error = StoreError("does not answer", where="CHROMA_URL", do="Check it")
    deepest = OSError(111, "Connection refused")
    line = ["CHROMA_URL: does not answer. Check it"]
    assert fail(refuse(error)) == line
    assert fail(refuse(error, deepest)) == line
    gate = GateError("a gate blocks", do="See it")
    assert fail(refuse(gate, error)) == ["a gate blocks. See it"]


def test_what_a_check_or_a_collection_says_itself_is_not_said_twice() -> None:
    assert fail(refuse(IncompleteReadError({"a": "gone"}), OSError(2, "gone"))) == []


def test_a_defect_keeps_its_story() -> None:
    (story,) = fail(refuse(KeyError("absent")))
    assert story.startswith("step: KeyError: 'absent'")
    assert "Stack Trace" in story


def test_an_interrupt_is_one() -> None:
    with pytest.raises(KeyboardInterrupt):
        fail(refuse(dg.DagsterExecutionInterruptedError()))


def test_the_numbers_of_a_check_are_json_also_a_table() -> None:
    metadata = {"rows": table([{"index": "chroma", "recall": 0.9}]), "of": dg.IntMetadataValue(3)}
    assert json.loads(json.dumps(plain(metadata))) == {
        "rows": [{"index": "chroma", "recall": 0.9}],
        "of": 3,
    }
