// SPDX-License-Identifier: Apache-2.0
/* The stack machine. It knows opcodes and containers; what globals mean is pickle_torch.c's.
 *
 * No value is walked recursively, here or when freed (an arena), so nesting costs no C stack, and cycles and
 * shared values made through the memo cost nothing. Every opcode takes time and memory proportional to the
 * bytes that led to it, but for calls of OrderedDict on a remembered list, which the arena's limit ends.
 *
 * Opcodes that only protocol 0 uses are refused: torch cannot load tensors from it either, since its
 * persistent ids are text. Source of the opcodes: CPython's Lib/pickletools.py, which documents each. */
#include "format/pickle.h"

#include "format/pickle_machine.h"
#include "format/pickle_torch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_DIGITS = 64 };

// clang-format off
enum opcode {
    MARK = '(', STOP = '.', POP = '0', POP_MARK = '1', DUP = '2', BINFLOAT = 'G', INT = 'I', BININT = 'J',
    BININT1 = 'K', LONG = 'L', BININT2 = 'M', NONE = 'N', PERSID = 'P', BINPERSID = 'Q', REDUCE = 'R',
    STRING = 'S', BINSTRING = 'T', SHORT_BINSTRING = 'U', UNICODE = 'V', BINUNICODE = 'X', APPEND = 'a',
    BUILD = 'b', GLOBAL = 'c', DICT = 'd', EMPTY_DICT = '}', APPENDS = 'e', FLOAT = 'F', GET = 'g',
    BINGET = 'h', INST = 'i', LONG_BINGET = 'j', LIST = 'l', EMPTY_LIST = ']', OBJ = 'o', PUT = 'p',
    BINPUT = 'q', LONG_BINPUT = 'r', SETITEM = 's', TUPLE = 't', EMPTY_TUPLE = ')', SETITEMS = 'u',
    PROTO = 0x80, NEWOBJ = 0x81, EXT1 = 0x82, EXT2 = 0x83, EXT4 = 0x84, TUPLE1 = 0x85, TUPLE2 = 0x86,
    TUPLE3 = 0x87, NEWTRUE = 0x88, NEWFALSE = 0x89, LONG1 = 0x8a, LONG4 = 0x8b, BINBYTES = 'B',
    SHORT_BINBYTES = 'C', SHORT_BINUNICODE = 0x8c, BINUNICODE8 = 0x8d, BINBYTES8 = 0x8e, EMPTY_SET = 0x8f,
    ADDITEMS = 0x90, FROZENSET = 0x91, NEWOBJ_EX = 0x92, STACK_GLOBAL = 0x93, MEMOIZE = 0x94, FRAME = 0x95,
    BYTEARRAY8 = 0x96, NEXT_BUFFER = 0x97, READONLY_BUFFER = 0x98,
};
// clang-format on

/* APPEND, SETITEM: n values onto the container below them. */
static int op_add(struct pc_pickle_machine *m, enum pc_value_kind kind, size_t n)
{
    struct pc_value **v = pc_pm_top(m, n + 1);
    if (!v)
        return PACO_EFORMAT;
    if (v[0]->kind != kind)
        return pc_pm_bad(m,
            kind == PC_VALUE_DICT ? "it sets an item of what is no dict" : "it appends to what is no list");
    m->n_stack -= n;
    return pc_pm_append(m, v[0], v + 1, n);
}

/* APPENDS, SETITEMS, ADDITEMS: all values above the MARK into the container below it. */
static int op_add_marked(struct pc_pickle_machine *m, enum pc_value_kind kind)
{
    struct pc_value **items, **to;
    size_t n;
    int rc = pc_pm_close_mark(m, &items, &n);
    if (rc < 0)
        return rc;
    to = pc_pm_top(m, 1);
    if (!to)
        return PACO_EFORMAT;
    if ((*to)->kind != kind)
        return pc_pm_bad(m, "it adds items to a value of another kind");
    if (kind == PC_VALUE_DICT && n % 2)
        return pc_pm_bad(m, "a dict's last key has no value");
    return pc_pm_append(m, *to, items, n);
}

/* n values from the stack become a tuple (or set). */
static int pack(struct pc_pickle_machine *m, enum pc_value_kind kind, struct pc_value *const *items, size_t n)
{
    struct pc_value *t = pc_pm_make(m, kind);
    if (!t)
        return m->err->code;
    int rc = pc_pm_append(m, t, items, n);
    return rc < 0 ? rc : pc_pm_push(m, t);
}

