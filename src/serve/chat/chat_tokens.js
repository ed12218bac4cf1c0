// SPDX-License-Identifier: Apache-2.0
// An answer token by token: how likely each was, and what might have stood in its place, on hover, focus and touch.
//
// Kept small, as there are many: a token is [text, log-probability, bytes or null, [other, its log-probability, ...]].

const percent = (logprob) => {
  const p = Math.exp(logprob) * 100;
  return p >= 99.95 ? '100 %' : p >= 10 ? `${p.toFixed(0)} %` : p >= 0.1 ? `${p.toFixed(1)} %` : '< 0.1 %';
};
const short = (x) => (Number.isFinite(x) ? Math.round(x * 1000) / 1000 : -100);
const LIKELY = [0.9, 0.6, 0.3, 0.1]; // bounds of the tints

const TURN_END = /^(<\|.*\|>|<\/?s>|<end_of_turn>)$/; // what models call the end of a turn

const hex = (bytes) => bytes.map((b) => Number(b).toString(16).padStart(2, '0')).join(' ');

/** Whether bytes are text of their own, not a part of a character. */
function isWhole(bytes) {
  try {
    new TextDecoder('utf-8', {fatal: true}).decode(new Uint8Array(bytes));
    return true;
  } catch {
    return false;
  }
}

/** From the server's shape; null when it is not in it. */
function packToken(t) {
  if (typeof t?.token !== 'string') return null;
  const others = (Array.isArray(t.top_logprobs) ? t.top_logprobs : []).slice(0, 20).filter((o) => typeof o?.token === 'string');
  const torn = (o) => (Array.isArray(o.bytes) && !isWhole(o.bytes) ? o.bytes : null);
  const label = (o) => (torn(o) ? hex(o.bytes) : o.token);
  return [label(t), short(t.logprob), torn(t), others.flatMap((o) => [label(o), short(o.logprob)])];
}

/** White space made visible. */
const visible = (text) => text.replace(/\n/g, '↵').replace(/\t/g, '⇥').replace(/^ +| +$/g, (s) => '␣'.repeat(s.length)) || '(empty)';

class TokenView {
  constructor(label) {
    this.box = make('div', {class: 'tokens', role: 'group', 'aria-label': label, dir: 'auto'});
    this.tokens = [];
    this.shown = 0;
    this.decoder = new TextDecoder();
    this.box.addEventListener('pointerover', (e) => e.pointerType === 'mouse' && this.point(e.target));
    this.box.addEventListener('pointerleave', (e) => e.pointerType === 'mouse' && hideTip());
    this.box.addEventListener('focusin', (e) => this.point(e.target));
    this.box.addEventListener('focusout', hideTip);
    this.box.addEventListener('click', (e) => this.go(e.target));
    this.box.addEventListener('keydown', (e) => this.key(e));
  }

  update(tokens) {
    this.tokens = tokens;
    const added = tokens.slice(this.shown).map((t, i) => this.element(t, this.shown + i));
    if (this.shown === 0 && added.length) added[0].tabIndex = 0;
    this.shown = tokens.length;
    for (const e of added) this.box.append(e);
  }

  // A character may be torn over several tokens: it shows with its last one, the others show their bytes.
  element([text, logprob, bytes], i) {
    const whole = bytes ? this.decoder.decode(new Uint8Array(bytes), {stream: true}) : text;
    const shown = whole || text;
    const level = LIKELY.findIndex((p) => Math.exp(logprob) >= p);
    const name = `${visible(shown)}, ${percent(logprob)}`;
    const kind = !whole ? ' torn' : /^\n+$/.test(whole) ? ' newline' : TURN_END.test(whole) ? ' special' : '';
    return make('span', {class: `tok p${level < 0 ? LIKELY.length : level}${kind}`, tabindex: -1, role: 'button',
      'aria-label': name, 'data-i': i}, shown);
  }

  point(target) {
    if (target.dataset?.i !== undefined) showTip(target, this.tokens[target.dataset.i]);
  }

  // One token is a stop of the Tab key, the arrows go on from there.
  go(target) {
    if (target?.dataset?.i === undefined) return;
    const now = this.box.querySelector('[tabindex="0"]');
    if (now) now.tabIndex = -1;
    target.tabIndex = 0;
    target.focus();
    this.point(target);
  }

  key(event) {
    const at = event.target, step = {ArrowRight: at.nextElementSibling, ArrowLeft: at.previousElementSibling,
      Home: this.box.firstElementChild, End: this.box.lastElementChild}[event.key];
    if (step) {
      event.preventDefault();
      this.go(step);
    } else if (event.key === 'Escape' && !by('tip').hidden) {
      event.stopPropagation();
      hideTip();
    }
  }
}

function tipRow(text, logprob, chosen) {
  const bar = make('span', {class: 'bar'});
  bar.style.width = `${Math.max(1, Math.exp(logprob) * 100)}%`;
  return make('tr', {class: chosen ? 'chosen' : null}, make('th', {scope: 'row', dir: 'auto'}, visible(text)),
    make('td', {}, percent(logprob)), make('td', {class: 'bars', 'aria-hidden': 'true'}, bar));
}

function showTip(target, token) {
  const tip = by('tip'), [text, logprob, , others] = token;
  const rows = [];
  let seen = false;
  for (let i = 0; i < others.length; i += 2) {
    const chosen = !seen && others[i] === text && Math.abs(others[i + 1] - logprob) < 0.01;
    seen ||= chosen;
    rows.push(tipRow(others[i], others[i + 1], chosen));
  }
  if (!seen) rows.push(tipRow(text, logprob, true));
  document.querySelector('[aria-describedby="tip"]')?.removeAttribute('aria-describedby');
  target.setAttribute('aria-describedby', 'tip');
  tip.replaceChildren(make('table', {}, make('caption', {}, 'What could stand here'), make('tbody', {}, ...rows)));
  tip.hidden = false;
  placeTip(tip, target.getClientRects()[0] || target.getBoundingClientRect());
}

// Below the token, or above where there is no room, and never out of the window.
function placeTip(tip, at) {
  const {width, height} = tip.getBoundingClientRect(), edge = 8;
  const left = Math.min(Math.max(at.left, edge), document.documentElement.clientWidth - width - edge);
  const below = at.bottom + 6, fits = below + height + edge <= window.innerHeight;
  tip.style.left = `${Math.max(left, edge)}px`;
  tip.style.top = `${fits ? below : Math.max(at.top - height - 6, edge)}px`;
}

/** What it belongs to has moved: it follows the focus, but not a mouse that stays where it is. */
function moveTip() {
  const target = document.querySelector('[aria-describedby="tip"]');
  if (target && target === document.activeElement) placeTip(by('tip'), target.getBoundingClientRect());
  else hideTip();
}

function hideTip() {
  by('tip').hidden = true;
  document.querySelector('[aria-describedby="tip"]')?.removeAttribute('aria-describedby');
}
