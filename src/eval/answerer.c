// SPDX-License-Identifier: Apache-2.0
#include "eval/answerer.h"

#include "base/memory.h"
#include "base/utf8.h"
#include "kernels/vmath.h"

#include <math.h>

void pc_choice_probs(const float *below, size_t n, double *probs)
{
    float sum = 0, p[PC_MAX_CHOICES];
    for (size_t i = 0; i < n; i++)
        sum += p[i] = isnan(below[i]) ? 0 : (float)pc_exp((double)below[i]);
    for (size_t i = 0; i < n; i++)
        probs[i] = (double)(p[i] / sum);
}

size_t pc_blank_line(const char *text, size_t len)
{
    bool said = false;
    uint32_t cp;
    for (size_t at = 0, n; at < len; at += n ? n : 1) {
        if (said && at + 1 < len && text[at] == '\n' && text[at + 1] == '\n')
            return at;
        n = pc_utf8_decode((const uint8_t *)text + at, len - at, &cp);
        said = said || !pc_is_python_space(cp);
    }
    return len;
}

void pc_reply_release(struct pc_reply *r)
{
    for (size_t i = 0; i < r->n_texts; i++)
        pc_free(r->texts[i]);
    pc_free(r->texts);
    pc_free(r->lens);
    pc_free(r->probs);
    *r = (struct pc_reply){0};
}
