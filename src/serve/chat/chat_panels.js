// SPDX-License-Identifier: Apache-2.0
// What stands around the conversation: the list of conversations, the settings, questions before something is deleted.

// ---- settings ----

const RANGES = {temperature: 'a number from 0 to 2', top_p: 'a number from 0 to 1', max_tokens: 'a whole number from 1',
  seed: 'a whole number from 0'};

function takeSetting(input) {
  const words = {temperature: 'Temperature', top_p: 'Top p', max_tokens: 'The longest answer', seed: 'Seed'}[input.name];
  by('settings-fault').textContent = input.validity.valid ? '' : `${words} must be ${RANGES[input.name]}. It stays as it was.`;
  input.setAttribute('aria-invalid', !input.validity.valid);
  if (!input.validity.valid) return;
  if (input.name === 'key') {
    write(sessionStorageOrNull(), 'key', input.value.trim());
    return;
  }
  settings[input.name] = input.type === 'checkbox' ? input.checked : input.type !== 'number' ? input.value
    : input.value === '' ? null : Number(input.value);
  write(localStorageOrNull(), 'settings', Object.fromEntries(SETTINGS.map((name) => [name, settings[name] ?? null])));
}

/** onclose(keyChanged) after the settings were looked at. */
function startSettings(onclose) {
  const dialog = by('settings'), form = dialog.querySelector('form');
  let key = '';
  const fields = [...form.querySelectorAll('[name]')];
  for (const input of fields) input.addEventListener('input', () => takeSetting(input));
  dialog.addEventListener('close', () => onclose(key !== read(sessionStorageOrNull(), 'key', '')));
  dialog.addEventListener('click', (e) => e.target === dialog && dialog.close());
  by('settings-open').append(icon('sliders'));
  return (name) => {
    key = read(sessionStorageOrNull(), 'key', '');
    for (const input of fields) {
      if (input.type === 'checkbox') input.checked = settings[input.name];
      else input.value = input.name === 'key' ? key : settings[input.name] ?? '';
      input.removeAttribute('aria-invalid');
    }
    by('settings-fault').textContent = '';
    dialog.showModal();
    if (name) form.elements[name].focus();
  };
}

/** What is set, in words, for the line under the message box. */
function settingsInWords() {
  const words = {temperature: (v) => `temperature ${v}`, top_p: (v) => `top p ${v}`, max_tokens: (v) => `at most ${counted(v, 'token')}`,
    seed: (v) => `seed ${v}`};
  const parts = Object.entries(sampling()).map(([k, v]) => words[k](v));
  if (settings.system) parts.push('with a system message');
  return parts.join(' · ');
}

// ---- questions ----

/** Whether the user says yes. */
function confirmDeletion(title, text) {
  const dialog = by('confirm');
  by('confirm-title').textContent = title;
  by('confirm-text').textContent = text;
  dialog.returnValue = '';
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => resolve(dialog.returnValue === 'yes'), {once: true});
  });
}

// ---- the list ----

const narrow = matchMedia('(max-width: 859px)');

/** The list slides in on a narrow window, and what is behind it cannot be reached meanwhile. */
function openSide(open) {
  const side = by('side'), covers = open && narrow.matches;
  document.body.classList.toggle('side-open', covers);
  by('frame').inert = covers;
  side.inert = narrow.matches && !open;
  by('shade').hidden = !covers;
  by('side-open').setAttribute('aria-expanded', covers);
  if (covers) by('side-close').focus();
}

function startSide() {
  by('side-open').append(icon('menu'));
  by('side-close').append(icon('close'));
  const close = () => {
    if (!document.body.classList.contains('side-open')) return false;
    openSide(false);
    by('side-open').focus();
    return true;
  };
  by('side-open').addEventListener('click', () => openSide(true));
  by('side-close').addEventListener('click', close);
  by('shade').addEventListener('click', close);
  narrow.addEventListener('change', () => openSide(false));
  openSide(false);
  return close;
}

function drawList(conversations, current, onopen, ondelete) {
  by('list').replaceChildren(...conversations.filter((c) => c.turns.length).map((c) => make('li', {},
    make('button', {type: 'button', class: 'open', 'aria-current': c === current ? 'page' : null, onclick: () => onopen(c)},
      make('span', {dir: 'auto'}, c.title)),
    make('button', {type: 'button', class: 'icon small', 'aria-label': `Delete: ${c.title}`, onclick: () => ondelete(c)}, icon('close')))));
  for (const id of ['export-json', 'export-markdown']) by(id).disabled = !current.turns.length;
  by('clear').disabled = !conversations.some((c) => c.turns.length);
}
