#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""One system prompt before a hundred questions: paco serve computes it once, whether they come at the same moment or one after the other,
and the answers are those of a server that knows none of it."""
import threading

from counting import LETTERS, babbler
from serving import Server, until
from tiny import case, finish

N, LONG = 100, 1000
SYSTEM = "".join(LETTERS[i * i % 23 + i % 3] for i in range(LONG))
COMPUTED, GIVEN = "paco_prompt_tokens_computed_total", "paco_prompt_tokens_total"


def chat(i):
    return {"messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": "%s?" % (LETTERS[i % 26] * (1 + i // 26))}],
            "max_tokens": 6, "temperature": 0}


def ask(s, i, answers):
    status, r = s.post("/v1/chat/completions", chat(i))
    answers[i] = r["choices"][0]["message"]["content"] if status == 200 else r


def counted(s, before):
    """Tokens of prompts and those computed, once all answers are accounted for."""
    until(lambda: s.metrics()["paco_requests_running"] == 0)
    now = s.metrics()
    return now[GIVEN] - before[GIVEN], now[COMPUTED] - before[COMPUTED]


def together(s):
    answers = {}
    threads = [threading.Thread(target=ask, args=(s, i, answers)) for i in range(N)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return answers


def main():
    model = babbler(2048)
    args = "-m", model, "-c", "2048", "--format", "raw"
    with Server(*args) as s:
        before = s.metrics()
        answers = together(s)
        given, computed = counted(s, before)
        own = given - N * LONG  # the questions, and what stands around
        case("what is each one's own is less than the system's text once more", own < LONG, own)
        case("a hundred at once: the system's thousand tokens are computed once", LONG <= computed <= LONG + own, (given, own, computed))
        before = s.metrics()
        again = together(s)
        given, computed = counted(s, before)
        case("again: not at all", computed <= own, (given, own, computed))
        case("and the answers are the same", answers == again, (answers, again))
    with Server(*args) as s:
        before, alone = s.metrics(), {}
        for i in range(N):
            ask(s, i, alone)
        given, computed = counted(s, before)
        case("one after the other: once", LONG <= computed <= LONG + own, (given, own, computed))
        case("answers are those in company", alone == answers, [(i, alone[i], answers[i]) for i in alone if alone[i] != answers[i]][:3])
    cold = {}
    for i in (0, 57, 99):
        with Server(*args) as s:
            ask(s, i, cold)
    case("and those of a server that knows nothing", all(cold[i] == answers[i] for i in cold), cold)
    finish()


main()
