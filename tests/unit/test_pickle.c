// SPDX-License-Identifier: Apache-2.0
/* Pickles here are written by hand, opcode by opcode; those that torch wrote are read in test_torch.c. */
#include "unit.h"

#include "format/pickle.h"
#include "scratch.h"

#include <stdio.h>
#include <stdlib.h>

#define PICKLE(text) (text), sizeof(text) - 1

/* A tensor's persistent id and call as torch writes them, without the memo: a (2, 3) float tensor over
 * storage '0'. */
#define STORAGE_0                                                                                            \
    "(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0"                                                       \
    "0X\3\0\0\0cpuK\6tQ"
#define TENSOR_0                                                                                             \
    "ctorch._utils\n_rebuild_tensor_v2\n(" STORAGE_0 "K\0K\2K\3\x86K\3K\1\x86\x89"                           \
    "ccollections\nOrderedDict\n)RtR"

static int read_bytes(const char *bytes, size_t len, struct pc_pickle *out, struct paco_error *err)
{
    *err = (struct paco_error){0};
    // A copy of exactly this size, so that the address sanitizer sees any step beyond it.
    uint8_t *copy = malloc(len ? len : 1);
    assert_non_null(copy);
    memcpy(copy, bytes, len);
    struct pc_pickle_input in = {.bytes = copy, .end = len, .path = "x.pkl"};
    int rc = pc_pickle_read(&in, out, err);
    free(copy);
    return rc;
}

static void accept(const char *bytes, size_t len, struct pc_pickle *out)
{
    struct paco_error err;
    if (read_bytes(bytes, len, out, &err) < 0)
        fail_msg("%s at %llu", err.message, (unsigned long long)err.offset);
    assert_int_equal(out->end, len);
}

static void refuse(const char *bytes, size_t len, int code, uint64_t offset, const char *part)
{
    struct pc_pickle p;
    struct paco_error err;
    assert_int_equal(read_bytes(bytes, len, &p, &err), code);
    assert_int_equal(err.code, code);
    assert_contains(err.message, part);
    assert_true(err.has_offset);
    if (err.offset != offset)
        fail_msg("'%s' at %llu, not %llu", err.message, (unsigned long long)err.offset,
            (unsigned long long)offset);
    assert_string_equal(err.path, "x.pkl");
    assert_null(p.root);
    assert_null(p.arena.blocks);
}

static void accept_int(const char *bytes, size_t len, int64_t value)
{
    struct pc_pickle p;
    accept(bytes, len, &p);
    assert_int_equal(p.root->kind, PC_VALUE_INT);
    assert_true(p.root->i == value);
    pc_pickle_release(&p);
}

static void integers_of_every_protocol(void **state)
{
    (void)state;
    accept_int(PICKLE("K\xff."), 255);
    accept_int(PICKLE("M\1\2."), 513);
    accept_int(PICKLE("J\xfe\xff\xff\xff."), -2);
    accept_int(PICKLE("J\xff\xff\xff\x7f."), INT32_MAX);
    accept_int(PICKLE("\x80\2\x8a\0."), 0);
    accept_int(PICKLE("\x80\2\x8a\1\xff."), -1);
    accept_int(PICKLE("\x80\2\x8a\5\0\0\0\0\1."), 1ll << 32);
    accept_int(PICKLE("\x80\2\x8a\x08\0\0\0\0\0\0\0\x80."), INT64_MIN);
    accept_int(PICKLE("\x80\2\x8b\2\0\0\0\0\x80."), -32768);
    accept_int(PICKLE("I-12\n."), -12);
    accept_int(PICKLE("L123456789012345678L\n."), 123456789012345678);
    accept_int(PICKLE("L-5\n."), -5);
    refuse(PICKLE("L12x\n."), PACO_EFORMAT, 0, "other characters");
    refuse(PICKLE("I-\n."), PACO_EFORMAT, 0, "other characters");
    refuse(PICKLE("I 1\n."), PACO_EFORMAT, 0, "other characters");
    refuse(PICKLE("K\1L11111111112222222222333333333344444444445555555555666666666677777\n."), PACO_EFORMAT,
        2, "overlong");
}

