// SPDX-License-Identifier: Apache-2.0
// Markdown as models write it, made into elements. The source is hostile: what is not understood stays text, HTML stays text,
// links go to http and https only, pictures are links, nesting is bounded, and time is linear in the length of the text.
//
// Blocks are read strictly forward: what follows can change the last block only, and a line that is not complete the one before
// it. While an answer streams in, StreamedMarkdown therefore makes these anew and leaves the others alone.

const MAX_NESTING = 8;      // quotes and lists in one another
const MAX_OPEN = 32;        // emphasis and brackets that may still be closed
const MAX_COLUMNS = 64;
const MAX_ADDRESS = 2000;   // characters of a link's address

// ---- inside a line ----

const SPECIAL = /[\\`*_~[\]<\n!]|https?:\/\//g;
const isSpace = (c) => c === undefined || /\s/.test(c);
const isMark = (c) => c !== undefined && /[\p{P}\p{S}]/u.test(c);

/** A link's address made safe, or null: absolute, http or https, and without a user's name, which only deceives. */
function safeAddress(text) {
  if (text.length > MAX_ADDRESS || !/^https?:\/\//i.test(text)) return null;
  try {
    const url = new URL(text);
    return url.username || url.password ? null : url;
  } catch {
    return null;
  }
}

function link(url, children) {
  const a = make('a', {href: url.href, title: url.href, target: '_blank', rel: 'noopener noreferrer nofollow', dir: 'auto'}, children);
  // Words that look like another address than the one they lead to get it written beside them.
  return /\w\.\w/.test(a.textContent) && !a.textContent.includes(url.host) ? [a, ` (${url.host})`] : [a];
}

/** Of "(address "title")" that begins at i: [url or null, end], or null. */
function destination(text, i) {
  let depth = 1;
  for (let j = i + 1; j < text.length && j < i + MAX_ADDRESS; j++) {
    if (text[j] === '\n') return null;
    if (text[j] === '(') depth++;
    if (text[j] === ')' && --depth === 0) {
      const inside = text.slice(i + 1, j).trim();
      return [safeAddress((/^<([^<>]*)>/.exec(inside) || inside.split(/\s/, 1)).at(-1)), j + 1];
    }
  }
  return null;
}

class Inline {
  constructor(text) {
    this.text = text;
    this.out = [];     // nodes
    this.open = [];    // {mark, left, at}: out[at] is a text of `left` marks that may yet open something
    this.never = new Set(); // lengths of runs of ` that nothing closes any more
  }

  put(text) {
    if (text) this.out.push(document.createTextNode(text));
  }

  opens(mark, left) {
    if (this.open.length === MAX_OPEN) this.open.shift();
    this.open.push({mark, left, at: this.out.length});
    this.put(mark.repeat(left));
  }

  // What came since an opening becomes the children of an element, and openings among it are text for good.
  takeFrom(i) {
    const {at} = this.open[i];
    this.open.length = i + 1;
    return this.out.splice(at + 1);
  }

  // An opening has given some of its marks.
  give(i, n) {
    const o = this.open[i];
    o.left -= n;
    this.out[o.at].data = o.mark.repeat(o.left);
    if (o.left === 0) this.open.length = i;
  }

  emphasis(i) {
    const mark = this.text[i];
    let n = 1;
    while (this.text[i + n] === mark) n++;
    const before = this.text[i - 1], after = this.text[i + n];
    const left = !isSpace(after) && (!isMark(after) || isSpace(before) || isMark(before));
    const right = !isSpace(before) && (!isMark(before) || isSpace(after) || isMark(after));
    const word = mark === '_' && left && right; // snake_case
    let rest = n;
    while (right && !word && rest > 0) {
      const k = this.open.findLastIndex((o) => o.mark === mark);
      const take = k < 0 ? 0 : mark === '~' ? 2 : Math.min(2, rest, this.open[k].left);
      if (!take || take > rest || take > this.open[k].left) break;
      const tag = mark === '~' ? 'del' : take === 2 ? 'strong' : 'em';
      this.out.push(make(tag, {}, this.takeFrom(k)));
      this.give(k, take);
      rest -= take;
    }
    if (rest > 0 && left && !word) this.opens(mark, rest);
    else this.put(mark.repeat(rest));
    return i + n;
  }

  code(i) {
    let n = 1;
    while (this.text[i + n] === '`') n++;
    if (!this.never.has(n)) {
      const close = new RegExp('(?<!`)`{' + Math.min(n, 1000) + '}(?!`)', 'g');
      close.lastIndex = i + n;
      const found = close.exec(this.text);
      if (found) {
        const inner = this.text.slice(i + n, found.index).replace(/\n/g, ' ');
        const padded = inner.length > 2 && inner.startsWith(' ') && inner.endsWith(' ');
        this.out.push(make('code', {dir: 'ltr'}, padded ? inner.slice(1, -1) : inner));
        return close.lastIndex;
      }
      this.never.add(n);
    }
    this.put('`'.repeat(n));
    return i + n;
  }

  bracket(i) {
    const k = this.open.findLastIndex((o) => o.mark === '[' || o.mark === '![');
    if (k < 0) return this.asText(i, ']');
    const to = this.text[i + 1] === '(' ? destination(this.text, i + 1) : null;
    const {at} = this.open[k];
    const within = this.out.slice(at + 1);
    if (!to || !to[0] || within.some((e) => e.nodeName === 'A' || e.querySelector?.('a'))) {
      this.open.splice(k, 1);
      return this.asText(i, ']');
    }
    const children = this.takeFrom(k);
    this.open.length = k;
    this.out.length = at;
    this.out.push(...link(to[0], children.length ? children : [to[0].href]));
    return to[1];
  }

  address(i, end) {
    const url = safeAddress(this.text.slice(i, end));
    if (!url) return this.asText(i, this.text.slice(i, end));
    this.out.push(...link(url, [this.text.slice(i, end)]));
    return end;
  }

  asText(i, text) {
    this.put(text);
    return i + text.length;
  }

  lineEnd(i) {
    const last = this.out[this.out.length - 1];
    if (last?.nodeType === Node.TEXT_NODE) last.data = last.data.replace(/ {1,100}$/, '');
    this.out.push(make('br'));
    while (this.text[i + 1] === ' ') i++;
    return i + 1;
  }

  special(i) {
    const c = this.text[i], next = this.text[i + 1];
    switch (c) {
      case '\n': return this.lineEnd(i);
      case '`': return this.code(i);
      case '*': case '_': case '~': return this.emphasis(i);
      case ']': return this.bracket(i);
      case '[': return this.opens('[', 1), i + 1;
      case '!': return next === '[' ? (this.opens('![', 1), i + 2) : this.asText(i, '!');
      case '\\':
        if (next === '\n') return this.lineEnd(i + 1);
        return next && /[!-/:-@[-`{-~]/.test(next) ? (this.put(next), i + 2) : this.asText(i, '\\');
      case '<': {
        const end = this.text.slice(i, i + MAX_ADDRESS).search(/[>\s]/);
        const url = end > 0 && this.text[i + end] === '>' ? safeAddress(this.text.slice(i + 1, i + end)) : null;
        if (!url) return this.asText(i, '<');
        this.out.push(...link(url, [this.text.slice(i + 1, i + end)]));
        return i + end + 1;
      }
      default: {
        if (/\w/.test(this.text[i - 1] || '')) return this.asText(i, 'http');
        const length = this.text.slice(i, i + MAX_ADDRESS).search(/[\s<>"`*\]|\\)]|$/);
        const trimmed = this.text.slice(i, i + length).replace(/[.,;:!?']{1,20}$/, '');
        return this.address(i, i + trimmed.length);
      }
    }
  }

  run() {
    let i = 0;
    while (i < this.text.length) {
      SPECIAL.lastIndex = i;
      const found = SPECIAL.exec(this.text);
      const end = found ? found.index : this.text.length;
      this.put(this.text.slice(i, end));
      i = found ? this.special(end) : end;
    }
    return this.out;
  }
}

