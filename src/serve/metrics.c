// SPDX-License-Identifier: Apache-2.0
#include "serve/metrics.h"

static const double g_bounds[PC_METRICS_BUCKETS] = {0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60};

void pc_seconds_add(struct pc_seconds_seen *h, double seconds)
{
    size_t i = 0;
    while (i < PC_METRICS_BUCKETS && seconds > g_bounds[i])
        i++;
    h->n[i]++;
    h->sum += seconds;
}

static void put_head(struct pc_buf *b, const char *name, const char *type, const char *help)
{
    pc_buf_printf(b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void put(struct pc_buf *b, const char *name, const char *type, const char *help, uint64_t value)
{
    put_head(b, name, type, help);
    pc_buf_printf(b, "%s %llu\n", name, (unsigned long long)value);
}

static void put_seconds(struct pc_buf *b, const char *name, const char *help, const struct pc_seconds_seen *h)
{
    uint64_t n = 0;
    put_head(b, name, "histogram", help);
    for (size_t i = 0; i < PC_METRICS_BUCKETS; i++) {
        n += h->n[i];
        pc_buf_printf(b, "%s_bucket{le=\"%g\"} %llu\n", name, g_bounds[i], (unsigned long long)n);
    }
    n += h->n[PC_METRICS_BUCKETS];
    pc_buf_printf(b, "%s_bucket{le=\"+Inf\"} %llu\n%s_sum %.6f\n%s_count %llu\n", name, (unsigned long long)n,
        name, h->sum, name, (unsigned long long)n);
}

void pc_metrics_write(struct pc_buf *b, const struct pc_metrics *m, const struct pc_gauges *now)
{
    put_head(b, "paco_requests_total", "counter", "Requests answered, by the class of their status.");
    for (int i = 2; i < 6; i++)
        pc_buf_printf(
            b, "paco_requests_total{status=\"%dxx\"} %llu\n", i, (unsigned long long)m->n_requests[i]);
    put(b, "paco_requests_cancelled_total", "counter", "Requests whose client went away.", m->n_cancelled);
    put(b, "paco_prompt_tokens_total", "counter", "Tokens of prompts.", m->n_prompt_tokens);
    put(b, "paco_prompt_tokens_computed_total", "counter",
        "Tokens of prompts that were computed; the others were known.", m->n_computed_tokens);
    put(b, "paco_completion_tokens_total", "counter", "Tokens of answers.", m->n_answer_tokens);
    put(b, "paco_steps_total", "counter", "Steps of the engine.", m->n_steps);
    put_head(b, "paco_reloads_total", "counter", "Reloads of what is served.");
    pc_buf_printf(b, "paco_reloads_total{result=\"done\"} %llu\npaco_reloads_total{result=\"failed\"} %llu\n",
        (unsigned long long)m->n_reloads, (unsigned long long)m->n_failed_reloads);
    put(b, "paco_requests_running", "gauge", "Requests being computed.", now->n_running);
    put(b, "paco_requests_waiting", "gauge", "Requests in the queue.", now->n_waiting);
    put(b, "paco_connections", "gauge", "Open connections.", now->n_connections);
    put(b, "paco_kv_tokens", "gauge", "Positions of keys and values there is room for.", now->kv_tokens);
    put_seconds(b, "paco_time_to_first_token_seconds", "From arrival to the first token.", &m->first_token);
    put_seconds(b, "paco_request_seconds", "From arrival to the end of the answer.", &m->whole);
}

void pc_metrics_write_tunes(struct pc_buf *b, const struct pc_house *house)
{
    if (house->n_models > 1)
        put_head(b, "paco_fine_tune_bytes", "gauge", "Memory of a fine-tune beside its base.");
    for (size_t i = 1; i < house->n_models; i++)
        pc_buf_printf(b, "paco_fine_tune_bytes{model=\"%s\"} %llu\n", house->models[i].name,
            (unsigned long long)house->models[i].size);
}
