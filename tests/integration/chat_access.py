#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The chat page for everybody, in a headless Chromium: names of controls, the order of headings and of the focus, contrast of
every text in both palettes, a narrow phone, text from right to left, less motion, and a whole talk with the keyboard alone.
Pictures of it go to the folder PACO_SCREENSHOTS, when that is set."""
import os
import sys

from browser import ENTER, ESCAPE, SHIFT, TAB, Browser, Missing
from chat_double import HOSTILE_NAME, Double
from tiny import case, finish

DONE = "return page.runs.size === 0 && page.current.turns.length === arguments[0]"
PICTURES = os.environ.get("PACO_SCREENSHOTS")
here = double = None

# What is out of sight is not laid out; here it is to be measured, too.
WHOLE = "for (const t of document.querySelectorAll('.turn')) t.style.contentVisibility = 'visible';"

# Every text that is seen: its colour against what is behind it, after WCAG 2. Switched off controls are exempt there.
CONTRAST = WHOLE + """
    const channel = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    const parse = (s) => { const m = s.match(/[\\d.]+/g).map(Number); return m.length < 4 ? [...m, 1] : m; };
    const over = (top, under) => under.map((u, i) => i < 3 ? top[i] * top[3] + u * (1 - top[3]) : 1);
    const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
    const behind = (e) => { const layers = []; for (; e; e = e.parentElement) layers.unshift(parse(getComputedStyle(e).backgroundColor));
      return layers.reduce((under, top) => over(top, under), [255, 255, 255, 1]); };
    const low = [];
    let n = 0;
    const check = (e, colour, what) => {
      const under = behind(e), ink = over(parse(colour), under), a = light(ink), b = light(under);
      const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
      n++;
      if (ratio < 4.5) low.push(`${ratio.toFixed(2)} ${e.tagName}.${e.className} ${what.slice(0, 30)}`);
    };
    const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walk.nextNode()) {
      const e = walk.currentNode.parentElement;
      if (!walk.currentNode.data.trim() || !e.checkVisibility({contentVisibilityAuto: true}) || e.closest('.hidden, :disabled, script, style')) continue;
      check(e, getComputedStyle(e).color, walk.currentNode.data);
    }
    for (const e of document.querySelectorAll('textarea, input, select')) {
      if (!e.checkVisibility()) continue;
      check(e, getComputedStyle(e).color, e.id || e.name);
      if (e.placeholder) check(e, getComputedStyle(e, '::placeholder').color, e.placeholder);
    }
    for (const e of document.querySelectorAll('button svg')) if (e.checkVisibility() && !e.closest(':disabled')) check(e.parentElement, getComputedStyle(e).color, 'icon');
    return {low, n};"""

NAMES = WHOLE + """
    const name = (e) => (e.getAttribute('aria-label') || [...(e.labels || [])].map((l) => l.textContent).join(' ') ||
      (e.getAttribute('aria-labelledby') && by(e.getAttribute('aria-labelledby'))?.textContent) || e.textContent || '').trim();
    const controls = document.querySelectorAll('button, a[href], input, select, textarea, dialog, nav, main, [role="button"], [role="region"], [role="group"], form#composer');
    const ids = [...document.querySelectorAll('[id]')].map((e) => e.id);
    const refers = ['aria-labelledby', 'aria-describedby', 'aria-controls', 'for'].flatMap((a) => [...document.querySelectorAll(`[${a}]`)].map((e) => e.getAttribute(a)));
    const headings = [...document.querySelectorAll('main h1, main h2, main h3, main h4, main h5, main h6')].map((h) => Number(h.tagName[1]));
    return {nameless: [...controls].filter((e) => !name(e)).map((e) => e.outerHTML.slice(0, 120)),
      twice: ids.filter((id, i) => ids.indexOf(id) !== i), nowhere: refers.filter((id) => !by(id)), n: controls.length,
      leaps: headings.filter((h, i) => i > 0 && h > headings[i - 1] + 1), lang: document.documentElement.lang,
      small: [...document.querySelectorAll('button, select, textarea, input')].filter((e) => { const r = e.getBoundingClientRect();
        return e.checkVisibility() && (r.width < 24 || r.height < 24) && e.type !== 'checkbox'; }).map((e) => e.outerHTML.slice(0, 100))};"""

WIDE = WHOLE + """
    const width = innerWidth, wide = [...document.querySelectorAll('body *')].filter((e) => {
      const r = e.getBoundingClientRect(), spills = e.clientWidth && e.scrollWidth > e.clientWidth + 1 && e.closest('.turn');
      return r.width && (r.right > width + 0.5 || spills) && e.checkVisibility() && !e.closest('.scroll, pre, .code-head, #side, .hidden, .skip, svg');
    });
    return {page: document.documentElement.scrollWidth, main: by('main').scrollWidth - by('main').clientWidth, wide: wide.map((e) => e.outerHTML.slice(0, 100))};"""


def picture(name):
    if PICTURES:
        here.shot(os.path.join(PICTURES, name + ".png"))


def fresh():
    here.go(double.origin)
    here.run("localStorage.clear(); sessionStorage.clear()")
    here.go(double.origin)
    here.until("return by('model').value !== ''")


def ask(text, turns):
    here.type("#prompt", text)
    here.run("by('send').click()")
    return here.until(DONE, turns)


def everything():
    """A talk with all there is in it: Markdown, two models, tokens, versions, a problem, a notice."""
    fresh()
    ask("markdown", 1)
    here.run("by('beside').value = 'llama-7b-tuned'; by('beside').dispatchEvent(new Event('change'))")
    ask("markdown " + "x" * 300, 2)
    ask("busy", 3)
    ask("hostile", 4)
    here.run("[...document.querySelectorAll('.answer .act')].findLast((b) => b.textContent === 'Ask again').click()")
    here.until(DONE, 5)
    here.run("by('beside').value = ''; by('beside').dispatchEvent(new Event('change'))")
    ask("busy", 6)
    here.run("document.querySelectorAll('.view')[1].click(); page.follow = false; notice('Something is to be said.', 'Try again', loadModels)")


def contrast(when):
    for palette in ("light", "dark"):
        here.prefer(prefers_color_scheme=palette)
        here.until("return document.documentElement.dataset.theme === arguments[0]", palette, seconds=5)
        found = here.run(CONTRAST)
        case(f"every text can be read: {when}, {palette} ({found['n']} of them)", found["n"] > 5 and not found["low"], found["low"])
    here.prefer(prefers_color_scheme="light")


def seen():
    everything()
    contrast("a talk")
    here.run("document.querySelector('.tok:nth-child(4)').focus({preventScroll: true})")
    contrast("a token")
    picture("tokens")
    here.run("document.querySelectorAll('.question .act')[1].click(); [...document.querySelectorAll('.act')].find((b) => b.textContent === 'Edit').click()")
    contrast("editing")
    here.click("#settings-open")
    contrast("settings")
    found = here.run(NAMES)
    case(f"every control has a name ({found['n']} of them)", found["n"] > 50 and not found["nameless"], found["nameless"])
    case("no name is there twice, and none leads nowhere", not found["twice"] and not found["nowhere"], found)
    case("no level of heading is left out", not found["leaps"], found["leaps"])
    case("no control is smaller than a fingertip needs", not found["small"], found["small"])
    case("the page says its language", found["lang"] == "en")
    here.press(ESCAPE)
    case("the dialog gives the focus back", here.run("return document.activeElement === by('settings-open')"))
    here.click("#clear")
    contrast("a question")
    here.press(ESCAPE)


def palettes():
    fresh()
    tone = "return document.documentElement.dataset.theme"
    becomes = "return document.documentElement.dataset.theme === arguments[0]"
    here.prefer(prefers_color_scheme="dark")
    case("the palette is the system's", here.until(becomes, "dark", seconds=5))
    here.click("#theme")
    case("until one is chosen", here.run(tone) == "light" and "light" in here.run("return by('theme').getAttribute('aria-label')"))
    here.go(double.origin)
    case("which is kept", here.run(tone) == "light")
    here.click("#theme")
    here.prefer(prefers_color_scheme="light")
    case("whatever the system does", here.run(tone) == "dark")
    picture("dark")
    here.click("#theme")
    case("and can be given back to it", here.until(becomes, "light", seconds=5))
    here.prefer(prefers_reduced_motion="reduce")
    here.type("#prompt", "slow" + ENTER)
    here.until("return page.runs.size === 1")
    moving = here.run("return document.getAnimations().length")
    here.press(ESCAPE)
    case("nothing moves for who asked for less motion", moving == 0, moving)
    here.prefer(prefers_reduced_motion="no-preference")


def phone():
    here.size(360, 640, phone=True)
    for when, action in (("empty", fresh), ("a talk", everything), ("settings", lambda: here.run("page.settings()"))):
        action()
        found = here.run(WIDE)
        case(f"360 pixels are wide enough: {when}", found["page"] <= 360 and found["main"] <= 0 and not found["wide"], found)
        picture("phone-" + when.replace(" ", "-"))
    here.press(ESCAPE)
    case("the list of conversations is out of the way", here.run("return by('side').inert && by('side').getBoundingClientRect().right <= 0"))
    here.click("#side-open")
    case("it opens over the talk, which cannot be reached meanwhile", here.until("return by('side').getBoundingClientRect().left === 0")
         and here.run("return by('frame').inert && document.activeElement === by('side-close')"))
    found = here.run(WIDE)
    case("360 pixels are wide enough: the list", found["page"] <= 360, found)
    here.press(ESCAPE)
    case("Esc closes it and gives the focus back", here.run("return document.activeElement === by('side-open') && by('side').inert"))
    here.click("#side-open")
    here.click("#new")
    case("a new conversation closes it", here.run("return by('side').inert && !by('frame').inert"))
    here.type("#prompt", "one" + ENTER + "two")
    case("a phone's Enter begins a line", here.run("return by('prompt').value") == "one\ntwo")
    here.click("#send")
    case("its button sends", here.until(DONE, 1))
    picture("phone-light")
    here.size(1200, 800)


def directions():
    fresh()
    ask("arabic", 1)
    ask("سؤال بالعربية", 2)
    sides = here.run("return [...document.querySelectorAll('.text')[0].children].map((e) => getComputedStyle(e).direction)")
    case("each paragraph has its own direction", sides == ["rtl", "ltr"], sides)
    case("a question too", here.run("return getComputedStyle([...document.querySelectorAll('.said')].at(-1)).direction") == "rtl")
    lists = here.run("const box = make('div'); new StreamedMarkdown(box).update(arguments[0]); document.body.append(box);"
                     "return [...box.querySelectorAll('ul, blockquote')].map((e) => getComputedStyle(e).direction)", "- واحد\n- اثنان\n\n> اقتباس")
    case("a list and a quotation have that of their text", lists == ["rtl", "rtl"], lists)


def keyboard():
    fresh()
    here.run("document.activeElement.blur(); document.body.tabIndex = -1; document.body.focus()")
    here.press(TAB)
    case("the first stop leads past the list", here.run("return document.activeElement.className === 'skip' && document.activeElement.getBoundingClientRect().top >= 0"))
    here.press(ENTER)
    case("to the message box", here.run("return document.activeElement === by('prompt')"))
    here.press(*"hello", ENTER)
    here.until(DONE, 1)
    stops = []
    here.run("document.body.focus()")
    for _ in range(40):
        here.press(TAB)
        stop = here.run("""const e = document.activeElement, s = getComputedStyle(e), box = getComputedStyle(e.closest('.box') || e);
            const again = (window.stops ||= new Set()).has(e);
            window.stops.add(e);
            return [e === document.body ? 'BODY' : e.id || e.textContent.trim() || e.tagName, again, s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) > 0 ||
              box.outlineStyle !== 'none' && parseFloat(box.outlineWidth) > 0];""")
        if stop[1]:
            break
        stops.append(stop)
    names = [s[0] for s in stops]
    wanted = ["Skip to the message box", "new", "hello", "export-json", "export-markdown", "clear", "model", "beside", "theme", "settings-open",
              "Edit", "Copy", "Copy", "Ask again", "Tokens", "prompt"]
    case("the focus goes from the list over the models and the talk to the message box", [n for n in names if n in wanted] == wanted, names)
    unseen = [s for s in stops if not s[2] and s[0] not in ("HTML", "BODY", "paco")]
    case("and is seen at every stop", len(stops) > 10 and not unseen, unseen)
    here.run("by('settings-open').focus()")
    here.press(ENTER)
    here.until("return by('settings').open")
    here.press(TAB, held=SHIFT)
    case("a dialog keeps the focus", here.run("return document.activeElement.closest('#settings') !== null || document.activeElement === document.body"))
    here.press(ESCAPE)
    live = here.run("return [by('live').getAttribute('aria-live'), [...by('live').children].map((p) => p.textContent)]")
    case("a listener is told of the answer when it is there", live[0] == "polite" and len(live[1]) == 2
         and live[1][0] == "llama-7b is answering" and live[1][1].startswith("llama-7b was told"), live)


def main():
    global double
    double = Double()
    double.models = ["llama-7b", "llama-7b-tuned", HOSTILE_NAME]
    try:
        for part in (seen, palettes, phone, directions, keyboard):
            part()
    finally:
        double.close()


try:
    here = Browser()
except Missing as e:
    print(f"ok - the chat page for everybody # SKIP {e}")
    sys.exit(0)
try:
    main()
finally:
    here.close()
finish()
