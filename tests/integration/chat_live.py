#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The chat page at a real paco serve, in a headless Chromium: a talk, one that is stopped, how likely tokens were, what does not
fit, a key, and a server that goes away. On a model that counts, whose answers are known, and one that seldom ends."""
import sys

from browser import ENTER, ESCAPE, Browser, Missing
from counting import babbler, model
from serving import Server, until
from tiny import case, finish

DONE = "return page.runs.size === 0 && page.current.turns.length === arguments[0]"
LAST = "return [...document.querySelectorAll('.answer')].at(-1).querySelector(arguments[0])?.textContent"


def visit(here, server):
    here.go(f"http://127.0.0.1:{server.port}/")
    return here.until("return by('model').value !== '' || !by('notice').hidden")


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
        here.run("Object.assign(settings, {max_tokens: 8000}); const ask = requestOf;"
                 "window.requestOf = (...all) => ({...ask(...all), logit_bias: {2: -100, 3: -100}});")  # it never ends by itself
        here.type("#prompt", "a" + ENTER)
        grown = here.until("return (page.current.turns[0]?.answers[0].tokens.length || 0) > 20")
        here.press(ESCAPE)
        case("an answer is stopped half way", grown and here.until(DONE, 1) and "stopped" in here.run(LAST, ".note"), here.run(LAST, ".note"))
        key = {"Authorization": "Bearer sk-right"}
        running = lambda: [line for line in server.ask("GET", "/metrics", None, key)[2].decode().splitlines() if line.startswith("paco_requests_running")]
        case("and the server stops computing it", until(lambda: running() and running()[0].endswith(" 0")), running())


def main():
    here = Browser()
    try:
        talk(here)
        stopped(here)
    finally:
        here.close()


try:
    main()
except Missing as e:
    print(f"ok - the chat page at a real server # SKIP {e}")
    sys.exit(0)
finish()