static void integers_beyond_64_bits_are_kept_as_text(void **state)
{
    (void)state;
    struct pc_pickle p;
    accept(PICKLE("\x80\2\x8a\nl\xfc\x9c"
                  "F\xf9 j\xa8P\x19."),
        &p);
    assert_int_equal(p.root->kind, PC_VALUE_LONG);
    assert_int_equal(p.root->text.len, 10);
    assert_memory_equal(p.root->text.s,
        "l\xfc\x9c"
        "F\xf9 j\xa8P\x19",
        10);
    pc_pickle_release(&p);
    accept(PICKLE("L119547037146038801333356L\n."), &p);
    assert_int_equal(p.root->kind, PC_VALUE_LONG);
    assert_string_equal(p.root->text.s, "119547037146038801333356");
    pc_pickle_release(&p);
}

static void plain_data_of_every_kind(void **state)
{
    (void)state;
    struct pc_pickle p;
    accept(PICKLE("\x80\4\x95\x30\0\0\0\0\0\0\0}\x94(\x8c\1a\x94K\1\x8c\1b]\x94(N\x88\x89"
                  "e\x8c\1cG?\xf8\0\0\0\0\0\0\x8c\1d("
                  "K\1K\2K\3K\4t\x8c\1e\x8f(K\1\x90\x8c\1fC\2hiu."),
        &p);
    const struct pc_value *root = p.root;
    assert_int_equal(root->kind, PC_VALUE_DICT);
    assert_false(root->ordered);
    assert_int_equal(root->seq.n, 12);
    assert_int_equal(pc_value_get(root, "a")->i, 1);
    const struct pc_value *b = pc_value_get(root, "b");
    assert_int_equal(b->kind, PC_VALUE_LIST);
    assert_int_equal(b->seq.n, 3);
    assert_int_equal(b->seq.items[0]->kind, PC_VALUE_NONE);
    assert_true(b->seq.items[1]->kind == PC_VALUE_BOOL && b->seq.items[1]->b);
    assert_true(b->seq.items[2]->kind == PC_VALUE_BOOL && !b->seq.items[2]->b);
    assert_true(pc_value_get(root, "c")->f == 1.5);
    assert_int_equal(pc_value_get(root, "d")->kind, PC_VALUE_TUPLE);
    assert_int_equal(pc_value_get(root, "d")->seq.items[3]->i, 4);
    assert_int_equal(pc_value_get(root, "e")->kind, PC_VALUE_SET);
    assert_int_equal(pc_value_get(root, "f")->kind, PC_VALUE_BYTES);
    assert_int_equal(pc_value_get(root, "f")->text.len, 2);
    assert_null(pc_value_get(root, "g"));
    assert_null(pc_value_get(b, "a"));
    pc_pickle_release(&p);
}

static void a_key_set_twice_has_its_last_value(void **state)
{
    (void)state;
    struct pc_pickle p;
    accept(PICKLE("\x80\2}X\1\0\0\0aK\1sX\1\0\0\0aK\2s."), &p);
    assert_int_equal(pc_value_get(p.root, "a")->i, 2);
    pc_pickle_release(&p);
}

static void memo_pop_and_dup(void **state)
{
    (void)state;
    struct pc_pickle p;
    accept(PICKLE("\x80\2(K\1q\0h\0"
                  "2K\7"
                  "0t."),
        &p);
    assert_int_equal(p.root->seq.n, 3);
    assert_ptr_equal(p.root->seq.items[0], p.root->seq.items[2]);
    pc_pickle_release(&p);
    // POP with nothing above the MARK takes the MARK; POP_MARK takes all above it.
    accept(PICKLE("K\5(0."), &p);
    assert_int_equal(p.root->i, 5);
    pc_pickle_release(&p);
    accept(PICKLE("K\5(K\6K\7"
                  "1."),
        &p);
    assert_int_equal(p.root->i, 5);
    pc_pickle_release(&p);
    // A value may contain itself.
    accept(PICKLE("]q\0h\0a."), &p);
    assert_ptr_equal(p.root->seq.items[0], p.root);
    pc_pickle_release(&p);
}