static int op_tuple_n(struct pc_pickle_machine *m, size_t n)
{
    struct pc_value **items = pc_pm_top(m, n);
    if (!items)
        return PACO_EFORMAT;
    m->n_stack -= n;
    return pack(m, PC_VALUE_TUPLE, items, n);
}

static int op_pack_marked(struct pc_pickle_machine *m, enum pc_value_kind kind)
{
    struct pc_value **items;
    size_t n;
    int rc = pc_pm_close_mark(m, &items, &n);
    return rc < 0 ? rc : pack(m, kind, items, n);
}

/* ---- numbers and strings ---- */

static int push_int(struct pc_pickle_machine *m, int64_t i)
{
    struct pc_value *v;
    int rc = pc_pm_push_new(m, PC_VALUE_INT, &v);
    if (rc == 0)
        v->i = i;
    return rc;
}

static int push_bool(struct pc_pickle_machine *m, bool b)
{
    struct pc_value *v;
    int rc = pc_pm_push_new(m, PC_VALUE_BOOL, &v);
    if (rc == 0)
        v->b = b;
    return rc;
}

static int op_binint(struct pc_pickle_machine *m, unsigned n_bytes)
{
    uint64_t u;
    int rc = pc_pm_take_uint(m, n_bytes, &u);
    if (rc < 0)
        return rc;
    return push_int(m, n_bytes == 4 ? (int64_t)(int32_t)(uint32_t)u : (int64_t)u);
}

static int op_binfloat(struct pc_pickle_machine *m)
{
    const uint8_t *p;
    struct pc_value *v;
    int rc = pc_pm_take(m, 8, &p);
    if (rc < 0)
        return rc;
    uint64_t bits = 0;
    for (int i = 0; i < 8; i++)
        bits = bits << 8 | p[i];
    rc = pc_pm_push_new(m, PC_VALUE_FLOAT, &v);
    if (rc == 0)
        memcpy(&v->f, &bits, sizeof v->f);
    return rc;
}

static int push_text(struct pc_pickle_machine *m, enum pc_value_kind kind, const char *s, size_t len)
{
    struct pc_value *v;
    int rc = pc_pm_push_new(m, kind, &v);
    if (rc == 0) {
        v->text.s = s;
        v->text.len = len;
    }
    return rc;
}

/* LONG1, LONG4: little-endian two's complement. */
static int op_long(struct pc_pickle_machine *m, unsigned n_length)
{
    uint64_t n = 0, u = 0;
    const char *s = "";
    int rc = pc_pm_take_uint(m, n_length, &n);
    if (rc == 0)
        rc = pc_pm_take_string(m, n, &s);
    if (rc != 0)
        return rc;
    if (n > 8)
        return push_text(m, PC_VALUE_LONG, s, (size_t)n);
    for (uint64_t i = 0; i < n; i++)
        u |= (uint64_t)(uint8_t)s[i] << (8 * i);
    if (n && n < 8 && (s[n - 1] & 0x80))
        u |= UINT64_MAX << (8 * n);
    return push_int(m, (int64_t)u);
}

/* INT and LONG of protocol 1: decimal digits, an L after a long; 00 and 01 are the booleans. */
static int op_decimal(struct pc_pickle_machine *m, bool is_long)
{
    char line[MAX_DIGITS + 1], *end;
    int rc = pc_pm_take_line(m, line, MAX_DIGITS);
    if (rc < 0)
        return rc;
    if (!is_long && (strcmp(line, "00") == 0 || strcmp(line, "01") == 0))
        return push_bool(m, line[1] == '1');
    size_t len = strlen(line), sign = line[0] == '-';
    if (is_long && len && line[len - 1] == 'L')
        line[--len] = '\0';
    if (len == sign || strspn(line + sign, "0123456789") != len - sign)
        return pc_pm_bad(m, "a decimal number has other characters");
    if (len - sign <= 18)
        return push_int(m, strtoll(line, &end, 10));
    char *copy = pc_arena_strndup(m->arena, line, len);
    return copy ? push_text(m, PC_VALUE_LONG, copy, len) : pc_pm_no_room(m, len + 1);
}

static int op_string(struct pc_pickle_machine *m, unsigned n_length)
{
    uint64_t n = 0;
    const char *s = "";
    int rc = pc_pm_take_uint(m, n_length, &n);
    if (rc == 0)
        rc = pc_pm_take_string(m, n, &s);
    return rc != 0 ? rc : push_text(m, PC_VALUE_STR, s, (size_t)n);
}

