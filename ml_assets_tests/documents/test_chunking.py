import re
from bisect import bisect_left
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_assets.documents import chunking
from ml_assets.documents.chunking import Chunker
from ml_assets.documents.model import Heading
from ml_assets.embeddings.space import current_model
from ml_assets.errors import SettingError
from ml_assets.settings import load_settings
from ml_assets_tests import golden

TOKENIZER = current_model(load_settings(embedding_model="")).tokenizer_file
CHUNKER = Chunker(TOKENIZER, 256)
SMALL = Chunker(TOKENIZER, 40, tokens=16, overlap=4)

WORDS = st.sampled_from(
    [
        "alpha",
        "beta.",
        "Gamma!",
        "don't",
        "naïve",
        "漢字",
        "x" * 130,
        "0x1f",
        "\n\n",
        "\n",
        "()",
        "🙂",
    ]
)
TEXTS = st.one_of(
    st.lists(WORDS, max_size=120).map(" ".join),
    st.text(max_size=400),
    st.text("ab \n.", max_size=400),
)


HEADINGS = st.lists(
    st.builds(Heading, st.integers(0, 400), st.integers(1, 6), st.text(min_size=1, max_size=90)),
    unique_by=lambda heading: heading.offset,
    max_size=9,
).map(sorted)


def in_text(headings: list[Heading], text: str) -> list[Heading]:
    """Each at the next word of the text, where a parser has it: none begins within a word."""
    words = [match.start() for match in re.finditer(r"(?<![^ \n])[^ \n]", text)]
    moved = {}
    for heading in headings:
        if following := words[bisect_left(words, heading.offset) :]:
            moved[following[0]] = heading._replace(offset=following[0])
    return sorted(moved.values())


@settings(max_examples=200, deadline=None)
@given(title=st.text(max_size=60), text=TEXTS, headings=HEADINGS)
def test_chunks_cover_the_text_and_fit_the_model(
    title: str, text: str, headings: list[Heading]
) -> None:
    chunks = SMALL.chunk(title, text, in_text(headings, text))
    covered: set[int] = set()
    for index, chunk in enumerate(chunks):
        assert chunk.index == index
        assert text[chunk.start : chunk.end] == chunk.text
        assert chunk.text == chunk.text.strip() != ""
        assert chunk.token_count <= 40
        covered.update(range(chunk.start, chunk.end))
    assert all(position in covered or char.isspace() for position, char in enumerate(text))
    assert [chunk.start for chunk in chunks] == sorted({chunk.start for chunk in chunks})


@settings(max_examples=100, deadline=None)
@given(title=st.text(max_size=60), text=TEXTS, headings=HEADINGS, window=st.integers(1, 90))
def test_a_long_text_is_cut_window_by_window(
    title: str, text: str, headings: list[Heading], window: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunking, "_CHARACTERS", window)
        chunks = SMALL.chunk(title, text, in_text(headings, text))
    covered: set[int] = set()
    for index, chunk in enumerate(chunks):
        assert (chunk.index, text[chunk.start : chunk.end]) == (index, chunk.text)
        assert chunk.text.strip() == chunk.text != ""
        assert chunk.token_count <= 40
        covered.update(range(chunk.start, chunk.end))
    assert all(position in covered or char.isspace() for position, char in enumerate(text))
    assert [chunk.start for chunk in chunks] == sorted({chunk.start for chunk in chunks})


def test_where_a_window_ends_is_not_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    text = " ".join(f"Sentence {n} has some words, and ends." for n in range(300))
    whole = SMALL.chunk("T", text)
    monkeypatch.setattr(chunking, "_CHARACTERS", 1_000)
    assert SMALL.chunk("T", text) == whole


BODY = "Some words of it, and more. " * 4
GUIDE = "\n".join(
    [
        *("# Guide", "What it is about."),
        *("## Install", BODY, "### Debian", BODY, "### Fedora", "With dnf."),
        *("## Remove", "Delete it.", "## Ask", "Write to us."),
    ]
)


def outline(text: str) -> list[Heading]:
    """The headings of a text whose lines begin with `#`."""
    headings, offset = [], 0
    for line in text.split("\n"):
        marks, _, words = line.partition(" ")
        if marks and not marks.strip("#"):
            headings.append(Heading(offset, len(marks), words))
        offset += len(line) + 1
    return headings


def test_chunks_are_cut_at_headings_and_have_those_above() -> None:
    chunker = Chunker(TOKENIZER, 60, tokens=40, overlap=4)
    chunks = chunker.chunk("Handbook", GUIDE, outline(GUIDE))
    assert [(chunk.text.split("\n")[0], chunk.path) for chunk in chunks] == [
        ("# Guide", ("Guide",)),
        ("## Install", ("Guide", "Install")),
        ("### Debian", ("Guide", "Install", "Debian")),
        ("### Fedora", ("Guide", "Install", "Fedora")),
        ("## Remove", ("Guide",)),
    ]
    assert chunks[2].heading == "Handbook > Guide > Install > Debian"
    assert chunks[4].text == "## Remove\nDelete it.\n## Ask\nWrite to us."
    assert all(chunk.token_count <= 60 for chunk in chunks)
    assert all(left.end < right.start for left, right in pairwise(chunks))


