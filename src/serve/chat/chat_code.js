// SPDX-License-Identifier: Apache-2.0
// Code in colours: comments, strings, numbers, and the words a language keeps for itself. Not a parser: what languages share,
// enough for an eye to find its way. A language that is not known stays as it is.
//
// Each pattern matches wherever it begins, closed or not, so that a text of any kind is gone through once.

const COLOURED_MOST = 20000; // characters; a longer listing stays in one colour

const SAME = {
  c: 'c h cc cpp c++ cxx hpp objc cuda', js: 'js javascript jsx ts typescript tsx mjs json json5', java: 'java kotlin kt scala cs csharp c# dart swift',
  rust: 'rust rs go golang zig', php: 'php', python: 'python py python3', shell: 'sh bash shell zsh console dockerfile makefile make',
  ruby: 'ruby rb perl pl r julia elixir', data: 'yaml yml toml ini', sql: 'sql postgresql mysql sqlite', lua: 'lua haskell hs',
};
const FAMILY = new Map(Object.entries(SAME).flatMap(([family, names]) => names.split(' ').map((name) => [name, family])));

const SLASHES = String.raw`\/\/[^\n]*|\/\*[^]*?(?:\*\/|$)`, HASH = String.raw`#[^\n]*`, DASHES = String.raw`--[^\n]*`;
const QUOTED = String.raw`"(?:[^"\\\n]|\\[^\n])*"?`, SINGLE = String.raw`'(?:[^'\\\n]|\\[^\n])*'?`;
const BACKTICKS = '`(?:[^`\\\\]|\\\\[^])*`?', TRIPLE = String.raw`"""[^]*?(?:"""|$)|'''[^]*?(?:'''|$)`;

const COMMENT = {python: HASH, shell: HASH, ruby: HASH, data: HASH, sql: DASHES, lua: DASHES, php: `${SLASHES}|${HASH}`};
const STRING = {
  js: `${QUOTED}|${SINGLE}|${BACKTICKS}`, python: `${TRIPLE}|${QUOTED}|${SINGLE}`,
  rust: `${QUOTED}|${BACKTICKS}`, // 'a is a lifetime there
};

const KEPT = {
  c: `auto break case catch char class const constexpr continue default delete do double else enum extern false float for friend goto if
    inline int long namespace new nullptr operator private protected public register restrict return short signed sizeof static struct
    switch template this throw true try typedef typename union unsigned using virtual void volatile while bool NULL include define`,
  js: `async await break case catch class const continue default delete do else enum export extends false finally for from function if
    implements import in instanceof interface let new null of return static super switch this throw true try type typeof undefined var
    void while with yield`,
  java: `abstract as async await boolean break byte case catch char class const continue data default do double else enum extends false
    final finally float for fun func foreach guard if implements import in int interface internal is let long namespace new null object
    override package private protected public readonly return self short static string struct super switch this throw throws true try
    using val var void when while`,
  rust: `as async await bool break case chan const continue crate default defer dyn else enum extern fallthrough false fn for func go goto
    if impl import in interface let loop map match mod move mut nil package pub range ref return select self Self static struct super
    switch trait true type unsafe use var where while`,
  php: `abstract and array as break case catch class const continue default do echo else elseif extends false final finally fn for foreach
    function global if implements include instanceof interface match namespace new null or private protected public require return
    static switch this throw trait true try use var while yield`,
  python: `and as assert async await break class continue def del elif else except False finally for from global if import in is lambda
    None nonlocal not or pass raise return self True try while with yield match case`,
  shell: `case do done echo elif else esac exit export fi for function if in local return set then until while FROM RUN COPY CMD
    ENTRYPOINT ENV WORKDIR EXPOSE`,
  ruby: `and begin break class def do else elsif end ensure false for foreach function if in module my next nil not or our print puts
    require rescue return self sub super then true unless until use when while yield TRUE FALSE NULL`,
  data: 'true false null yes no on off',
  sql: `add all alter and any as asc begin between by case check column commit constraint count create cross database default delete desc
    distinct drop else end exists foreign from full group having if in index inner insert into is join key left like limit not null
    offset on or order outer over primary references right rollback select set table then transaction union unique update using values
    view when where with`,
  lua: `and break case class data deriving do else elseif end false for function if import in instance let local module nil not of or
    repeat return then true type until where while`,
};

const kept = new Map(Object.entries(KEPT).map(([family, words]) => [family, new Set(words.trim().split(/\s+/))]));
const patterns = new Map();

function patternOf(family) {
  if (!patterns.has(family)) {
    patterns.set(family, new RegExp(`(${COMMENT[family] || SLASHES})|(${STRING[family] || `${QUOTED}|${SINGLE}`})|` +
      String.raw`(\b\d[\w.]*)|([A-Za-z_]\w*)`, 'g'));
  }
  return patterns.get(family);
}

/** Texts and spans that together are the code. */
function coloured(code, language) {
  const family = FAMILY.get(language.toLowerCase());
  if (!family || code.length > COLOURED_MOST) return [code];
  const parts = [];
  let plain = 0;
  for (const m of code.matchAll(patternOf(family))) {
    const [all, comment, string, number, word] = m;
    const kind = comment ? 'comment' : string ? 'string' : number ? 'number'
      : kept.get(family).has(family === 'sql' ? word.toLowerCase() : word) ? 'kept' : '';
    if (!kind) continue;
    if (m.index > plain) parts.push(code.slice(plain, m.index));
    parts.push(make('span', {class: kind}, all));
    plain = m.index + all.length;
  }
  if (plain < code.length) parts.push(code.slice(plain));
  return parts;
}