static int op_bytes(struct pc_pickle_machine *m, unsigned n_length)
{
    uint64_t n;
    int rc = pc_pm_take_uint(m, n_length, &n);
    if (rc == 0)
        rc = pc_pm_skip(m, n);
    return rc < 0 ? rc : push_text(m, PC_VALUE_BYTES, NULL, (size_t)n);
}

/* ---- globals and calls ---- */

static int push_global(struct pc_pickle_machine *m, const char *module, const char *name)
{
    struct pc_value *v;
    const struct pc_pickle_global *g = pc_pickle_find_global(module, name, m->err);
    if (!g)
        return pc_pm_place(m, PACO_EUNSUPPORTED);
    int rc = pc_pm_push_new(m, PC_VALUE_GLOBAL, &v);
    if (rc == 0)
        v->global = g;
    return rc;
}

static int op_global(struct pc_pickle_machine *m)
{
    char module[PC_PICKLE_MAX_GLOBAL + 1], name[PC_PICKLE_MAX_GLOBAL + 1];
    int rc = pc_pm_take_line(m, module, PC_PICKLE_MAX_GLOBAL);
    if (rc == 0)
        rc = pc_pm_take_line(m, name, PC_PICKLE_MAX_GLOBAL);
    return rc < 0 ? rc : push_global(m, module, name);
}

static int op_stack_global(struct pc_pickle_machine *m)
{
    struct pc_value **v = pc_pm_top(m, 2);
    if (!v)
        return PACO_EFORMAT;
    m->n_stack -= 2;
    for (int i = 0; i < 2; i++)
        if (v[i]->kind != PC_VALUE_STR || v[i]->text.len > PC_PICKLE_MAX_GLOBAL ||
            strlen(v[i]->text.s) != v[i]->text.len)
            return pc_pm_bad(m, "a global's module or name is no short string");
    return push_global(m, v[0]->text.s, v[1]->text.s);
}

static int op_call(struct pc_pickle_machine *m, bool is_new)
{
    struct pc_value **v = pc_pm_top(m, 2), *result;
    if (!v)
        return PACO_EFORMAT;
    m->n_stack -= 2;
    result = pc_pm_make(m, PC_VALUE_NONE);
    if (!result)
        return m->err->code;
    int rc = pc_pickle_call(m->arena, v[0], v[1], is_new, result, m->err);
    return rc < 0 ? pc_pm_place(m, rc) : pc_pm_push(m, result);
}

static int op_persistent(struct pc_pickle_machine *m)
{
    struct pc_value **id = pc_pm_top(m, 1), *result;
    if (!id)
        return PACO_EFORMAT;
    m->n_stack--;
    result = pc_pm_make(m, PC_VALUE_NONE);
    if (!result)
        return m->err->code;
    int rc = pc_pickle_persistent(m->arena, *id, result, &m->storages, m->err);
    return rc < 0 ? pc_pm_place(m, rc) : pc_pm_push(m, result);
}

/* An OrderedDict may have attributes: Module.state_dict() sets `_metadata`, module versions of no use here.
 */
static int op_build(struct pc_pickle_machine *m)
{
    struct pc_value **v = pc_pm_top(m, 2);
    if (!v)
        return PACO_EFORMAT;
    if (v[0]->kind != PC_VALUE_DICT || !v[0]->ordered ||
        (v[1]->kind != PC_VALUE_DICT && v[1]->kind != PC_VALUE_TUPLE))
        return PC_PM_FAIL(m, PACO_EUNSUPPORTED,
            "the pickle sets attributes of %s, which no state dict has; ask the publisher "
            "for safetensors",
            pc_value_describe(v[0]));
    m->n_stack--;
    return 0;
}

static int refuse_opcode(struct pc_pickle_machine *m, uint8_t op)
{
    static const struct {
        uint8_t op;
        const char *name;
    } names[] = {{PERSID, "PERSID"}, {STRING, "STRING"}, {UNICODE, "UNICODE"}, {FLOAT, "FLOAT"}, {GET, "GET"},
        {PUT, "PUT"}, {DICT, "DICT"}, {LIST, "LIST"}, {OBJ, "OBJ"}, {EXT1, "EXT1"}, {EXT2, "EXT2"},
        {EXT4, "EXT4"}, {NEWOBJ_EX, "NEWOBJ_EX"}, {NEXT_BUFFER, "NEXT_BUFFER"},
        {READONLY_BUFFER, "READONLY_BUFFER"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i].op == op)
            return PC_PM_FAIL(m, PACO_EUNSUPPORTED,
                "pickle opcode %s (0x%02x) is not one a checkpoint needs%s", names[i].name, op,
                op < 0x80 && op != OBJ ? " (protocol 0, from which PyTorch cannot load either)" : "");
    return PC_PM_FAIL(m, PACO_EFORMAT, "malformed pickle: 0x%02x is no opcode", op);
}

