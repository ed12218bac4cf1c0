// SPDX-License-Identifier: Apache-2.0
#include "eval/answer_ranks.h"

#include "base/host.h"
#include "base/memory.h"

#include <stdio.h>
#include <string.h>

/* RUN: items to one rank before the next gets some. They share what their prompts begin with, so that each
 * rank computes that once for as many; yet short evaluations should keep all ranks busy. */
enum { MAX_MESSAGE = 1 << 28, MAX_TEXTS = 1 << 20, RUN = 8 };

enum kind { ITEM = 1, DONE, REPLY, BROKEN };

/* The head of every message; what follows a REPLY or BROKEN is in put_reply. */
struct head {
    uint64_t kind, i_task, i_item;
};

/* ---- replies as bytes ---- */

struct reply_head {
    struct paco_error error;
    int64_t n_prompt_tokens, n_output_tokens;
    uint64_t n_probs, n_texts;
    struct pc_nats nats;
};

static void put_reply(struct pc_buf *b, const struct head *head, const struct pc_reply *r)
{
    const struct reply_head rest = {
        r->error, r->n_prompt_tokens, r->n_output_tokens, r->n_probs, r->n_texts, r->nats};
    pc_buf_add(b, head, sizeof *head);
    pc_buf_add(b, &rest, sizeof rest);
    pc_buf_add(b, r->probs, r->n_probs * sizeof *r->probs);
    for (size_t i = 0; i < r->n_texts; i++) {
        uint64_t len = r->lens[i];
        pc_buf_add(b, &len, sizeof len);
        pc_buf_add(b, r->texts[i], r->lens[i]);
    }
}

/* The next n bytes, or false when there are fewer. */
static bool take(const char **at, size_t *left, void *out, size_t n)
{
    if (n > *left)
        return false;
    memcpy(out, *at, n);
    *at += n;
    *left -= n;
    return true;
}

static bool take_texts(const char **at, size_t *left, size_t n, struct pc_reply *r)
{
    r->texts = pc_alloc_zero(n, sizeof *r->texts);
    r->lens = pc_alloc_zero(n, sizeof *r->lens);
    if (!r->texts || !r->lens)
        return false;
    for (r->n_texts = 0; r->n_texts < n; r->n_texts++) {
        uint64_t len;
        if (!take(at, left, &len, sizeof len) || len > *left)
            return false;
        char *text = pc_alloc(len + 1, 1); // it may hold a NUL
        if (!text)
            return false;
        take(at, left, text, len);
        text[len] = '\0';
        r->texts[r->n_texts] = text;
        r->lens[r->n_texts] = len;
    }
    return true;
}

static int get_reply(
    const char *at, size_t left, size_t i_item, int from, struct pc_reply *r, struct paco_error *err)
{
    struct reply_head head;
    *r = (struct pc_reply){.i_item = i_item};
    bool good =
        take(&at, &left, &head, sizeof head) && head.n_probs <= PC_MAX_CHOICES && head.n_texts <= MAX_TEXTS;
    if (good) {
        r->error = head.error;
        r->n_prompt_tokens = head.n_prompt_tokens;
        r->n_output_tokens = head.n_output_tokens;
        r->nats = head.nats;
        r->n_probs = head.n_probs;
        r->probs = head.n_probs ? pc_alloc(head.n_probs, sizeof *r->probs) : NULL;
        good = !head.n_probs || (r->probs && take(&at, &left, r->probs, head.n_probs * sizeof *r->probs));
    }
    if (good && head.n_texts)
        good = take_texts(&at, &left, head.n_texts, r);
    if (good)
        return 0;
    pc_reply_release(r);
    return pc_error_set(
        err, PACO_EFORMAT, "rank %d sent an answer that cannot be read, or memory is out", from);
}

/* ---- rank 0 ---- */

struct ranks {
    struct pc_answerer base; /* first, so that a pointer to it is one to this */
    struct pc_comm *comm;
    struct pc_answerer *own;
    size_t *n_open; /* by rank: items it has, rank 0 included */
    size_t window;  /* of another rank: enough that it has work while its answers travel */
    int target;     /* who gets the next item */
    int n_run;      /* how many it got one after the other */
    size_t i_task;
    struct pc_buf message;
};

static size_t room_of(const struct ranks *r, int rank)
{
    if (rank == 0)
        return r->own->ops->room(r->own);
    return r->window > r->n_open[rank] ? r->window - r->n_open[rank] : 0;
}

