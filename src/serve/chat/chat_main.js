// SPDX-License-Identifier: Apache-2.0
// The conversation that is shown, and the answers that are on their way. Answers go on when another conversation is looked at.

const BESIDE_NONE = '';
const TOP = 5; // alternatives asked for at each token

const page = {
  conversations: [],
  current: null,
  views: new Map(), // turn id: TurnView, of the conversation that is shown
  runs: new Map(),  // conversation: {stop: AbortController, turn}
  models: [],       // what the server has: {id, parent, context}
  follow: true,     // the end of the conversation stays in sight
};

// ---- models ----

function notice(words, buttonWords, onclick) {
  const box = by('notice');
  box.hidden = !words;
  box.replaceChildren(...(words ? [make('p', {}, words), ...(buttonWords ? [action(buttonWords, onclick)] : [])] : []));
}

/** The models as choices, fine-tunes under their base's name. */
function modelChoices() {
  const choice = ({id}) => make('option', {value: id}, id);
  const bases = [...new Set(page.models.map((m) => m.parent).filter(Boolean))];
  return [...page.models.filter((m) => !m.parent).map(choice), ...bases.map((base) =>
    make('optgroup', {label: `Fine-tunes of ${base}`}, page.models.filter((m) => m.parent === base).map(choice)))];
}

function fillModels(models) {
  const chosen = [by('model').value || read(localStorageOrNull(), 'model', ''), by('beside').value || read(localStorageOrNull(), 'beside', '')];
  const names = models.map((m) => m.id);
  page.models = models;
  by('model').replaceChildren(...modelChoices());
  by('beside').replaceChildren(make('option', {value: BESIDE_NONE}), ...modelChoices());
  by('model').value = names.includes(chosen[0]) ? chosen[0] : names[0];
  by('beside').value = names.includes(chosen[1]) ? chosen[1] : BESIDE_NONE;
  document.body.classList.toggle('one-model', names.length < 2);
}

async function loadModels() {
  try {
    fillModels(await fetchModels());
    notice('');
  } catch (e) {
    if (e.offer === 'key') notice(e.message, 'Enter the key', () => page.settings('key'));
    else notice(e.message, 'Try again', loadModels);
    if (/loading/.test(e.message)) setTimeout(loadModels, 2000);
  }
  drawControls();
}

const chosenModels = () => [by('model').value, by('beside').value].filter(Boolean);

// ---- answers ----

function requestOf(conversation, turn, k) {
  const probabilities = settings.probabilities ? {logprobs: true, top_logprobs: TOP} : {};
  return {model: turn.answers[k].model, messages: conversation.messages(turn, k), ...sampling(), ...probabilities};
}

async function answerOne(conversation, turn, k, signal) {
  const a = turn.answers[k], start = performance.now();
  const view = () => page.views.get(turn.id)?.answers[k];
  const body = requestOf(conversation, turn, k);
  a.asked = {...sampling(), ...(settings.system && {system: settings.system})};
  view()?.begin();
  try {
    const end = await answer(body, signal, ({text, tokens}) => {
      a.first ??= performance.now() - start;
      a.text += text;
      for (const t of tokens) {
        const packed = packToken(t);
        if (packed) a.tokens.push(packed);
      }
      view()?.paced.ask();
    });
    Object.assign(a, end);
  } catch (e) {
    if (e.name === 'AbortError') a.finish = 'stopped';
    else Object.assign(a, {fault: e.message, offer: e.offer});
    if (e.offer === 'models') loadModels();
  }
  a.seconds = (performance.now() - start - (a.first ?? 0)) / 1000;
  view()?.end();
  announceAnswer(turn, a);
}

// Said once and whole: an answer read out while it grows, token by token, cannot be listened to.
function announceAnswer(turn, a) {
  const name = turn.answers.length > 1 ? `${a.model}: ` : '';
  const text = page.views.get(turn.id)?.answers[turn.answers.indexOf(a)].heard() || a.text || 'No answer.';
  say(name + (a.fault || (a.finish === 'stopped' ? 'Stopped. ' : '') + text.slice(0, 4000)));
}

