// SPDX-License-Identifier: Apache-2.0
// A turn as it is seen: the question with its actions, and under it one answer, or two beside each other.

/** Draws at most once a frame, and never takes more than a quarter of the time. */
class Paced {
  constructor(draw) {
    Object.assign(this, {draw, due: false, cost: 0});
  }

  ask() {
    if (this.due) return;
    this.due = true;
    if (this.cost > 8) setTimeout(() => this.frame(), 3 * this.cost);
    // A page that is not looked at gets no frames.
    else if (document.hidden) setTimeout(() => this.frame(), 250);
    else requestAnimationFrame(() => this.frame());
  }

  frame() {
    if (!this.due) return;
    this.due = false;
    const start = performance.now();
    this.draw();
    this.cost = performance.now() - start;
  }
}

const ENDS = {length: 'cut at the limit of tokens', content_filter: 'withheld', stopped: 'stopped'};

const rate = (r) => (r >= 100 ? r.toFixed(0) : r.toFixed(1));

class AnswerView {
  /** hooks: retry(), offer(kind), drawn(). */
  constructor(turn, k, hooks) {
    Object.assign(this, {turn, k, hooks, answer: turn.answers[k], busy: false});
    this.text = make('div', {class: 'text'});
    this.tokens = null;
    this.note = make('span', {class: 'note'});
    this.fault = make('div', {class: 'fault', role: 'group', 'aria-label': 'Problem', hidden: true});
    this.actions = make('div', {class: 'actions'});
    this.box = make('section', {class: 'answer', 'aria-label': `Answer of ${this.answer.model}`},
      make('h3', {}, make('bdi', {}, this.answer.model)), this.text, this.fault, this.actions);
    this.markdown = new StreamedMarkdown(this.text);
    this.paced = new Paced(() => this.draw());
    this.asTokens = false;
    this.drawActions();
    this.draw();
  }

  begin() {
    this.busy = true;
    this.box.setAttribute('aria-busy', 'true');
    this.drawActions();
    this.draw();
  }

  end() {
    this.busy = false;
    this.paced.due = false;
    this.box.removeAttribute('aria-busy');
    this.drawActions();
    this.draw();
  }

  /** For a listener: the text without its marks and buttons. */
  heard() {
    const words = this.text.cloneNode(true);
    words.querySelectorAll('.code-head').forEach((e) => e.remove());
    return words.textContent;
  }

  draw() {
    const a = this.answer;
    if (this.asTokens) this.tokens.update(a.tokens);
    else this.markdown.update(a.text);
    this.box.classList.toggle('waiting', this.busy && !a.text);
    this.note.textContent = this.summary();
    this.hooks.drawn();
  }

  summary() {
    const {text, fault, usage, seconds, finish} = this.answer, parts = [];
    if (this.busy) return '';
    if (!text && !fault && finish) parts.push('an empty answer');
    if (usage?.completion_tokens) parts.push(counted(usage.completion_tokens, 'token'));
    if (usage?.completion_tokens > 1 && seconds > 0.05) parts.push(`${rate(usage.completion_tokens / seconds)} a second`);
    if (ENDS[finish]) parts.push(ENDS[finish]);
    return parts.join(' · ');
  }

  drawActions() {
    const a = this.answer;
    this.fault.hidden = !a.fault || this.busy;
    if (a.fault) this.fault.replaceChildren(make('p', {dir: 'auto'}, a.fault), ...this.offers(a));
    if (this.busy) {
      this.actions.replaceChildren(this.note);
      return;
    }
    const view = a.tokens.length ? [this.viewButton()] : [];
    this.actions.replaceChildren(...(a.text ? [copyButton(() => a.text)] : []),
      action('Ask again', () => this.hooks.retry()), ...view, this.note);
  }

  offers({offer}) {
    const offered = {key: ['Enter the key', () => this.hooks.offer('key')], new: ['New conversation', () => this.hooks.offer('new')]}[offer];
    return offered ? [action(...offered)] : [];
  }

  viewButton() {
    return action('Tokens', (e) => this.showTokens(!this.asTokens, e.target), {'aria-pressed': this.asTokens, class: 'act view',
      title: 'How likely each token was'});
  }

  showTokens(on, button) {
    this.asTokens = on;
    button.setAttribute('aria-pressed', on);
    this.tokens ||= new TokenView(`Tokens of the answer of ${this.answer.model}; arrow keys go from one to the next`);
    (on ? this.text : this.tokens.box).replaceWith(on ? this.tokens.box : this.text);
    hideTip();
    this.draw();
  }
}

class TurnView {
  /** hooks: retry(turn), edit(turn, text), choose(turn, direction), offer(kind), drawn(). */
  constructor(turn, siblings, hooks) {
    Object.assign(this, {turn, siblings, hooks});
    this.answers = turn.answers.map((_, k) => new AnswerView(turn, k, {...hooks, retry: () => hooks.retry(turn)}));
    this.question = make('section', {class: 'question', 'aria-label': 'Your message'});
    this.box = make('article', {class: 'turn', 'data-id': turn.id}, this.question,
      make('div', {class: 'answers' + (this.answers.length > 1 ? ' two' : '')}, ...this.answers.map((a) => a.box)));
    this.drawQuestion();
  }

  drawQuestion() {
    this.editButton = action('Edit', () => this.drawEditor());
    this.question.replaceChildren(make('h2', {class: 'hidden'}, 'You'), make('div', {class: 'said', dir: 'auto'}, this.turn.user),
      make('div', {class: 'actions'}, ...this.versions(), this.editButton, copyButton(() => this.turn.user)));
  }

  versions() {
    const n = this.siblings.length, i = this.siblings.indexOf(this.turn);
    if (n < 2) return [];
    const step = (by, sign, words) => action(sign, () => this.hooks.choose(this.siblings[i + by], by),
      {'aria-label': words, disabled: !this.siblings[i + by]});
    return [make('span', {class: 'versions', role: 'group', 'aria-label': 'Versions'}, step(-1, '‹', 'Version before'),
      make('span', {'aria-label': `Version ${i + 1} of ${n}`, role: 'img'}, `${i + 1} / ${n}`), step(1, '›', 'Version after'))];
  }

  drawEditor() {
    const area = make('textarea', {dir: 'auto', 'aria-label': 'Your message, to be changed', rows: 2});
    const done = () => {
      this.drawQuestion();
      this.editButton.focus();
    };
    const send = () => area.value.trim() && this.hooks.edit(this.turn, area.value);
    area.value = this.turn.user;
    area.addEventListener('keydown', (e) => {
      if (e.key === 'Escape') {
        e.stopPropagation();
        done();
      } else if (sends(e)) {
        e.preventDefault();
        send();
      }
    });
    area.addEventListener('input', () => fit(area));
    this.question.replaceChildren(make('h2', {class: 'hidden'}, 'You'), area,
      make('div', {class: 'actions'}, action('Cancel', done), action('Send', send, {class: 'act primary'})));
    fit(area);
    area.focus();
  }
}

const onPhone = matchMedia('(hover: none) and (pointer: coarse)');

/** Enter without Shift sends; not on a phone, whose keyboard has no Shift+Enter, nor while a word is being composed. */
const sends = (e) => e.key === 'Enter' && !e.shiftKey && !e.isComposing && e.keyCode !== 229 && !onPhone.matches;

/** As high as its text, up to what the style allows. */
function fit(area) {
  area.style.height = 'auto';
  area.style.height = `${area.scrollHeight + area.offsetHeight - area.clientHeight}px`;
}
