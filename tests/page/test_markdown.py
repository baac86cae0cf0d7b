"""The Markdown renderer: what models write, hostile text, text that is still growing, and its cost."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from tests.page.chat_page import ChatPage
from tests.support_services import Service

pytestmark = pytest.mark.asyncio(loop_scope="session")

_RENDER = """async ({ pieces, finish }) => {
    const { MarkdownView } = await import("/page/markdown.js");
    const root = document.createElement("div");
    document.body.append(root);
    const view = new MarkdownView(root);
    for (const piece of pieces) view.append(piece);
    if (finish) view.finish();
    const html = root.innerHTML;
    root.remove();
    return html;
}"""

_LINK = 'rel="noopener noreferrer" target="_blank"'

_CASES = {
    "one\ntwo\n\nthree": "<p>one<br>two</p><p>three</p>",
    "# Head *line* #\n###### six\n#no": "<h1>Head <em>line</em></h1><h6>six</h6><p>#no</p>",
    "**bold** __bold__ *it* _it_ ~~gone~~": (
        "<p><strong>bold</strong> <strong>bold</strong> <em>it</em> <em>it</em> <del>gone</del></p>"
    ),
    "***both*** **a *b* c**": "<p><em><strong>both</strong></em> <strong>a <em>b</em> c</strong></p>",
    "2 * 3 * 4, snake_case_name, a*b*c": "<p>2 * 3 * 4, snake_case_name, a<em>b</em>c</p>",
    "**open and *never closed": "<p>**open and *never closed</p>",
    r"\*plain\* \# &lt;b&gt; &amp; &copy;": "<p>*plain* # &lt;b&gt; &amp; &amp;copy;</p>",
    "`a` ``b ` c`` ` d": "<p><code>a</code> <code>b ` c</code> ` d</p>",
    "- a\n- b\n  - c\n\n  more\n- d": (
        "<ul><li><p>a</p></li><li><p>b</p><ul><li><p>c</p></li></ul><p>more</p></li><li><p>d</p></li></ul>"
    ),
    "3. x\n4. y\n   1. z": '<ol start="3"><li><p>x</p></li><li><p>y</p><ol><li><p>z</p></li></ol></li></ol>',
    "1. a\n  - b": "<ol><li><p>a</p><ul><li><p>b</p></li></ul></li></ol>",
    "- [ ] todo\n- [x] done": '<ul><li class="task"><p>☐ todo</p></li><li class="task"><p>☑ done</p></li></ul>',
    "> a\n> > b\nlazy\n\nout": "<blockquote><p>a</p><blockquote><p>b<br>lazy</p></blockquote></blockquote><p>out</p>",
    "a\n\n---\n***\nb": "<p>a</p><hr><hr><p>b</p>",
    '[t](https://a.example/x_(y) "title") <https://b.example>': (
        f'<p><a href="https://a.example/x_(y)" {_LINK}>t</a> <a href="https://b.example" {_LINK}>https://b.example</a></p>'
    ),
    "see https://a.example/p?q=1, or (https://b.example).": (
        f'<p>see <a href="https://a.example/p?q=1" {_LINK}>https://a.example/p?q=1</a>, '
        f'or (<a href="https://b.example" {_LINK}>https://b.example</a>).</p>'
    ),
    "![a **cat**](https://a.example/c.png)": (
        f'<p><a href="https://a.example/c.png" {_LINK}>a <strong>cat</strong></a></p>'
    ),
    "| a | b |\n|---|--:|\n| 1 \\| 2 | `x` |\n| 3 |\nafter": (
        '<div class="table" tabindex="0"><table><thead><tr><th>a</th><th class="right">b</th></tr></thead>'
        '<tbody><tr><td>1 | 2</td><td class="right"><code>x</code></td></tr>'
        '<tr><td>3</td><td class="right"></td></tr></tbody></table></div><p>after</p>'
    ),
}

_HOSTILE = """
<script>document.title = "owned"</script><img src=x onerror="document.title = 'owned'"><svg/onload=alert(1)>