async function run(conversation, turn) {
  const stop = new AbortController();
  page.runs.set(conversation, {stop, turn});
  page.follow = true;
  say(turn.answers.length > 1 ? 'The models are answering' : `${turn.answers[0].model} is answering`);
  drawControls();
  await Promise.all(turn.answers.map((_, k) => answerOne(conversation, turn, k, stop.signal)));
  page.runs.delete(conversation);
  if (page.conversations.includes(conversation)) keep(conversation);
  drawControls();
  drawSide();
}

function keep(conversation) {
  if (!conversation.save()) notice('This browser has no room left for conversations. Export what you want to keep, and delete some.');
}

function askAnew(turn, text) {
  if (page.runs.has(page.current)) return;
  page.current.dropEmpty(turn);
  ask(turn.parent, text);
}

function ask(parent, text) {
  const conversation = page.current, models = chosenModels();
  if (!models.length || page.runs.has(conversation)) return;
  if (!page.conversations.includes(conversation)) page.conversations.unshift(conversation);
  // Half a character, as a cut may leave behind, would be refused as no text.
  const turn = conversation.add(parent, text.toWellFormed?.() ?? text, models);
  keep(conversation);
  drawTurns();
  drawSide();
  run(conversation, turn);
  toEnd();
}

function stop() {
  const running = page.runs.get(page.current);
  running?.stop.abort();
  return Boolean(running);
}

// ---- what is shown ----

const turnHooks = {
  retry: (turn) => askAnew(turn, turn.user),
  edit: (turn, text) => {
    askAnew(turn, text);
    by('prompt').focus();
  },
  choose: (turn, direction) => {
    page.current.choose(turn);
    keep(page.current);
    drawTurns();
    const steps = page.views.get(turn.id).question.querySelectorAll('.versions button');
    [...steps].at(direction < 0 ? 0 : 1).disabled ? steps[direction < 0 ? 1 : 0].focus() : steps[direction < 0 ? 0 : 1].focus();
  },
  offer: (kind) => (kind === 'key' ? page.settings('key') : begin()),
  drawn: () => page.follow && toEnd(),
};

function drawTurns() {
  const views = page.current.path().map((turn) => {
    const siblings = page.current.siblings(turn), shown = page.views.get(turn.id);
    // What is shown already stays as it is, with its selection and its open lists.
    return shown && shown.siblings.length === siblings.length ? shown : new TurnView(turn, siblings, turnHooks);
  });
  page.views = new Map(views.map((v) => [v.turn.id, v]));
  by('turns').replaceChildren(...views.map((v) => v.box));
  by('empty').hidden = views.length > 0;
  const running = page.runs.get(page.current);
  if (running) page.views.get(running.turn.id)?.answers.forEach((a) => a.answer.seconds === undefined && !a.busy && a.begin());
  document.title = page.current.title ? `${page.current.title} · paco` : 'paco';
}

function drawControls() {
  const running = page.runs.has(page.current);
  const focused = document.activeElement === by('send') || document.activeElement === by('stop');
  by('send').hidden = running;
  by('stop').hidden = !running;
  by('send').disabled = !by('prompt').value.trim() || !by('model').value;
  if (focused) (running ? by('stop') : by('prompt')).focus();
  document.body.classList.toggle('running', running);
  drawModels();
  by('hint').textContent = settingsInWords() ||
    (onPhone.matches ? '' : 'Enter sends, Shift+Enter begins a new line, Esc stops an answer.');
}

/** What is chosen, in the header and on an empty page. */
function drawModels() {
  const compared = by('beside').value !== BESIDE_NONE;
  const model = page.models.find((m) => m.id === by('model').value);
  const parts = model?.context ? [`A conversation has room for ${counted(model.context, 'token')}.`] : [];
  if (compared) parts.push('Both models answer each message, side by side.');
  else if (page.models.length > 1) parts.push('Choose a second model above and both answer, side by side.');
  by('models-note').textContent = parts.join(' ');
  if (by('beside').options.length) by('beside').options[0].textContent = compared ? 'Only one model' : onPhone.matches ? 'Compare…' : 'Compare with…';
  document.body.classList.toggle('compared', compared);
}

function drawSide() {
  drawList(page.conversations, page.current, (c) => {
    open(c);
    openSide(false);
    by('prompt').focus();
  }, forget);
}

