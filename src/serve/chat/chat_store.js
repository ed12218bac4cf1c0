// SPDX-License-Identifier: Apache-2.0
// What is kept in this browser: conversations and settings in localStorage, the API key in sessionStorage alone.
//
// A conversation is a tree of turns: {id, parent, user, answers}. Asking again and editing make a sibling, so that nothing is
// lost; what is shown is the path from the root to `leaf`. A turn has one answer, or two of models side by side:
// {model, text, tokens, finish, fault, usage, seconds, asked}. Each model is shown its own answers when the talk goes on.

const SETTINGS = ['temperature', 'top_p', 'max_tokens', 'seed', 'system', 'probabilities'];
const settings = {probabilities: true, ...read(localStorageOrNull(), 'settings', {})};

const newId = () => Date.now().toString(36) + Math.random().toString(36).slice(2, 8);

class Conversation {
  constructor(kept) {
    Object.assign(this, {id: newId(), title: '', at: Date.now(), turns: [], leaf: null}, kept);
  }

  turn(id) {
    return this.turns.find((t) => t.id === id);
  }

  /** From the first turn to the one shown last. */
  path() {
    const path = [];
    for (let t = this.turn(this.leaf); t; t = this.turn(t.parent)) path.unshift(t);
    return path;
  }

  siblings(turn) {
    return this.turns.filter((t) => t.parent === turn.parent);
  }

  add(parent, user, models) {
    const turn = {id: newId(), parent, user, answers: models.map((model) => ({model, text: '', tokens: []}))};
    this.turns.push(turn);
    this.leaf = turn.id;
    this.title ||= user.trim().replace(/\s+/g, ' ').slice(0, 80);
    return turn;
  }

  /** Leave out a turn that came to nothing and is asked anew. */
  dropEmpty(turn) {
    if (turn.answers.every((a) => !a.text) && !this.turns.some((t) => t.parent === turn.id)) this.turns = this.turns.filter((t) => t !== turn);
  }

  /** Show a turn, and what followed it last. */
  choose(turn) {
    for (let t = turn; t; t = this.turns.findLast((other) => other.parent === t.id)) this.leaf = t.id;
  }

  /** What answer number k of a turn answers: the system message and the turns before, those without an answer left out. */
  messages(turn, k) {
    const messages = settings.system ? [{role: 'system', content: settings.system}] : [];
    const before = [];
    for (let t = this.turn(turn.parent); t; t = this.turn(t.parent)) before.unshift(t);
    for (const t of before) {
      const said = (t.answers[k] || t.answers[0]).text;
      if (said) messages.push({role: 'user', content: t.user}, {role: 'assistant', content: said});
    }
    messages.push({role: 'user', content: turn.user});
    return messages;
  }

  /** Keep it, probabilities too where there is room for them; false when there is none even without. */
  save() {
    if (!this.turns.length) return true;
    this.at = Date.now();
    const {id, title, at, turns, leaf} = this;
    const bare = turns.map((t) => ({...t, answers: t.answers.map((a) => ({...a, tokens: []}))}));
    return write(localStorageOrNull(), 'chat.' + id, {id, title, at, turns, leaf}) ||
      write(localStorageOrNull(), 'chat.' + id, {id, title, at, turns: bare, leaf});
  }

  forget() {
    localStorageOrNull()?.removeItem('paco.chat.' + this.id);
  }
}

const isText = (v) => typeof v === 'string';
const isAnswer = (a) => a && isText(a.model) && isText(a.text) && Array.isArray(a.tokens);
const isTurn = (t) => t && isText(t.id) && isText(t.user) && Array.isArray(t.answers) && t.answers.length > 0 && t.answers.every(isAnswer);
const isConversation = (c) => c && isText(c.id) && isText(c.title) && Array.isArray(c.turns) && c.turns.length > 0 &&
  c.turns.every(isTurn) && isAcyclic(c);

// Parents come before their children, as add() leaves them; so no path goes round.
function isAcyclic(c) {
  const seen = new Set([null]);
  return c.turns.every((t) => seen.has(t.parent) && seen.add(t.id));
}

/** All that are kept, the latest first. */
function keptConversations() {
  const storage = localStorageOrNull(), found = [];
  for (let i = 0; storage && i < storage.length; i++) {
    const name = storage.key(i);
    const kept = name.startsWith('paco.chat.') ? read(storage, name.slice('paco.'.length), null) : null;
    if (isConversation(kept)) found.push(new Conversation(kept));
  }
  return found.sort((a, b) => b.at - a.at);
}

/** The settings that go into a request: those that are set. */
function sampling() {
  const asked = {};
  for (const name of ['temperature', 'top_p', 'max_tokens', 'seed']) {
    if (typeof settings[name] === 'number') asked[name] = settings[name];
  }
  return asked;
}

// ---- export ----

function asMarkdown(conversation) {
  const parts = [`# ${conversation.title}`];
  for (const turn of conversation.path()) {
    parts.push('## You', turn.user);
    for (const a of turn.answers) parts.push(`## ${a.model}`, a.text || `(${a.fault || 'no answer'})`);
  }
  return parts.join('\n\n') + '\n';
}

function asJson(conversation) {
  const {title, at, leaf, turns} = conversation;
  return JSON.stringify({title, saved: new Date(at).toISOString(), leaf, turns}, null, 2) + '\n';
}
