// SPDX-License-Identifier: Apache-2.0
/* The allow-list of globals. Each row has a role, and a role decides what a call of it builds; there is
 * nothing else a pickle can reach. To allow another global, add a row; to give it a meaning, add a role and a
 * case in pc_pickle_call.
 *
 * Sources: torch/_utils.py, torch/_tensor.py, torch/serialization.py and torch/_weights_only_unpickler.py of
 * PyTorch 1.13 and 2.9 for the names and the arguments. */
#include "format/pickle_torch.h"

#include <stdio.h>
#include <string.h>

enum role {
    ORDERED_DICT,
    TENSOR_V1,      /* _rebuild_tensor(storage, offset, size, stride) */
    TENSOR_V2,      /* ... requires_grad, hooks[, metadata] */
    TENSOR_V3,      /* ... requires_grad, hooks, dtype[, metadata]: dtypes younger than the storage classes */
    PARAMETER,      /* _rebuild_parameter(tensor, requires_grad, hooks), also with state; Parameter(tensor) */
    TENSOR_OF_TYPE, /* _rebuild_from_type_v2(function, class, arguments, state) */
    STORAGE_CLASS,
    UNTYPED_CLASS,
    DTYPE,
    SIZE,     /* torch.Size(tuple) */
    HARMLESS, /* a class or function whose result we have no use for */
};

struct pc_pickle_global {
    const char *module, *name;
    enum role role;
    enum pc_dtype dtype;
};

static const struct pc_pickle_global g_globals[] = {
    {"collections", "OrderedDict", ORDERED_DICT, 0},
    {"torch._utils", "_rebuild_tensor_v2", TENSOR_V2, 0},
    {"torch", "FloatStorage", STORAGE_CLASS, PC_F32},
    {"torch", "HalfStorage", STORAGE_CLASS, PC_F16},
    {"torch", "BFloat16Storage", STORAGE_CLASS, PC_BF16},
    {"torch", "DoubleStorage", STORAGE_CLASS, PC_F64},
    {"torch", "LongStorage", STORAGE_CLASS, PC_I64},
    {"torch", "IntStorage", STORAGE_CLASS, PC_I32},
    {"torch", "ShortStorage", STORAGE_CLASS, PC_I16},
    {"torch", "CharStorage", STORAGE_CLASS, PC_I8},
    {"torch", "ByteStorage", STORAGE_CLASS, PC_U8},
    {"torch", "BoolStorage", STORAGE_CLASS, PC_BOOL},
    {"torch", "UntypedStorage", UNTYPED_CLASS, PC_U8},
    {"torch.storage", "UntypedStorage", UNTYPED_CLASS, PC_U8},
    {"torch.storage", "_UntypedStorage", UNTYPED_CLASS, PC_U8},
    {"torch._utils", "_rebuild_parameter", PARAMETER, 0},
    {"torch._utils", "_rebuild_parameter_with_state", PARAMETER, 0},
    {"torch.nn.parameter", "Parameter", PARAMETER, 0},
    {"torch._utils", "_rebuild_tensor", TENSOR_V1, 0},
    {"torch._utils", "_rebuild_tensor_v3", TENSOR_V3, 0},
    {"torch._tensor", "_rebuild_from_type_v2", TENSOR_OF_TYPE, 0},
    {"torch", "Tensor", HARMLESS, 0},
    {"torch", "Size", SIZE, 0},
    {"torch", "device", HARMLESS, 0},
    {"torch.serialization", "_get_layout", HARMLESS, 0},
    {"collections", "Counter", HARMLESS, 0},
    {"_codecs", "encode", HARMLESS, 0},
    {"builtins", "set", HARMLESS, 0},
    {"builtins", "bytearray", HARMLESS, 0},
    {"builtins", "complex", HARMLESS, 0},
    {"__builtin__", "set", HARMLESS, 0},
    {"__builtin__", "bytes", HARMLESS, 0},
    {"__builtin__", "bytearray", HARMLESS, 0},
    {"__builtin__", "complex", HARMLESS, 0},
};