function open(conversation) {
  page.current = conversation;
  page.views = new Map();
  page.follow = true;
  hideTip();
  drawTurns();
  drawControls();
  drawSide();
  toEnd();
}

function begin() {
  open(new Conversation());
  openSide(false);
  by('prompt').focus();
}

function drop(conversation) {
  page.runs.get(conversation)?.stop.abort();
  conversation.forget();
  page.conversations = page.conversations.filter((c) => c !== conversation);
}

async function forget(conversation) {
  if (!await confirmDeletion('Delete this conversation?', conversation.title)) return;
  drop(conversation);
  if (conversation === page.current) open(new Conversation());
  else drawSide();
  by('new').focus();
}

async function forgetAll() {
  const n = page.conversations.length;
  if (!await confirmDeletion('Delete all conversations?', `${counted(n, 'conversation')} in this browser. This cannot be undone.`)) return;
  page.conversations.forEach(drop);
  begin();
}

// ---- scrolling ----

function toEnd() {
  const main = by('main');
  main.scrollTop = main.scrollHeight;
}

/** The way to the end, while that is out of sight. */
function showLatest() {
  const main = by('main');
  by('latest').hidden = main.scrollHeight - main.scrollTop - main.clientHeight < 200;
}

function watchScrolling() {
  const main = by('main');
  let last = 0;
  main.addEventListener('scroll', () => {
    const away = main.scrollHeight - main.scrollTop - main.clientHeight;
    if (away < 40) page.follow = true;
    else if (main.scrollTop < last) page.follow = false; // upwards: somebody reads
    last = main.scrollTop;
    showLatest();
    moveTip();
  }, {passive: true});
  // The end also goes away and comes back without any scrolling: another conversation, another width.
  const sizes = new ResizeObserver(showLatest);
  sizes.observe(main);
  sizes.observe(by('turns'));
  by('latest').append(icon('down'));
  by('latest').addEventListener('click', () => {
    page.follow = true;
    toEnd();
    by('prompt').focus();
  });
}

// ---- wiring ----

function startComposer() {
  const prompt = by('prompt');
  by('send').append(icon('send'));
  by('stop').append(icon('stop'));
  const submit = () => {
    if (by('send').disabled || page.runs.has(page.current)) return;
    const text = prompt.value;
    prompt.value = '';
    fit(prompt);
    ask(page.current.leaf, text);
    drawControls();
  };
  prompt.addEventListener('input', () => {
    fit(prompt);
    drawControls();
  });
  prompt.addEventListener('keydown', (e) => {
    if (!sends(e)) return;
    e.preventDefault();
    submit();
  });
  by('composer').addEventListener('submit', (e) => {
    e.preventDefault();
    submit();
  });
  by('stop').addEventListener('click', stop);
}

function startPage() {
  startTheme();
  startComposer();
  watchScrolling();
  const closeSide = startSide();
  page.settings = startSettings((keyChanged) => {
    drawControls();
    if (keyChanged) loadModels();
  });
  by('settings-open').addEventListener('click', () => page.settings());
  by('new').addEventListener('click', begin);
  by('clear').addEventListener('click', forgetAll);
  by('export-json').addEventListener('click', () => keepFile('conversation.json', 'application/json', asJson(page.current)));
  by('export-markdown').addEventListener('click', () => keepFile('conversation.md', 'text/markdown', asMarkdown(page.current)));
  for (const id of ['model', 'beside']) {
    by(id).addEventListener('change', () => {
      write(localStorageOrNull(), id, by(id).value);
      drawControls();
    });
  }
  document.addEventListener('keydown', (e) => {
    if (e.key !== 'Escape' || document.querySelector('dialog[open]')) return;
    if (!by('tip').hidden) hideTip();
    else if (!closeSide()) stop();
  });
  document.addEventListener('pointerdown', (e) => !e.target.closest?.('.tok') && hideTip());
  // A phone may end a page that is not looked at.
  document.addEventListener('visibilitychange', () => document.hidden && page.runs.forEach((_, c) => keep(c)));
  addEventListener('pagehide', () => page.runs.forEach((_, c) => keep(c)));
  page.conversations = keptConversations();
  open(new Conversation());
  loadModels();
}

document.addEventListener('DOMContentLoaded', startPage);
