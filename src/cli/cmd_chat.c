// SPDX-License-Identifier: Apache-2.0
/* paco chat: a conversation with a model, here or behind an endpoint. */
#include "base/file.h"
#include "cli/chat.h"
#include "cli/command.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct values {
    struct pc_model_args model;
    const char *api, *api_key_env, *prompt, *format, *system, *bos, *load;
    struct pc_strings stops;
    struct pc_chat_settings settings;
    int64_t context;
    bool no_history;
};

static const struct pc_option g_options[] = {
    PC_MODEL_ROWS(struct values, model, false),
    PC_ADAPTER_ROW(struct values, model),
    {.name = "api",
        .type = PC_OPT_STRING,
        .offset = offsetof(struct values, api),
        .arg = "URL",
        .help = "talk to the model called MODEL behind this OpenAI-compatible endpoint"},
    {.name = "api-key-env",
        .type = PC_OPT_STRING,
        .offset = offsetof(struct values, api_key_env),
        .arg = "NAME",
        .help = "the environment variable that holds the endpoint's key"},
    {.name = "prompt",
        .short_name = 'p',
        .type = PC_OPT_STRING,
        .offset = offsetof(struct values, prompt),
        .arg = "TEXT",
        .help = "the first message"},
    {.name = "load",
        .type = PC_OPT_STRING,
        .offset = offsetof(struct values, load),
        .arg = "FILE",
        .help = "go on with a conversation that /save wrote"},
    {.name = "format",
        .type = PC_OPT_CHOICE,
        .offset = offsetof(struct values, format),
        .choices = "auto|raw|tulu|alpaca|vicuna|chatml|chatml-plain|llama2|llama3",
        .help = "how the conversation is wrapped; auto: as the model was tuned"},
    {.name = "system",
        .type = PC_OPT_STRING,
        .offset = offsetof(struct values, system),
        .arg = "TEXT",
        .help = "a system message"},
    PC_BOS_ROW(struct values, bos),
    {.name = "tokens",
        .aliases = "max-new-tokens",
        .short_name = 'n',
        .type = PC_OPT_INT,
        .offset = offsetof(struct values, settings.tokens),
        .arg = "N",
        .min = 1,
        .max = 1 << 24,
        .help = "most tokens of an answer (as many as fit)"},
    PC_SAMPLING_ROWS(struct values, settings.temperature, settings.top_k, settings.top_p, settings.min_p,
        settings.repetition_penalty, 1e6, "sample at T; 0 takes the best token", ""),
    {.name = "seed",
        .type = PC_OPT_INT,
        .offset = offsetof(struct values, settings.seed),
        .arg = "N",
        .min = 0,
        .max = 9007199254740992.0,
        .help = "make sampling repeatable"},
    {.name = "stop",
        .type = PC_OPT_LIST,
        .offset = offsetof(struct values, stops),
        .arg = "TEXT",
        .help = "end answers before this text; may be given several times"},
    {.name = "context",
        .aliases = "ctx-size",
        .short_name = 'c',
        .type = PC_OPT_INT,
        .offset = offsetof(struct values, context),
        .arg = "N",
        .min = 1,
        .max = 1 << 24,
        .help = "tokens of the whole conversation (the model's own length, at most 8192)"},
    {.name = "no-history",
        .type = PC_OPT_FLAG,
        .offset = offsetof(struct values, no_history),
        .help = "do not keep what is typed for the next time"},
    PC_RUN_ROWS(struct values, model),
    {0},
};

static volatile sig_atomic_t g_interrupted;

/* The first Ctrl-C stops an answer; another one before that was heard, the program. */
static void on_interrupt(int number)
{
    if (g_interrupted) {
        (void)signal(number, SIG_DFL);
        (void)raise(number);
    }
    g_interrupted = 1;
}

/* Without SA_RESTART: a read of the next line must return. */
static void catch_interrupts(void)
{
    struct sigaction action = {.sa_handler = on_interrupt}, before;
    sigemptyset(&action.sa_mask);
    if (sigaction(SIGINT, NULL, &before) == 0 && before.sa_handler != SIG_IGN)
        sigaction(SIGINT, &action, NULL);
}

static int open_talk(struct pc_chat *c, const struct values *v, struct paco_error *err)
{
    int rc = v->load ? pc_talk_load(&c->talk, v->load, err) : 0;
    return rc == 0 && v->system ? pc_talk_set_system(&c->talk, v->system, err) : rc;
}