/* torch.float32 and its kind, one row for each dtype. */
static const struct pc_pickle_global g_dtypes[PC_N_DTYPES] = {
    [PC_F32] = {"torch", "float32", DTYPE, PC_F32},
    [PC_F16] = {"torch", "float16", DTYPE, PC_F16},
    [PC_BF16] = {"torch", "bfloat16", DTYPE, PC_BF16},
    [PC_F64] = {"torch", "float64", DTYPE, PC_F64},
    [PC_F8_E4M3] = {"torch", "float8_e4m3fn", DTYPE, PC_F8_E4M3},
    [PC_F8_E5M2] = {"torch", "float8_e5m2", DTYPE, PC_F8_E5M2},
    [PC_I64] = {"torch", "int64", DTYPE, PC_I64},
    [PC_I32] = {"torch", "int32", DTYPE, PC_I32},
    [PC_I16] = {"torch", "int16", DTYPE, PC_I16},
    [PC_I8] = {"torch", "int8", DTYPE, PC_I8},
    [PC_U64] = {"torch", "uint64", DTYPE, PC_U64},
    [PC_U32] = {"torch", "uint32", DTYPE, PC_U32},
    [PC_U16] = {"torch", "uint16", DTYPE, PC_U16},
    [PC_U8] = {"torch", "uint8", DTYPE, PC_U8},
    [PC_BOOL] = {"torch", "bool", DTYPE, PC_BOOL},
};

/* Refused like everything else, but we know why they are there. */
static const struct {
    const char *module, *name, *why;
} g_known[] = {
    {"torch._utils", "_rebuild_sparse_tensor", "sparse tensors are not supported"},
    {"torch._utils", "_rebuild_sparse_csr_tensor", "sparse tensors are not supported"},
    {"torch._utils", "_rebuild_nested_tensor", "nested tensors are not supported"},
    {"torch._utils", "_rebuild_qtensor", "tensors quantised by PyTorch are not supported"},
    {"torch._utils", "_rebuild_meta_tensor_no_storage",
        "a tensor was saved on the meta device, without its values"},
    {"torch", "ComplexFloatStorage", "complex numbers are not supported"},
    {"torch", "ComplexDoubleStorage", "complex numbers are not supported"},
    {"torch", "QInt8Storage", "tensors quantised by PyTorch are not supported"},
    {"torch", "QUInt8Storage", "tensors quantised by PyTorch are not supported"},
    {"torch", "QInt32Storage", "tensors quantised by PyTorch are not supported"},
    {"torch.storage", "_load_from_bytes", "it hides a second pickle in a byte string"},
    {"torch.storage", "TypedStorage", "tensors are expected, not bare storages"},
};

static int refuse(const char *module, const char *name, struct paco_error *err)
{
    char shown[PC_PICKLE_MAX_GLOBAL * 2 + 2], raw[sizeof shown];
    const char *why = "it is not one a checkpoint needs, and calling it could run any code";
    snprintf(raw, sizeof raw, "%s.%s", module, name);
    for (size_t i = 0; i < sizeof g_known / sizeof *g_known; i++)
        if (strcmp(module, g_known[i].module) == 0 && strcmp(name, g_known[i].name) == 0)
            why = g_known[i].why;
    if (strncmp(module, "torch.nn.modules", 16) == 0 || strncmp(module, "transformers.", 13) == 0)
        why = "a whole model object was pickled instead of its state dict, and loading it would run code";
    return pc_error_set(err, PACO_EUNSUPPORTED,
        "the pickle asks for global '%s': %s; paco refuses, and has run nothing. Ask the publisher for "
        "safetensors",
        pc_printable(raw, shown, sizeof shown), why);
}

static bool matches(const struct pc_pickle_global *g, const char *module, const char *name)
{
    return g->name && strcmp(g->name, name) == 0 && strcmp(g->module, module) == 0;
}

const struct pc_pickle_global *pc_pickle_find_global(
    const char *module, const char *name, struct paco_error *err)
{
    for (size_t i = 0; i < sizeof g_globals / sizeof *g_globals; i++)
        if (matches(&g_globals[i], module, name))
            return &g_globals[i];
    for (size_t i = 0; i < sizeof g_dtypes / sizeof *g_dtypes; i++)
        if (matches(&g_dtypes[i], module, name))
            return &g_dtypes[i];
    refuse(module, name, err);
    return NULL;
}

int pc_pickle_no_room(const struct pc_arena *arena, uint64_t size, struct paco_error *err)
{
    // The arena rounds up to 16.
    if (size + 16 > arena->limit || arena->used > arena->limit - size - 16)
        return pc_error_set(err, PACO_ELIMIT,
            "the pickle's values need too much memory (%zu bytes are allowed)", arena->limit);
    return pc_error_mem(err, size, "the values of a pickle");
}

static bool is_role(const struct pc_value *v, enum role role)
{
    return v->kind == PC_VALUE_GLOBAL && v->global->role == role;
}

static bool is_tuple_of_ints(const struct pc_value *v)
{
    if (v->kind != PC_VALUE_TUPLE)
        return false;
    for (size_t i = 0; i < v->seq.n; i++)
        if (v->seq.items[i]->kind != PC_VALUE_INT)
            return false;
    return true;
}

