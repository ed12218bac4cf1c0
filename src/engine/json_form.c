// SPDX-License-Identifier: Apache-2.0
#include "engine/json_form.h"

#include "base/memory.h"

#include <string.h>

enum { MAX_SPACES = 20, MAX_DIGITS = 16 };

static struct pc_byte_set range(uint8_t first, uint8_t last)
{
    struct pc_byte_set set = {{0}};
    for (unsigned i = first; i <= last; i++)
        set.bits[i >> 6] |= (uint64_t)1 << (i & 63);
    return set;
}

static struct pc_byte_set either(struct pc_byte_set a, struct pc_byte_set b)
{
    for (int i = 0; i < 4; i++)
        a.bits[i] |= b.bits[i];
    return a;
}

static struct pc_byte_set one_of(const char *bytes)
{
    struct pc_byte_set set = {{0}};
    for (; *bytes; bytes++)
        set = either(set, range((uint8_t)*bytes, (uint8_t)*bytes));
    return set;
}

static struct pc_byte_set hex(void)
{
    return either(range('0', '9'), either(range('a', 'f'), range('A', 'F')));
}

void pc_json_form_text(struct pc_json_form *f, uint32_t rule, const char *s)
{
    pc_grammar_text(f->b, rule, s, strlen(s));
}

/* An alternative of several sets, the last of them n times. */
static void sequence(struct pc_json_form *f, uint32_t rule, const struct pc_byte_set *sets, int n_sets,
    struct pc_byte_set last, int n)
{
    for (int i = 0; i < n_sets; i++)
        pc_grammar_bytes(f->b, rule, sets[i]);
    for (int i = 0; i < n; i++)
        pc_grammar_bytes(f->b, rule, last);
    pc_grammar_end(f->b, rule);
}

/* A character of a string: UTF-8 as RFC 3629 has it, or an escape; surrogates come in pairs. */
static void make_character(struct pc_json_form *f)
{
    uint32_t r = f->character = pc_grammar_rule(f->b);
    const struct pc_byte_set rest = range(0x80, 0xbf), digit = hex(), back = one_of("\\"), u = one_of("u");
    const struct pc_byte_set plain = either(range(0x20, 0x21), either(range(0x23, 0x5b), range(0x5d, 0x7f)));
    const struct {
        struct pc_byte_set first, second;
        int n;
    } wide[] = {{range(0xe0, 0xe0), range(0xa0, 0xbf), 1}, {range(0xe1, 0xec), rest, 1},
        {range(0xed, 0xed), range(0x80, 0x9f), 1}, {range(0xee, 0xef), rest, 1},
        {range(0xf0, 0xf0), range(0x90, 0xbf), 2}, {range(0xf1, 0xf3), rest, 2},
        {range(0xf4, 0xf4), range(0x80, 0x8f), 2}};
    sequence(f, r, NULL, 0, plain, 1);
    pc_grammar_set_free(f->b, r);
    sequence(f, r, (struct pc_byte_set[]){range(0xc2, 0xdf)}, 1, rest, 1);
    for (size_t i = 0; i < sizeof wide / sizeof *wide; i++)
        sequence(f, r, (struct pc_byte_set[]){wide[i].first, wide[i].second}, 2, rest, wide[i].n);
    sequence(f, r, (struct pc_byte_set[]){back}, 1, one_of("\"\\/bfnrt"), 1);
    sequence(
        f, r, (struct pc_byte_set[]){back, u, either(range('0', '9'), one_of("abcefABCEF"))}, 3, digit, 3);
    sequence(f, r, (struct pc_byte_set[]){back, u, one_of("dD"), range('0', '7')}, 4, digit, 2);
    sequence(f, r,
        (struct pc_byte_set[]){
            back, u, one_of("dD"), one_of("89abAB"), digit, digit, back, u, one_of("dD"), one_of("cdefCDEF")},
        10, digit, 2);
}

static void make_space(struct pc_json_form *f)
{
    uint32_t blank = pc_grammar_rule(f->b), r = f->space = pc_grammar_rule(f->b);
    sequence(f, blank, NULL, 0, one_of(" "), 1);
    pc_grammar_end(f->b, r);
    sequence(f, r, NULL, 0, one_of(" "), 1);
    pc_json_form_text(f, r, "\n");
    pc_grammar_repeat(f->b, r, blank, 0, MAX_SPACES);
    pc_grammar_end(f->b, r);
}

