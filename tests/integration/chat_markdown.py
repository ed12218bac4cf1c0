#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The chat page's Markdown, in a headless Chromium: what it makes of ordinary texts, of hostile ones and of very long ones, and
that a text which arrives in pieces ends as the same elements as the whole."""
import sys

from browser import Browser, Missing
from chat_double import ARABIC, HOSTILE, MARKDOWN, Double
from tiny import case, finish

RENDER = "const box = make('div'); new StreamedMarkdown(box).update(arguments[0]); "

# Text, and the HTML of what it becomes, without the attributes that every block has.
CASES = [
    ("a *b* **c** ***d*** _e_ ~~f~~", "<p>a <em>b</em> <strong>c</strong> <em><strong>d</strong></em> <em>e</em> <del>f</del></p>"),
    ("snake_case_name and 2 * 3 * 4", "<p>snake_case_name and 2 * 3 * 4</p>"),
    ("**not closed and *nor this", "<p>**not closed and *nor this</p>"),
    ("**a *b** c*", "<p><em><em>a <em>b</em></em> c</em></p>"),
    ("~one~ and ~~~three~~~", "<p>~one~ and ~<del>three</del>~</p>"),
    (r"\*plain\* \[x] \q", r"<p>*plain* [x] \q</p>"),
    ("`a*b*` ``c`d`` ` e ` `open", "<p><code>a*b*</code> <code>c`d</code> <code>e</code> `open</p>"),
    ("one\ntwo  \nthree\\\nfour", "<p>one<br>two<br>three<br>four</p>"),
    ("<b>x</b> & <!-- y -->", "<p>&lt;b&gt;x&lt;/b&gt; &amp; &lt;!-- y --&gt;</p>"),
    ("# One\n## Two ##\n#### Four\n####### seven\n# C#\n#hash",
     "<h4>One</h4><h5>Two</h5><h6>Four</h6><p>####### seven</p><h4>C#</h4><p>#hash</p>"),
    ("a\n---\nb\n\n***", "<p>a</p><hr><p>b</p><hr>"),
    ("> a\n> > b\n\nc", "<blockquote><p>a</p><blockquote><p>b</p></blockquote></blockquote><p>c</p>"),
    ("- a\n- b\n  - c\n    - d\n- e", "<ul><li>a</li><li>b<ul><li>c<ul><li>d</li></ul></li></ul></li><li>e</li></ul>"),
    ("1. a\n2. b\n  - c", "<ol><li>a</li><li>b<ul><li>c</li></ul></li></ol>"),
    ("7) a\n\n8) b", '<ol start="7"><li><p>a</p></li><li><p>b</p></li></ol>'),
    ("- a\n\n  b\n- c", "<ul><li><p>a</p><p>b</p></li><li><p>c</p></li></ul>"),
    ("- [ ] a\n- [x] b", "<ul><li>☐ a</li><li>☑ b</li></ul>"),
    ("text\n- a\ntext", "<p>text</p><ul><li>a<br>text</li></ul>"),
    ("- a\n* b", "<ul><li>a</li></ul><ul><li>b</li></ul>"),
    ("- a\n  ```\n  x\n  ```\n- b", "<ul><li>a[code text: x]</li><li>b</li></ul>"),
    ("|a|b|\n|-|:-:|\n|1|2|3|\n|4|\n\nx", "<table><thead><tr><th>a</th><th>b</th></tr></thead><tbody><tr><td>1</td><td>2</td></tr>"
     "<tr><td>4</td><td></td></tr></tbody></table><p>x</p>"),
    ("a | b\n--- | ---\n`x` | y \\| z", "<table><thead><tr><th>a</th><th>b</th></tr></thead><tbody><tr><td><code>x</code></td><td>y | z</td></tr>"
     "</tbody></table>"),
    ("a | b\nno rule", "<p>a | b<br>no rule</p>"),
    ("```c\nint x;\n\n<b>\n```\nafter", "[code c: int x;\n\n&lt;b&gt;]<p>after</p>"),
    ("~~~\n```\n~~~\n```\nopen", "[code text: ```][code text: open]"),
    ("````\n```\n````", "[code text: ```]"),
    ("[a](https://a.example/x) http://b.example/y.", '<p><a href="https://a.example/x">a</a> <a href="http://b.example/y">http://b.example/y</a>.</p>'),
    ("[*a*](<https://a.example/(x)> 't')", '<p><a href="https://a.example/(x)"><em>a</em></a></p>'),
    ("![alt](https://a.example/p.png)", '<p><a href="https://a.example/p.png">alt</a></p>'),
    ("<https://a.example/>", '<p><a href="https://a.example/">https://a.example/</a></p>'),
    ("[a [b](https://b.example/) c](https://a.example/)", '<p>[a <a href="https://b.example/">b</a> c](<a href="https://a.example/">https://a.example/</a>)</p>'),
    ("[good.example](https://evil.example/)", '<p><a href="https://evil.example/">good.example</a> (evil.example)</p>'),
    ("[a](javascript:b) [c](data:x) [d](/e) [f](//g) [h]()", "<p>[a](javascript:b) [c](data:x) [d](/e) [f](//g) [h]()</p>"),
    ("[a](https://u:p@b.example/)", "<p>[a](https://u:p@b.example/)</p>"),
    ("a\r\nb\rc\n\n\n\n", "<p>a<br>b<br>c</p>"),
    ("", ""),
]

BARE = RENDER + """
    for (const e of box.querySelectorAll('.code')) {
      const text = `[code ${e.firstChild.firstChild.textContent}: ${e.querySelector('code').textContent}]`;
      e.replaceWith(text);
    }
    for (const e of box.querySelectorAll('.scroll')) e.replaceWith(...e.childNodes);
    for (const e of box.querySelectorAll('*')) {
      for (const a of [...e.attributes]) if (!['href', 'start'].includes(a.name)) e.removeAttribute(a.name);
    }
    return box.innerHTML;"""

PIECES = """
    const [text, step] = arguments, once = make('div'), grown = make('div');
    new StreamedMarkdown(once).update(text);
    const stream = new StreamedMarkdown(grown);
    for (let i = step; i < text.length + step; i += step) stream.update(text.slice(0, i));
    return once.innerHTML === grown.innerHTML || grown.innerHTML;"""

SIZE = 100000
LONG = {
    "stars": "*" * SIZE, "stars apart": "* a" * (SIZE // 3), "openings": "*a " * (SIZE // 3), "closings": "a* " * (SIZE // 3),
    "mixed marks": "*_~~`[" * (SIZE // 6), "brackets": "[" * SIZE, "brackets back": "]" * SIZE, "links open": "[](" * (SIZE // 3),
    "links nested": "[" * 1000 + "a](https://a.example)" * 1000, "backticks": "`" * SIZE, "backtick runs": " ".join("`" * n for n in range(1, 440)),
    "fence and backtick": "```" + " " * SIZE + "`", "tildes and backtick": "~" * SIZE + "`", "quotes": ">" * SIZE, "quotes apart": "> " * (SIZE // 2),
    "dashes": "- " * (SIZE // 2), "numbers": "1. " * (SIZE // 3), "rule that is none": "- " * (SIZE // 2) + "x", "hashes": "#" * SIZE,
    "heading of hashes": "# " + "#" * SIZE + "x", "spaces": "a" + " " * SIZE + "b", "spaces before breaks": ("a" + " " * 500 + "\n") * 200,
    "pipes": "|" * SIZE + "\n" + "|-" * (SIZE // 2), "table": "|a|b|\n|-|-|\n" + "|1|2|\n" * (SIZE // 6), "items": "- a\n" * (SIZE // 4),
    "nested items": "\n".join(" " * (2 * n) + "- a" for n in range(300)), "addresses": "http://" * (SIZE // 7), "one address": "http://a.example/" + "a" * SIZE,
    "angles": "<" * SIZE, "angle address": "<http://" + "a" * SIZE, "escapes": "\\" * SIZE, "exclamations": "![" * (SIZE // 2),
    "quoted table": "> |a|\n" * (SIZE // 6), "comments": "```c\n" + "/*" * 9000, "strings": "```c\n" + "\"\\" * 9000, "backticks in code": "```js\n" + "`" * 19000,
    "triple quotes": "```py\n" + "\"\"\"" * 6000, "tabs": "\t" * SIZE, "lines": "\n" * SIZE, "letters": "\u202e\u0301" * (SIZE // 2),
}


def main(browser):
    double = Double()
    try:
        browser.go(double.origin)
        browser.until("return by('model').value !== ''")
        for text, html in CASES:
            got = browser.run(BARE, text)
            case("markdown: " + repr(text)[:60], got == html, f"wanted {html}\ngot    {got}")
        texts = [MARKDOWN, HOSTILE, ARABIC, *(t for t, _ in CASES), "\n\n".join(t for t, _ in CASES)]
        torn = [(t, step, got) for t in texts for step in (1, 3, 17) for got in [browser.run(PIECES, t, step)] if got is not True]
        case("a text in pieces ends as the whole does", not torn, torn[:1])
        hostile(browser, double)
        for name, text in LONG.items():
            ms = browser.run("const start = performance.now(); " + RENDER + "return performance.now() - start;", text)
            case(f"{SIZE} characters in bounded time: {name}", ms < 5000, f"{ms:.0f} ms")
        deep = browser.run(RENDER + "let n = 0; for (let e = box; e; e = e.querySelector(':scope > *')) n++; return n;", LONG["quotes apart"])
        case("nesting is bounded", deep < 12, deep)
    finally:
        double.close()


def hostile(browser, double):
    """What a hostile text leaves in the page, and what the browser would do about an attempt."""
    found = browser.run(RENDER + """document.body.append(box);
        const odd = [...box.querySelectorAll('script, img, iframe, svg, object, embed, style, link, form, input')].map((e) => e.outerHTML);
        const events = [...box.querySelectorAll('*')].filter((e) => [...e.attributes].some((a) => /^on|^style$|^src/.test(a.name)));
        const links = [...box.querySelectorAll('a')];
        const bad = links.filter((a) => !/^https?:$/.test(a.protocol) || a.rel !== 'noopener noreferrer nofollow' || a.target !== '_blank');
        return {odd, events: events.length, bad: bad.map((a) => a.outerHTML), links: links.length};""", HOSTILE)
    case("hostile Markdown makes no element of its own", not found["odd"] and not found["events"], found)
    case("its links go to http and https, and tell nothing", found["links"] > 0 and not found["bad"], found)
    refused = browser.run("""try { document.body.insertAdjacentHTML('beforeend', '<b>x</b>'); return 'made'; }
        catch (e) { return e.name; }""")
    case("the policy keeps the page from making elements of HTML", refused == "TypeError", refused)
    browser.run("const s = document.createElement('img'); s.src = '/hacked.png'; document.body.append(s);"
                "fetch('http://example.invalid/').catch(() => { window.refused = true; });")
    case("and from asking anywhere else", browser.until("return window.refused === true"))
    case("nothing ran", browser.run("return window.hacked === undefined"))
    case("nothing was asked for", not [p for p in double.paths if "hacked" in p], double.paths)


try:
    chromium = Browser()
except Missing as e:
    print(f"ok - the chat page's Markdown # SKIP {e}")
    sys.exit(0)
try:
    main(chromium)
finally:
    chromium.close()
finish()