static void a_state_dict_with_metadata(void **state)
{
    (void)state;
    struct pc_pickle p;
    accept(PICKLE("\x80\2"
                  "ccollections\nOrderedDict\nq\0)Rq\1(X\1\0\0\0w" TENSOR_0
                  "u}X\t\0\0\0_metadatah\0)RX\0\0\0\0}X\7\0\0\0versionK\1sssb."),
        &p);
    assert_int_equal(p.root->kind, PC_VALUE_DICT);
    assert_true(p.root->ordered);
    const struct pc_value *w = pc_value_get(p.root, "w");
    assert_int_equal(w->kind, PC_VALUE_TENSOR);
    assert_int_equal(w->tensor->dtype, PC_F32);
    assert_int_equal(w->tensor->offset, 0);
    assert_int_equal(w->tensor->shape->seq.items[0]->i, 2);
    assert_int_equal(w->tensor->stride->seq.items[0]->i, 3);
    assert_string_equal(w->tensor->storage->key, "0");
    assert_int_equal(w->tensor->storage->n_elements, 6);
    assert_false(w->tensor->storage->is_view);
    assert_null(pc_value_get(p.root, "_metadata"));
    pc_pickle_release(&p);
}

static void every_way_to_make_a_tensor(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t len;
        enum pc_dtype dtype;
    } ways[] = {
        {PICKLE("\x80\2"
                "ctorch._utils\n_rebuild_tensor\n(" STORAGE_0 "K\0K\6\x85K\1\x85tR."),
            PC_F32},
        {PICKLE("\x80\2"
                "ctorch._utils\n_rebuild_parameter\n" TENSOR_0 "\x88"
                "ccollections\nOrderedDict\n)R\x87R."),
            PC_F32},
        {PICKLE("\x80\2"
                "ctorch._utils\n_rebuild_parameter_with_state\n(" TENSOR_0 "\x88"
                "ccollections\nOrderedDict\n)R}tR."),
            PC_F32},
        {PICKLE("\x80\2"
                "ctorch.nn.parameter\nParameter\n" TENSOR_0 "\x88\x86\x81."),
            PC_F32},
        {PICKLE("\x80\2"
                "ctorch._tensor\n_rebuild_from_type_v2\n(ctorch._utils\n_rebuild_"
                "tensor\nctorch\nTensor\n(" STORAGE_0 "K\0))t}tR."),
            PC_F32},
        {PICKLE(
             "\x80\2"
             "ctorch._utils\n_rebuild_tensor_v3\n((X\7\0\0\0storagectorch.storage\nUntypedStorage\nX\1\0\0\0"
             "0X\3\0\0\0"
             "cpuK\6tQK\0K\6\x85K\1\x85\x89"
             "ccollections\nOrderedDict\n)Rctorch\nfloat8_e4m3fn\ntR."),
            PC_F8_E4M3},
        {PICKLE("\x80\4\x8c\014torch._utils\x8c\017_rebuild_tensor\x93(" STORAGE_0
                "K\0ctorch\nSize\nK\6\x85\x85RK\1\x85tR."),
            PC_F32},
    };
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        struct pc_pickle p;
        accept(ways[i].bytes, ways[i].len, &p);
        assert_int_equal(p.root->kind, PC_VALUE_TENSOR);
        assert_int_equal(p.root->tensor->dtype, ways[i].dtype);
        pc_pickle_release(&p);
    }
}

static void every_storage_class(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        enum pc_dtype dtype;
    } classes[] = {{"FloatStorage", PC_F32}, {"HalfStorage", PC_F16}, {"BFloat16Storage", PC_BF16},
        {"DoubleStorage", PC_F64}, {"LongStorage", PC_I64}, {"IntStorage", PC_I32}, {"ShortStorage", PC_I16},
        {"CharStorage", PC_I8}, {"ByteStorage", PC_U8}, {"BoolStorage", PC_BOOL}, {"UntypedStorage", PC_U8}};
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++) {
        char bytes[128];
        int n = snprintf(bytes, sizeof bytes, "(U\7storagectorch\n%s\nU\2abU\3cpuK\6tQ.", classes[i].name);
        struct pc_pickle p;
        accept(bytes, (size_t)n, &p);
        assert_int_equal(p.root->kind, PC_VALUE_STORAGE);
        assert_int_equal(p.root->storage->dtype, classes[i].dtype);
        assert_int_equal(p.root->storage->untyped, strcmp(classes[i].name, "UntypedStorage") == 0);
        assert_string_equal(p.root->storage->key, "ab");
        pc_pickle_release(&p);
    }
}

