"""Filters at the prompt."""

import json
from datetime import UTC, datetime

import pytest
from rich.console import Console
from typer.testing import CliRunner

from ml_assets import cli
from ml_assets.console.queries import hits
from ml_assets.search.answering.model import Hit, SearchResult
from ml_assets.search.filters.language import NO_FILTER, Condition, In, Scalar
from ml_assets.search.filters.parse import condition_of, parse_condition
from ml_assets.session import Session
from ml_assets_tests.search.filters.conditions import equal


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Condition]:
    """What the command `search` asks the engine for, which answers with nothing."""
    conditions: list[Condition] = []

    def answer(*_: object, filters: Condition, **__: object) -> SearchResult:
        conditions.append(filters)
        return SearchResult((), True, "g", filters=filters)

    monkeypatch.setattr(Session, "search", answer)
    return conditions


def test_all_options_have_to_hold(asked: list[Condition]) -> None:
    written = 'metadata.kind = "class" or not label in ("a", "b")'
    options = ["--collection", "x", "--label", "a", "--since", "2026-01-01", "--where", "n=true"]
    done = CliRunner().invoke(cli.app, ["search", "q", *options, "--filter", written, "--json"])
    whole = (
        'collection = "x" and label = "a" and created_at >= 2026-01-01 and metadata.n = true and'
        ' (metadata.kind = "class" or not label in ("a", "b"))'
    )
    assert asked == [parse_condition(whole)]
    assert parse_condition(json.loads(done.stdout)["filters"]) == asked[0]


def test_no_option_is_no_filter(asked: list[Condition]) -> None:
    CliRunner().invoke(cli.app, ["search", "q"])
    assert asked == [NO_FILTER]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--filter", 'label = "a" and'], "(character 16: label = "),
        (["--filter", ""], "should stand here, not the end"),
        (["--filter", "label > 1"], "label has no order"),
        (["--where", "kind"], "'kind' is not key=value"),
        (["--where", "=x"], "'=x' is not key=value"),
        (["--since", "2026-02-01", "--until", "2026-01-01"], "created_at cannot be from"),
    ],
)
def test_a_wrong_filter_is_one_line(asked: list[Condition], options: list[str], said: str) -> None:
    done = CliRunner().invoke(cli.app, ["search", "q", *options])
    assert done.exit_code == 1
    assert said in done.output
    assert done.output.count("\n") == 1
    assert not asked


def test_a_number_of_the_command_line_is_met_as_text_too() -> None:
    pairs = ["id=5", "n=1.5", "ok=true", "kind=class", 'q="5"', "none=null", "x=NaN", "y=-Infinity"]
    expected: list[tuple[str, tuple[Scalar, ...]]] = [
        ("id", ("5", 5)),
        ("n", ("1.5", 1.5)),
        ("ok", (True,)),
        ("kind", ("class",)),
        ("q", ("5",)),
        ("none", ("null",)),
        ("x", ("NaN",)),
        ("y", ("-Infinity",)),
    ]
    for pair, (key, values) in zip(pairs, expected, strict=True):
        asked = condition_of(None, None, None, None, [pair], None)
        assert repr(asked) == repr(In(f"metadata.{key}", values))  # True == 1


def hit(**given: object) -> Hit:
    """A document with a path and a URL that are longer than a line."""
    path, url = f"notes/{'very-' * 30}long.md", f"https://example.org/{'x' * 100}"
    known: dict[str, object] = {"document_id": path, "title": "A title", "url": url, "score": 1.0}
    known |= {"collection": "notes", "label": None, "relevance": 0.42, "text": "The whole text."}
    known |= {"snippet": "The whole …", "chunk_index": 0, "start_offset": 0, "end_offset": 9}
    known |= {"path": ("Install", "Debian")}
    known |= {"created_at": datetime(2026, 1, 31, tzinfo=UTC), "metadata": {"kind": "class"}}
    known |= {"keyword_score": 7.5, "vector_score": 0.61}
    return Hit(**(known | given))  # type: ignore[arg-type]


def test_a_hit_can_be_followed_in_a_pipe_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The output of a test is one: 80 columns wide."""
    shown = SearchResult((hit(), hit(document_id="b", url=None)), True, "g")
    monkeypatch.setattr(Session, "search", lambda *_, **__: shown)
    lines = CliRunner().invoke(cli.app, ["search", "q"]).stdout.splitlines()
    assert f"    {shown.hits[0].document_id}" in lines
    assert f"    {shown.hits[0].url}" in lines
    assert "    b" in lines
    assert " 1. A title > Install > Debian  notes  0.42" in lines


def test_json_has_all_that_is_known_of_a_hit(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, object] = {}

    def answer(*_: object, **options: object) -> SearchResult:
        asked.update(options)
        return SearchResult((hit(),), True, "g")

    monkeypatch.setattr(Session, "search", answer)
    done = CliRunner().invoke(cli.app, ["search", "q", "--json", "--min-relevance", "0.3"])
    assert asked["min_relevance"] == 0.3
    (told,) = json.loads(done.stdout)["hits"]
    assert told["metadata"] == {"kind": "class"}
    assert told["created_at"].startswith("2026-01-31")
    assert (told["text"], told["path"]) == ("The whole text.", ["Install", "Debian"])
    assert (told["keyword_score"], told["vector_score"], told["relevance"]) == (7.5, 0.61, 0.42)


def test_what_waits_to_be_indexed_is_told() -> None:
    for behind, complete, said in [
        (1, False, "Incomplete: 1 document waits to be indexed. `ml-assets run`"),
        (3, False, "Incomplete: 3 documents wait to be indexed"),
        (3, True, "3 documents wait to be indexed; none could pass the filter."),
    ]:
        screen = Console(width=100)
        with screen.capture() as shown:
            screen.print(hits(SearchResult((), complete, "g", behind=behind)))
        assert said in shown.get()


def test_an_incomplete_result_blames_a_filter_only_where_there_is_one() -> None:
    for filters, said in [
        (NO_FILTER, "there are fewer"),
        (equal("label", "a"), "the filter left"),
    ]:
        screen = Console(width=100)
        with screen.capture() as shown:
            screen.print(hits(SearchResult((), False, "g", filters=filters)))
        assert said in shown.get()
