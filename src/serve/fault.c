// SPDX-License-Identifier: Apache-2.0
#include "serve/fault.h"

#include "base/json.h"

#include <stdio.h>
#include <string.h>

int pc_fault_set(struct pc_fault *f, int status, const char *code, const char *param, const char *fmt, ...)
{
    if (f->status)
        return PACO_EINVAL;
    f->status = status;
    f->code = code;
    snprintf(f->param, sizeof f->param, "%s", param ? param : "");
    va_list args;
    va_start(args, fmt);
    vsnprintf(f->message, sizeof f->message, fmt, args);
    va_end(args);
    return PACO_EINVAL;
}

int pc_fault_of(struct pc_fault *f, const char *param, const struct paco_error *err)
{
    bool theirs = err->code == PACO_EINVAL || err->code == PACO_ELIMIT;
    int status = theirs ? 400 : err->code == PACO_EMEM ? 503 : 500;
    pc_fault_set(f, status, theirs ? "invalid_value" : NULL, param, "%s", err->message);
    return err->code;
}

static const char *type_of(int status)
{
    switch (status) {
    case 401: return "authentication_error";
    case 403: return "permission_error";
    case 429: return "rate_limit_error";
    case 500: return "server_error";
    case 503: return "unavailable_error";
    case 504: return "timeout_error";
    default: return "invalid_request_error";
    }
}

static void put_string(struct pc_buf *b, const char *s)
{
    if (s && *s)
        pc_json_write_string(b, s, strlen(s), false);
    else
        pc_buf_puts(b, "null");
}

void pc_fault_write(struct pc_buf *b, const struct pc_fault *f)
{
    pc_buf_puts(b, "{\"error\":{\"message\":");
    put_string(b, f->message);
    pc_buf_printf(b, ",\"type\":\"%s\",\"param\":", type_of(f->status));
    put_string(b, f->param);
    pc_buf_puts(b, ",\"code\":");
    put_string(b, f->code);
    pc_buf_puts(b, "}}");
}

void pc_fault_write_loading(struct pc_buf *b)
{
    pc_buf_puts(b, "{\"error\":{\"code\":503,\"message\":\"Loading model\",\"type\":\"unavailable_error\"}}");
}