static void storage_views_of_old_files(void **state)
{
    (void)state;
    struct pc_pickle p;
    accept(PICKLE("(U\7storagectorch\nFloatStorage\nU\1aU\3cpuK\6NtQ."), &p);
    assert_false(p.root->storage->is_view);
    pc_pickle_release(&p);
    accept(PICKLE("(U\7storagectorch\nFloatStorage\nU\1aU\3cpuK\6U\1bK\2K\3\x87tQ."), &p);
    assert_true(p.root->storage->is_view);
    assert_int_equal(p.root->storage->view_offset, 2);
    assert_int_equal(p.root->storage->view_n, 3);
    pc_pickle_release(&p);
    refuse(PICKLE("(U\7storagectorch\nFloatStorage\nU\1aU\3cpuK\6K\1tQ."), PACO_EFORMAT, 43,
        "a storage's view is an integer");
}

static void python_2_ordered_dicts(void **state)
{
    (void)state;
    struct pc_pickle p;
    accept(PICKLE("\x80\2"
                  "ccollections\nOrderedDict\n](](U\1aK\1e](U\1bK\2ee\x85R."),
        &p);
    assert_int_equal(pc_value_get(p.root, "b")->i, 2);
    pc_pickle_release(&p);
    refuse(PICKLE("\x80\2"
                  "ccollections\nOrderedDict\n](K\1e\x85R."),
        PACO_EFORMAT, 33, "a list of pairs");
    refuse(PICKLE("\x80\2"
                  "ccollections\nOrderedDict\nK\1\x85R."),
        PACO_EFORMAT, 30, "a list of pairs");
}

static void code_is_refused_by_name(void **state)
{
    (void)state;
    refuse(PICKLE("\x80\2"
                  "cposix\nsystem\nX\4\0\0\0ls -\x85R."),
        PACO_EUNSUPPORTED, 2, "global 'posix.system'");
    refuse(PICKLE("\x80\2"
                  "cbuiltins\neval\n."),
        PACO_EUNSUPPORTED, 2, "has run nothing. Ask the publisher for safetensors");
    refuse(PICKLE("\x80\4\x8c\2os\x94\x8c\6system\x94\x93."), PACO_EUNSUPPORTED, 16, "global 'os.system'");
    refuse(PICKLE("\x80\2(ios\nsystem\n."), PACO_EUNSUPPORTED, 3, "global 'os.system'");
    refuse(PICKLE("\x80\2(icollections\nOrderedDict\n."), PACO_EUNSUPPORTED, 3, "opcode");
    // The name is compared whole: no attribute path, no prefix, no module that merely starts alike.
    refuse(PICKLE("\x80\4\x8c\6"
                  "torch.\x8c\14"
                  "FloatStorage\x93."),
        PACO_EUNSUPPORTED, 24, "'torch..FloatStorage'");
    refuse(PICKLE("\x80\4\x8c\5"
                  "torch\x8c\024"
                  "storage.FloatStorage\x93."),
        PACO_EUNSUPPORTED, 31, "'torch.storage.FloatStorage'");
    refuse(PICKLE("\x80\2"
                  "ctorch\nFloatStorag\n."),
        PACO_EUNSUPPORTED, 2, "'torch.FloatStorag'");
    refuse(PICKLE("\x80\2"
                  "ctorch\nload\n."),
        PACO_EUNSUPPORTED, 2, "'torch.load'");
    refuse(PICKLE("\x80\2"
                  "ctorch.storage\n_load_from_bytes\n."),
        PACO_EUNSUPPORTED, 2, "hides a second pickle");
    refuse(PICKLE("\x80\2"
                  "ctorch.storage\nTypedStorage\n."),
        PACO_EUNSUPPORTED, 2, "not bare storages");
    refuse(PICKLE("\x80\2"
                  "ctorch._utils\n_rebuild_sparse_tensor\n."),
        PACO_EUNSUPPORTED, 2, "sparse tensors are not supported");
    refuse(PICKLE("\x80\2"
                  "ctransformers.models.llama\nLlamaModel\n."),
        PACO_EUNSUPPORTED, 2, "a whole model object");
    refuse(PICKLE("\x80\2(U\6moduleNNNtQ."), PACO_EUNSUPPORTED, 15, "a whole model object");
    refuse(PICKLE("\x80\2"
                  "c\x1b[2J\nx\n."),
        PACO_EUNSUPPORTED, 2, "'\\x1b[2J.x'");
}

