// SPDX-License-Identifier: Apache-2.0
// What is said to the server, and what its refusals mean in words. Addresses are relative: the page may live below a prefix.

/** Why there is no answer: words, what the page can offer, and the seconds the server asks to wait. */
class Fault extends Error {
  constructor(words, offer = 'retry', wait = 0) {
    super(words);
    this.offer = offer; // 'retry', 'key', 'models' or 'new'
    this.wait = wait;
  }
}

const GONE = 'The server does not answer. Is paco serve still running, and this machine still connected? Then try again.';
const BROKEN = 'The connection broke off before the answer was complete. Try again.';

const ended = (text) => (/[.!?]$/.test(text) ? text : text + '.');

/** An error of the server's, in words with what to do. error is its "error" object, or a text, or nothing. */
function faultOf(status, error, wait) {
  const said = ended(String(error?.message ?? error ?? '').trim().slice(0, 600) || `The server answered with status ${status}`);
  const soon = wait ? `in ${counted(wait, 'second')}` : 'in a moment';
  if (status === 401) {
    return new Fault(read(sessionStorageOrNull(), 'key', '') ? 'The server does not accept this API key. Enter another one in the settings.'
      : 'This server wants an API key. Enter it in the settings.', 'key');
  }
  if (error?.code === 'context_length_exceeded') {
    return new Fault(`Too long for this model. ${said} Shorten the message, or begin a new conversation.`, 'new');
  }
  if (status === 404 && error?.code === 'model_not_found') return new Fault(`${said} Choose another model above.`, 'models');
  if (status === 429) return new Fault(`The server has too much to do. Try again ${soon}.`, 'retry', wait);
  if (status === 503) {
    return new Fault(/loading/i.test(said) ? 'The server is still loading its model. Try again in a moment.'
      : `The server cannot answer now. ${said} Try again ${soon}.`, 'retry', wait);
  }
  if (status === 400 || status === 413 || status === 422) return new Fault(`The server refuses this request. ${said}`);
  return new Fault(`The server failed. ${said}`, 'retry', wait);
}

async function faultOfReply(reply) {
  let error = null;
  try {
    error = (await reply.json()).error;
  } catch { // not JSON: something between the page and the server
  }
  const wait = Math.ceil(Number(reply.headers.get('Retry-After')));
  return faultOf(reply.status, error, wait > 0 && wait < 86400 ? wait : 0);
}

async function request(path, options) {
  const key = read(sessionStorageOrNull(), 'key', '');
  if (!/^[!-~]*$/.test(key)) throw new Fault('An API key has letters, digits and signs of ASCII only. Enter it anew in the settings.', 'key');
  const headers = {...(options.body && {'Content-Type': 'application/json'}), ...(key && {Authorization: `Bearer ${key}`})};
  let reply;
  try {
    reply = await fetch(path, {...options, headers, credentials: 'same-origin'});
  } catch (e) {
    throw e.name === 'AbortError' ? e : new Fault(GONE);
  }
  if (!reply.ok) throw await faultOfReply(reply);
  return reply;
}

/** What there is to talk to, the server's first first: {id, parent, context}; parent is the base of a fine-tune. */
async function fetchModels() {
  let list;
  try {
    list = await (await request('v1/models', {})).json();
  } catch (e) {
    throw e instanceof Fault ? e : new Fault('What answers here does not speak as paco serve does.');
  }
  const models = (Array.isArray(list.data) ? list.data : []).filter((m) => typeof m?.id === 'string' && m.id)
    .map((m) => ({id: m.id, parent: typeof m.parent === 'string' ? m.parent : '', context: Number(m.max_model_len) || 0}));
  if (!models.length) throw new Fault('The server has no model to talk to.');
  return models;
}

/** The data of a stream of events, one string each. */
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '', data = [];
  for (;;) {
    const {done, value} = await reader.read();
    if (done) return;
    const lines = (rest + value).split(/\r\n|\n/);
    rest = lines.pop();
    for (const line of lines) {
      if (line === '' && data.length) {
        yield data.join('\n');
        data = [];
      } else if (line.startsWith('data:')) {
        data.push(line.slice(line[5] === ' ' ? 6 : 5));
      }
    }
  }
}

/** Ask for a chat's answer; onpart({text, tokens}) as it comes. Gives {finish, usage}. Throws Fault, or AbortError. */
async function answer(body, signal, onpart) {
  const ask = {...body, stream: true, stream_options: {include_usage: true}};
  const reply = await request('v1/chat/completions', {method: 'POST', body: JSON.stringify(ask), signal});
  const end = {finish: null, usage: null};
  let whole = false;
  try {
    for await (const data of events(reply.body)) {
      if (data === '[DONE]') {
        whole = true;
        break;
      }
      const part = JSON.parse(data);
      if (part.error) throw faultOf(part.error.status || 500, part.error, 0);
      if (part.usage) end.usage = part.usage;
      const choice = part.choices?.[0];
      if (!choice) continue;
      if (choice.finish_reason) end.finish = choice.finish_reason;
      onpart({text: choice.delta?.content || '', tokens: choice.logprobs?.content || []});
    }
  } catch (e) {
    if (e instanceof Fault || e.name === 'AbortError') throw e;
    throw new Fault(e instanceof SyntaxError ? 'The server sent something that is no answer. Try again.' : BROKEN);
  }
  if (!whole && !end.finish) throw new Fault(BROKEN);
  return end;
}
