// SPDX-License-Identifier: Apache-2.0
/* What an endpoint may send: a reply has choices with texts, or an error with words; and log-probabilities of
 * whatever shape give probabilities that sum to 1, or none. The first byte says which status it came with. */
#include "eval/answer_api_parts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_candidates(const struct pc_openai_choice *choice)
{
    static const char *const texts[] = {"A", "B", ""};
    struct pc_candidates c = {.texts = texts, .n = 3};
    double probs[3], sum = 0;
    (void)pc_echo_logprob(choice, choice->len / 2, 2);
    (void)pc_echo_logprob(choice, choice->len, choice->len);
    if (!pc_candidates_find(&c, choice, PC_BARE_UNKNOWN, "x:", 2) || !c.any)
        return;
    pc_candidates_probs(&c, probs);
    for (int i = 0; i < 3; i++)
        sum += probs[i];
    if (!(fabs(sum - 1) < 1e-6))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    char *body = pc_strndup((const char *)data + 1, size - 1);
    struct pc_http_reply http = {.status = data[0] & 1 ? 429 : 200,
        .n_tries = 1 + (data[0] >> 1 & 1),
        .body = body,
        .len = size - 1,
        .content_type = ""};
    struct pc_openai_reply r;
    if (data[0] & 1)
        pc_error_set(&http.err, PACO_EIO, "http://h: status 429");
    pc_openai_read_reply(&http, "http://h", "sk-secret", &r);
    if (r.err.code < 0 ? !r.err.message[0] || r.n_choices > 0 : r.n_choices == 0)
        abort();
    if (strstr(r.err.message, "sk-secret"))
        abort();
    for (size_t i = 0; i < r.n_choices; i++) {
        if (!r.choices[i].text || strlen(r.choices[i].text) > r.choices[i].len)
            abort();
        check_candidates(&r.choices[i]);
    }
    pc_openai_reply_release(&r);
    pc_free(body);
    return 0;
}
