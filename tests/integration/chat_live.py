#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The chat page at a real paco serve, in a headless Chromium: a talk, one that is stopped, how likely tokens were, what does not
fit, a key, a server that goes away or dies, and fine-tunes beside their base. On a model that counts, whose answers are known, and one that
seldom ends."""
import sys

from browser import ENTER, ESCAPE, Browser, Missing
from counting import adapter, babbler, diff, model
from serving import Server, until
from tiny import case, finish

DONE = "return page.runs.size === 0 && page.current.turns.length === arguments[0]"
LAST = "return [...document.querySelectorAll('.answer')].at(-1).querySelector(arguments[0])?.textContent"


def visit(here, server):
    here.go(f"http://127.0.0.1:{server.port}/")
    return here.until("return by('model').value !== '' || !by('notice').hidden")


def endless(here):
    """No answer ends by itself from here on."""
    here.run("settings.max_tokens = 8000; const ask = requestOf;"
             "window.requestOf = (...all) => ({...ask(...all), logit_bias: {2: -100, 3: -100}});")


def talk(here):
    with Server("-m", model("counts"), "--temp", "0") as server:
        visit(here, server)
        case("the page is served, with the model's name", here.run("return by('model').value") == "counts")
        here.run("settings.max_tokens = 4")
        here.type("#prompt", "abc" + ENTER)
        case("a question is answered", here.until(DONE, 1) and here.run(LAST, ".text") == "defg", here.run(LAST, ".text"))
        case("with its tokens counted", "4 tokens" in here.run(LAST, ".note") and "cut at the limit" in here.run(LAST, ".note"))
        here.click(".view")
        here.run("document.querySelector('.tok').focus()")
        case("and their likelihood", here.run("return document.querySelectorAll('.tok').length") == 4
             and here.run("return by('tip').querySelectorAll('tr').length") == 5
             and here.run("return by('tip').querySelector('.chosen').textContent").startswith("d100 %"),
             here.run("return by('tip').textContent"))
        here.type("#prompt", "x" * 300 + ENTER)
        here.until(DONE, 2)
        said = here.run(LAST, ".fault")
        case("what does not fit is said with both numbers", said and "256 tokens" in said and "30" in said and "begin a new" in said, said)
        outside = [u for u in here.requested() if not u.startswith((f"http://127.0.0.1:{server.port}/", "data:", "chrome:"))]
        case("nothing is asked for elsewhere", not outside, outside)
        complaints = [c for c in here.complaints() if "400 (Bad Request)" not in c]
        case("the browser has nothing to complain of", not complaints, complaints)
        server.end()
        here.run("begin()")
        here.type("#prompt", "abc" + ENTER)
        here.until(DONE, 1)
        case("a server that ended is called gone", "Is paco serve still running" in (here.run(LAST, ".fault") or ""), here.run(LAST, ".fault"))


def stopped(here):
    with Server("-m", babbler(8192), "--api-key", "sk-right") as server:
        visit(here, server)
        case("a key is asked for", "wants an API key" in here.run("return by('notice').textContent"))
        here.click("#notice button")
        here.press(*"sk-right", ENTER)
        case("and taken", here.until("return by('notice').hidden && by('model').value === 'babbler8192'"))
        endless(here)
        here.type("#prompt", "a" + ENTER)
        grown = here.until("return (page.current.turns[0]?.answers[0].tokens.length || 0) > 20")
        here.press(ESCAPE)
        case("an answer is stopped half way", grown and here.until(DONE, 1) and "stopped" in here.run(LAST, ".note"), here.run(LAST, ".note"))
        key = {"Authorization": "Bearer sk-right"}
        running = lambda: [line for line in server.ask("GET", "/metrics", None, key)[2].decode().splitlines() if line.startswith("paco_requests_running")]
        case("and the server stops computing it", until(lambda: running() and running()[0].endswith(" 0")), running())


def choose(here, name, value):
    here.run("by(arguments[0]).value = arguments[1]; by(arguments[0]).dispatchEvent(new Event('change'))", name, value)


def fine_tunes(here):
    base = babbler(8192)
    tunes = ["--adapter", "one=" + adapter("one", 1), "--diff", "whole=" + diff("whole", base)]
    listed = "return [...by('beside').querySelectorAll(arguments[0])].map((e) => e.label)"
    texts = "return page.current.turns.at(-1).answers.map((a) => a.text)"
    with Server("-m", base, "--alias", "base", *tunes) as server:
        visit(here, server)
        here.run("localStorage.clear(); sessionStorage.clear()")
        visit(here, server)
        case("fine-tunes are listed under their base", here.run(listed, ":scope > option") == ["Compare with…", "base"]
             and here.run(listed, "optgroup") == ["Fine-tunes of base"] and sorted(here.run(listed, "optgroup > option")) == ["one", "whole"])
        case("what the model has room for is said", "8,192 tokens" in here.run("return by('models-note').textContent"))
        here.run("Object.assign(settings, {max_tokens: 24, temperature: 0})")
        messages = [{"role": "user", "content": "hello"}]
        for turn, name in enumerate(("one", "whole"), 1):
            choose(here, "beside", name)
            here.run("begin()")
            here.type("#prompt", "hello" + ENTER)
            here.until(DONE, 1)
            alone = [server.post("/v1/chat/completions", {"model": m, "messages": messages, "max_tokens": 24, "temperature": 0})[1]["choices"][0]
                     ["message"]["content"] for m in ("base", name)]
            said = here.run(texts)
            case(f"base and {name} answer one message, each what it answers alone", said == alone and said[0] != said[1], (said, alone))
        here.run("document.querySelectorAll('.view').forEach((b) => b.click())")
        case("both with their likelihoods", here.run("return [...document.querySelectorAll('.tokens')].map((e) => e.children.length)") == [24, 24],
             here.run("return [...document.querySelectorAll('.tokens')].map((e) => e.children.length)"))
        endless(here)
        here.type("#prompt", "go on" + ENTER)
        grown = here.until("return page.current.turns[1]?.answers.every((a) => a.tokens.length > 5)")
        here.press(ESCAPE)
        case("one key stops both", grown and here.until(DONE, 2) and here.run("return page.current.turns[1].answers.map((a) => a.finish)") == ["stopped"] * 2)
        server.end()
    with Server("-m", base, "--alias", "base", port=server.port):
        here.run("settings.max_tokens = 8")
        here.type("#prompt", "still there?" + ENTER)
        here.until(DONE, 3)
        case("a fine-tune that a new server has not is missed, and the base answers",
             "Choose another model" in (here.run(LAST, ".fault") or "") and here.run(texts)[0] and here.until("return by('beside').value === ''"),
             here.run(LAST, ".fault"))


def killed(here):
    with Server("-m", babbler(8192)) as server:
        visit(here, server)
        here.run("begin()")
        endless(here)
        here.type("#prompt", "a" + ENTER)
        grown = here.until("return (page.current.turns[0]?.answers[0].tokens.length || 0) > 20")
        server.process.kill()
        case("a server that dies in the middle is said, and what came stays", grown and here.until(DONE, 1)
             and "broke off" in here.run(LAST, ".fault") and here.run(LAST, ".text"), here.run(LAST, ".fault"))
    with Server("-m", babbler(8192), port=server.port):
        here.run("settings.max_tokens = 8; [...document.querySelectorAll('.answer .act')].find((b) => b.textContent === 'Ask again').click()")
        case("the next one answers when asked again", here.until(DONE, 2) and here.run("return document.querySelector('.fault').hidden")
             and here.run("return page.current.turns.at(-1).answers[0].tokens.length") == 8)


def main():
    here = Browser()
    try:
        talk(here)
        stopped(here)
        fine_tunes(here)
        killed(here)
    finally:
        here.close()


try:
    main()
except Missing as e:
    print(f"ok - the chat page at a real server # SKIP {e}")
    sys.exit(0)
finish()