static void calls_beyond_the_few_are_refused(void **state)
{
    (void)state;
    refuse(PICKLE("\x80\2"
                  "ctorch\nFloatStorage\nK\1\x85R."),
        PACO_EFORMAT, 25, "'torch.FloatStorage' is none a checkpoint makes");
    refuse(PICKLE("\x80\2"
                  "ctorch\nfloat32\n)R."),
        PACO_EFORMAT, 18, "'torch.float32' is none");
    refuse(PICKLE("\x80\2"
                  "ctorch\nSize\nK\1\x85\x81."),
        PACO_EFORMAT, 17, "by NEWOBJ");
    refuse(PICKLE("\x80\2K\1)R."), PACO_EFORMAT, 5, "a call of an integer with a tuple");
    refuse(PICKLE("\x80\2"
                  "ctorch\nSize\nK\1R."),
        PACO_EFORMAT, 16, "a call of a global with an integer");
    refuse(PICKLE("\x80\2}}b."), PACO_EUNSUPPORTED, 4, "sets attributes of a dict");
    refuse(PICKLE("\x80\2"
                  "ctorch._utils\n_rebuild_tensor_v2\n(K\1tR."),
        PACO_EFORMAT, 39, "wrong number of arguments");
    refuse(PICKLE("\x80\2"
                  "ctorch._utils\n_rebuild_tensor\n(K\1K\0K\6\x85K\1\x85tR."),
        PACO_EFORMAT, 44, "wants a storage");
    refuse(PICKLE("\x80\2"
                  "ctorch._utils\n_rebuild_tensor\n(" STORAGE_0 "K\0K\6\x85)tR."),
        PACO_EFORMAT, 91, "of equal length");
    refuse(PICKLE("\x80\2"
                  "ctorch._utils\n_rebuild_tensor_v2\n(" STORAGE_0 "K\0))\x89}}X\1\0\0\0nK\1stR."),
        PACO_EUNSUPPORTED, 104, "lazily negated");
    // The type of a rebuilt tensor is not looked at, but its function must rebuild tensors.
    refuse(PICKLE("\x80\2"
                  "ctorch._tensor\n_rebuild_from_type_v2\n(ccollections\nOrderedDict\nctorch\nTensor\n)}tR."),
        PACO_EFORMAT, 82, "builds no tensor");
    refuse(PICKLE("\x80\2"
                  "ctorch._tensor\n_rebuild_from_type_v2\nq\0(h\0ctorch\nTensor\n)}tR."),
        PACO_EFORMAT, 61, "is none a checkpoint makes");
}

static void opcodes_beyond_the_few_are_refused(void **state)
{
    (void)state;
    refuse(PICKLE("\x80\2S'x'\n."), PACO_EUNSUPPORTED, 2,
        "opcode STRING (0x53) is not one a checkpoint needs (protocol 0");
    refuse(PICKLE("\x80\2P1\n."), PACO_EUNSUPPORTED, 2, "opcode PERSID");
    refuse(PICKLE("\x80\2(o."), PACO_EUNSUPPORTED, 3, "opcode OBJ (0x6f) is not one a checkpoint needs");
    refuse(PICKLE("\x80\2\x82\1."), PACO_EUNSUPPORTED, 2, "opcode EXT1");
    refuse(PICKLE("\x80\4)}\x92."), PACO_EUNSUPPORTED, 4, "opcode NEWOBJ_EX");
    refuse(PICKLE("\x80\5\x97."), PACO_EUNSUPPORTED, 2, "opcode NEXT_BUFFER");
    refuse(PICKLE("\x80\2\xff."), PACO_EFORMAT, 2, "0xff is no opcode");
    refuse(PICKLE("\x80\6N."), PACO_EUNSUPPORTED, 0, "protocol 6");
}

