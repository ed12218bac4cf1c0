// SPDX-License-Identifier: Apache-2.0
// What the other files stand on: elements, icons, the clipboard, files to keep, what a screen reader is told.
//
// Nothing on this page is made from HTML text: every element comes from make(), every text is a text node, and the page's
// policy forbids the browser to do it otherwise.
'use strict';

const by = (id) => document.getElementById(id);

/** An element. Attributes "on..." are listeners, true sets an empty attribute, false and null set none. Children are nodes, texts
 *  and arrays of them: what may be many comes as an array, as a call has room for some ten thousand arguments only. */
function make(tag, attributes, ...children) {
  const e = document.createElement(tag);
  for (const [k, v] of Object.entries(attributes || {})) {
    if (k.startsWith('on')) e.addEventListener(k.slice(2), v);
    else if (v === true) e.setAttribute(k, '');
    else if (v !== false && v != null) e.setAttribute(k, v);
  }
  for (const child of children.flat()) e.append(child);
  return e;
}

const ICONS = {
  menu: 'M4 7h16M4 12h16M4 17h10',
  close: 'M6 6l12 12M18 6L6 18',
  sun: 'M12 8a4 4 0 1 0 0 8a4 4 0 1 0 0-8M12 2.5v2M12 19.5v2M2.5 12h2M19.5 12h2M5.3 5.3l1.4 1.4M17.3 17.3l1.4 1.4M5.3 18.7l1.4-1.4M17.3 6.7l1.4-1.4',
  moon: 'M19.5 14.5A8 8 0 0 1 9.5 4.5a8 8 0 1 0 10 10z',
  system: 'M12 4a8 8 0 1 0 0 16a8 8 0 1 0 0-16zM12 4v16a8 8 0 0 1 0-16z',
  sliders: 'M4 7h9M17 7h3M4 17h3M11 17h9M15 4.5v5M9 14.5v5',
  send: 'M12 19V5M6 11l6-6l6 6',
  stop: 'M7 7h10v10H7z',
  down: 'M12 5v14M6 13l6 6l6-6',
};

function icon(name) {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  for (const [k, v] of Object.entries({viewBox: '0 0 24 24', 'aria-hidden': 'true', class: 'i-' + name})) svg.setAttribute(k, v);
  const path = document.createElementNS('http://www.w3.org/2000/svg', 'path');
  path.setAttribute('d', ICONS[name]);
  svg.append(path);
  return svg;
}

/** A small button with words. */
function action(words, onclick, attributes) {
  return make('button', {type: 'button', class: 'act', onclick, ...attributes}, words);
}

/** Polite, whole sentences: never token by token. */
function say(text) {
  const live = by('live');
  live.append(make('p', {}, text));
  while (live.children.length > 40) live.firstChild.remove();
}

/** navigator.clipboard is there on https and localhost only, and a phone may well read this page on neither. */
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const at = document.activeElement;
    const area = make('textarea', {class: 'hidden', 'aria-hidden': 'true'});
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand('copy');
    area.remove();
    at?.focus();
    return done;
  }
}

/** A button that copies text() and says so for a moment. */
function copyButton(text, words = 'Copy') {
  const button = action(words, async () => {
    const done = await copy(text());
    button.textContent = done ? 'Copied' : 'Not allowed';
    say(done ? 'Copied' : 'The browser does not allow copying');
    setTimeout(() => { button.textContent = words; }, 1500);
  });
  return button;
}

function keepFile(name, type, text) {
  const url = URL.createObjectURL(new Blob([text], {type}));
  make('a', {href: url, download: name}).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

const counted = (n, thing) => `${n.toLocaleString('en')} ${thing}${n === 1 ? '' : 's'}`;

// ---- light and dark: as the system has it, unless chosen here ----

const THEMES = ['system', 'light', 'dark'];
const darkSystem = matchMedia('(prefers-color-scheme: dark)');
let theme = read(localStorageOrNull(), 'theme', 'system');

function showTheme() {
  const dark = theme === 'dark' || (theme !== 'light' && darkSystem.matches);
  document.documentElement.dataset.theme = dark ? 'dark' : 'light';
}

function startTheme() {
  const button = by('theme');
  const label = () => {
    const words = {system: 'Colours: as the system has them', light: 'Colours: light', dark: 'Colours: dark'}[theme];
    button.setAttribute('aria-label', words);
    button.title = words;
    button.replaceChildren(icon({system: 'system', light: 'sun', dark: 'moon'}[theme]));
  };
  button.addEventListener('click', () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    write(localStorageOrNull(), 'theme', theme);
    showTheme();
    label();
  });
  label();
}

function localStorageOrNull() {
  try {
    return localStorage;
  } catch { // switched off: the page works, and forgets
    return null;
  }
}

function sessionStorageOrNull() {
  try {
    return sessionStorage;
  } catch {
    return null;
  }
}

/** What was kept under a name, or other. */
function read(storage, name, other) {
  try {
    const text = storage.getItem('paco.' + name);
    return text === null ? other : JSON.parse(text);
  } catch {
    return other;
  }
}

/** Whether it could be kept. */
function write(storage, name, value) {
  try {
    storage.setItem('paco.' + name, JSON.stringify(value));
    return true;
  } catch {
    return false;
  }
}

darkSystem.addEventListener('change', showTheme);
showTheme();
