"""The plan says what the run then does, and writes nothing."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ml_assets.delta import Delta
from ml_assets.documents.collections import count_rows
from ml_assets.documents.history import read_history
from ml_assets.documents.model import Document, Rejected
from ml_assets.documents.refresh import refresh_chunks, refresh_documents
from ml_assets.embeddings.refresh import refresh_embeddings
from ml_assets.embeddings.scripts import Unreadable
from ml_assets.embeddings.space import load_tokenizer
from ml_assets.errors import NothingToDoError, StoreError
from ml_assets.operations.pending import find_pending
from ml_assets.operations.plan import plan_refresh
from ml_assets.stores import postgres
from ml_assets.stores.postgres.locks import ANOTHER_RUN, turn
from ml_assets_tests.embeddings.corpus import CHUNKER
from ml_assets_tests.fakes import SPACE, HashEncoder, MemorySource, other_space
from ml_assets_tests.servers import PASSWORD

WIDER = type(CHUNKER)(CHUNKER.tokenizer_file, 80, tokens=60, overlap=4)
TABLES = ("collections", "documents", "chunks", "document_embeddings", "change_log")


def contents(connection: postgres.Connection) -> dict[str, object]:
    return {
        table: connection.execute(f"select t::text from {table} t order by 1").fetchall()  # type: ignore[call-overload]
        for table in TABLES
    }


def run(
    connection: postgres.Connection, source: MemorySource, encoder: HashEncoder | None = None
) -> tuple[Delta, ...]:
    encoder = encoder or HashEncoder()
    names = find_pending(connection, source, CHUNKER, encoder.space).collections
    documents = refresh_documents(connection, source, names)
    chunks = refresh_chunks(connection, CHUNKER, names)
    report = refresh_embeddings(connection, encoder.space, lambda: encoder, names)
    return (
        sum(documents.deltas.values(), Delta()),
        sum(chunks.values(), Delta()),
        Delta(report.encoded, report.reused),
    )


@pytest.fixture(params=["owner", "reader"])
def planner(
    request: pytest.FixtureRequest,
    connection: postgres.Connection,
    superuser: postgres.Connection,
    postgres_url: str,
) -> Iterator[postgres.Connection]:
    """Who asks for the plan: the role that wrote the tables, or one that may read them alone."""
    if request.param == "owner":
        yield connection
        return
    superuser.execute(f"create role planner login password '{PASSWORD}'")
    superuser.execute("grant usage on schema ml_schema to planner")
    superuser.execute("grant select on all tables in schema ml_schema to planner")
    with postgres.connect(postgres_url.replace("ml_assets:", "planner:", 1), Path()) as opened:
        yield opened
    superuser.execute("drop owned by planner")
    superuser.execute("drop role planner")


def test_the_plan_is_what_the_run_does(
    connection: postgres.Connection, planner: postgres.Connection
) -> None:
    source = MemorySource()
    states = [
        [
            Document("x", "a", "One. " * 30),
            Document("y", "a", "Same."),
            Document("z", "b", "Same."),
        ],
        [Document("x", "a", "One. " * 9), Document("z", "b", "Same."), Document("w", "c", "New.")],
        [Document("x", "c", "Moved."), Document("w", "c", "New.")],
    ]
    for given in states:
        source.documents = list(given)
        before = contents(connection)
        plan = plan_refresh(planner, source, CHUNKER, SPACE)
        assert contents(connection) == before
        assert contents(planner) == before
        encoder = HashEncoder()
        documents, chunks, vectors = run(connection, source, encoder)
        assert Delta(plan.encode, plan.reuse) == vectors
        tokenizer = load_tokenizer(CHUNKER.tokenizer_file)
        assert plan.tokens == sum(len(tokenizer.encode(text)) for text in encoder.texts)
        stored = count_rows(connection)
        # Those of collections that are not read are counted too.
        for planned, done, name in (
            (plan.documents, documents, "documents"),
            (plan.chunks, chunks, "chunks"),
        ):
            assert planned == replace(done, unchanged=stored[name] - done.added - done.changed)
    assert find_pending(connection, source, CHUNKER, SPACE).collections == []
    plan = plan_refresh(planner, source, WIDER, SPACE)
    assert plan.collections == ("c",)
    assert plan == plan_refresh(connection, source, WIDER, SPACE)


@pytest.mark.parametrize("planner", ["reader"], indirect=True)
def test_who_may_not_make_temporary_tables_is_told_the_grant(
    planner: postgres.Connection, superuser: postgres.Connection, postgres_url: str
) -> None:
    database = urlsplit(postgres_url).path[1:]
    superuser.execute(f"revoke temporary on database {database} from public")  # type: ignore[call-overload]
    source = MemorySource([Document("x", "a", "One.")])
    url = postgres_url.replace("ml_assets:", "planner:", 1)
    with (
        pytest.raises(StoreError, match=f"`grant temporary on database {database} to planner`"),
        postgres.connect(url, Path()) as asking,
    ):
        plan_refresh(asking, source, CHUNKER, SPACE)


def test_the_plan_tells_what_is_left_out(connection: postgres.Connection) -> None:
    def of(label: str, count: int) -> list[Document]:
        return [
            Document(f"{label}{n}", "a", f"Text {label} {n}.", label=label) for n in range(count)
        ]

    source = MemorySource([Document("x", "a", "No label.")])

    def left_out() -> tuple[int, dict[str, int], str]:
        plan = plan_refresh(connection, source, CHUNKER, SPACE)
        return plan.rejected, plan.small_labels, plan.no_model

    assert left_out() == (0, {}, "no document has a label")
    source.documents += [*of("few", 9), *of("enough", 10)]
    few = (0, {"few": 9}, "fewer than two labels have 10 groups of documents (1 of 2)")
    assert left_out() == few
    run(connection, source)
    assert left_out() == few, "with nothing to read, too"
    source.documents += of("many", 11)
    assert left_out() == (0, {"few": 9}, "")
    source.documents.append(Rejected("a", "row 9", "no text"))
    assert left_out()[0] == 1
    assert plan_refresh(connection, source, CHUNKER, SPACE).alike_labels == []
    source.documents += [*of("Few", 1), *of("Many", 1)]
    alike = [("Few", "few"), ("Many", "many")]
    assert plan_refresh(connection, source, CHUNKER, SPACE).alike_labels == alike


def test_the_plan_tells_which_documents_vectors_cannot_find(
    connection: postgres.Connection,
) -> None:
    source = MemorySource([Document("x", "a", "One.")])
    assert plan_refresh(connection, source, CHUNKER, SPACE).unreadable.documents == 0
    source.documents += [
        Document("zh0", "a", "数据库连接超时时请检查防火墙设置, port 5432"),
        Document("th0", "a", "เครื่องพิมพ์ไม่ทำงาน", title="12/2026 (a)"),
        Document("mixed", "a", "The word 数据 means data, and nothing else of this is Chinese."),
        Document("french", "a", "Été à Évry, où l'élève a été présenté."),
    ]
    expected = Unreadable(2, "th0", SPACE.model)
    assert plan_refresh(connection, source, CHUNKER, SPACE).unreadable == expected
    run(connection, source)
    assert plan_refresh(connection, source, CHUNKER, SPACE).unreadable == expected
    remote = replace(SPACE, pooling="remote")
    assert plan_refresh(connection, source, CHUNKER, remote).unreadable == Unreadable()


def test_the_history_tells_why(connection: postgres.Connection) -> None:
    source = MemorySource([Document("x", "a", "One."), Document("y", "a", "Two.")])
    run(connection, source)
    source.documents[0] = Document("x", "a", "Edited.")
    run(connection, source)
    run(connection, source, HashEncoder(other_space()))
    refresh_chunks(connection, WIDER, ["a"], run_id="r4")
    source.documents = [Document("y", "b", "Two.")]
    run(connection, source)
    told = [(row["stage"], row["action"], row["reason"]) for row in read_history(connection, "x")]
    assert told == [
        ("documents", "added", "new"),
        ("documents", "changed", "text"),
        ("embeddings", "changed", f"vector space {other_space().space_id}"),
        ("chunks", "changed", f"chunker {WIDER.fingerprint}"),
        ("documents", "removed", "left the source"),
    ]
    assert read_history(connection, "x")[3]["run_id"] == "r4"
    moved = [row["reason"] for row in read_history(connection, "y")]
    assert "moved from a" in moved
    with pytest.raises(NothingToDoError, match="no run ever saw a document 'nobody'"):
        read_history(connection, "nobody")


def test_the_plan_waits_for_a_run_and_plans_what_is_left(
    connection: postgres.Connection, postgres_url: str
) -> None:
    """Both write the same rows: at once, one of them would fail, or wait unseen."""
    source = MemorySource([Document("x", "a", "One.")])
    told: list[str] = []
    with postgres.connect(postgres_url, Path()) as other, ExitStack() as run_at_work:
        run_at_work.enter_context(turn(other, told.append))

        def end_the_run(line: str) -> None:
            told.append(line)
            run(other, source)
            run_at_work.close()

        plan = plan_refresh(connection, source, CHUNKER, SPACE, notify=end_the_run)
        assert told == [ANOTHER_RUN]
        assert plan.collections == ()
        assert plan.documents == Delta(unchanged=1)
        # With nothing to do it is not waited for, and nothing is held on to.
        with turn(other, told.append):
            plan_refresh(connection, source, CHUNKER, SPACE, notify=told.append)
        assert told == [ANOTHER_RUN]
