// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "format/hf_dir.h"
#include "st_builder.h"

static const struct st_tensor g_first[] = {{"b", 2, 3, 10}, {"a", 2, 0, 20}};
static const struct st_tensor g_second[] = {{"d", 1, 0, 30}, {"c", 3, 0, 40}, {"a", 2, 0, 50}};

#define ONE "model-00001-of-00002.safetensors"
#define TWO "model-00002-of-00002.safetensors"
#define INDEX "model.safetensors.index.json"

static void write_shards(struct scratch *s, const char *index)
{
    st_write(s, ONE, g_first, 2);
    st_write(s, TWO, g_second, 3);
    scratch_text(s, INDEX, index);
}

static void merges_shards_in_their_order(void **state)
{
    (void)state;
    struct scratch s;
    struct paco_error err = {0};
    struct pc_checkpoint *ck;
    scratch_open(&s);
    // 'a' is in both, and the index decides; 'd' is in no index, and taken.
    write_shards(&s, "{\"metadata\":{\"total_size\":44},\"weight_map\":{\"c\":\"" TWO "\",\"a\":\"" ONE
                     "\",\"b\":\"" ONE "\"}}");
    assert_string_equal(pc_hf_weights_name(s.dir), INDEX);
    assert_int_equal(pc_hf_open(s.dir, &ck, &err), 0);
    assert_int_equal(ck->n_tensors, 4);
    const char *const names[] = {"b", "a", "d", "c"};
    for (int i = 0; i < 4; i++)
        assert_string_equal(ck->tensors[i].name, names[i]);
    float x[3];
    assert_int_equal(pc_tensor_read(pc_checkpoint_find(ck, "a"), 0, 2, x, &err), 0);
    assert_true(x[0] == 20 && x[1] == 21);
    assert_int_equal(pc_tensor_read(pc_checkpoint_find(ck, "c"), 1, 2, x, &err), 0);
    assert_true(x[0] == 41 && x[1] == 42);
    const float *map = pc_tensor_map(pc_checkpoint_find(ck, "b"));
    assert_true(map[5] == 15);
    const char *path;
    uint64_t at;
    assert_true(ck->ops->where(pc_checkpoint_find(ck, "c"), &path, &at));
    assert_contains(path, TWO);
    // A shard that shrinks afterwards: the message names tensor, file and place.
    assert_int_equal(truncate(scratch_path(&s, TWO), (off_t)at + 4), 0);
    assert_int_equal(pc_tensor_read(pc_checkpoint_find(ck, "c"), 0, 3, x, &err), PACO_EFORMAT);
    assert_contains(err.message, "tensor 'c': the file shrank");
    assert_contains(err.path, TWO);
    assert_int_equal(err.offset, at + 4);
    pc_checkpoint_close(ck);
    scratch_close(&s);
}

static void one_file_comes_before_shards(void **state)
{
    (void)state;
    struct scratch s;
    struct paco_error err = {0};
    struct pc_checkpoint *ck;
    scratch_open(&s);
    write_shards(&s, "{");
    st_write(&s, "model.safetensors", g_first, 1);
    assert_int_equal(pc_checkpoint_open(s.dir, &ck, &err), 0);
    assert_int_equal(ck->n_tensors, 1);
    pc_checkpoint_close(ck);
    // By explicit name, whatever it is called.
    st_write(&s, "weights", g_second, 3);
    assert_int_equal(pc_checkpoint_open(scratch_path(&s, "weights"), &ck, &err), 0);
    assert_int_equal(ck->n_tensors, 3);
    pc_checkpoint_close(ck);
    scratch_close(&s);
}