/* INST is GLOBAL and call in one; it is read only to name what it asks for. */
static int op_inst(struct pc_pickle_machine *m)
{
    int rc = op_global(m);
    return rc < 0 ? rc : refuse_opcode(m, OBJ);
}

static int op_proto(struct pc_pickle_machine *m)
{
    uint64_t version;
    int rc = pc_pm_take_uint(m, 1, &version);
    if (rc == 0 && version > 5)
        rc = PC_PM_FAIL(m, PACO_EUNSUPPORTED, "pickle protocol %u; 2 to 5 are known", (unsigned)version);
    return rc;
}

static int op_frame(struct pc_pickle_machine *m)
{
    uint64_t n;
    int rc = pc_pm_take_uint(m, 8, &n);
    return rc < 0 ? rc : pc_pm_check_left(m, n);
}

static int op_pop(struct pc_pickle_machine *m)
{
    struct pc_value **items;
    size_t n;
    // As in Python, popping with nothing above the MARK takes the MARK.
    if (m->n_marks && m->marks[m->n_marks - 1] == m->n_stack)
        return pc_pm_close_mark(m, &items, &n);
    if (!pc_pm_top(m, 1))
        return PACO_EFORMAT;
    m->n_stack--;
    return 0;
}

static int op_dup(struct pc_pickle_machine *m)
{
    struct pc_value **v = pc_pm_top(m, 1);
    return v ? pc_pm_push(m, *v) : PACO_EFORMAT;
}

static int op_pop_mark(struct pc_pickle_machine *m)
{
    struct pc_value **items;
    size_t n;
    return pc_pm_close_mark(m, &items, &n);
}

static int op_put_n(struct pc_pickle_machine *m, unsigned n_bytes)
{
    uint64_t i;
    int rc = pc_pm_take_uint(m, n_bytes, &i);
    return rc < 0 ? rc : pc_pm_put(m, i);
}

static int op_get_n(struct pc_pickle_machine *m, unsigned n_bytes)
{
    uint64_t i;
    int rc = pc_pm_take_uint(m, n_bytes, &i);
    return rc < 0 ? rc : pc_pm_get(m, i);
}

static int run_op(struct pc_pickle_machine *m, uint8_t op)
{
    switch (op) {
    case PROTO: return op_proto(m);
    case FRAME: return op_frame(m);
    case MARK: return pc_pm_mark(m);
    case POP: return op_pop(m);
    case POP_MARK: return op_pop_mark(m);
    case DUP: return op_dup(m);
    case NONE: return pc_pm_push_new(m, PC_VALUE_NONE, NULL);
    case NEWTRUE: return push_bool(m, true);
    case NEWFALSE: return push_bool(m, false);
    case BININT: return op_binint(m, 4);
    case BININT1: return op_binint(m, 1);
    case BININT2: return op_binint(m, 2);
    case BINFLOAT: return op_binfloat(m);
    case INT: return op_decimal(m, false);
    case LONG: return op_decimal(m, true);
    case LONG1: return op_long(m, 1);
    case LONG4: return op_long(m, 4);
    case SHORT_BINSTRING:
    case SHORT_BINUNICODE: return op_string(m, 1);
    case BINSTRING:
    case BINUNICODE: return op_string(m, 4);
    case BINUNICODE8: return op_string(m, 8);
    case SHORT_BINBYTES: return op_bytes(m, 1);
    case BINBYTES: return op_bytes(m, 4);
    case BINBYTES8:
    case BYTEARRAY8: return op_bytes(m, 8);
    case EMPTY_TUPLE: return pc_pm_push_new(m, PC_VALUE_TUPLE, NULL);
    case EMPTY_LIST: return pc_pm_push_new(m, PC_VALUE_LIST, NULL);
    case EMPTY_DICT: return pc_pm_push_new(m, PC_VALUE_DICT, NULL);
    case EMPTY_SET: return pc_pm_push_new(m, PC_VALUE_SET, NULL);
    case TUPLE: return op_pack_marked(m, PC_VALUE_TUPLE);
    case FROZENSET: return op_pack_marked(m, PC_VALUE_SET);
    case TUPLE1: return op_tuple_n(m, 1);
    case TUPLE2: return op_tuple_n(m, 2);
    case TUPLE3: return op_tuple_n(m, 3);
    case APPEND: return op_add(m, PC_VALUE_LIST, 1);
    case SETITEM: return op_add(m, PC_VALUE_DICT, 2);
    case APPENDS: return op_add_marked(m, PC_VALUE_LIST);
    case SETITEMS: return op_add_marked(m, PC_VALUE_DICT);
    case ADDITEMS: return op_add_marked(m, PC_VALUE_SET);
    case BINPUT: return op_put_n(m, 1);
    case LONG_BINPUT: return op_put_n(m, 4);
    case MEMOIZE: return pc_pm_put(m, m->n_memo);
    case BINGET: return op_get_n(m, 1);
    case LONG_BINGET: return op_get_n(m, 4);
    case GLOBAL: return op_global(m);
    case STACK_GLOBAL: return op_stack_global(m);
    case INST: return op_inst(m);
    case REDUCE: return op_call(m, false);
    case NEWOBJ: return op_call(m, true);
    case BUILD: return op_build(m);
    case BINPERSID: return op_persistent(m);
    default: return refuse_opcode(m, op);
    }
}