static void malformed_programs_are_refused(void **state)
{
    (void)state;
    refuse(PICKLE(""), PACO_EFORMAT, 0, "ends in the middle");
    refuse(PICKLE("."), PACO_EFORMAT, 0, "empty stack");
    refuse(PICKLE("K\1(t0t."), PACO_EFORMAT, 5, "closes a MARK that is not there");
    refuse(PICKLE("K\1(R."), PACO_EFORMAT, 3, "empty stack");
    refuse(PICKLE("}(K\1u."), PACO_EFORMAT, 4, "last key has no value");
    refuse(PICKLE("](K\1u."), PACO_EFORMAT, 4, "a value of another kind");
    refuse(PICKLE("}K\1a."), PACO_EFORMAT, 3, "appends to what is no list");
    refuse(PICKLE("]K\1K\1s."), PACO_EFORMAT, 5, "sets an item of what is no dict");
    refuse(PICKLE("h\3."), PACO_EFORMAT, 0, "memo 3 was never put");
    refuse(PICKLE("X\xff\xff\xff\x7f"
                  "a."),
        PACO_EFORMAT, 0, "a string of 2147483647 bytes where 2 are left");
    refuse(PICKLE("\x80\4\x8d\xff\xff\xff\xff\xff\xff\xff\xff"
                  "a."),
        PACO_EFORMAT, 2, "a string of 18446744073709551615 bytes");
    refuse(PICKLE("\x80\4\x95\xff\xff\xff\xff\xff\xff\xff\xff."), PACO_EFORMAT, 2, "where 1 are left");
    refuse(PICKLE("\x80\2\x8b\xff\xff\xff\xff"
                  "a."),
        PACO_EFORMAT, 2, "a string of 4294967295 bytes");
    refuse(PICKLE("N(K\1Q."), PACO_EFORMAT, 4, "a persistent id is an integer, not a tuple");
    refuse(PICKLE("(K\1tQ."), PACO_EFORMAT, 4, "is not ('storage', type, key, location, count)");
    refuse(PICKLE("(U\7storageU\1xU\1aU\3cpuK\1tQ."), PACO_EFORMAT, 24, "a storage has a string as type");
    refuse(PICKLE("\x80\4K\1K\2\x93."), PACO_EFORMAT, 6, "no short string");
}

static void truncation_anywhere_is_an_error(void **state)
{
    (void)state;
    static const char whole[] =
        "\x80\2"
        "ccollections\nOrderedDict\nq\0)Rq\1(X\1\0\0\0w" TENSOR_0 "u}X\t\0\0\0_metadatah\0)Rsb.";
    const size_t len = sizeof whole - 1;
    struct pc_pickle p;
    struct paco_error err;
    accept(whole, len, &p);
    pc_pickle_release(&p);
    for (size_t n = 0; n < len; n++) {
        assert_int_equal(read_bytes(whole, n, &p, &err), PACO_EFORMAT);
        assert_true(err.has_offset && err.offset <= n);
        assert_contains(err.message, "truncated");
    }
}

/* head, n times unit, tail. */
static char *repeated(const char *head, size_t head_len, const char *unit, size_t unit_len, size_t n,
    const char *tail, size_t tail_len, size_t *len)
{
    *len = head_len + n * unit_len + tail_len;
    char *s = malloc(*len);
    assert_non_null(s);
    memcpy(s, head, head_len);
    for (size_t i = 0; i < n; i++)
        memcpy(s + head_len + i * unit_len, unit, unit_len);
    memcpy(s + head_len + n * unit_len, tail, tail_len);
    return s;
}

static void nesting_is_bounded(void **state)
{
    (void)state;
    size_t len;
    char *s = repeated(PICKLE("\x80\2"), PICKLE("("), 2000, PICKLE("t."), &len);
    refuse(s, len, PACO_ELIMIT, 2 + PC_PICKLE_MAX_DEPTH, "nests deeper than 1000");
    free(s);
    s = repeated(PICKLE("\x80\2"), PICKLE("]"), PC_PICKLE_MAX_STACK + 1, PICKLE("."), &len);
    refuse(s, len, PACO_ELIMIT, 2 + PC_PICKLE_MAX_STACK, "stacks more than 1048576 values");
    free(s);
    // A hundred thousand lists, each in the next: nobody recurses.
    s = repeated(PICKLE("]q\0"),
        PICKLE("](h\0e"
               "q\0"),
        100000, PICKLE("."), &len);
    struct pc_pickle p;
    accept(s, len, &p);
    pc_pickle_release(&p);
    free(s);
}

