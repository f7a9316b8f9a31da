"""HTML as browsers read it: what is displayed, what is glued, and pages that are meant to hurt."""

from __future__ import annotations

import pytest

from ml_assets.documents.formats.html import html_text


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
        ("", "", ""),
    ],
)
def test_what_is_displayed(html: str, title: str, text: str) -> None:
    assert html_text(html) == (title, text)


@pytest.mark.parametrize("tag", ["div", "span", "b", "table", "li", "x-y", "svg", "button"])
def test_what_is_nested_too_deep_is_read_flat(tag: str) -> None:
    html = f"<{tag}>" * 100_000 + "deep" + f"</{tag}>" * 100_000 + "<p>behind"
    assert html_text(html)[1].split() == ["deep", "behind"]


def test_lines_are_kept_below_the_deepest_level() -> None:
    assert html_text("<div>" * 600 + "a<div>b</div>c<span>d</span>")[1] == "a\nb\ncd"
    assert html_text("<div>" * 600 + "</div>" * 600 + "<pre>a\n b</pre>")[1] == "a\n b"


@pytest.mark.parametrize("page", ["<" + "a" * 300_000, f"<pre>{' ' * 300_000}x", "<a " * 100_000])
def test_long_runs_take_linear_time(page: str) -> None:
    """Quadratic, each would take minutes."""
    assert len(html_text(page)[1]) <= 300_001


def test_thousands_of_attributes_are_passed_over() -> None:
    attributes = " ".join(f"a{n}=1" for n in range(200_000))
    assert html_text(f"<p {attributes}>one<p class=x>two") == ("", "one\n\ntwo")
