"""What the page's files may not contain, whatever they do."""

from __future__ import annotations

import re

from tests.support import ROOT

_FOLDER = ROOT / "relay" / "page"
_CLIENT = ROOT / "clients" / "js"
_SOURCES = [*_FOLDER.glob("*.js"), *_CLIENT.glob("*.js")]
_PARSERS = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|DOMParser|document\.write|setHTML|createContextual|eval\(|new Function"
)
_INLINE = re.compile(r"<style|\sstyle=|\son\w+=|https?://|<script(?![^>]*\ssrc=)")
_DOM = re.compile(r"\b(document|window|navigator|localStorage|sessionStorage|HTMLElement)\b")
_WITHOUT_DOM = (
    "answer answer-state follower polling "
    "markdown-blocks markdown-emphasis markdown-inline markdown-links markdown-table"
)
_MOST_LINES = 300


def test_the_page_parses_no_html_and_loads_nothing_from_elsewhere() -> None:
    """The sources name no HTML parser, no inline script or style, and no other origin."""
    for path in _SOURCES:
        assert not _PARSERS.search(path.read_text()), path.name
    page = (_FOLDER / "index.html").read_text()
    assert not _INLINE.search(page)
    assert not re.search(r"url\(|@import", (_FOLDER / "style.css").read_text())


def test_the_part_behind_the_page_knows_no_dom() -> None:
    """What follows answers and what reads Markdown runs without a page, so that it can be used without one."""
    for name in _WITHOUT_DOM.split():
        code = re.sub(r"/\*.*?\*/|//.*", "", (_FOLDER / f"{name}.js").read_text(), flags=re.DOTALL)
        assert not _DOM.search(code), name


def test_every_module_says_what_it_is_and_stays_short() -> None:
    """A file begins with a sentence on its subject, and has at most 300 lines."""
    for path in _SOURCES:
        text = path.read_text()
        assert text.startswith("/**"), path.name
        assert text.count("\n") <= _MOST_LINES, path.name