static void memo_bombs_are_defused(void **state)
{
    (void)state;
    struct pc_pickle p;
    struct paco_error err;
    size_t len;
    // Doubling through the memo: 2^60 leaves, but only 120 pointers.
    char *s = repeated(PICKLE("\x80\2]q\0"), PICKLE("h\0h\0\x86q\0"), 60, PICKLE("."), &len);
    accept(s, len, &p);
    assert_true(p.arena.used < 16 * 1024);
    pc_pickle_release(&p);
    free(s);
    refuse(PICKLE("Nr\xff\xff\xff\x7f."), PACO_ELIMIT, 1, "memo index 2147483647 is out of proportion");
    // An OrderedDict of a long remembered list, over and over: the bound on memory ends it.
    size_t head_len;
    char *head = repeated(PICKLE("\x80\2"
                                 "ccollections\nOrderedDict\nq\0]q\1("),
        PICKLE("NN\x86"), 20000, PICKLE("e"), &head_len);
    s = repeated(head, head_len, PICKLE("h\0h\1\x85R0"), 20000, PICKLE("N."), &len);
    assert_int_equal(read_bytes(s, len, &p, &err), PACO_ELIMIT);
    assert_contains(err.message, "too much memory");
    free(head);
    free(s);
}

static void read_from_a_file_in_windows(void **state)
{
    (void)state;
    struct scratch dir;
    scratch_open(&dir);
    size_t len;
    // Strings that straddle every window's end; 7 bytes before it that do not belong to the pickle.
    char *s = repeated(PICKLE("prefix_]q\0("), PICKLE("X\5\0\0\0hello"), 30000, PICKLE("e."), &len);
    const char *path = scratch_write(&dir, "x.pkl", s, len);
    struct paco_error err = {0};
    struct pc_file f;
    struct pc_pickle p;
    assert_int_equal(pc_file_open(&f, path, &err), 0);
    struct pc_pickle_input in = {.file = &f, .start = 7, .end = f.size, .path = path};
    assert_int_equal(pc_pickle_read(&in, &p, &err), 0);
    assert_int_equal(p.end, len);
    assert_int_equal(p.root->seq.n, 30000);
    for (size_t i = 0; i < 30000; i++)
        assert_true(pc_value_is_str(p.root->seq.items[i], "hello"));
    pc_pickle_release(&p);
    in.end = f.size - 3;
    assert_int_equal(pc_pickle_read(&in, &p, &err), PACO_EFORMAT);
    assert_int_equal(err.offset, len - 12);
    pc_file_close(&f);
    scratch_close(&dir);
    free(s);
}

static void allocation_failures_are_reported(void **state)
{
    (void)state;
    static const char whole[] = "\x80\2}q\0(X\1\0\0\0w" TENSOR_0 "u.";
    for (int n = 0;; n++) {
        struct pc_pickle p;
        struct paco_error err = {0};
        struct pc_pickle_input in = {.bytes = (const uint8_t *)whole, .end = sizeof whole - 1};
        pc_alloc_fail_after(n);
        int rc = pc_pickle_read(&in, &p, &err);
        pc_alloc_fail_after(-1);
        if (rc == 0) {
            pc_pickle_release(&p);
            assert_true(n >= 3);
            return;
        }
        assert_int_equal(rc, PACO_EMEM);
        assert_contains(err.message, "out of memory");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers_of_every_protocol),
        cmocka_unit_test(integers_beyond_64_bits_are_kept_as_text),
        cmocka_unit_test(plain_data_of_every_kind),
        cmocka_unit_test(a_key_set_twice_has_its_last_value),
        cmocka_unit_test(memo_pop_and_dup),
        cmocka_unit_test(a_state_dict_with_metadata),
        cmocka_unit_test(every_way_to_make_a_tensor),
        cmocka_unit_test(every_storage_class),
        cmocka_unit_test(storage_views_of_old_files),
        cmocka_unit_test(python_2_ordered_dicts),
        cmocka_unit_test(code_is_refused_by_name),
        cmocka_unit_test(calls_beyond_the_few_are_refused),
        cmocka_unit_test(opcodes_beyond_the_few_are_refused),
        cmocka_unit_test(malformed_programs_are_refused),
        cmocka_unit_test(truncation_anywhere_is_an_error),
        cmocka_unit_test(nesting_is_bounded),
        cmocka_unit_test(memo_bombs_are_defused),
        cmocka_unit_test(read_from_a_file_in_windows),
        cmocka_unit_test(allocation_failures_are_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
