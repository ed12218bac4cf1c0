// SPDX-License-Identifier: Apache-2.0
/* Who a run is: all that decides the numbers, by the names of the options and of config.json's members.
 * --resume takes only a state of the same run (train/state.h names what differs). What changes no number is
 * left out: threads, places, how often something is measured, and, but for quirks, micro-batches and ranks.
 */
#include "base/memory.h"
#include "cli/finetune_model.h"
#include "weights/scan.h"

static void put(json_t *object, const char *name, json_t *value, bool *good)
{
    *good = json_object_set_new(object, name, value) == 0 && *good;
}

static void put_hex(json_t *object, const char *name, const uint8_t digest[PC_SHA256_SIZE], bool *good)
{
    char hex[PC_SHA256_HEX];
    put(object, name, json_string(pc_sha256_hex(digest, hex)), good);
}

/* The digest of a checkpoint's own tensors, whatever files it came in. */
static int digest_of(
    struct pc_finetune *f, const struct pc_checkpoint *ck, char hex[PC_SHA256_HEX], struct paco_error *err)
{
    struct pc_scan *scans = pc_alloc(ck->n_tensors, sizeof *scans);
    if (!scans)
        return pc_error_mem(err, ck->n_tensors * sizeof *scans, "digests");
    int rc = pc_scan_checkpoint(
        ck, PC_SCAN_SHA256, f->pool, pc_progress_bar(f->self), "hashing the base", scans, err);
    if (rc == 0)
        rc = pc_content_digest(ck, scans, hex, err);
    pc_free(scans);
    return rc;
}

/* What the shapes of its tensors do not say. */
static void put_model(json_t *id, const struct pc_config *c, bool *good)
{
    put(id, "num_attention_heads", json_integer(c->n_heads), good);
    put(id, "rms_norm_eps", pc_json_number(c->rms_norm_eps), good);
    put(id, "rope_theta", pc_json_number(c->rope_theta), good);
    if (c->rope_scaling == PC_ROPE_DEFAULT)
        return;
    const struct {
        const char *name;
        double value;
    } settings[] = {{"rope_factor", c->rope_factor}, {"rope_low_freq_factor", c->rope_low_freq_factor},
        {"rope_high_freq_factor", c->rope_high_freq_factor}, {"rope_beta_fast", c->rope_beta_fast},
        {"rope_beta_slow", c->rope_beta_slow}, {"rope_attention_factor", c->rope_attention_factor},
        {"rope_original_positions", c->rope_original_positions}, {"rope_truncate", c->rope_truncate}};
    put(id, "rope_scaling", json_string(pc_rope_scaling_name(c->rope_scaling)), good);
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
        put(id, settings[i].name, pc_json_number(settings[i].value), good);
}

static void put_batches(json_t *id, const struct pc_finetune *f, bool *good)
{
    const struct pc_finetune_values *v = f->v;
    put_hex(id, "train_file", f->examples.digest, good);
    put(id, "max_seq_length", json_integer(v->max_length), good);
    if (v->packing)
        put(id, "packing", json_true(), good);
    if (v->quirks) {
        put(id, "per_device_train_batch_size", json_integer(v->batch), good);
        put(id, "gradient_accumulation_steps", json_integer(v->accumulation), good);
        put(id, "ranks", json_integer(f->party.size), good);
    } else {
        put(id, "examples_per_step", json_integer(v->batch * v->accumulation), good);
    }
    put(id, v->steps ? "max_train_steps" : "num_train_epochs", json_integer(v->steps ? v->steps : v->epochs),
        good);
    if (v->validation_share > 0)
        put(id, "validation_split_percentage", pc_json_number(v->validation_share), good);
    put(id, "seed", json_integer(v->seed), good);
    put(id, "shuffle", json_boolean(f->train.shuffle), good);
}

static void put_updates(json_t *id, const struct pc_finetune *f, bool *good)
{
    const struct pc_finetune_values *v = f->v;
    put(id, "dtype", json_string(f->train.bf16 ? "bf16" : "f32"), good);
    put(id, "learning_rate", pc_json_number(v->learning_rate), good);
    put(id, "lr_scheduler_type", json_string(v->schedule ? v->schedule : "linear"), good);
    put(id, "warmup_ratio", pc_json_number(v->warmup_ratio), good);
    put(id, "weight_decay", pc_json_number(v->weight_decay), good);
    put(id, "clip_grad_norm", pc_json_number(v->clip), good);
    put(id, "optim_states", json_string(pc_optim_states_name(f->train.optimizer.states)), good);
    if (f->params->matrices == PC_BF16)
        put(id, "weights", json_string("bf16"), good);
    if (f->train.in_backward)
        put(id, "update_in_backward", json_true(), good);
    put(id, "upstream_quirks", json_boolean(v->quirks), good);
}

static void put_lora(json_t *id, const struct pc_lora_options *o, bool *good)
{
    put(id, "lora_rank", json_integer((json_int_t)o->rank), good);
    put(id, "lora_alpha", pc_json_number(o->alpha), good);
    put(id, "lora_dropout", pc_json_number(o->dropout), good);
    put(id, "lora_targets", json_integer(o->targets), good);
    put(id, "use_rslora", json_boolean(o->scale_by_root), good);
}

int pc_finetune_identify(struct pc_finetune *f, struct paco_error *err)
{
    char base[PC_SHA256_HEX], adapter[PC_SHA256_HEX];
    int rc = digest_of(f, f->model.weights, base, err);
    if (rc == 0 && f->adapter)
        rc = digest_of(f, f->adapter->ck, adapter, err);
    if (rc < 0)
        return rc;
    bool good = true;
    json_t *id = f->identity = json_object();
    put(id, "model", json_string(base), &good);
    put_model(id, &f->config, &good);
    put_batches(id, f, &good);
    put_updates(id, f, &good);
    if (f->is_lora)
        put_lora(id, &f->lora_options, &good);
    if (f->adapter)
        put(id, "init_adapter", json_string(adapter), &good);
    return good ? 0 : pc_error_mem(err, 4096, "the run's identity");
}