static void indexes_are_checked(void **state)
{
    (void)state;
    static const struct {
        const char *index;
        int code;
        const char *message, *path;
    } bad[] = {
        {"{\"weight_map\":{\"a\":\"../" ONE "\"}}", PACO_EFORMAT,
            "\"weight_map\": tensor 'a' is in '../" ONE "', which is no plain file name", INDEX},
        {"{\"weight_map\":{\"a\":\"/etc/passwd\"}}", PACO_EFORMAT,
            "'/etc/passwd', which is no plain file name", INDEX},
        {"{\"weight_map\":{\"a\":\"..\"}}", PACO_EFORMAT, "which is no plain file name", INDEX},
        {"{\"weight_map\":{\"a\":\"" ONE "\\u0000\"}}", PACO_EFORMAT, "which is no plain file name", INDEX},
        {"{\"weight_map\":{\"a\":7}}", PACO_EFORMAT,
            "tensor 'a' is in an integer where a file name is expected", INDEX},
        {"{\"weight_map\":{}}", PACO_EFORMAT, "\"weight_map\" is empty", INDEX},
        {"{\"weight_map\":[]}", PACO_EFORMAT, "\"weight_map\" is an array where an object is expected",
            INDEX},
        {"[]", PACO_EFORMAT, "holds an array where a JSON object is expected", INDEX},
        {"{}", PACO_EFORMAT, "\"weight_map\" is missing", INDEX},
        {"{\"weight_map\":{\"a\":\"" ONE "\",\"a\":\"" TWO "\"}}", PACO_EFORMAT, "duplicate object key",
            INDEX},
        {"{\"weight_map\":{\"a\":\"" ONE "\"", PACO_EFORMAT, "JSON:", INDEX},
        {"", PACO_EFORMAT, "JSON:", INDEX},
        {"{\"weight_map\":{\"c\":\"" ONE "\"}}", PACO_EFORMAT,
            "\"weight_map\": tensor 'c' is not in the shard '" ONE "'", INDEX},
        {"{\"weight_map\":{\"a\":\"" ONE "\",\"x\":\"gone-2\",\"y\":\"gone-1\",\"z\":\"gone-1\"}}",
            PACO_ENOENT, "2 of the 3 shards it names are missing, the first of them 'gone-1'", INDEX},
        {"{\"weight_map\":{\"a\":\"" ONE "\",\"b\":\"lfs\"}}", PACO_EFORMAT, "is a git-lfs pointer", "lfs"},
        {"{\"weight_map\":{\"a\":\"" ONE "\",\"b\":\"loop\"}}", PACO_EIO, "loop", "loop"},
        {"{\"weight_map\":{\"a\":\"" ONE "\",\"b\":\"dangling\"}}", PACO_ENOENT, "leads nowhere", "dangling"},
        {"{\"weight_map\":{\"a\":\"" ONE "\",\"b\":\"folder\"}}", PACO_EFORMAT,
            "is a directory, not a regular file", "folder"},
    };
    struct scratch s;
    scratch_open(&s);
    write_shards(&s, "");
    scratch_text(&s, "lfs", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 99\n");
    assert_int_equal(symlink("loop", scratch_path(&s, "loop")), 0);
    assert_int_equal(symlink("nowhere", scratch_path(&s, "dangling")), 0);
    assert_int_equal(mkdir(scratch_path(&s, "folder"), 0777), 0);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct pc_checkpoint *ck;
        struct paco_error err = {0};
        scratch_text(&s, INDEX, bad[i].index);
        assert_int_equal(pc_hf_open(s.dir, &ck, &err), bad[i].code);
        assert_null(ck);
        assert_contains(err.message, bad[i].message);
        assert_contains(err.path, bad[i].path);
    }
    scratch_close(&s);
}

static void says_what_is_there_instead_of_weights(void **state)
{
    (void)state;
    static const struct {
        const char *file, *message;
    } all[] = {
        {"config.json",
            "no model.safetensors, pytorch_model.bin or index of shards in this directory (1 other files)"},
        {"x.gguf", "did you mean 'x.gguf' in it?"},
        {"model-00001-of-00003.safetensors", "looks like a shard whose index file is missing"},
        {"adapter_model.safetensors", "makes it a LoRA adapter, which needs its base model"},
        {"consolidated.00.pth", "is in Meta's format"},
        {"other.safetensors", "did you mean the file 'other.safetensors' in it?"},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct scratch s;
        struct pc_checkpoint *ck;
        struct paco_error err = {0};
        scratch_open(&s);
        scratch_text(&s, all[i].file, "{}");
        assert_int_equal(pc_hf_open(s.dir, &ck, &err), PACO_ENOENT);
        assert_contains(err.message, all[i].message);
        assert_string_equal(err.path, s.dir);
        scratch_close(&s);
    }
}

static void survives_every_failed_allocation(void **state)
{
    (void)state;
    struct scratch s;
    struct pc_checkpoint *ck = NULL;
    scratch_open(&s);
    write_shards(&s, "{\"weight_map\":{\"c\":\"" TWO "\",\"a\":\"" ONE "\",\"b\":\"" ONE "\"}}");
    for (int64_t n = 0; !ck; n++) {
        struct paco_error err = {0};
        pc_alloc_fail_after(n);
        int rc = pc_hf_open(s.dir, &ck, &err);
        pc_alloc_fail_after(-1);
        assert_true(rc == 0 ? ck != NULL : rc == PACO_EMEM && err.code == PACO_EMEM && !ck);
        assert_true(n < 200);
    }
    pc_checkpoint_close(ck);
    scratch_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merges_shards_in_their_order),
        cmocka_unit_test(one_file_comes_before_shards),
        cmocka_unit_test(indexes_are_checked),
        cmocka_unit_test(says_what_is_there_instead_of_weights),
        cmocka_unit_test(survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
