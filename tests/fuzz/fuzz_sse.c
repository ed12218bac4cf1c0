// SPDX-License-Identifier: Apache-2.0
/* Streams of events: the data of them is the same however the bytes are cut. The first byte says how long the
 * pieces are. */
#include "fuzz_file.h"
#include "net/sse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int take(void *ctx, const char *data, size_t len, struct paco_error *err)
{
    struct pc_buf *all = ctx;
    if (data[len] != '\0')
        abort();
    pc_buf_add(all, data, len);
    pc_buf_putc(all, '\0');
    return len == 7 && memcmp(data, "refused", 7) == 0 ? pc_error_set(err, PACO_EFORMAT, "refused") : 0;
}

static int feed(const char *text, size_t len, size_t piece, struct pc_buf *all)
{
    struct pc_sse s;
    struct paco_error err = {0};
    int rc = 0;
    pc_buf_init(all, 1 << 26);
    pc_sse_init(&s, take, all);
    for (size_t at = 0; at < len && rc == 0; at += piece)
        rc = pc_sse_feed(&s, text + at, len - at < piece ? len - at : piece, &err);
    if (rc < 0)
        fuzz_check_error(rc, &err);
    pc_sse_release(&s);
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct pc_buf whole, cut;
    const char *text = (const char *)data + 1;
    int rc = feed(text, size - 1, size - 1, &whole);
    if (feed(text, size - 1, 1 + data[0] % 16, &cut) != rc || whole.len != cut.len ||
        (cut.len && memcmp(whole.data, cut.data, cut.len) != 0))
        abort();
    pc_buf_release(&whole);
    pc_buf_release(&cut);
    return 0;
}
