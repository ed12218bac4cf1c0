// SPDX-License-Identifier: Apache-2.0
// The browser of items: lists come from the page's index, an item's texts are unpacked when it is looked at.
'use strict';

const PAGE = 50;

async function unpack(id) {
  const text = document.getElementById(id).textContent;
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('deflate'));
  return new Response(stream).json();
}

function make(tag, attributes, ...children) {
  const e = document.createElement(tag);
  for (const [k, v] of Object.entries(attributes || {})) {
    if (k.startsWith('on')) e.addEventListener(k.slice(2), v);
    else e.setAttribute(k, v);
  }
  e.append(...children);
  return e;
}

const VERDICTS = {r: 'right', w: 'wrong', f: 'failed', p: 'partly', n: 'no verdict'};

function verdict(letter) {
  const kind = letter === 'r' ? 'good' : letter === 'w' || letter === 'f' ? 'bad' : 'soft';
  return make('span', {class: kind}, VERDICTS[letter]);
}

const LONG = ['prompt', 'output', 'outputs', 'error'];

function number(v) {
  return typeof v === 'number' && !Number.isInteger(v) ? v.toPrecision(5) : String(v);
}

// What is a line stands on one, what is a text in a box of its own.
function field(name, value) {
  const list = Array.isArray(value) ? value : [value];
  const title = make('span', {class: 'soft'}, name);
  if (list.every((v) => typeof v !== 'object' && typeof v !== 'string')) {
    return make('p', {}, title, ' ', make('code', {}, list.map(number).join('  ')));
  }
  if (list.length === 1 && !LONG.includes(name) && typeof list[0] === 'string' && list[0].length < 100 && !list[0].includes('\n')) {
    return make('p', {}, title, ' ', make('code', {}, list[0]));
  }
  return make('div', {}, title, ...list.map((v) => make('pre', {}, typeof v === 'string' ? v : JSON.stringify(v, null, 1))));
}

function show(item) {
  const box = make('div', {class: 'item'}, make('h3', {}, item.key));
  const first = [...LONG, 'extraction', 'correct', 'score', 'probs'];
  const names = first.filter((k) => k in item).concat(Object.keys(item).filter((k) => !first.includes(k) && k !== 'key'));
  for (const name of names) {
    if (item[name] !== null) box.append(field(name, item[name]));
  }
  return box;
}

function browser(root, task) {
  let chosen = [], at = 0;
  const groups = [...new Set(task.group)];
  const option = (value, text) => make('option', {value}, text);
  const group = make('select', {'aria-label': 'group', onchange: filter}, option('', 'all groups'),
    ...groups.map((g) => option(g, task.groups[g])));
  const kind = make('select', {'aria-label': 'verdict', onchange: filter}, option('', 'all verdicts'),
    ...[...new Set(task.verdict)].map((v) => option(v, VERDICTS[v])));
  const search = make('input', {type: 'search', placeholder: 'name or extraction', 'aria-label': 'search', oninput: filter});
  const count = make('span', {class: 'soft', 'aria-live': 'polite'});
  const previous = make('button', {type: 'button', onclick: () => turn(-PAGE)}, 'previous');
  const next = make('button', {type: 'button', onclick: () => turn(PAGE)}, 'next');
  const body = make('tbody', {});
  const detail = make('div', {'aria-live': 'polite'});

  function filter() {
    const wanted = search.value.toLowerCase();
    chosen = [];
    for (let i = 0; i < task.key.length; i++) {
      if (group.value !== '' && task.group[i] !== Number(group.value)) continue;
      if (kind.value && task.verdict[i] !== kind.value) continue;
      if (wanted && !task.key[i].toLowerCase().includes(wanted) && !task.extraction[i].toLowerCase().includes(wanted)) continue;
      chosen.push(i);
    }
    at = 0;
    draw();
  }

  function turn(by) {
    at += by;
    draw();
  }

  function draw() {
    const shown = chosen.slice(at, at + PAGE);
    count.textContent = chosen.length ? `${at + 1} to ${at + shown.length} of ${chosen.length}` : 'no item';
    previous.disabled = at === 0;
    next.disabled = at + PAGE >= chosen.length;
    body.replaceChildren(...shown.map((i) => make('tr', {},
      make('td', {}, make('button', {type: 'button', onclick: () => open(i)}, task.key[i])),
      make('td', {}, verdict(task.verdict[i])), make('td', {}, task.extraction[i]))));
  }

  async function open(i) {
    const chunk = await unpack(`${task.id}-${Math.floor(i / task.per)}`);
    detail.replaceChildren(show(chunk[i % task.per]));
    detail.scrollIntoView({block: 'start'});
  }

  root.append(make('div', {class: 'controls'}, ...(groups.length > 1 ? [group] : []), kind, search, previous, next, count),
    make('table', {class: 'items'}, body), detail);
  filter();
}

for (const root of document.querySelectorAll('details.browser')) {
  root.addEventListener('toggle', async () => {
    if (root.open && root.children.length === 1) browser(root, await unpack(root.dataset.index));
  });
}