static void make_numbers(struct pc_json_form *f)
{
    uint32_t digit = pc_grammar_rule(f->b), whole = pc_grammar_rule(f->b), fraction = pc_grammar_rule(f->b),
             power = pc_grammar_rule(f->b), sign = pc_grammar_rule(f->b);
    sequence(f, digit, NULL, 0, range('0', '9'), 1);
    pc_grammar_end(f->b, sign);
    sequence(f, sign, NULL, 0, one_of("-"), 1);
    pc_grammar_call(f->b, whole, sign);
    sequence(f, whole, NULL, 0, one_of("0"), 1);
    pc_grammar_call(f->b, whole, sign);
    pc_grammar_bytes(f->b, whole, range('1', '9'));
    pc_grammar_repeat(f->b, whole, digit, 0, MAX_DIGITS - 1);
    pc_grammar_end(f->b, whole);
    pc_grammar_end(f->b, fraction);
    pc_json_form_text(f, fraction, ".");
    pc_grammar_repeat(f->b, fraction, digit, 1, MAX_DIGITS);
    pc_grammar_end(f->b, fraction);
    pc_grammar_end(f->b, power);
    for (int i = 0; i < 2; i++) {
        pc_grammar_bytes(f->b, power, one_of("eE"));
        if (i == 0)
            pc_grammar_bytes(f->b, power, one_of("+-"));
        pc_grammar_repeat(f->b, power, digit, 1, 2);
        pc_grammar_end(f->b, power);
    }
    f->integer = whole;
    f->number = pc_grammar_rule(f->b);
    pc_grammar_call(f->b, f->number, whole);
    pc_grammar_call(f->b, f->number, fraction);
    pc_grammar_call(f->b, f->number, power);
    pc_grammar_end(f->b, f->number);
}

void pc_json_form_string(struct pc_json_form *f, uint32_t rule, uint32_t min, uint32_t max)
{
    pc_json_form_text(f, rule, "\"");
    pc_grammar_repeat(f->b, rule, f->character, min, max);
    pc_json_form_text(f, rule, "\"");
    pc_grammar_end(f->b, rule);
}

void pc_json_form_list(
    struct pc_json_form *f, uint32_t rule, const char *ends, uint32_t element, uint32_t min, uint32_t max)
{
    if (min == 0) {
        pc_grammar_text(f->b, rule, ends, 1);
        pc_grammar_call(f->b, rule, f->space);
        pc_json_form_text(f, rule, ends + 1);
        pc_grammar_end(f->b, rule);
    }
    if (max == 0)
        return;
    uint32_t next = pc_grammar_rule(f->b);
    pc_json_form_text(f, next, ",");
    pc_grammar_call(f->b, next, f->space);
    pc_grammar_call(f->b, next, element);
    pc_grammar_call(f->b, next, f->space);
    pc_grammar_end(f->b, next);
    pc_grammar_text(f->b, rule, ends, 1);
    pc_grammar_call(f->b, rule, f->space);
    pc_grammar_call(f->b, rule, element);
    pc_grammar_call(f->b, rule, f->space);
    pc_grammar_repeat(f->b, rule, next, min ? min - 1 : 0, max == UINT32_MAX ? max : max - 1);
    pc_json_form_text(f, rule, ends + 1);
    pc_grammar_end(f->b, rule);
}

void pc_json_form_end_with(struct pc_json_form *f, uint32_t rule, uint32_t called)
{
    pc_grammar_call(f->b, rule, called);
    pc_grammar_end(f->b, rule);
}

void pc_json_form_colon(struct pc_json_form *f, uint32_t rule)
{
    pc_grammar_call(f->b, rule, f->space);
    pc_json_form_text(f, rule, ":");
    pc_grammar_call(f->b, rule, f->space);
}

static void make_anything(struct pc_json_form *f)
{
    static const char *const words[] = {"true", "false", "null"};
    f->string = pc_grammar_rule(f->b);
    pc_json_form_string(f, f->string, 0, UINT32_MAX);
    f->any = pc_grammar_rule(f->b);
    f->any_member = pc_grammar_rule(f->b);
    f->any_object = pc_grammar_rule(f->b);
    f->any_array = pc_grammar_rule(f->b);
    pc_grammar_call(f->b, f->any_member, f->string);
    pc_json_form_colon(f, f->any_member);
    pc_json_form_end_with(f, f->any_member, f->any);
    pc_json_form_list(f, f->any_object, "{}", f->any_member, 0, UINT32_MAX);
    pc_json_form_list(f, f->any_array, "[]", f->any, 0, UINT32_MAX);
    pc_json_form_end_with(f, f->any, f->string);
    pc_json_form_end_with(f, f->any, f->number);
    pc_json_form_end_with(f, f->any, f->any_object);
    pc_json_form_end_with(f, f->any, f->any_array);
    for (int i = 0; i < 3; i++) {
        pc_json_form_text(f, f->any, words[i]);
        pc_grammar_end(f->b, f->any);
    }
}

void pc_json_form_make(struct pc_json_form *f, struct pc_grammar_build *b)
{
    *f = (struct pc_json_form){.b = b};
    make_space(f);
    make_character(f);
    make_numbers(f);
    make_anything(f);
}

void pc_json_form_release(struct pc_json_form *f)
{
    pc_interner_release(&f->sets);
    pc_free(f->set_rules);
}
