// SPDX-License-Identifier: Apache-2.0
#include "eval/answerer.h"

#include "base/memory.h"

void pc_reply_release(struct pc_reply *r)
{
    for (size_t i = 0; i < r->n_texts; i++)
        pc_free(r->texts[i]);
    pc_free(r->texts);
    pc_free(r->lens);
    pc_free(r->probs);
    *r = (struct pc_reply){0};
}
