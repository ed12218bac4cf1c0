#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The chat page in a headless Chromium, as people use it: against a stand-in for the server, which can be slow, busy, gone or
hostile. Pictures of it go to the folder PACO_SCREENSHOTS, when that is set."""
import json
import os
import sys

from browser import END, ENTER, ESCAPE, HOME, LEFT, RIGHT, SHIFT, TAB, Browser, Missing
from chat_double import HOSTILE_NAME, Double
from tiny import case, finish, work

DONE = "return page.runs.size === 0 && page.current.turns.length === arguments[0]"
ANSWERS = "return [...document.querySelectorAll('.answer .text')].map((e) => e.textContent)"
PICTURES = os.environ.get("PACO_SCREENSHOTS")
here = double = None


def picture(name):
    if PICTURES:
        here.shot(os.path.join(PICTURES, name + ".png"))


def fresh(**changes):
    """The page as somebody sees it for the first time."""
    for name, value in {"key": None, "loading": 0, "down": False, "models": ["llama-7b", "llama-7b-tuned", HOSTILE_NAME], **changes}.items():
        setattr(double, name, value)
    double.asked.clear()
    here.go(double.origin)
    here.run("localStorage.clear(); sessionStorage.clear()")
    here.go(double.origin)
    return here.until("return by('model').value !== '' || !by('notice').hidden")


def ask(text, turns):
    here.type("#prompt", text + ENTER)
    return here.until(DONE, turns)


def to_top():
    """Scroll there, and let the page hear of it: what moves under a mouse loses its explanation."""
    here.run("by('main').scrollTop = 0; return new Promise((r) => requestAnimationFrame(() => requestAnimationFrame(r)))")


def choose(name, value):
    here.run("by(arguments[0]).value = arguments[1]; by(arguments[0]).dispatchEvent(new Event('change'))", name, value)


def talking():
    fresh()
    case("the server's models can be chosen, whatever their names",
         here.run("return [...by('model').options].map((o) => o.textContent)") == double.models)
    case("the message box has the focus", here.run("return document.activeElement === by('prompt')"))
    here.type("#prompt", "first line")
    here.press(ENTER, held=SHIFT)
    here.press("2")
    case("Shift+Enter begins a line", here.run("return by('prompt').value") == "first line\n2")
    here.press(ENTER)
    case("Enter sends, and the answer comes", here.until(DONE, 1) and "llama-7b was told 'first line\\n2'" in here.run(ANSWERS)[0],
         here.run(ANSWERS))
    ask("second", 2)
    roles = [(m["role"], m["content"]) for m in double.asked[-1]["messages"]]
    case("the conversation so far is sent along", [r for r, _ in roles] == ["user", "assistant", "user"] and roles[0][1] == "first line\n2", roles)
    case("what is not set is not sent", set(double.asked[-1]) == {"model", "messages", "stream", "stream_options", "logprobs", "top_logprobs"},
         double.asked[-1])


def stopping():
    fresh()
    here.type("#prompt", "slow" + ENTER)
    growing = here.until("return (window.n1 = document.querySelector('.text').textContent.length) > 20") and \
        here.until("return document.querySelector('.text').textContent.length > window.n1 + 40")
    case("an answer is seen while it comes", growing and here.run("return page.runs.size === 1"))
    case("it is marked as unfinished", here.run("return document.querySelector('.answer').getAttribute('aria-busy') === 'true'"))
    here.type("#prompt", "next" + ENTER)
    case("meanwhile the next message waits in its box", here.run("return by('prompt').value === 'next' && page.current.turns.length === 1"))
    here.press(ESCAPE)
    case("Esc stops it", here.until("return page.runs.size === 0", seconds=5))
    case("what came is kept, and called stopped", here.run("""return document.querySelector('.note').textContent.includes('stopped') &&
        page.current.turns[0].answers[0].text.startsWith('one more word')"""), here.run("return document.querySelector('.note').textContent"))
    here.type("#prompt", ENTER)
    case("and the conversation goes on from there", here.until(DONE, 2) and double.asked[-1]["messages"][1]["content"].startswith("one more word"))
    here.type("#prompt", "slow" + ENTER)
    here.until("return page.runs.size === 1")
    here.click("#stop")
    case("the button stops it too", here.until("return page.runs.size === 0", seconds=5))
    case("and the focus goes back to the message box", here.run("return document.activeElement === by('prompt')"))
    here.type("#prompt", "slow" + ENTER)
    here.until("return document.querySelectorAll('.text')[3]?.textContent.length > 20")
    here.click("#new")
    here.run("window.before = [...page.runs.values()][0].turn.answers[0].text.length")
    case("it goes on while another conversation is looked at",
         here.until("return [...page.runs.values()][0].turn.answers[0].text.length > window.before && by('empty').hidden === false"))
    here.click("#list .open")
    case("and is seen growing on return", here.until("""const text = document.querySelectorAll('.text')[3]?.textContent;
        window.before ||= text.length; return text.length > window.before && !/one more word one more word.*one more word one more word$/.test('')""")
         and here.run("return document.querySelectorAll('.text')[3].children.length") == 1)
    here.press(ESCAPE)
    here.until("return page.runs.size === 0")


def versions():
    fresh()
    ask("one", 1)
    ask("two", 2)
    here.run("document.querySelectorAll('.question .act')[0].click()")
    here.until("return document.activeElement.matches('.question textarea')")
    case("editing begins with the text as it was", here.run("return document.activeElement.value") == "one")
    here.press(ESCAPE)
    case("Esc leaves it so, and gives the focus back", here.run("return page.current.turns.length === 2 && document.activeElement.textContent === 'Edit'"))
    here.press(ENTER)
    here.press(*" more")
    here.press(ENTER)
    here.until(DONE, 3)
    case("an edited message is asked in its place", [m["content"] for m in double.asked[-1]["messages"]] == ["one more"]
         and len(here.run(ANSWERS)) == 1, double.asked[-1]["messages"])
    case("and is a second version", here.run("return document.querySelector('.versions').textContent") == "‹2 / 2›")
    here.click(".versions button")
    case("the first is still there with what followed it", len(here.run(ANSWERS)) == 2 and "'two'" in here.run(ANSWERS)[1])
    here.run("[...document.querySelectorAll('.answer .act')].findLast((b) => b.textContent === 'Ask again').click()")
    here.until(DONE, 4)
    case("asking again asks the same", [m["content"] for m in double.asked[-1]["messages"]][::2] == ["one", "two"])
    case("and keeps the answer before", here.run("return [...document.querySelectorAll('.versions')].map((e) => e.textContent)") == ["‹1 / 2›", "‹2 / 2›"])
    here.go(double.origin)
    here.until("return document.querySelector('#list .open')")
    here.click("#list .open")
    case("all of it is there after the page was closed", len(here.run(ANSWERS)) == 2 and here.run("return page.current.turns.length") == 4)


def settings():
    fresh()
    here.click("#settings-open")
    for name, value in {"temperature": "0.5", "top_p": "0.9", "max_tokens": "3", "seed": "42", "system": "Be brief.", "key": "sk-secret"}.items():
        here.type(f"#settings [name={name}]", value)
    here.type("#settings [name=temperature]", "00")
    here.press(ESCAPE)
    ask("x", 1)
    asked = double.asked[-1]
    case("settings are sent", {k: asked.get(k) for k in ("temperature", "top_p", "max_tokens", "seed")}
         == {"temperature": 0.5, "top_p": 0.9, "max_tokens": 3, "seed": 42}, asked)
    case("so is the system message", asked["messages"][0] == {"role": "system", "content": "Be brief."})
    case("an answer cut at the limit says so", "cut at the limit" in here.run("return document.querySelector('.note').textContent"))
    case("the key is kept for this tab alone", here.run("return JSON.stringify({...localStorage}).includes('sk-secret')") is False
         and here.run("return JSON.stringify({...sessionStorage}).includes('sk-secret')") is True)
    here.click("#settings-open")
    here.type("#settings [name=temperature]", "e9")
    case("a value out of range is refused in words", "from 0 to 2" in here.run("return by('settings-fault').textContent")
         and here.run("return settings.temperature") == 0.5)
    here.click("#settings [name=probabilities]")
    here.press(ESCAPE)
    ask("y", 2)
    case("probabilities are asked for only if wanted", "logprobs" not in double.asked[-1])
    case("what is set stands under the message box", "temperature 0.5" in here.run("return by('hint').textContent"))


def beside():
    fresh()
    choose("beside", "llama-7b-tuned")
    ask("both", 1)
    case("two models answer beside each other", [t.split(" was")[0] for t in here.run(ANSWERS)] == ["llama-7b", "llama-7b-tuned"], here.run(ANSWERS))
    at = here.run("return [...document.querySelectorAll('.answer')].map((e) => [e.getBoundingClientRect().left, e.getBoundingClientRect().top])")
    case("in two columns", at[0][0] < at[1][0] and at[0][1] == at[1][1], at)
    ask("again", 2)
    told = {r["model"]: r["messages"][1]["content"] for r in double.asked[-2:]}
    case("each is shown its own answers", told["llama-7b"].startswith("llama-7b was") and told["llama-7b-tuned"].startswith("llama-7b-tuned was"), told)
    picture("beside")
    choose("beside", HOSTILE_NAME)
    ask("hostile", 3)
    case("a model's name is text", here.run("return document.querySelectorAll('h3')[5].textContent") == HOSTILE_NAME
         and here.run("return window.hacked === undefined && !document.querySelector('img')"))


def tokens():
    fresh()
    ask("markdown", 1)
    here.click(".view")
    case("the answer's tokens are its text", here.run("""return [...document.querySelectorAll('.tok')].map((e) => e.textContent).join('')
        === page.current.turns[0].answers[0].text"""))
    to_top()
    here.point(".tok:nth-child(4)")
    shown = here.run("return [by('tip').hidden, ...[...by('tip').querySelectorAll('tr')].map((r) => r.textContent)]")
    case("the mouse shows what else was likely, best first", not shown[0] and len(shown) == 5 and "30 %" in shown[1]
         and "4.1 %" in shown[-1] and "<b>bold</b>" in "".join(shown[1:]), shown)
    case("and which of them came", here.run("return by('tip').querySelectorAll('.chosen').length") == 1
         and here.run("return by('tip').querySelector('.chosen th').textContent.trim()").startswith("␣"))
    here.point("#prompt")
    case("and hides it again", here.run("return by('tip').hidden"))
    here.run("document.querySelector('.answer .actions .act').focus()")
    here.press(TAB, held=SHIFT)
    case("Tab goes to one token", here.run("return document.activeElement.dataset.i") == "0" and not here.run("return by('tip').hidden"), here.run("return document.activeElement.outerHTML.slice(0, 300)"))
    here.press(RIGHT, RIGHT, RIGHT, LEFT)
    case("the arrows go on from there", here.run("return document.activeElement.dataset.i") == "2")
    case("a listener is told the token and its likelihood", "%" in here.run("return document.activeElement.getAttribute('aria-label')")
         and here.run("return document.activeElement.getAttribute('aria-describedby')") == "tip")
    here.press(END)
    last = here.run("return document.activeElement.dataset.i")
    here.press(HOME)
    case("Home and End go to the ends", int(last) > 100 and here.run("return document.activeElement.dataset.i") == "0")
    here.press(ESCAPE)
    case("Esc hides it", here.run("return by('tip').hidden"))
    here.run("document.activeElement.blur()")
    to_top()
    here.point(".tok:nth-child(8)", kind="touch", press=True)
    case("a touch shows it", here.until("return !by('tip').hidden && document.activeElement.dataset.i === '7'", seconds=3))
    inside = here.run("const r = by('tip').getBoundingClientRect(); return r.left >= 0 && r.right <= innerWidth && r.top >= 0 && r.bottom <= innerHeight")
    case("within the window", inside)
    here.point(".tok:nth-child(5)")
    case("a line's end can be pointed at too", here.run("return by('tip').querySelector('.chosen th').textContent") == "↵")
    here.run("by('prompt').value = 'half \\ud83d'; drawControls()")
    here.click("#send")
    here.until(DONE, 2)
    case("half a character is sent as a sign for it", double.asked[-1]["messages"][-1]["content"] == "half \ufffd", double.asked[-1]["messages"][-1])
    ask("torn", 3)
    here.run("[...document.querySelectorAll('.view')].at(-1).click()")
    case("a character in several tokens shows with its last", here.run("""return [...[...document.querySelectorAll('.tokens')].at(-1).children].map((e) =>
        e.textContent)""") == ["Look:", " ", "a6", "🦙", "!"] or here.run("return [...[...document.querySelectorAll('.tokens')].at(-1).children].map((e) => e.textContent)"))


def faults():
    fresh()
    wanted = {
        "busy": ["too much to do", "in 7 seconds"], "too long": ["2048 tokens", "3071 tokens", "begin a new conversation"],
        "unknown": ["does not exist", "Choose another model"], "web page": ["status 502"],
        "vanish": ["broke off", "Try again"], "fails midway": ["ran out of memory"],
    }
    for n, (wish, words) in enumerate(wanted.items(), 1):
        ask(wish, n)
        said = here.run("return [...document.querySelectorAll('.fault')].at(-1).textContent")
        case(f"'{wish}' is said in words, with what to do", all(w in said for w in words), said)
    case("what came before a break is kept", "cut off here" in here.run(ANSWERS)[-2])
    sent = [m["content"] for m in double.asked[-1]["messages"]]
    case("messages without an answer are not sent again", sent == ["vanish", "cut off here", "fails midway"], sent)
    here.run("begin()")
    ask("busy", 1)
    n = len(double.asked)
    here.click(".answer .act")
    case("what came to nothing leaves no version behind", here.until(DONE, 1) and len(double.asked) == n + 1
         and here.run("return !document.querySelector('.versions')"))
    fresh(key="sk-right")
    case("a server with a key asks for it", "wants an API key" in here.run("return by('notice').textContent"))
    here.click("#notice button")
    case("its button leads to the field", here.run("return document.activeElement.name") == "key")
    here.press(*"sk-wrong", ENTER)
    case("a wrong one is told from none", here.until("return by('notice').textContent.includes('does not accept')"))
    here.click("#notice button")
    here.run("document.activeElement.select()")
    here.press(*"schlüssel", ENTER)
    case("one that cannot be sent is said to be none", here.until("return by('notice').textContent.includes('of ASCII only')"))
    here.click("#notice button")
    here.run("document.activeElement.select()")
    here.press(*"sk-right", ENTER)
    case("the right one opens", here.until("return by('notice').hidden && by('model').value === 'llama-7b'"))
    fresh(loading=2)
    case("a server that is loading is waited for", here.until("return by('notice').hidden && by('model').value === 'llama-7b'"))
    here.type("#prompt", "hello")
    double.down = True
    here.press(ENTER)
    here.until(DONE, 1)
    case("a server that is gone is called gone", "Is paco serve still running" in here.run("return document.querySelector('.fault').textContent"))


def keeping():
    fresh()
    ask("keep this", 1)
    folder = os.path.dirname(work("downloads", "x"))
    here.devtools("Browser.setDownloadBehavior", behavior="allow", downloadPath=folder)
    here.click("#export-json")
    here.click("#export-markdown")
    paths = [os.path.join(folder, n) for n in ("conversation.json", "conversation.md")]
    for _ in range(100):
        if all(map(os.path.exists, paths)):
            break
        here.run("return new Promise((r) => setTimeout(r, 50))")
    with open(paths[0], encoding="utf-8") as f:
        kept = json.load(f)
    with open(paths[1], encoding="utf-8") as f:
        text = f.read()
    case("a conversation is exported as JSON", kept["turns"][0]["user"] == "keep this" and kept["turns"][0]["answers"][0]["model"] == "llama-7b"
         and len(kept["turns"][0]["answers"][0]["tokens"]) > 3)
    case("and as Markdown", text.startswith("# keep this\n\n## You\n\nkeep this\n\n## llama-7b\n\nllama-7b was told"), text)
    here.run("window.copied = null; navigator.clipboard.writeText = async (t) => { window.copied = t; }")
    here.run("[...document.querySelectorAll('.answer .act')].find((b) => b.textContent === 'Copy').click()")
    case("an answer is copied as the model wrote it", here.until("return window.copied?.startsWith('llama-7b was told')"))
    here.click("#new")
    ask("and this", 1)
    here.click("#list li:nth-child(2) .small")
    here.until("return by('confirm').open")
    here.click("#confirm [value='']")
    case("nothing is deleted without a yes", here.run("return document.querySelectorAll('#list li').length") == 2)
    here.click("#list li:nth-child(2) .small")
    here.click("#confirm [value=yes]")
    case("one conversation is deleted", here.until("return document.querySelectorAll('#list li').length === 1 && keptConversations().length === 1"))
    here.click("#clear")
    here.click("#confirm [value=yes]")
    case("all are deleted", here.until("return document.querySelectorAll('#list li').length === 0 && keptConversations().length === 0"))
    here.run("localStorage.setItem('paco.chat.bad', '{\"id\": 1}'); localStorage.setItem('paco.chat.worse', 'no JSON');"
             "localStorage.setItem('paco.settings', '[]')")
    here.go(double.origin)
    case("what is broken in the browser's store is passed over", here.until("return by('model').value !== ''") and ask("fine", 1))
    here.run("""const big = 'x'.repeat(1 << 20); try { for (let i = 0; ; i++) localStorage.setItem('full' + i, big); } catch {}
        for (const n of [1000, 10]) try { for (let i = 0; ; i++) localStorage.setItem(n + '-' + i, 'x'.repeat(n)); } catch {}
        begin();""")
    ask("markdown", 1)
    case("a store that is full is said", "no room left" in here.run("return by('notice').textContent"))


def long_talk():
    fresh()
    here.run("""const c = new Conversation(); let parent = null;
        for (let i = 0; i < 400; i++) {
          const t = c.add(parent, 'question ' + i, ['llama-7b']);
          t.answers[0].text = 'A paragraph of **text**.\\n\\n- item\\n- item\\n\\n```c\\nint x;\\n```\\n'.repeat(5);
          parent = t.id;
        } c.save();""")
    here.go(double.origin)
    here.until("return document.querySelector('#list .open')")
    ms = here.run("const start = performance.now(); document.querySelector('#list .open').click(); by('main').offsetHeight; return performance.now() - start")
    case("400 turns are shown in bounded time", ms < 4000, f"{ms:.0f} ms")
    here.run("""window.frames = []; let last = performance.now();
        const tick = (now) => { window.frames.push(now - last); last = now; requestAnimationFrame(tick); }; requestAnimationFrame(tick);
        window.said = 0; new MutationObserver((l) => { window.said += l.length; }).observe(by('live'), {childList: true, subtree: true});""")
    ask("long", 401)
    frames = sorted(here.run("return window.frames"))
    median = frames[len(frames) // 2]
    case("frames go on while a long answer comes under them", median < 300, f"median {median:.0f} ms, worst {frames[-1]:.0f} ms, {len(frames)} frames")
    case("a listener is told twice, not at each token", here.run("return window.said") <= 3, here.run("return window.said"))
    case("the end stays in sight", here.run("const m = by('main'); return m.scrollHeight - m.scrollTop - m.clientHeight") < 40)
    here.type("#prompt", "slow" + ENTER)
    here.until("return page.runs.size === 1")
    here.run("by('main').scrollTop -= 600")
    here.run("return new Promise((r) => setTimeout(r, 400))")
    case("but who scrolls up stays there", here.run("const m = by('main'); return m.scrollHeight - m.scrollTop - m.clientHeight") > 300)
    here.click("#latest")
    case("and finds back", here.until("const m = by('main'); return m.scrollHeight - m.scrollTop - m.clientHeight < 40"))
    here.press(ESCAPE)


def main():
    global double
    double = Double()
    here.requested()
    for part in (talking, stopping, versions, settings, beside, tokens, keeping, long_talk):
        part()
    outside = [u for u in here.requested() if not u.startswith((double.origin + "/", "data:", "blob:", "chrome:"))]
    case("nothing was asked for outside the server", not outside, outside)
    case("nor on it beyond its routes", set(double.paths) <= {"/", "/v1/models", "/v1/chat/completions"}, set(double.paths))
    complaints = [c for c in here.complaints()]
    case("the browser had nothing to complain of", not complaints, complaints)
    faults()


try:
    here = Browser()
except Missing as e:
    print(f"ok - the chat page # SKIP {e}")
    sys.exit(0)
try:
    main()
finally:
    here.close()
finish()
