"""What the keyword index alone does: titles, stems, accents, spellings, any text as a query."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as settings_
from hypothesis import strategies as st

from ml_assets.search.indexes.keyword.index import KeywordIndex
from ml_assets.search.indexes.kinds import sync_index
from ml_assets.search.model import Generation
from ml_assets.settings import Settings
from ml_assets.stores import postgres
from ml_assets_tests.search.corpus import Doc, fill, remove


def test_the_title_counts_and_stems_meet(
    connection: postgres.Connection, settings: Settings, generation: Generation
) -> None:
    index = KeywordIndex(settings.keyword_folder, generation)
    fill(
        connection,
        {
            "t": Doc(("It does something.",), "argparse.ArgumentParser"),
            "x": Doc(("The argparse module does something else.",), "Module"),
            "s": Doc(("Parsing of commands.",), "Other"),
        },
    )
    sync_index(connection, index)
    assert index.query("argparse", 3).chunk_ids == ["t#0", "x#0"]
    assert index.query("it parses a command", 1).chunk_ids == ["s#0"]
    index.close()


@pytest.mark.parametrize(
    ("title", "heading", "found"),
    [
        ("Handbook", "Handbook > Install > Debian", True),
        ("", "Install > Debian", True),
        ("Handbook, clipped", "Handbook > Debian", True),
        ("Handbook", "", False),
    ],
)
def test_the_headings_above_a_chunk_count_as_its_title_does(
    connection: postgres.Connection,
    settings: Settings,
    generation: Generation,
    title: str,
    heading: str,
    found: bool,
) -> None:
    index = KeywordIndex(settings.keyword_folder, generation)
    fill(connection, {"t": Doc(("Use apt.",), title), "x": Doc(("A Debian of old.",), "Other")})
    connection.execute(
        "update chunks set heading = %s, path = %s where chunk_id = 't#0'",
        [heading, ["Debian"] if heading else []],
    )
    sync_index(connection, index)
    assert set(index.query("debian", 2).chunk_ids) == ({"t#0", "x#0"} if found else {"x#0"})
    if title:
        assert index.query("handbook", 2).chunk_ids == ["t#0"]
    index.close()


def test_the_boost_of_the_title_decides_which_field_counts_more(
    connection: postgres.Connection, settings: Settings, generation: Generation
) -> None:
    """A parameter of the generation, which the query obeys: the files are the same."""
    fill(
        connection,
        {
            "t": Doc(("It does something else.",), "Pie"),
            "x": Doc(("Pie with pie, and then pie.",), "Something else"),
        },
    )
    sync_index(connection, KeywordIndex(settings.keyword_folder, generation))

    def best(boost: float) -> list[str]:
        keyword = {**generation.parameters["keyword"], "title_boost": boost}
        boosted = replace(generation, parameters={**generation.parameters, "keyword": keyword})
        index = KeywordIndex(settings.keyword_folder, boosted)
        found = list(index.query("pie", 2).chunk_ids)
        index.close()
        return found

    assert best(0.1) == ["x#0", "t#0"]
    assert best(10) == ["t#0", "x#0"]


ACCENTS = {
    # The exact form ranks first, although the other is in the shorter text.
    "a": Doc(("The café at the corner.",), "Müller"),
    "b": Doc(("A cafe.",), "Muller"),
    "c": Doc(("A cafe, or a café, of one kind or another.",), "Both"),
    "d": Doc(("Voilà, the naïve way.",), "Other"),
}
BY_ACCENT = {
    "cafe": ["b#0", "c#0", "a#0"],
    "café": ["c#0", "a#0", "b#0"],
    "CAFE\u0301": ["c#0", "a#0", "b#0"],
    "Muller": ["b#0", "a#0"],
    "Müller": ["a#0", "b#0"],
    "voila": ["d#0"],
    "naive naïf": ["d#0"],
}
"""Queries, and what each finds: a text with both forms has the one that is asked for."""


def test_accents_are_folded_and_the_exact_form_ranks_first(
    connection: postgres.Connection, settings: Settings, generation: Generation
) -> None:
    fill(connection, ACCENTS)
    index = KeywordIndex(settings.keyword_folder, generation)
    sync_index(connection, index)
    found = {query: index.query(query, 5) for query in BY_ACCENT}
    assert {query: ranking.chunk_ids for query, ranking in found.items()} == BY_ACCENT
    only = found["voila"].scores[0]
    assert index.query("voilà", 5).scores[0] == only, "where there is one form, it counts whole"
    remove(connection, "a")
    remove(connection, "c")
    sync_index(connection, index)
    assert index.query("Müller", 5).scores == index.query("Muller", 5).scores
    index.close()


SPELLINGS = {
    "sha1": Doc(("Commit 356a192b7913b04c54574d18c28d46e6395428ab mends the loop.",)),
    "sha2": Doc((f"The installer has the checksum {'e3b0c442' * 8}.",)),
    "blob": Doc((f"Attached: {'QUJD' * 500} ends here.",)),
    "chinese": Doc(("数据库连接超时时请检查防火墙设置",)),
    "printer": Doc(("打印机无法启动请更换墨盒",)),
    "japanese": Doc(("プリンターの電源を入れてください。",)),
    "thai": Doc(("กรุณาตรวจสอบเครื่องพิมพ์ก่อนใช้งาน",)),
    "unseen": Doc(("The in\u00adsur\u00adance pays for eight\u200b years.",)),
    "ligature": Doc(("The \ufb01re certi\ufb01cate expires.",)),
    "wide": Doc(("The unit \uff21\uff22\uff14\uff17\uff11 is in hall two.",)),
}
BY_SPELLING = {
    "356a192b7913b04c54574d18c28d46e6395428ab": "sha1",
    "E3B0C442" * 8: "sha2",
    "QUJD" * 500: "blob",
    "数据库": "chinese",
    "打印机": "printer",
    "墨": "printer",
    "電源": "japanese",
    "เครื่องพิมพ์": "thai",
    "insurance": "unseen",
    "eight": "unseen",
    "in\u00adsurance": "unseen",
    "fire certificate": "ligature",
    "AB471": "wide",
    "\uff21\uff22\uff14\uff17\uff11": "wide",
}
"""Queries, and the one document that each finds."""


def test_however_a_word_is_spelled_its_document_is_found_first(
    connection: postgres.Connection, settings: Settings, generation: Generation
) -> None:
    fill(connection, SPELLINGS)
    index = KeywordIndex(settings.keyword_folder, generation)
    sync_index(connection, index)
    found = {query: index.query(query, 5).chunk_ids[:1] for query in BY_SPELLING}
    assert found == {query: [f"{document}#0"] for query, document in BY_SPELLING.items()}
    assert not index.query("连超", 5).chunk_ids, "a pair that is written nowhere finds nothing"
    index.close()


def test_a_keyword_index_of_before_the_folding_answers_as_it_did(
    connection: postgres.Connection, settings: Settings, generation: Generation
) -> None:
    """Until the next run has published another, and after a rollback."""
    before = {**generation.parameters["keyword"], "layout": 3}
    older = replace(generation, parameters={**generation.parameters, "keyword": before})
    fill(connection, ACCENTS)
    index = KeywordIndex(settings.keyword_folder, older)
    sync_index(connection, index)
    index.close()
    assert index.query("cafe", 5).chunk_ids == ["b#0", "c#0"]
    assert set(index.query("cafe\u0301", 5).chunk_ids) == {"a#0", "c#0"}
    index.close()


BROKEN = ['"', "title:x AND (", "a OR OR b^^", "* ? ~2 [1 TO", "\x00\x01", "+-/\\", "x" * 100_000]


def test_no_query_text_can_break_the_parser(synced_keyword: KeywordIndex) -> None:
    for text in BROKEN:
        assert synced_keyword.query(text, 5).exhausted, text
        assert synced_keyword.query(f"{text} pie", 5).chunk_ids == ["b#0"], text


# One index serves all the examples: a query changes nothing.
@settings_(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.text())
def test_no_text_at_all_breaks_the_parser(synced_keyword: KeywordIndex, text: str) -> None:
    found = synced_keyword.query(f"{text} pie", 5)
    assert "b#0" in found.chunk_ids
    assert set(synced_keyword.query(text, 5).chunk_ids) <= {"a#0", "a#1", "b#0", "c#0", "d#0"}


@pytest.fixture
def synced_keyword(
    connection: postgres.Connection, settings: Settings, generation: Generation
) -> KeywordIndex:
    fill(
        connection, {"a": Doc(("red apple", "green apple"), "Fruit"), "b": Doc(("red apple pie",))}
    )
    index = KeywordIndex(settings.keyword_folder, generation)
    sync_index(connection, index)
    return index


def test_a_document_as_query_is_cut_after_many_terms(synced_keyword: KeywordIndex) -> None:
    long = "red " + " ".join(f"w{number}" for number in range(5000))
    assert synced_keyword.query(long, 5).chunk_ids