static int bad_call(const struct pc_pickle_global *g, const char *what, struct paco_error *err)
{
    return pc_error_set(err, PACO_EFORMAT, "a call of '%s.%s' %s", g->module, g->name, what);
}

static bool fits(const struct pc_value *args, size_t min, size_t max)
{
    return args->seq.n >= min && args->seq.n <= max;
}

static int call_tensor(struct pc_arena *arena, const struct pc_pickle_global *g, const struct pc_value *args,
    struct pc_value *out, struct paco_error *err)
{
    struct pc_value *const *a = args->seq.items;
    const size_t n_min = g->role == TENSOR_V1 ? 4 : g->role == TENSOR_V2 ? 6 : 7;
    if (!fits(args, n_min, g->role == TENSOR_V1 ? 4 : n_min + 1))
        return bad_call(g, "has the wrong number of arguments", err);
    if (a[0]->kind != PC_VALUE_STORAGE || a[1]->kind != PC_VALUE_INT || !is_tuple_of_ints(a[2]) ||
        !is_tuple_of_ints(a[3]) || a[2]->seq.n != a[3]->seq.n)
        return bad_call(g, "wants a storage, an offset, and a size and a stride of equal length", err);
    if (g->role == TENSOR_V3 && !is_role(a[6], DTYPE))
        return bad_call(g, "names no dtype", err);
    // The metadata of an ordinary tensor is left out or empty. Else it says "negate" or "conjugate me".
    if (args->seq.n > n_min && g->role != TENSOR_V1 && a[n_min]->kind != PC_VALUE_NONE &&
        !(a[n_min]->kind == PC_VALUE_DICT && a[n_min]->seq.n == 0))
        return pc_error_set(
            err, PACO_EUNSUPPORTED, "a lazily negated or conjugated tensor; save a clone of it");
    struct pc_pickle_tensor *t = pc_arena_alloc(arena, 1, sizeof *t);
    if (!t)
        return pc_pickle_no_room(arena, sizeof *t, err);
    *t =
        (struct pc_pickle_tensor){.storage = a[0]->storage, .offset = a[1]->i, .shape = a[2], .stride = a[3]};
    t->dtype = g->role == TENSOR_V3 ? a[6]->global->dtype : a[0]->storage->dtype;
    out->kind = PC_VALUE_TENSOR;
    out->tensor = t;
    return 0;
}

/* OrderedDict(), or OrderedDict([[key, value], ...]) as Python 2 wrote it. */
static int call_ordered_dict(struct pc_arena *arena, const struct pc_pickle_global *g,
    const struct pc_value *args, struct pc_value *out, struct paco_error *err)
{
    out->kind = PC_VALUE_DICT;
    out->ordered = true;
    if (args->seq.n == 0)
        return 0;
    const struct pc_value *pairs = args->seq.items[0];
    if (args->seq.n > 1 || pairs->kind != PC_VALUE_LIST)
        return bad_call(g, "wants nothing or a list of pairs", err);
    size_t n = pairs->seq.n;
    struct pc_value **items = pc_arena_alloc(arena, n, 2 * sizeof *items);
    if (!items)
        return pc_pickle_no_room(arena, n * 2 * sizeof *items, err);
    for (size_t i = 0; i < n; i++) {
        const struct pc_value *pair = pairs->seq.items[i];
        if ((pair->kind != PC_VALUE_LIST && pair->kind != PC_VALUE_TUPLE) || pair->seq.n != 2)
            return bad_call(g, "wants nothing or a list of pairs", err);
        items[2 * i] = pair->seq.items[0];
        items[2 * i + 1] = pair->seq.items[1];
    }
    out->seq.items = items;
    out->seq.n = out->seq.capacity = 2 * n;
    return 0;
}

/* The result is the argument itself: Parameter(tensor, ...), Size(tuple). */
static int call_identity(const struct pc_pickle_global *g, const struct pc_value *args,
    enum pc_value_kind kind, struct pc_value *out, struct paco_error *err)
{
    if (!fits(args, 1, 4) || args->seq.items[0]->kind != kind)
        return bad_call(g, kind == PC_VALUE_TENSOR ? "wants a tensor" : "wants a tuple", err);
    uint64_t at = out->at;
    *out = *args->seq.items[0];
    out->at = at;
    return 0;
}

