// SPDX-License-Identifier: Apache-2.0
#include "eval/wrap.h"

#include "base/memory.h"
#include "prompt/format.h"

#include <string.h>

enum pc_format pc_wrap_format(const struct pc_task_env *env)
{
    int asked = env->flags->use_chat_format;
    if (asked >= 0)
        return asked ? PC_FORMAT_TULU : PC_FORMAT_RAW;
    return env->format == PC_FORMAT_AUTO ? PC_FORMAT_RAW : env->format;
}

int pc_wrap(enum pc_format format, struct pc_buf *prompt, const char *answer, struct paco_error *err)
{
    static const char user[] = "<|user|>\n", assistant[] = "\n<|assistant|>\n";
    const size_t n_user = sizeof user - 1;
    int rc = 0;
    if (format == PC_FORMAT_TULU && pc_buf_reserve(prompt, n_user)) {
        // By hand: upstream's does not strip what the user says.
        memmove(prompt->data + n_user, prompt->data, prompt->len);
        memcpy(prompt->data, user, n_user);
        prompt->len += n_user;
        pc_buf_puts(prompt, assistant);
    } else if (format != PC_FORMAT_RAW && format != PC_FORMAT_TULU) {
        char *said = pc_strndup(prompt->data ? prompt->data : "", prompt->len);
        if (!said)
            return pc_error_mem(err, prompt->len, "a prompt");
        prompt->len = 0;
        rc = pc_format_render(format, &(const struct pc_message){"user", said}, 1, prompt, err);
        pc_free(said);
    }
    pc_buf_puts(prompt, answer);
    return rc < 0 ? rc : pc_buf_check(prompt, "a prompt", err);
}

int pc_newline_stop(const struct pc_tokenizer *tok, struct pc_ids *out, struct paco_error *err)
{
    int rc = tok ? pc_tokenizer_encode(tok, "\n", 1, PC_ENCODE_PARSE, out, err) : 0;
    if (rc == 0 && out->n > 1) {
        out->v[0] = out->v[out->n - 1];
        out->n = 1;
    }
    return rc;
}