static size_t room(const struct pc_answerer *a)
{
    const struct ranks *r = (const struct ranks *)(const void *)a;
    size_t sum = 0;
    for (int rank = 0; rank < pc_comm_size(r->comm); rank++)
        sum += room_of(r, rank);
    return sum;
}

static int submit(struct pc_answerer *a, const struct pc_question *q, struct paco_error *err)
{
    struct ranks *r = (struct ranks *)(void *)a;
    bool next = r->n_run == RUN;
    for (int tries = 0; tries < pc_comm_size(r->comm) && (next || room_of(r, r->target) == 0); tries++) {
        r->target = (r->target + 1) % pc_comm_size(r->comm);
        r->n_run = 0;
        next = false;
    }
    r->n_run++;
    r->n_open[r->target]++;
    if (r->target == 0)
        return r->own->ops->submit(r->own, q, err);
    const struct head head = {ITEM, r->i_task, q->i_item};
    return pc_comm_send(r->comm, r->target, &head, sizeof head, err);
}

/* A message that came: an answer (1), or the end of a rank's work for it met an error. */
static int hear(struct ranks *r, int from, struct pc_reply *reply, struct paco_error *err)
{
    struct head head = {0};
    const char *at = r->message.data;
    size_t left = r->message.len;
    if (!take(&at, &left, &head, sizeof head) || (head.kind != REPLY && head.kind != BROKEN))
        return pc_error_set(err, PACO_EFORMAT, "rank %d sent something that is no answer", from);
    int rc = get_reply(at, left, head.i_item, from, reply, err);
    if (rc < 0)
        return rc;
    if (head.kind == BROKEN) {
        struct paco_error theirs = reply->error;
        pc_reply_release(reply);
        pc_error_prefix(&theirs, "rank %d", from);
        if (err)
            *err = theirs;
        return theirs.code < 0 ? theirs.code : PACO_EIO;
    }
    if (head.i_task != r->i_task) { // of a task that was given up
        pc_reply_release(reply);
        return 0;
    }
    r->n_open[from]--;
    return 1;
}

static int poll(struct pc_answerer *a, struct pc_reply *reply, struct paco_error *err)
{
    struct ranks *r = (struct ranks *)(void *)a;
    int from = 0;
    size_t n_elsewhere = 0;
    pc_buf_clear(&r->message);
    int rc = pc_comm_receive(r->comm, &from, &r->message, err);
    if (rc != 0)
        return rc < 0 ? rc : hear(r, from, reply, err);
    if (r->n_open[0] > 0) {
        rc = r->own->ops->poll(r->own, reply, err);
        r->n_open[0] -= rc == 1;
        r->base.n_drawn = r->own->n_drawn;
        return rc;
    }
    for (int rank = 1; rank < pc_comm_size(r->comm); rank++)
        n_elsewhere += r->n_open[rank];
    if (n_elsewhere)
        pc_doze();
    return 0;
}

void pc_answer_ranks_dismiss(struct pc_comm *comm)
{
    const struct head head = {.kind = DONE};
    for (int rank = 1; rank < pc_comm_size(comm); rank++)
        (void)pc_comm_send(comm, rank, &head, sizeof head, NULL);
}

static void close_ranks(struct pc_answerer *a)
{
    struct ranks *r = (struct ranks *)(void *)a;
    if (!r)
        return;
    pc_answer_ranks_dismiss(r->comm);
    r->own->ops->close(r->own);
    pc_buf_release(&r->message);
    pc_free(r->n_open);
    pc_free(r);
}

int pc_answer_ranks_open(
    struct pc_comm *comm, struct pc_answerer *own, struct pc_answerer **out, struct paco_error *err)
{
    static const struct pc_answerer_ops ops = {
        .room = room, .submit = submit, .poll = poll, .close = close_ranks};
    struct ranks *r = pc_alloc_zero(1, sizeof *r);
    size_t *n_open = pc_alloc_zero((size_t)pc_comm_size(comm), sizeof *n_open);
    if (!r || !n_open) {
        pc_free(r);
        pc_free(n_open);
        return pc_error_mem(err, sizeof *r, "the ranks' answers");
    }
    r->base.ops = &ops;
    snprintf(r->base.description, sizeof r->base.description, "%s", own->description);
    r->comm = comm;
    r->own = own;
    r->n_open = n_open;
    r->window = 2 * own->ops->room(own);
    pc_buf_init(&r->message, MAX_MESSAGE);
    *out = &r->base;
    return 0;
}