const inline = (text) => new Inline(text).run();

// ---- blocks ----

const FENCE = /^( *)(?:(`{3,})([^`]*)|(~{3,})(.*))$/;
const RULE = /^ {0,3}([-*_])(?: *\1){2,} *$/;
const HEADING = /^ {0,3}(#{1,6})(?= |$)/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( *)([-*+]|\d{1,9}[.)])(?: +|$)/;
const isBlank = (line) => line.trim() === '';
const indent = (line) => line.length - line.trimStart().length;

function cells(line) {
  const s = line.trim().replace(/^\|/, '').replace(/(^|[^\\])\|$/, '$1');
  return s.split(/(?<!\\)\|/, MAX_COLUMNS).map((c) => c.trim().replace(/\\\|/g, '|'));
}

function isTable(lines, i) {
  if (i + 1 >= lines.length || !lines[i].includes('|') || !lines[i + 1].includes('-')) return false;
  const ruled = cells(lines[i + 1]);
  return ruled.every((c) => /^:?-+:?$/.test(c)) && ruled.length === cells(lines[i]).length;
}

const begins = (lines, i) => FENCE.test(lines[i]) || HEADING.test(lines[i]) || RULE.test(lines[i]) || QUOTE.test(lines[i]) ||
  ITEM.test(lines[i]) || isTable(lines, i);

// Each reader takes what begins at line i and returns [element, the line after].

function codeBlock(lines, i) {
  const found = FENCE.exec(lines[i]), margin = found[1], fence = found[2] || found[4];
  const language = (found[3] || found[5] || '').trim().split(/\s/, 1)[0].slice(0, 40) || 'text';
  let end = i + 1;
  const closes = (line) => {
    const t = line.trim();
    return t.length >= fence.length && t === fence[0].repeat(t.length);
  };
  while (end < lines.length && !closes(lines[end])) end++;
  const text = lines.slice(i + 1, end).map((line) => line.slice(Math.min(margin.length, indent(line)))).join('\n');
  const code = make('code', {dir: 'ltr'}, coloured(text, language));
  const box = make('div', {class: 'code'},
    make('div', {class: 'code-head'}, make('span', {}, language), copyButton(() => code.textContent, 'Copy code')),
    make('pre', {tabindex: 0, role: 'region', 'aria-label': `Code, ${language}`}, code));
  return [box, end + 1];
}

// The page has its own headings above these.
function heading(lines, i) {
  const level = HEADING.exec(lines[i])[1].length;
  const text = lines[i].trim().slice(level).trim();
  const closing = / #{1,100}$/.exec(text.slice(-101));
  const bare = closing ? text.slice(0, -closing[0].length).trim() : text;
  return [make('h' + Math.min(level + 3, 6), {class: 'level' + Math.min(level, 4)}, inline(bare)), i + 1];
}

function quote(lines, i, nesting) {
  const inner = [];
  for (; i < lines.length && QUOTE.test(lines[i]); i++) inner.push(lines[i].replace(QUOTE, ''));
  return [make('blockquote', {}, readBlocks(inner, nesting + 1).map((b) => b.node)), i];
}

// The lines of one item, without its margin; models indent what is inside by two as readily as by three.
function itemLines(lines, i, margin, width) {
  const inner = [lines[i].slice(width)];
  let blank = false;
  for (i++; i < lines.length; i++) {
    const line = lines[i], deep = indent(line);
    if (isBlank(line)) blank = true;
    else if (deep < margin + 2 && (blank || begins(lines, i))) break;
    else blank = false;
    inner.push(line.slice(Math.min(width, deep)));
  }
  return [inner, i];
}

function list(lines, i, nesting) {
  const [, first, marker] = ITEM.exec(lines[i]);
  const ordered = marker.length > 1, kind = marker.slice(-1), margin = first.length;
  const items = [];
  let loose = false;
  while (i < lines.length) {
    const found = ITEM.exec(lines[i]);
    if (!found || found[1].length > margin + 1 || found[2].slice(-1) !== kind || RULE.test(lines[i])) break;
    const [inner, next] = itemLines(lines, i, margin, Math.min(found[0].length, found[1].length + found[2].length + 4));
    const last = inner.findLastIndex((line) => !isBlank(line)) + 1;
    loose ||= inner.slice(0, last).some(isBlank) || (last < inner.length && next < lines.length && ITEM.test(lines[next]));
    inner.length = Math.max(last, 1);
    inner[0] = inner[0].replace(/^\[( |x|X)\] /, (_, x) => (x === ' ' ? '☐ ' : '☑ '));
    items.push(readBlocks(inner, nesting + 1).map((b) => b.node));
    i = next;
  }
  const entries = items.map((nodes) => make('li', {}, nodes.flatMap((e) => (!loose && e.nodeName === 'P' ? [...e.childNodes] : [e]))));
  const start = ordered ? parseInt(marker, 10) : 1;
  return [make(ordered ? 'ol' : 'ul', {start: start === 1 ? null : start}, entries), i];
}

function table(lines, i) {
  const sides = cells(lines[i + 1]).map((c) => (c.endsWith(':') ? (c.startsWith(':') ? 'center' : 'end') : 'start'));
  const row = (line, tag) => {
    const texts = cells(line);
    return make('tr', {}, sides.map((side, k) =>
      make(tag, {class: side, dir: 'auto', scope: tag === 'th' ? 'col' : null}, inline(texts[k] || ''))));
  };
  const head = row(lines[i], 'th'), body = [];
  for (i += 2; i < lines.length && lines[i].includes('|') && !isBlank(lines[i]); i++) body.push(row(lines[i], 'td'));
  return [make('div', {class: 'scroll', tabindex: 0, role: 'region', 'aria-label': 'Table'},
    make('table', {}, make('thead', {}, head), make('tbody', {}, body))), i];
}

function paragraph(lines, i) {
  const start = i;
  for (i++; i < lines.length && !isBlank(lines[i]) && !begins(lines, i);) i++;
  return [make('p', {}, inline(lines.slice(start, i).join('\n').trim())), i];
}

function readBlock(lines, i, nesting) {
  const line = lines[i], deeper = nesting < MAX_NESTING;
  if (FENCE.test(line)) return codeBlock(lines, i);
  if (HEADING.test(line)) return heading(lines, i);
  if (RULE.test(line)) return [make('hr'), i + 1];
  if (deeper && QUOTE.test(line)) return quote(lines, i, nesting);
  if (deeper && ITEM.test(line)) return list(lines, i, nesting);
  if (isTable(lines, i)) return table(lines, i);
  return paragraph(lines, i);
}

/** [{line, node}]: elements, and the line each begins at. */
function readBlocks(lines, nesting = 0) {
  const found = [];
  for (let i = 0; i < lines.length;) {
    if (isBlank(lines[i])) {
      i++;
      continue;
    }
    const [node, next] = readBlock(lines, i, nesting);
    // A block has the direction of its first letters, with all in it: a list's numbers stand on the side where it begins.
    if (nesting === 0 && node.nodeName !== 'DIV') node.dir = 'auto';
    found.push({line: i, node});
    i = next;
  }
  return found;
}

/** A text that grows, in an element: update(text) with all of it so far. */
class StreamedMarkdown {
  constructor(box) {
    Object.assign(this, {box, offset: 0, loose: []});
  }

  update(text) {
    const lines = text.slice(this.offset).replace(/\r\n?/g, '\n').replace(/\t/g, '    ').split('\n');
    const found = readBlocks(lines);
    this.show(found.map((b) => b.node));
    const stable = found.length - (found.at(-1)?.line === lines.length - 1 ? 2 : 1);
    if (stable <= 0) return;
    this.loose.splice(0, stable);
    this.offset = offsetOfLine(text, this.offset, found[stable].line);
  }

  // Code that grows keeps its element, so that a reader's selection, scrolling and focus stay.
  show(nodes) {
    const head = (e) => e?.className === 'code' && e.firstChild.firstChild.textContent;
    const old = this.loose;
    this.loose = nodes.map((node, i) => {
      if (head(node) && head(node) === head(old[i])) {
        old[i].querySelector('code').replaceChildren(...node.querySelector('code').childNodes);
        return old[i];
      }
      if (old[i]) old[i].replaceWith(node);
      else this.box.append(node);
      return node;
    });
    old.slice(nodes.length).forEach((e) => e.remove());
  }
}

/** Where the n-th line after offset begins. Lines end as update() has them end: \r\n, \r or \n. */
function offsetOfLine(text, offset, n) {
  const end = /\r\n?|\n/g;
  end.lastIndex = offset;
  while (n-- > 0) end.exec(text);
  return end.lastIndex;
}
