// SPDX-License-Identifier: Apache-2.0
/* An event file is TFRecord: for each event its length (8 bytes), the length's checksum (4), a protobuf
 * message, its checksum (4), little endian, the checksums CRC-32C turned and shifted so that one of a record
 * that holds records is not taken for its content's. The messages come from protobuf-c and our own short
 * schema; a step of 0 is left out, as proto3 has it, so that the bytes are those TensorFlow would write.
 *
 * Source: TensorFlow, core/lib/io/record_writer.h and core/lib/hash/crc32c.h (Mask); the meaning of
 * SessionLog START: TensorBoard, backend/event_processing/event_accumulator.py. */
#include "report/tensorboard.h"

#include "base/buf.h"
#include "base/crc32.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "report/tensorboard.pb-c.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* START of SessionLog, DT_STRING of DataType; the longest event; values of one. */
enum { START = 1, STRING = 7, MAX_EVENT = 1 << 26, MAX_VALUES = 64 };

#define PREFIX "events.out.tfevents."
#define VERSION "brain.Event:2"

struct pc_tensorboard {
    int fd;
    char *path;
    uint64_t end; /* of the last whole record */
    struct pc_buf record;
};

/* ---- records ---- */

static void put_le(uint8_t *to, uint64_t v, int n)
{
    for (int i = 0; i < n; i++)
        to[i] = (uint8_t)(v >> 8 * i);
}

static void put_checksum(uint8_t *to, const uint8_t *bytes, size_t len)
{
    uint32_t crc = pc_crc32c(0, bytes, len);
    put_le(to, (crc >> 15 | crc << 17) + 0xa282ead8u, 4);
}

