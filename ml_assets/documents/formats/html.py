"""Title, visible text and headings of an HTML page, parsed as browsers do (HTML5)."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from ml_assets.documents.model import LONGEST_TITLE, Heading, Page
from ml_assets.documents.normalize import normalize

if TYPE_CHECKING:
    from selectolax.lexbor import LexborNode

_HIDDEN = frozenset(
    (
        *("head", "iframe", "noembed", "noframes", "noscript", "object", "script", "style"),
        *("template", "title"),
    )
)
_LINES = frozenset(
    (
        *("address", "article", "aside", "blockquote", "body", "br", "caption", "center", "dd"),
        *("details", "dialog", "dir", "div", "dl", "dt", "fieldset", "figcaption", "figure"),
        *("footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hgroup", "hr", "legend"),
        *("li", "main", "menu", "nav", "ol", "p", "pre", "search", "section", "summary", "table"),
        *("textarea", "tr", "ul"),
    )
)
"""Elements that are displayed on lines of their own."""

_APART = frozenset(
    ("button", "input", "label", "meter", "optgroup", "option", "progress", "select", "td", "th")
)
"""Elements that are displayed apart from what is beside them."""

_AS_IT_STANDS = frozenset(("pre", "textarea"))
_HEADINGS = {f"h{level}": level for level in range(1, 7)}

_SPACES = re.compile(r"[ \t\r\n\f]+")
_WORD = re.compile(r"\S+")
_BLANK_LINES = re.compile(r"\n{3,}")

_TAG = re.compile(r"<(/?)([a-zA-Z][^\s/<>]*+)([^<>]*+)>")
_TITLE = re.compile(r"<title(?:\s[^<>]*)?/?>", re.IGNORECASE)
_TITLE_END = re.compile(r"</title", re.IGNORECASE)
_SCRIPTS = frozenset(("script", "style"))
"""Elements whose text may look like tags, and is none."""

_DEEPEST = 500
"""Elements within each other, as browsers bound them; the time of a parser is quadratic in it."""

_LONGEST_TAG = 4096
"""Characters of attributes that are read; the time of a parser is quadratic in their number."""

_CLOSE_THEMSELVES = frozenset(
    (
        *("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source"),
        *("track", "wbr", "html", "head", "body", "li", "p", "dt", "dd", "rb", "rt", "rtc", "rp"),
        *("optgroup", "option", "colgroup", "caption", "thead", "tbody", "tfoot", "tr", "td", "th"),
        *("script", "style", "title", "textarea", "iframe", "noscript", "template", "param"),
    )
)
"""Elements that do not nest in themselves, or need no end tag."""


_CHARSET = re.compile(rb"""<meta[^>]{0,200}charset\s*=\s*["']?([\w.:-]{1,40})""", re.IGNORECASE)
_OF_WEB = {
    *(f"iso8859-{part}" for part in (2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 14, 15, 16)),
    *(f"cp{page}" for page in (866, 874, 932, 949, *range(1250, 1259))),
    *("koi8-r", "koi8-u", "mac-roman", "mac-cyrillic", "tis-620", "gb2312", "gbk", "gb18030"),
    *("big5", "big5hkscs", "euc_jp", "iso2022_jp", "shift_jis", "euc_kr"),
}
"""Encodings of pages, by their names in Python, which has some that fail or take long on purpose.

Source: https://encoding.spec.whatwg.org/#names-and-labels
"""

_HEAD = 1024
"""Bytes within which HTML declares its encoding."""


def read_html(html: str) -> Page:
    """Read a page: one line per block, `pre` as it stands; sections begin at `h1` to `h6`.

    The time is linear in the length, whatever the page is: what is nested deeper than browsers
    allow is read flat, and overlong attributes are passed over.
    """
    from selectolax.lexbor import LexborHTMLParser

    page = LexborHTMLParser(_end_title(_flatten(html)))
    named = page.css_first("head > title") or page.css_first("h1")
    title = _SPACES.sub(" ", named.text()).strip() if named else ""
    sections = [*_sections(page.root)] if page.root else []
    lines = "".join(text for _, _, text in sections).split("\n")
    text = normalize("\n".join(line.rstrip(" \t") for line in lines))
    text = _BLANK_LINES.sub("\n\n", text).strip()
    return Page(title, text, tuple(_headings(sections, text)))