static void greet(const struct pc_chat *c)
{
    struct pc_buf b;
    pc_buf_init(&b, 1 << 12);
    pc_chat_describe(c->answerer, &b);
    pc_command_note(c->self, "%s; /help shows commands, Ctrl-D leaves", b.data ? b.data : "");
    if (*pc_chat_input_remark(c->input))
        pc_command_note(c->self, "%s", pc_chat_input_remark(c->input));
    pc_buf_release(&b);
}

static int talk(struct pc_chat *c, const struct values *v)
{
    struct paco_error err = {0};
    int rc = open_talk(c, v, &err);
    if (rc == 0)
        rc = pc_chat_answerer_open(&c->wishes, &c->answerer, &err);
    if (rc == 0)
        rc = pc_chat_input_open(c->interactive, !v->no_history, &g_interrupted, &c->input, &err);
    if (rc < 0)
        return pc_command_fail(c->self, &err);
    if (c->interactive)
        greet(c);
    catch_interrupts();
    if (v->prompt && c->interactive) {
        printf("> %s\n", v->prompt);
        fflush(stdout);
    }
    rc = v->prompt ? pc_chat_say(c, v->prompt, strlen(v->prompt)) : 0;
    if (rc == 0 || c->interactive)
        rc = pc_chat_run(c);
    return rc == PACO_ECANCELLED ? 128 + SIGINT : rc < 0 ? PC_EXIT_FAILED : PC_EXIT_OK;
}

static int run(const struct pc_command *self, int argc, char **argv)
{
    struct values v = {.format = "auto", .bos = "auto"};
    struct pc_args args;
    v.settings = (struct pc_chat_settings){NAN, NAN, NAN, NAN, -1, -1, -1};
    int code = pc_command_parse_options(self, argc, argv, &v, &args);
    if (code >= 0)
        return code;
    struct pc_chat c = {.self = self,
        .wishes = {.self = self,
            .model = v.model,
            .format = v.format,
            .bos = v.bos,
            .api = v.api,
            .key = v.api_key_env ? getenv(v.api_key_env) : NULL,
            .stops = &v.stops,
            .context = v.context,
            .settings = v.settings},
        .interactive = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO),
        .screen = isatty(STDOUT_FILENO),
        .interrupted = &g_interrupted};
    if (!v.model.model && !v.api)
        code = pc_command_misuse(self, "who is to answer? -m MODEL, or --api URL");
    else if (v.api_key_env && !c.wishes.key)
        code = pc_command_misuse(self, "--api-key-env: the environment has no %s", v.api_key_env);
    else if (v.api && (v.model.diff || v.model.adapter))
        code = pc_command_misuse(
            self, "--%s is for models here, not behind --api", v.model.diff ? "diff" : "adapter");
    else if (v.api && (strcmp(v.format, "auto") != 0 || strcmp(v.bos, "auto") != 0 || v.context))
        code = pc_command_misuse(self, "--%s is for models here: behind --api it is the endpoint's affair",
            strcmp(v.format, "auto") != 0 ? "format"
            : strcmp(v.bos, "auto") != 0  ? "bos"
                                          : "context");
    else
        code = talk(&c, &v);
    pc_chat_input_close(c.input);
    pc_chat_answerer_close(c.answerer);
    pc_talk_release(&c.talk);
    pc_args_release(&args);
    return code;
}

const struct pc_command pc_cmd_chat = {
    .name = "chat",
    .summary = "talk with a model",
    .usage = "(-m MODEL [--diff DIR] [--adapter DIR] | --api URL [-m NAME]) [options]",
    .description =
        "A conversation in the format the model was tuned on, turn by turn as its training saw it. What was\n"
        "said before is not computed again. A conversation that fills the context says so; nothing of it is\n"
        "ever left out in silence.\n"
        "\n"
        "Lines are edited and kept (XDG_STATE_HOME/paco/chat_history, for your eyes only; --no-history). A\n"
        "backslash at the end of a line goes on in the next, three double quotes begin and end several, and\n"
        "what is pasted is one message. Ctrl-C stops an answer, Ctrl-D leaves. /help shows the commands:\n"
        "/system /model /format /set /retry /undo /new /save /load /stats /quit.\n"
        "\n"
        "From a pipe each line is a message, read as above, and only the answers are printed. --api talks "
        "to\n"
        "any OpenAI-compatible server, paco serve among them.",
    .examples = "$ paco chat -m alpaca-7b-q4.gguf\n"
                "$ paco chat -m LLaMA/7B --diff open-instruct-stanford-alpaca-7b-diff --temp 0.8\n"
                "$ paco chat --api http://localhost:8080/v1\n"
                "$ printf 'My name is Ada.\\nWhat is my name?\\n' | paco chat -m model.gguf",
    .options = g_options,
    .run = run,
};