static double wall_time(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int put_event(struct pc_tensorboard *tb, PcTb__Event *event, struct paco_error *err)
{
    event->has_wall_time = 1;
    event->wall_time = wall_time();
    size_t n = protobuf_c_message_get_packed_size(&event->base);
    pc_buf_clear(&tb->record);
    uint8_t *to = (uint8_t *)pc_buf_reserve(&tb->record, n + 16);
    if (!to)
        return pc_buf_check(&tb->record, "an event", err);
    put_le(to, n, 8);
    put_checksum(to + 8, to, 8);
    protobuf_c_message_pack(&event->base, to + 12);
    put_checksum(to + 12 + n, to + 12, n);
    int rc = pc_fd_write(tb->fd, tb->path, tb->end, to, n + 16, err);
    if (rc == 0)
        tb->end += n + 16;
    return rc;
}

/* ---- a file ---- */

/* The second a new file is named after: now, but behind every file that is there, since they are read in the
 * order of their names. */
static int64_t second_of(const char *dir)
{
    int64_t now = (int64_t)time(NULL);
    char **names = NULL;
    size_t n = 0;
    if (pc_dir_list(dir, &names, &n, NULL) < 0)
        return now;
    for (size_t i = 0; i < n; i++) {
        const char *digits = names[i] + strlen(PREFIX);
        if (strncmp(names[i], PREFIX, strlen(PREFIX)) != 0 || strspn(digits, "0123456789") != 10)
            continue;
        int64_t its = strtoll(digits, NULL, 10);
        now = its >= now ? its + 1 : now;
    }
    pc_names_free(names, n);
    return now;
}

static char *path_of(const char *dir)
{
    char host[65] = "", name[160];
    if (gethostname(host, sizeof host - 1) < 0 || !*host)
        snprintf(host, sizeof host, "host");
    for (char *c = host; *c; c++)
        if (!isalnum((unsigned char)*c) && *c != '-' && *c != '.')
            *c = '-';
    snprintf(name, sizeof name, PREFIX "%010" PRId64 ".%s.%ld", second_of(dir), host, (long)getpid());
    return pc_path_join(dir, name);
}

static int begin(struct pc_tensorboard *tb, int64_t first_step, struct paco_error *err)
{
    PcTb__Event event = PC_TB__EVENT__INIT, start = PC_TB__EVENT__INIT;
    char version[] = VERSION;
    event.file_version = version;
    int rc = put_event(tb, &event, err);
    PcTb__SessionLog log = PC_TB__SESSION_LOG__INIT;
    log.has_status = 1;
    log.status = START;
    start.has_step = first_step != 0;
    start.step = first_step;
    start.session_log = &log;
    return rc == 0 ? put_event(tb, &start, err) : rc;
}

int pc_tensorboard_open(
    const char *dir, int64_t first_step, struct pc_tensorboard **out, struct paco_error *err)
{
    if (mkdir(dir, 0777) < 0 && errno != EEXIST) {
        int rc = pc_error_os(err, errno, "cannot make the folder");
        pc_error_path(err, dir);
        return rc;
    }
    struct pc_tensorboard *tb = pc_alloc_zero(1, sizeof *tb);
    if (!tb)
        return pc_error_mem(err, sizeof *tb, "an event file");
    pc_buf_init(&tb->record, MAX_EVENT);
    tb->path = path_of(dir);
    tb->fd = tb->path ? open(tb->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666) : -1;
    int rc = tb->path ? 0 : pc_error_mem(err, strlen(dir), "a path");
    if (rc == 0 && tb->fd < 0) {
        rc = pc_error_os(err, errno, "cannot create");
        pc_error_path(err, tb->path);
    }
    if (rc == 0)
        rc = begin(tb, first_step, err);
    if (rc == 0)
        *out = tb;
    else
        pc_tensorboard_close(tb);
    return rc;
}

void pc_tensorboard_close(struct pc_tensorboard *tb)
{
    if (!tb)
        return;
    if (tb->fd >= 0)
        close(tb->fd);
    pc_buf_release(&tb->record);
    pc_free(tb->path);
    pc_free(tb);
}

const char *pc_tensorboard_path(const struct pc_tensorboard *tb)
{
    return tb->path;
}

/* ---- values ---- */

/* A value's messages, which point into each other. */
struct parts {
    PcTb__Value value;
    PcTb__Metadata metadata;
    PcTb__Plugin plugin;
    PcTb__Tensor tensor;
    PcTb__Shape shape;
    PcTb__Dim dim, *dims[1];
    ProtobufCBinaryData text;
};

// protobuf-c's structs have no const: what they point to is only read.
static void fill_text(struct parts *p, const char *text)
{
    static char name[] = "text";
    p->plugin = (PcTb__Plugin)PC_TB__PLUGIN__INIT;
    p->plugin.plugin_name = name;
    p->metadata = (PcTb__Metadata)PC_TB__METADATA__INIT;
    p->metadata.plugin_data = &p->plugin;
    p->dim = (PcTb__Dim)PC_TB__DIM__INIT;
    p->dim.has_size = 1;
    p->dim.size = 1;
    p->dims[0] = &p->dim;
    p->shape = (PcTb__Shape)PC_TB__SHAPE__INIT;
    p->shape.n_dim = 1;
    p->shape.dim = p->dims;
    p->text = (ProtobufCBinaryData){strlen(text), (uint8_t *)(uintptr_t)text};
    p->tensor = (PcTb__Tensor)PC_TB__TENSOR__INIT;
    p->tensor.has_dtype = 1;
    p->tensor.dtype = STRING;
    p->tensor.tensor_shape = &p->shape;
    p->tensor.n_string_val = 1;
    p->tensor.string_val = &p->text;
    p->value.metadata = &p->metadata;
    p->value.tensor = &p->tensor;
}

int pc_tensorboard_add(struct pc_tensorboard *tb, int64_t step, const struct pc_tensorboard_value *values,
    size_t n, struct paco_error *err)
{
    struct parts parts[MAX_VALUES];
    PcTb__Value *pointers[MAX_VALUES];
    if (n > MAX_VALUES)
        return pc_error_set(err, PACO_EINVAL, "an event has at most %d values, not %zu", MAX_VALUES, n);
    for (size_t i = 0; i < n; i++) {
        struct parts *p = &parts[i];
        p->value = (PcTb__Value)PC_TB__VALUE__INIT;
        p->value.tag = (char *)(uintptr_t)values[i].tag;
        p->value.has_simple_value = !values[i].text;
        p->value.simple_value = (float)values[i].scalar;
        if (values[i].text)
            fill_text(p, values[i].text);
        pointers[i] = &p->value;
    }
    PcTb__Summary summary = PC_TB__SUMMARY__INIT;
    summary.n_value = n;
    summary.value = pointers;
    PcTb__Event event = PC_TB__EVENT__INIT;
    event.has_step = step != 0;
    event.step = step;
    event.summary = &summary;
    return put_event(tb, &event, err);
}

char *pc_tensorboard_quote(const char *text)
{
    struct pc_buf b;
    size_t len = strlen(text);
    pc_buf_init(&b, MAX_EVENT);
    pc_buf_puts(&b, "    ");
    for (size_t i = 0, n; i < len; i += n) {
        uint32_t cp;
        n = pc_utf8_decode((const uint8_t *)text + i, len - i, &cp);
        if (n == 0) {
            n = pc_utf8_broken((const uint8_t *)text + i, len - i);
            pc_buf_puts(&b, "\xef\xbf\xbd");
        } else {
            pc_buf_add(&b, text + i, n);
        }
        if (text[i] == '\n')
            pc_buf_puts(&b, "    ");
    }
    char *out = pc_buf_detach(&b);
    pc_buf_release(&b);
    return out;
}