def decode_html(content: bytes) -> str:
    """Decode a page as browsers do: by its mark, as UTF-8, as it declares, or as Windows-1252."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", "replace")
    with suppress(UnicodeDecodeError):
        return content.decode("utf-8-sig")
    if declared := _CHARSET.search(content[:_HEAD]):
        with suppress(LookupError, UnicodeDecodeError):
            encoding = codecs.lookup(declared[1].decode("ascii")).name
            if encoding in _OF_WEB:
                return content.decode(encoding)
    return content.decode("cp1252", "replace")


_Section = tuple[int, str, str]
"""The level of a heading, its words, and the text from it to the next one; first what is before."""


def _headings(sections: Iterable[_Section], text: str) -> Iterator[Heading]:
    """Find where the sections begin in a text that has lost white space, and nothing else."""
    words = _WORD.finditer(text)
    word, passed = next(words, None), 0
    for level, name, piece in sections:
        while word and passed >= len(word[0]):
            passed -= len(word[0])
            word = next(words, None)
        if level and name and word:
            yield Heading(word.start(), level, normalize(name)[:LONGEST_TITLE])
        passed += len("".join(normalize(piece).split()))


def _sections(root: LexborNode) -> Iterator[_Section]:
    """Cut the pieces of a page where headings begin; within one, no other begins."""
    level, words, texts, inside = 0, list[str](), list[str](), ""
    for node, begins, text in _pieces(root):
        tag = node.tag or ""
        if tag in _HEADINGS and begins and not inside:
            yield level, " ".join("".join(words).split()), "".join(texts)
            level, words, texts, inside = _HEADINGS[tag], [], [], tag
        elif tag == inside and not begins:
            inside = ""
        texts.append(text)
        if inside and not _is_mark(node):
            words.append(text)
    yield level, " ".join("".join(words).split()), "".join(texts)


def _is_mark(node: LexborNode) -> bool:
    """Whether a text is the sign that links to its own heading: ¶, § or #."""
    link = node.parent
    return (
        node.tag == "-text"
        and link is not None
        and link.tag == "a"
        and (link.attributes.get("href") or "").startswith("#")
        and not any(map(str.isalnum, node.text_content or ""))
    )


def _pieces(root: LexborNode) -> Iterator[tuple[LexborNode, bool, str]]:
    """Yield each element with its text in the order of the page; white space is kept in `pre`."""
    preformatted, line_begins = 0, True
    for node, begins in _walk(root):
        tag = node.tag or ""
        preformatted += (1 if begins else -1) * (tag in _AS_IT_STANDS)
        if tag == "-text":
            text = node.text_content or ""
            if not preformatted:
                text = _SPACES.sub(" ", text)
                text = text.lstrip(" ") if line_begins else text
        elif tag in _LINES:
            text = "\n" if begins or tag != "br" else ""
        else:
            text = " " if tag in _APART and not line_begins else ""
        yield node, begins, text
        if text:
            line_begins = text[-1] in " \n"


def _walk(root: LexborNode) -> Iterator[tuple[LexborNode, bool]]:
    """Yield each element that is displayed where it begins (True) and ends, a text once."""
    around: list[LexborNode] = []
    node: LexborNode | None = root
    while node is not None:
        yield node, True
        if node.tag not in _HIDDEN and (child := node.child):
            around.append(node)
            node = child
            continue
        if node.tag != "-text":
            yield node, False
        while node.next is None and around:
            node = around.pop()
            yield node, False
        node = node.next if around else None


def _end_title(html: str) -> str:
    """End a title that is never ended before the next tag: else it would be all of the page."""
    start = _TITLE.search(html)
    if start is None or _TITLE_END.search(html, start.end()):
        return html
    end = html.find("<", start.end())
    return html if end < 0 else f"{html[:end]}</title>{html[end:]}"


def _flatten(html: str) -> str:
    """Drop tags beyond the deepest level, and overlong attributes.

    What hides its text is ended where XHTML ends it, as in `<script src="…"/>`: to HTML all that
    follows would be in it.
    """
    depth, script = 0, ""

    def tag(found: re.Match[str]) -> str:
        nonlocal depth, script
        end, name, attributes = found.groups()
        kept = found[0] if len(attributes) <= _LONGEST_TAG else f"<{end}{name}>"
        name = name.lower()
        if script:
            script = "" if end and name == script else script
        elif not end and attributes.endswith("/") and name in _HIDDEN | _AS_IT_STANDS:
            return f"<{name}></{name}>"
        elif not end and name in _SCRIPTS:
            script = name
        if name in _CLOSE_THEMSELVES:
            return kept
        if end:
            depth = max(0, depth - 1)
            return kept if depth < _DEEPEST else _instead(name)
        depth += 1
        return kept if depth <= _DEEPEST else _instead(name)

    return _TAG.sub(tag, html)


def _instead(name: str) -> str:
    return "<br>" if name in _LINES else ""
