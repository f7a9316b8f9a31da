"""HTML as browsers read it: what is displayed, what is glued, and pages that are meant to hurt."""

from __future__ import annotations

import pytest

from ml_assets.documents.formats.html import read_html
from ml_assets.documents.model import Page


@pytest.mark.parametrize(
    ("html", "title", "text"),
    [
        ("<head><title>T</title><meta charset=utf-8><body><p>one", "T", "one"),
        ("<title>T<p>one<p>two", "T", "one\n\ntwo"),
        ("<title/><p>one", "", "one"),
        ("<p>one<p>two<ul><li>a<li>b</ul>", "", "one\n\ntwo\n\na\n\nb"),
        ("<h1>A <em>B</em></h1>c", "A B", "A B\nc"),
        ("<svg><title>no</title></svg><h1>yes</h1>", "yes", "yes"),
        ("<table><tr><td>Gasket</td><td>2.40</td></table>", "", "Gasket 2.40"),
        ("<select><option>red</option><option>blue</option></select>", "", "red blue"),
        ("<button>Go</button><button>Stop</button>", "", "Go Stop"),
        ("<label>Name</label><input><label>Age</label>", "", "Name Age"),
        ("<details><summary>More</summary>text</details>", "", "More\ntext"),
        ("<table><caption>Parts</caption><tr><th>a<th>b</table>", "", "Parts\n\na b"),
        ("<fieldset><legend>Who</legend>you</fieldset>", "", "Who\nyou"),
        ("a<textarea>b\n  c</textarea>d", "", "a\nb\n  c\nd"),
        ("Donau<wbr>dampf<b>schiff</b><span>fahrt</span>", "", "Donaudampfschifffahrt"),
        ("a <b> b</b>\n c", "", "a b c"),
        ("x<pre>a\n   b  c</pre>y", "", "x\na\n   b  c\ny"),
        ("<p>a<br>b<br/>c", "", "a\nb\nc"),
        ("<style>p {}</style><script>x = '<p>'</script><body><noscript>n</noscript>a", "", "a"),
        ("a<!-- no -->b<!doctype html>c &amp; &eacute;", "", "abc & é"),
        ('<script src="a.js" /><iframe src=b/><p>one', "", "one"),
        ("a<textarea/><noscript/><object data='c'/><TEMPLATE/>b", "", "a\n\nb"),
        ("<script>w('<script src=a />')</script>one<style>a::after{'<p/>'}</style>", "", "one"),
        ("<script>w('<b></b><script src=a />')</script>one", "", "one"),
        ("<script/>a<script>b</script>c", "", "ac"),
        ("", "", ""),
    ],
)
def test_what_is_displayed(html: str, title: str, text: str) -> None:
    assert read_html(html)[:2] == (title, text)


@pytest.mark.parametrize("tag", ["div", "span", "b", "table", "li", "x-y", "svg", "button"])
def test_what_is_nested_too_deep_is_read_flat(tag: str) -> None:
    html = f"<{tag}>" * 100_000 + "deep" + f"</{tag}>" * 100_000 + "<p>behind"
    assert read_html(html).text.split() == ["deep", "behind"]


def test_lines_are_kept_below_the_deepest_level() -> None:
    assert read_html("<div>" * 600 + "a<div>b</div>c<span>d</span>").text == "a\nb\ncd"
    assert read_html("<div>" * 600 + "</div>" * 600 + "<pre>a\n b</pre>").text == "a\n b"


@pytest.mark.parametrize("page", ["<" + "a" * 300_000, f"<pre>{' ' * 300_000}x", "<a " * 100_000])
def test_long_runs_take_linear_time(page: str) -> None:
    """Quadratic, each would take minutes."""
    assert len(read_html(page).text) <= 300_001


def test_thousands_of_attributes_are_passed_over() -> None:
    attributes = " ".join(f"a{n}=1" for n in range(200_000))
    assert read_html(f"<p {attributes}>one<p class=x>two")[:2] == ("", "one\n\ntwo")


def sections(page: Page) -> list[tuple[int, str, str]]:
    """The level and words of each heading, and the beginning of its section."""
    places = [(it.level, it.words, page.text[it.offset :].split("\n")[0]) for it in page.headings]
    assert list(page.headings) == sorted(page.headings)
    return places


@pytest.mark.parametrize(
    ("html", "found"),
    [
        ("<h1>A <em>B</em></h1>c<h2>D</h2>e<h6>F", [(1, "A B"), (2, "D"), (6, "F")]),
        ("<ul><li>Two</ul>\n\n<pre>\n\n\n\n  Two</pre><h2>Two</h2>", [(2, "Two")]),
        ("<h2><a href='#x'>C#</a></h2>", [(2, "C#")]),
        ("<h2>C# <a href='#x'>\u00b6</a></h2>", [(2, "C#")]),
        ("<h2><a href='/'>\u00a7</a></h2>", [(2, "\u00a7")]),
        ("<h1></h1><h2> <b></b></h2><h3><a href='#x'>#</a></h3>x", []),
        ("<h1>a<br>b</h1>", [(1, "a b")]),
        ("<head><title><h1>no</h1></title></head><!-- <h1>no</h1> --><template><h1>no", []),
        ("<h1>one<div><h2>two</h2></div></h1><h3>three", [(1, "one two"), (3, "three")]),
        ("<p>e<b>\u0301</b>\u1ed9<p>n\u0303<h2>\u0301no\u0303</h2>", [(2, "\u0301n\u00f5")]),
        ("<p>e\0\u0301\u2028 \u3000 x\x1c<h2>\xa0Yes\xa0</h2>", [(2, "Yes")]),
    ],
)
def test_sections_begin_at_headings(html: str, found: list[tuple[int, str]]) -> None:
    page = read_html(html)
    assert [(level, words) for level, words, _ in sections(page)] == found
    for heading in page.headings:
        assert page.text[heading.offset] == heading.words[0]
        assert page.text[: heading.offset].rstrip(" \xa0")[-1:] in ("", "\n")


def test_where_a_section_begins_whatever_is_around_it() -> None:
    parts = [
        "  <p>e\u0301</p>\n\n\n",
        "<pre>\n a\n\n\n\n</pre>",
        "<table><tr><td>x<td>y</table>",
        "",
    ]
    html = "".join(f"{parts[n % 4]}<h{n % 6 + 1}>Number {n}</h{n % 6 + 1}>" for n in range(40))
    found = sections(read_html(html))
    assert found == [(n % 6 + 1, f"Number {n}", f"Number {n}") for n in range(40)]


def test_a_hundred_thousand_headings_take_linear_time() -> None:
    """Quadratic, it would take an hour."""
    assert len(read_html("<h1>a</h1>b" * 100_000).headings) == 100_000
