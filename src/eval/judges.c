// SPDX-License-Identifier: Apache-2.0
#include "eval/judges.h"

#include "base/cpu.h"
#include "base/memory.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

enum { MAX_THREADS = 64, DEFAULT_MOST = 8, WAIT_NS = 100 * 1000 * 1000 };

/* In one of two queues: waiting to be judged, or judged. */
struct item {
    struct item *next;
    struct pc_reply reply;
    struct pc_judgement verdict;
};

struct queue {
    struct item *first, **end;
};

struct pc_judges {
    const struct pc_task *task;
    const struct pc_task_data *data;
    pthread_t threads[MAX_THREADS];
    int n_threads;
    pthread_mutex_t lock;
    pthread_cond_t given, judged;
    struct queue waiting, done;
    int n_judging;
    size_t n_open; /* of the caller's thread alone */
    bool ending;
};

static void put(struct queue *q, struct item *it)
{
    it->next = NULL;
    *q->end = it;
    q->end = &it->next;
}

static struct item *get(struct queue *q)
{
    struct item *it = q->first;
    if (it)
        q->first = it->next;
    if (!q->first)
        q->end = &q->first;
    return it;
}

static void free_item(struct item *it)
{
    pc_reply_release(&it->reply);
    json_decref(it->verdict.record);
    pc_free(it);
}

static void judge(const struct pc_judges *j, struct item *it)
{
    const struct pc_answers answers = {.probs = it->reply.probs,
        .n_probs = it->reply.n_probs,
        .texts = (const char *const *)it->reply.texts,
        .lens = it->reply.lens,
        .n_texts = it->reply.n_texts,
        .nats = it->reply.nats};
    struct pc_judgement *v = &it->verdict;
    v->rc = j->task->judge(j->data, it->reply.i_item, &answers, v->record, &v->err);
}

static void *work(void *arg)
{
    struct pc_judges *j = arg;
    pthread_mutex_lock(&j->lock);
    while (!j->ending) {
        struct item *it = get(&j->waiting);
        if (!it) {
            pthread_cond_wait(&j->given, &j->lock);
            continue;
        }
        j->n_judging++;
        pthread_mutex_unlock(&j->lock);
        judge(j, it);
        pthread_mutex_lock(&j->lock);
        j->n_judging--;
        put(&j->done, it);
        pthread_cond_signal(&j->judged);
    }
    pthread_mutex_unlock(&j->lock);
    return NULL;
}

static int count(int n)
{
    int most = n > 0 ? MAX_THREADS : DEFAULT_MOST;
    n = n > 0 ? n : pc_cpu_count();
    return n < most ? n : most;
}

int pc_judges_new(const struct pc_task *task, const struct pc_task_data *data, int n, struct pc_judges **out,
    struct paco_error *err)
{
    struct pc_judges *j = pc_alloc_zero(1, sizeof *j);
    if (!j)
        return pc_error_mem(err, sizeof *j, "judges");
    j->task = task;
    j->data = data;
    j->waiting.end = &j->waiting.first;
    j->done.end = &j->done.first;
    pthread_mutex_init(&j->lock, NULL);
    pthread_cond_init(&j->given, NULL);
    pthread_cond_init(&j->judged, NULL);
    for (n = count(n); j->n_threads < n; j->n_threads++) {
        int e = pthread_create(&j->threads[j->n_threads], NULL, work, j);
        if (e != 0 && j->n_threads == 0) {
            int rc = pc_error_os(err, e, "cannot start a thread");
            pc_judges_free(j);
            return rc;
        }
        if (e != 0)
            break; // fewer do as well
    }
    *out = j;
    return 0;
}

void pc_judges_stop(struct pc_judges *j)
{
    pthread_mutex_lock(&j->lock);
    j->ending = true;
    bool busy = j->n_judging > 0;
    pthread_cond_broadcast(&j->given);
    pthread_mutex_unlock(&j->lock);
    if (busy && j->task->stop)
        j->task->stop(j->data);
    for (int i = 0; i < j->n_threads; i++)
        pthread_join(j->threads[i], NULL);
    j->n_threads = 0;
    for (struct item *it; (it = get(&j->waiting)) != NULL; put(&j->done, it))
        it->verdict.rc = pc_error_set(&it->verdict.err, PACO_ECANCELLED, "stopped before it was judged");
}

void pc_judges_free(struct pc_judges *j)
{
    if (!j)
        return;
    pc_judges_stop(j);
    for (struct item *it; (it = get(&j->done)) != NULL;)
        free_item(it);
    pthread_cond_destroy(&j->given);
    pthread_cond_destroy(&j->judged);
    pthread_mutex_destroy(&j->lock);
    pc_free(j);
}

int pc_judges_give(struct pc_judges *j, struct pc_reply *reply, json_t *record, struct paco_error *err)
{
    struct item *it = pc_alloc_zero(1, sizeof *it);
    if (!it) {
        pc_reply_release(reply);
        json_decref(record);
        return pc_error_mem(err, sizeof *it, "a reply");
    }
    it->reply = *reply;
    it->verdict = (struct pc_judgement){.i_item = reply->i_item, .record = record};
    *reply = (struct pc_reply){0};
    pthread_mutex_lock(&j->lock);
    put(&j->waiting, it);
    pthread_cond_signal(&j->given);
    pthread_mutex_unlock(&j->lock);
    j->n_open++;
    return 0;
}

bool pc_judges_take(struct pc_judges *j, struct pc_judgement *out)
{
    pthread_mutex_lock(&j->lock);
    struct item *it = get(&j->done);
    pthread_mutex_unlock(&j->lock);
    if (!it)
        return false;
    j->n_open--;
    *out = it->verdict;
    it->verdict.record = NULL;
    free_item(it);
    return true;
}

void pc_judges_wait(struct pc_judges *j)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += WAIT_NS;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_mutex_lock(&j->lock);
    if (!j->done.first && j->n_open > 0)
        (void)pthread_cond_timedwait(&j->judged, &j->lock, &until);
    pthread_mutex_unlock(&j->lock);
}

size_t pc_judges_n_open(const struct pc_judges *j)
{
    return j->n_open;
}