static int run(struct pc_pickle_machine *m, struct pc_value **root)
{
    for (;;) {
        const uint8_t *op;
        m->at = m->pos;
        int rc = pc_pm_take(m, 1, &op);
        if (rc < 0)
            return rc;
        if (*op == STOP) {
            struct pc_value **v = pc_pm_top(m, 1);
            if (!v)
                return PACO_EFORMAT;
            *root = *v;
            return 0;
        }
        rc = run_op(m, *op);
        if (rc < 0)
            return rc;
    }
}

int pc_pickle_read(const struct pc_pickle_input *in, struct pc_pickle *out, struct paco_error *err)
{
    const uint64_t size = in->end - in->start;
    const size_t largest = 256u << 20, base = 1u << 20, per_byte = 64;
    *out = (struct pc_pickle){
        .arena.limit = size < (largest - base) / per_byte ? base + (size_t)size * per_byte : largest};
    struct paco_error ignored;
    struct pc_pickle_machine *m = pc_alloc_zero(1, sizeof *m);
    uint8_t *buffer = in->file ? pc_alloc(PC_PICKLE_WINDOW, 1) : NULL;
    int rc;
    if (!m || (in->file && !buffer)) {
        rc = pc_error_mem(err, PC_PICKLE_WINDOW, "reading a pickle");
        goto out;
    }
    *m = (struct pc_pickle_machine){.in = in,
        .pos = in->start,
        .end = in->end,
        .buffer = buffer,
        .arena = &out->arena,
        .err = err ? err : &ignored,
        .window_at = in->start};
    if (size > PC_PICKLE_MAX_SIZE)
        m->end = in->start + PC_PICKLE_MAX_SIZE;
    if (!in->file) {
        m->window = in->bytes + in->start;
        m->window_len = (size_t)(m->end - in->start);
    }
    rc = run(m, &out->root);
    out->end = m->pos;
    out->storages = m->storages;
    if (rc < 0)
        pc_pickle_release(out);
out:
    if (m) {
        pc_free(m->stack);
        pc_free(m->memo);
    }
    pc_free(m);
    pc_free(buffer);
    return rc;
}

void pc_pickle_release(struct pc_pickle *p)
{
    pc_arena_release(&p->arena);
    p->root = NULL;
}

const struct pc_value *pc_value_get(const struct pc_value *dict, const char *key)
{
    if (dict->kind != PC_VALUE_DICT)
        return NULL;
    for (size_t i = dict->seq.n; i >= 2; i -= 2)
        if (pc_value_is_str(dict->seq.items[i - 2], key))
            return dict->seq.items[i - 1];
    return NULL;
}

bool pc_value_is_str(const struct pc_value *v, const char *text)
{
    return v->kind == PC_VALUE_STR && v->text.len == strlen(text) &&
           memcmp(v->text.s, text, v->text.len) == 0;
}

const char *pc_value_describe(const struct pc_value *v)
{
    static const char *const names[] = {"None", "a boolean", "an integer", "an integer", "a float",
        "a string", "bytes", "a tuple", "a list", "a dict", "a set", "a global", "a storage", "a tensor",
        "an object"};
    return names[v->kind];
}