def test_a_text_that_is_one_chunk_has_the_headings_above_all_of_it() -> None:
    (chunk,) = CHUNKER.chunk("", GUIDE, outline(GUIDE))
    assert (chunk.path, chunk.heading) == (("Guide",), "Guide")
    (chunk,) = CHUNKER.chunk("Guide", GUIDE, outline(GUIDE))
    assert (chunk.path, chunk.heading) == ((), "Guide")
    (chunk,) = CHUNKER.chunk("T", f"before\n{GUIDE}", outline(f"before\n{GUIDE}"))
    assert (chunk.path, chunk.heading) == ((), "T")


def test_of_too_long_a_path_the_title_and_the_innermost_are_kept() -> None:
    headings = [Heading(0, level, f"level {level}, as I said") for level in range(1, 7)]
    chunker = Chunker(TOKENIZER, 34, tokens=16)
    (chunk,) = chunker.chunk("A title", "Some text.", headings)
    assert chunk.path == tuple(heading.words for heading in headings)
    assert chunk.heading == "A title > level 5, as I said > level 6, as I said"
    (chunk,) = chunker.chunk("A title", "Some text.", [Heading(0, 1, "far " * 40)])
    assert chunk.heading.startswith("A title > far far")
    assert len(chunk.path[0]) == 160
    assert chunk.token_count <= 34


def test_a_section_goes_on_in_the_next_window(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "\n".join(f"{'#' * (n % 4 + 1)} Part {n}\n{BODY * (n % 3 + 1)}" for n in range(60))
    whole = SMALL.chunk("T", text, outline(text))
    monkeypatch.setattr(chunking, "_CHARACTERS", 1_000)
    cut = SMALL.chunk("T", text, outline(text))
    assert [(it.start, it.path) for it in cut] == [(it.start, it.path) for it in whole]


def test_a_short_text_is_one_chunk_with_its_title_as_heading() -> None:
    (chunk,) = CHUNKER.chunk("os.path.join", "  Join path components.\n")
    assert chunk.embedded_text == "os.path.join\nJoin path components."
    assert (chunk.start, chunk.end) == (2, 23)
    assert chunk.token_count == 11


def test_cuts_at_paragraphs_before_sentences_before_words() -> None:
    paragraphs = [
        "One two three four. Five six seven eight nine.",
        "Ten eleven twelve. " * 2 + "End.",
    ]
    chunks = Chunker(TOKENIZER, 40, tokens=16, overlap=0).chunk("", "\n\n".join(paragraphs))
    assert [chunk.text for chunk in chunks] == paragraphs


def test_neighbours_share_the_overlap() -> None:
    words = [f"w{number}" for number in range(300)]
    chunks = CHUNKER.chunk("", " ".join(words))
    for left, right in pairwise(chunks):
        assert 0 < left.end - right.start < len(left.text) / 4


def test_a_long_title_is_clipped_and_never_displaces_the_text() -> None:
    chunks = CHUNKER.chunk("word " * 300, "text " * 215)
    assert [chunk.text for chunk in chunks] == [("text " * 215).strip()]
    assert 215 + 2 < chunks[0].token_count <= 256


def test_white_space_has_no_chunks() -> None:
    assert CHUNKER.chunk("title", " \n\t ") == []


def test_a_chunk_larger_than_the_model_is_refused() -> None:
    with pytest.raises(SettingError, match=r"ML_ASSETS_CHUNK_TOKENS: 300 tokens do not fit"):
        Chunker(TOKENIZER, 256, tokens=300)


def test_the_fingerprint_follows_every_parameter(tmp_path: Path) -> None:
    other = tmp_path / "tokenizer.json"
    other.write_bytes(TOKENIZER.read_bytes() + b" ")
    chunkers = [
        CHUNKER,
        Chunker(TOKENIZER, 250),
        Chunker(TOKENIZER, 256, tokens=200),
        Chunker(TOKENIZER, 256, overlap=0),
        Chunker(other, 256),
        Chunker(TOKENIZER, 256, prompt="passage: "),
    ]
    assert len({chunker.fingerprint for chunker in chunkers}) == len(chunkers)


def test_a_prompt_takes_its_tokens_from_the_heading() -> None:
    prompt = "Represent this passage for retrieval: "
    chunker = Chunker(TOKENIZER, 256, prompt=prompt)
    assert chunker.heading_tokens == CHUNKER.heading_tokens - 6
    (chunk,) = chunker.chunk("word " * 300, "text " * 215)
    (plain,) = CHUNKER.chunk(chunk.heading, chunk.text)
    assert chunk.token_count == plain.token_count + 6 <= 256


def test_golden_chunks() -> None:
    text = " ".join(
        f"Sentence {number} of the text says something, naïvely: 0x{number:x} = {number}."
        + ("\n\n" if number % 7 == 6 else "\n" if number % 5 == 4 else "")
        for number in range(60)
    )
    words = " ".join(f"w{number}" for number in range(80))
    cases = {
        "sentences": (CHUNKER, "A title", text),
        "small": (SMALL, "A title that is longer than it may be beside a chunk", text[:1200]),
        "no boundaries": (SMALL, "", words),
        "one word": (SMALL, "", "x" * 300),
        "no overlap": (Chunker(TOKENIZER, 40, tokens=16, overlap=0), "", text[:600]),
        "prompt": (Chunker(TOKENIZER, 40, tokens=16, prompt="passage: "), "Title", text[:600]),
        "headings": (SMALL, "Handbook", GUIDE),
    }
    output = {
        name: [
            [chunk.start, chunk.end, chunk.token_count, chunk.heading, chunk.text]
            for chunk in chunker.chunk(title, body, outline(body))
        ]
        for name, (chunker, title, body) in cases.items()
    }
    golden.check("ml_assets.documents.chunking.VERSION", chunking.VERSION, output)