[a](javascript:alert(1)) [b](JaVaScRiPt:alert(1)) [c](data:text/html,<script>alert(1)</script>) [d](vbscript:x)
[e](java\tscript:alert(1)) [f](//evil.example) [g](/v1/streams) [h](https:javascript:alert) <javascript:alert(1)>
[i](https://a.example/" onclick="alert(1)) ![j](javascript:alert(1)) [k](&#106;avascript:alert(1))

<iframe srcdoc="<script>alert(1)</script>"></iframe> <a href="javascript:alert(1)">x</a>
<style>body{display:none}</style>

```"><script>alert(1)</script>
</code></pre><script>alert(1)</script>
```

| <b>x</b> | [y](javascript:alert(1)) |
|---|---|
| <img src=x onerror=alert(1)> | `</code><script>` |
"""

_BOMBS = {
    "brackets": "[" * 100_000,
    "links": "[a](" * 30_000,
    "nested links": "[" * 20_000 + "](x)" * 20_000,
    "stars": "*a " * 50_000,
    "star runs": "*" * 100_000 + "a" + "*" * 100_000,
    "mixed emphasis": "*_~~" * 30_000,
    "ticks": "".join("`" * (1 + n % 400) + " " for n in range(2000)),
    "quotes": ">" * 50_000,
    "deep quotes": "\n".join(">" * n + " x" for n in range(1, 300)),
    "deep lists": "\n".join("  " * n + "- x" for n in range(300)),
    "spaces": "# " + " " * 100_000 + "#x",
    "dashes": "|a\n" + "|-" * 50_000,
    "bars": "|" * 50_000 + "\n" + "|-" * 50_000,
    "addresses": "http://" * 30_000,
    "line ends": "\n" * 100_000,
    "entities": "&" * 100_000,
}

_SAMPLE = "\n\n".join(
    [
        *_CASES,
        _HOSTILE,
        "```python\ndef f():\n    return `1`\n\n# not a head\n```\nafter",
        "~~~\n```\n~~~",
        "1. a\n\n   ```js\n   let x = 1;\n   ```\n2. b",
        "text **with\nbreaks** and \U0001f600 emoji `x",
        "```\nnever closed\n- no list",
    ]
)


async def _render(page: Page, pieces: list[str], *, finish: bool = True) -> str:
    return str(await page.evaluate(_RENDER, {"pieces": pieces, "finish": finish}))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def tab(browser: Browser, relay: Service) -> AsyncIterator[Page]:
    """Give a tab with the page, shared by the tests that only render into it and clean up."""
    context = await browser.new_context()
    page = await context.new_page()
    await page.goto(relay.url)
    yield page
    await context.close()


@pytest.mark.parametrize("source", _CASES)
async def test_common_markdown_becomes_elements(tab: Page, source: str) -> None:
    """The Markdown that models write comes out as the elements it means."""
    assert await _render(tab, [source]) == _CASES[source]


async def test_a_code_block_keeps_its_text_and_has_a_language_and_a_copy_button(chat: ChatPage) -> None:
    """Nothing in a fence is markup; the text is exact, and a button copies it."""
    await chat.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    code = "if a < b:\n    print('**no**')\n\n# done"
    facts = await chat.page.evaluate(
        """async (text) => {
            const { MarkdownView } = await import("/page/markdown.js");
            const root = document.createElement("div");
            document.body.append(root);
            const view = new MarkdownView(root);
            view.append(text);
            view.finish();
            root.querySelector("button").click();
            const everything = { childList: true, subtree: true };
            await new Promise((resolve) => new MutationObserver(resolve).observe(root, everything));
            return {
                code: root.querySelector("pre > code").textContent,
                label: root.querySelector("figcaption span").textContent,
                button: root.querySelector("button").textContent,
                copied: await navigator.clipboard.readText(),
            };
        }""",
        f"```python title=x\n{code}\n```",
    )
    assert facts == {"code": code, "label": "python", "button": "Copied", "copied": code}


async def test_a_hostile_answer_is_inert(chat: ChatPage) -> None:
    """Tags are text, no address but http, https and mailto becomes a link, and nothing runs or is fetched."""
    before = len(chat.requests)
    html = await _render(chat.page, [_HOSTILE])
    found: dict[str, Any] = await chat.page.evaluate(
        """async (text) => {
            const { MarkdownView } = await import("/page/markdown.js");
            const root = document.createElement("div");
            document.body.append(root);
            const view = new MarkdownView(root);
            view.append(text);
            view.finish();
            const all = [...root.querySelectorAll("*")];
            return {
                tags: [...new Set(all.map((element) => element.localName))],
                attributes: [...new Set(all.flatMap((element) => element.getAttributeNames()))],
                links: all.filter((element) => element.localName === "a").map((element) => element.href),
                title: document.title,
            };
        }""",
        _HOSTILE,
    )
    assert not {"script", "img", "svg", "iframe", "style", "b"} & set(found["tags"])
    assert not [name for name in found["attributes"] if name.startswith("on") or name in ("src", "srcdoc", "style")]
    assert [link for link in found["links"] if not link.startswith("https://a.example/")] == []
    assert found["title"] == "Tailrace"
    assert "&lt;script&gt;" in html
    fetched = [request.url for request in chat.requests[before:]]
    assert [url for url in fetched if not url.startswith(f"{chat.url}/page/")] == []


async def test_a_whole_hostile_answer_through_the_real_path_is_inert(chat: ChatPage) -> None:
    """The same for text that comes as a stream and is stored: the question shown above it is inert too."""
    await chat.say(f"<img src=x onerror=\"document.title='owned'\"> {_HOSTILE}")
    await chat.until_state("done", "failed")
    await chat.page.reload()
    await chat.until_state("done", "failed")
    assert await chat.page.title() == "Tailrace"
    assert await chat.page.evaluate("document.querySelectorAll('#turns :is(img, script, iframe, svg)').length") == 0


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50])
async def test_text_in_pieces_ends_as_text_at_once(tab: Page, size: int) -> None:
    """However a text is cut while it streams, the end result is the same as if it had come whole."""
    pieces = [_SAMPLE[at : at + size] for at in range(0, len(_SAMPLE), size)]
    assert await _render(tab, pieces) == await _render(tab, [_SAMPLE])


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("now **bold te", "<p>now <strong>bold te</strong></p>"),
        ("now **bold te*", "<p>now <strong>bold te</strong></p>"),
        ("now *it", "<p>now <em>it</em></p>"),
        ("now **", "<p>now </p>"),
        ("see `co", "<p>see <code>co</code></p>"),
        ("see [the page](https://a.exa", "<p>see the page</p>"),
        ("para\n-", "<p>para</p>"),
        ("para\n\n#", "<p>para</p>"),
        ("para\n\n1.", "<p>para</p>"),
        ("para\n``", "<p>para</p>"),
        ("- a\n- ", "<ul><li><p>a</p></li><li></li></ul>"),
        ("para\n\n| a | b |\n|--", "<p>para</p>"),
        ("3 * 4 and 5*6", "<p>3 * 4 and 5*6</p>"),
    ],
)
async def test_what_is_not_closed_yet_looks_as_if_it_were(tab: Page, text: str, html: str) -> None:
    """While text streams no marker flashes up: emphasis and code count as closed, undecided lines wait."""
    assert await _render(tab, [text], finish=False) == html


async def test_an_open_fence_is_code_while_it_grows(tab: Page) -> None:
    """Code shows as code from its first line on, and half of its closing fence is not shown."""
    html = await _render(tab, ["```py\nx = 1\n``"], finish=False)
    assert html.count("<figure") == 1
    assert "<code>x = 1</code>" in html


@pytest.mark.parametrize("name", _BOMBS)
async def test_no_text_makes_the_page_hang(tab: Page, name: str) -> None:
    """Text made to be expensive is rendered, growing and finished, in a time that nobody notices."""
    elapsed_ms = await tab.evaluate(
        f"""async (text) => {{
            const render = {_RENDER};
            const start = performance.now();
            await render({{ pieces: [text.slice(0, -1), text.slice(-1)], finish: true }});
            return performance.now() - start;
        }}""",
        _BOMBS[name],
    )
    assert elapsed_ms < 2500


async def test_a_long_answer_costs_per_token_what_a_short_one_does(tab: Page) -> None:
    """Eight times the text takes about eight times the time, not 64: finished blocks are not looked at again."""
    times: list[float] = await tab.evaluate(
        f"""async (paragraph) => {{
            const render = {_RENDER};
            const times = [];
            for (const count of [20, ...Array(3).fill([100, 800]).flat()]) {{
                const text = paragraph.repeat(count);
                const pieces = text.match(/[^]{{1,24}}/g);
                const start = performance.now();
                await render({{ pieces, finish: true }});
                times.push(performance.now() - start);
            }}
            return times;
        }}""",
        "A paragraph with **some** emphasis and `code`, as models write them.\n\n- one\n- two\n\n```py\nx = 1\n```\n\n",
    )
    _warm_up, *measured = times
    short, long = min(measured[::2]), min(measured[1::2])  # whatever else the machine does only adds
    assert long / short < 16, json.dumps(times)