void pc_answer_ranks_begin(struct pc_answerer *a, size_t i_task)
{
    ((struct ranks *)(void *)a)->i_task = i_task;
}

/* ---- the others ---- */

struct server {
    struct pc_comm *comm;
    const struct pc_ranks_worker *worker;
    struct pc_answerer *answerer;
    struct head *waiting; /* items not yet submitted, oldest first */
    size_t n_waiting, capacity, n_open;
    uint64_t i_task; /* of what is open */
    bool done;
    struct pc_buf message;
};

static int send_reply(
    struct server *s, const struct head *head, const struct pc_reply *r, struct paco_error *err)
{
    struct pc_buf b;
    pc_buf_init(&b, MAX_MESSAGE);
    put_reply(&b, head, r);
    int rc = pc_buf_check(&b, "an answer", err);
    if (rc == 0)
        rc = pc_comm_send(s->comm, 0, b.data, b.len, err);
    pc_buf_release(&b);
    return rc;
}

static int receive_items(struct server *s, struct paco_error *err)
{
    int from, rc;
    for (;;) {
        pc_buf_clear(&s->message);
        rc = pc_comm_receive(s->comm, &from, &s->message, err);
        if (rc <= 0)
            return rc;
        struct head head = {0};
        if (s->message.len != sizeof head)
            return pc_error_set(err, PACO_EFORMAT, "rank %d sent %zu bytes where an item has %zu", from,
                s->message.len, sizeof head);
        memcpy(&head, s->message.data, sizeof head);
        if (head.kind == DONE) {
            s->done = true;
        } else {
            if (pc_grow(&s->waiting, &s->capacity, s->n_waiting, sizeof *s->waiting, "items to answer", err) <
                0)
                return PACO_EMEM;
            s->waiting[s->n_waiting++] = head;
        }
    }
}

/* Submit the oldest item that waits. One that cannot be asked is answered with its error. */
static int submit_first(struct server *s, struct paco_error *err)
{
    const struct head head = s->waiting[0];
    struct pc_question q;
    struct pc_reply failed = {.i_item = head.i_item, .n_prompt_tokens = -1, .n_output_tokens = -1};
    memmove(s->waiting, s->waiting + 1, --s->n_waiting * sizeof *s->waiting);
    if (!s->answerer) {
        int rc = s->worker->open(s->worker->ctx, &s->answerer, err);
        if (rc < 0)
            return rc;
    }
    s->i_task = head.i_task;
    if (s->worker->question(s->worker->ctx, head.i_task, head.i_item, &q, &failed.error) < 0) {
        const struct head answer = {REPLY, head.i_task, head.i_item};
        return send_reply(s, &answer, &failed, err);
    }
    s->n_open++;
    return s->answerer->ops->submit(s->answerer, &q, err);
}

static int answer(struct server *s, struct paco_error *err)
{
    struct pc_reply reply = {0};
    int rc = s->answerer->ops->poll(s->answerer, &reply, err);
    if (rc <= 0)
        return rc;
    s->n_open--;
    const struct head head = {REPLY, s->i_task, reply.i_item};
    rc = send_reply(s, &head, &reply, err);
    pc_reply_release(&reply);
    return rc;
}

/* Items of two tasks are never open at once: replies carry an item's number alone. */
static bool may_submit(const struct server *s)
{
    if (s->n_waiting == 0 || (s->n_open > 0 && s->waiting[0].i_task != s->i_task))
        return false;
    return !s->answerer || s->answerer->ops->room(s->answerer) > 0;
}

int pc_answer_ranks_serve(struct pc_comm *comm, const struct pc_ranks_worker *worker, struct paco_error *err)
{
    struct server s = {.comm = comm, .worker = worker};
    struct paco_error own = {0};
    pc_buf_init(&s.message, MAX_MESSAGE);
    int rc = 0;
    while (rc == 0 && !s.done) {
        rc = receive_items(&s, &own);
        while (rc == 0 && may_submit(&s))
            rc = submit_first(&s, &own);
        if (rc == 0 && s.n_open > 0)
            rc = answer(&s, &own);
        else if (rc == 0 && !s.done && s.n_waiting == 0)
            pc_doze();
    }
    if (rc < 0) {
        const struct head head = {.kind = BROKEN};
        const struct pc_reply why = {.error = own};
        (void)send_reply(&s, &head, &why, NULL);
        if (err)
            *err = own;
    }
    pc_free(s.waiting);
    pc_buf_release(&s.message);
    return rc;
}