static int call_role(struct pc_arena *arena, const struct pc_pickle_global *g, const struct pc_value *args,
    struct pc_value *out, struct paco_error *err)
{
    switch (g->role) {
    case ORDERED_DICT: return call_ordered_dict(arena, g, args, out, err);
    case TENSOR_V1:
    case TENSOR_V2:
    case TENSOR_V3: return call_tensor(arena, g, args, out, err);
    case PARAMETER: return call_identity(g, args, PC_VALUE_TENSOR, out, err);
    case SIZE: return call_identity(g, args, PC_VALUE_TUPLE, out, err);
    case HARMLESS: out->kind = PC_VALUE_OPAQUE; return 0;
    default: return bad_call(g, "is none a checkpoint makes", err);
    }
}

int pc_pickle_call(struct pc_arena *arena, const struct pc_value *fn, const struct pc_value *args,
    bool is_new, struct pc_value *out, struct paco_error *err)
{
    if (fn->kind != PC_VALUE_GLOBAL || args->kind != PC_VALUE_TUPLE)
        return pc_error_set(err, PACO_EFORMAT,
            "a call of %s with %s, where a global and a tuple are expected", pc_value_describe(fn),
            pc_value_describe(args));
    const struct pc_pickle_global *g = fn->global;
    if (is_new && g->role != ORDERED_DICT && g->role != PARAMETER)
        return bad_call(g, "by NEWOBJ is none a checkpoint makes", err);
    if (g->role != TENSOR_OF_TYPE)
        return call_role(arena, g, args, out, err);
    struct pc_value *const *a = args->seq.items;
    if (!fits(args, 4, 4) || a[0]->kind != PC_VALUE_GLOBAL || a[1]->kind != PC_VALUE_GLOBAL ||
        a[2]->kind != PC_VALUE_TUPLE)
        return bad_call(g, "wants a function, a class, arguments and a state", err);
    int rc = call_role(arena, a[0]->global, a[2], out, err);
    if (rc == 0 && out->kind != PC_VALUE_TENSOR)
        rc = bad_call(g, "builds no tensor", err);
    return rc;
}

/* (view key, offset, size) or None: old legacy files had storages inside storages. */
static int read_view(const struct pc_value *view, struct pc_pickle_storage *s, struct paco_error *err)
{
    if (view->kind == PC_VALUE_NONE)
        return 0;
    if (view->kind != PC_VALUE_TUPLE || view->seq.n != 3 || view->seq.items[1]->kind != PC_VALUE_INT ||
        view->seq.items[2]->kind != PC_VALUE_INT)
        return pc_error_set(
            err, PACO_EFORMAT, "a storage's view is %s, not (key, offset, size)", pc_value_describe(view));
    s->is_view = true;
    s->view_offset = view->seq.items[1]->i;
    s->view_n = view->seq.items[2]->i;
    return 0;
}

int pc_pickle_persistent(struct pc_arena *arena, const struct pc_value *id, struct pc_value *out,
    const struct pc_pickle_storage **storages, struct paco_error *err)
{
    struct pc_value *const *p = id->seq.items;
    if (id->kind != PC_VALUE_TUPLE || id->seq.n < 1)
        return pc_error_set(err, PACO_EFORMAT, "a persistent id is %s, not a tuple", pc_value_describe(id));
    if (pc_value_is_str(p[0], "module"))
        return pc_error_set(err, PACO_EUNSUPPORTED,
            "a whole model object was pickled, not its state dict; ask the publisher for safetensors");
    if (id->seq.n < 5 || id->seq.n > 6 || !pc_value_is_str(p[0], "storage"))
        return pc_error_set(
            err, PACO_EFORMAT, "a persistent id is not ('storage', type, key, location, count)");
    bool untyped = is_role(p[1], UNTYPED_CLASS);
    if ((!untyped && !is_role(p[1], STORAGE_CLASS)) || p[2]->kind != PC_VALUE_STR ||
        p[4]->kind != PC_VALUE_INT)
        return pc_error_set(err, PACO_EFORMAT, "a storage has %s as type, %s as key and %s as count",
            pc_value_describe(p[1]), pc_value_describe(p[2]), pc_value_describe(p[4]));
    struct pc_pickle_storage *s = pc_arena_alloc(arena, 1, sizeof *s);
    if (!s)
        return pc_pickle_no_room(arena, sizeof *s, err);
    *s = (struct pc_pickle_storage){.untyped = untyped,
        .dtype = p[1]->global->dtype,
        .key = p[2]->text.s,
        .key_len = p[2]->text.len,
        .n_elements = p[4]->i,
        .at = out->at,
        .next = *storages};
    int rc = id->seq.n == 6 ? read_view(p[5], s, err) : 0;
    out->kind = PC_VALUE_STORAGE;
    out->storage = s;
    *storages = s;
    return rc;
}
