// SPDX-License-Identifier: Apache-2.0
/* paco tokenize: text to ids and back, one text or one for each line of the input. */
#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "cli/command.h"
#include "cli/vocab_files.h"
#include "prompt/format.h"
#include "prompt/vocabulary.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_INPUT = 1 << 30 };

struct values {
    const char *model, *diff, *file, *bos, *format;
    bool decode, show, json, lines, no_special_parse, skip_special;
};

static const struct pc_option options[] = {
    {.name = "model",
        .short_name = 'm',
        .type = PC_OPT_STRING,
        .offset = offsetof(struct values, model),
        .arg = "MODEL",
        .help = "model folder, tokenizer.model, tokenizer.json or .gguf file, or a name in the Hugging Face "
                "cache",
        .required = true},
    {.name = "diff",
        .type = PC_OPT_STRING,
        .offset = offsetof(struct values, diff),
        .arg = "DIR",
        .help = "a weight diff: MODEL is its base, and the diff's tokenizer is used"},
    {.name = "file",
        .short_name = 'f',
        .type = PC_OPT_STRING,
        .offset = offsetof(struct values, file),
        .arg = "FILE",
        .help = "read the input from FILE (-: standard input)"},
    {.name = "decode",
        .type = PC_OPT_FLAG,
        .offset = offsetof(struct values, decode),
        .help = "from ids to text"},
    {.name = "lines",
        .type = PC_OPT_FLAG,
        .offset = offsetof(struct values, lines),
        .help = "each line of the input is a text of its own"},
    {.name = "show",
        .type = PC_OPT_FLAG,
        .offset = offsetof(struct values, show),
        .help = "print ids, pieces and their text below each other"},
    {.name = "json",
        .type = PC_OPT_FLAG,
        .offset = offsetof(struct values, json),
        .help = "print JSON, one object per text"},
    PC_BOS_ROW(struct values, bos),
    {.name = "no-special-parse",
        .type = PC_OPT_FLAG,
        .offset = offsetof(struct values, no_special_parse),
        .help = "special tokens spelt out in the text are ordinary text"},
    {.name = "skip-special",
        .type = PC_OPT_FLAG,
        .offset = offsetof(struct values, skip_special),
        .help = "with --decode: leave special tokens out of the text"},
    {.name = "format",
        .type = PC_OPT_CHOICE,
        .offset = offsetof(struct values, format),
        .choices = "auto|raw|tulu|alpaca|vicuna|chatml|chatml-plain|llama2|llama3",
        .help = "the text is a user's message: wrap it in this prompt format"},
    {0},
};

struct job {
    const struct pc_command *self;
    const struct values *v;
    char *path; /* of the vocabulary */
    struct pc_tokenizer *tok;
    enum pc_format format;
    struct pc_ids ids;
    struct pc_buf text; /* decoded, or the line to print */
    struct paco_error err;
};

/* ---- printing ---- */

static void put_piece_json(struct job *j, int32_t id)
{
    size_t len = 0;
    const char *piece = pc_tokenizer_piece(j->tok, id, &len);
    pc_json_write_string(&j->text, piece ? piece : "", len, false);
}

/* Appends to j->text, which may hold the decoded text: text_len bytes of it. */
static void print_json(struct job *j, size_t text_len)
{
    struct pc_buf *b = &j->text;
    pc_buf_puts(b, "{\"ids\":[");
    for (size_t i = 0; i < j->ids.n; i++)
        pc_buf_printf(b, i ? ",%d" : "%d", j->ids.v[i]);
    pc_buf_puts(b, "],\"pieces\":[");
    for (size_t i = 0; i < j->ids.n; i++) {
        pc_buf_puts(b, i ? "," : "");
        put_piece_json(j, j->ids.v[i]);
    }
    pc_buf_puts(b, "]");
    if (j->v->decode) {
        struct pc_buf quoted;
        pc_buf_init(&quoted, b->max);
        pc_json_write_string(&quoted, b->data ? b->data : "", text_len, false);
        pc_buf_puts(b, ",\"text\":");
        pc_buf_add(b, quoted.data, quoted.len);
        b->failed |= quoted.failed;
        pc_buf_release(&quoted);
    }
    pc_buf_puts(b, "}\n");
    if (!b->failed)
        fwrite(b->data + text_len, 1, b->len - text_len, stdout);
}

/* One row per token: position, id, the piece as stored, the characters it completes. */
static int print_table(struct job *j)
{
    struct pc_decoder d;
    struct pc_buf text, shown;
    pc_buf_init(&text, MAX_INPUT);
    pc_buf_init(&shown, MAX_INPUT);
    pc_decoder_init(&d, j->tok, false);
    int rc = 0;
    for (size_t i = 0; i < j->ids.n && rc == 0; i++) {
        size_t len = 0;
        const char *piece = pc_tokenizer_piece(j->tok, j->ids.v[i], &len);
        pc_buf_clear(&text);
        pc_buf_clear(&shown);
        rc = pc_decoder_push(&d, j->ids.v[i], &text, &j->err);
        pc_json_write_string(&shown, piece ? piece : "", len, false);
        size_t width = 0;
        for (size_t k = 0; k < shown.len; k++)
            width += ((unsigned char)shown.data[k] & 0xc0) != 0x80;
        printf("%6zu %7d  %s%*s", i, j->ids.v[i], shown.data ? shown.data : "",
            width < 24 ? (int)(24 - width) : 1, "");
        pc_buf_clear(&shown);
        pc_json_write_string(&shown, text.data ? text.data : "", text.len, false);
        printf(" %s\n", shown.data ? shown.data : "");
    }
    pc_buf_release(&text);
    pc_buf_release(&shown);
    return rc;
}

static int print_result(struct job *j)
{
    struct pc_buf *b = &j->text;
    if (j->v->show)
        return print_table(j);
    if (j->v->json) {
        print_json(j, b->len);
    } else if (j->v->decode) {
        pc_buf_putc(b, '\n');
        fwrite(b->data, 1, b->failed ? 0 : b->len, stdout);
    } else {
        for (size_t i = 0; i < j->ids.n; i++)
            pc_buf_printf(b, i ? " %d" : "%d", j->ids.v[i]);
        pc_buf_putc(b, '\n');
        fwrite(b->data, 1, b->failed ? 0 : b->len, stdout);
    }
    return pc_buf_check(b, "output", &j->err);
}

/* ---- one text ---- */

/* "1 2 3", "1,2,3" or "[1, 2, 3]". */
static int parse_ids(struct job *j, const char *text, size_t len)
{
    for (size_t i = 0; i < len;) {
        if (strchr(" ,\t\r\n[]", text[i]) && text[i]) {
            i++;
            continue;
        }
        int64_t id = 0;
        size_t start = i;
        for (; i < len && text[i] >= '0' && text[i] <= '9' && id <= INT32_MAX; i++)
            id = id * 10 + (text[i] - '0');
        if (i == start || id > INT32_MAX)
            return pc_error_set(&j->err, PACO_EINVAL,
                "the input is not a list of token ids: byte %zu is not part of a number up to %d", i,
                INT32_MAX);
        if (pc_ids_add(&j->ids, (int32_t)id, &j->err) < 0)
            return PACO_EMEM;
    }
    return 0;
}

static int encode(struct job *j, const char *text, size_t len)
{
    const bool always = strcmp(j->v->bos, "always") == 0, never = strcmp(j->v->bos, "never") == 0;
    if (j->v->format) {
        char *content = pc_strndup(text, len);
        const struct pc_message message = {"user", content};
        int rc = content ? pc_format_encode(j->format, j->tok, &message, 1,
                               always  ? 1
                               : never ? 0
                                       : -1,
                               &j->ids, &j->err)
                         : pc_error_mem(&j->err, len, "a message");
        pc_free(content);
        return rc;
    }
    if (always && !pc_tokenizer_adds_bos(j->tok)) {
        if (pc_tokenizer_bos(j->tok) < 0)
            return pc_error_set(&j->err, PACO_EINVAL, "--bos always: this tokenizer has no BOS");
        if (pc_ids_add(&j->ids, pc_tokenizer_bos(j->tok), &j->err) < 0)
            return PACO_EMEM;
    }
    unsigned flags = (never ? 0u : PC_ENCODE_SPECIAL) | (j->v->no_special_parse ? 0u : PC_ENCODE_PARSE);
    return pc_tokenizer_encode(j->tok, text, len, flags, &j->ids, &j->err);
}

static int one_text(struct job *j, const char *text, size_t len)
{
    j->ids.n = 0;
    pc_buf_clear(&j->text);
    int rc = j->v->decode ? parse_ids(j, text, len) : encode(j, text, len);
    if (rc == 0 && j->v->decode)
        rc = pc_tokenizer_decode(j->tok, j->ids.v, j->ids.n, j->v->skip_special, &j->text, &j->err);
    return rc == 0 ? print_result(j) : rc;
}

static int all_texts(struct job *j, const char *text, size_t len)
{
    if (!j->v->lines)
        return one_text(j, text, len);
    size_t n = 1;
    for (const char *p = text, *end = text + len; p < end; n++) {
        const char *stop = memchr(p, '\n', (size_t)(end - p));
        size_t line = (size_t)((stop ? stop : end) - p);
        if (one_text(j, p, line) < 0)
            return pc_error_prefix(&j->err, "line %zu", n);
        p += line + (stop ? 1 : 0);
    }
    return 0;
}

/* ---- input ---- */

static int read_stdin(struct pc_buf *b, struct paco_error *err)
{
    for (;;) {
        char *to = pc_buf_reserve(b, 1 << 16);
        if (!to)
            return pc_buf_check(b, "standard input", err);
        ssize_t n = read(STDIN_FILENO, to, 1 << 16);
        if (n < 0 && errno != EINTR)
            return pc_error_os(err, errno, "reading standard input");
        if (n == 0)
            return 0;
        b->len += n > 0 ? (size_t)n : 0;
    }
}

/* A diff brings the tokenizer of the model it makes. */
static int open_model(struct job *j)
{
    j->path = pc_vocabulary_find(j->v->diff ? j->v->diff : j->v->model, &j->err);
    return j->path ? pc_vocabulary_open(j->path, &j->tok, &j->err) : j->err.code;
}

static int choose_format(struct job *j)
{
    if (!j->v->format)
        return 0;
    if (!pc_format_parse(j->v->format, &j->format))
        return pc_error_set(&j->err, PACO_EINVAL, "unknown format '%s'", j->v->format);
    if (j->format != PC_FORMAT_AUTO)
        return 0;
    char *chat_template = NULL;
    bool certain = true;
    int rc = pc_vocabulary_chat_template(j->path, &chat_template, &j->err);
    if (rc == 0)
        j->format = pc_format_detect(j->tok, chat_template, &certain);
    if (rc == 0 && !certain)
        pc_command_note(j->self, "no format is known for this model: taking %s", pc_format_name(j->format));
    pc_free(chat_template);
    return rc;
}

/* The input: TEXT, ids one by one, a file, or standard input. */
static int read_input(struct job *j, const struct pc_args *args, struct pc_buf *input)
{
    const struct pc_strings *words = &args->positional;
    const char *file = j->v->file;
    if (!file && (words->n == 0 || (words->n == 1 && strcmp(words->v[0], "-") == 0)))
        file = "-";
    if (file && strcmp(file, "-") == 0)
        return read_stdin(input, &j->err);
    if (file) {
        pc_buf_release(input);
        return pc_file_slurp(file, MAX_INPUT, input, &j->err);
    }
    for (size_t i = 0; i < words->n; i++) {
        pc_buf_puts(input, i ? " " : "");
        pc_buf_puts(input, words->v[i]);
    }
    return pc_buf_check(input, "input", &j->err);
}

static int run_job(struct job *j, const struct pc_args *args)
{
    struct pc_buf input;
    pc_buf_init(&input, MAX_INPUT);
    int rc = open_model(j);
    if (rc == 0)
        rc = choose_format(j);
    if (rc == 0)
        rc = read_input(j, args, &input);
    if (rc == 0)
        rc = all_texts(j, input.data ? input.data : "", input.len);
    pc_buf_release(&input);
    return rc;
}

static int run(const struct pc_command *self, int argc, char **argv)
{
    struct values v = {.bos = "auto"};
    struct pc_args args;
    int code = pc_command_parse(self, argc, argv, &v, &args);
    if (code >= 0)
        return code;
    struct job j = {.self = self, .v = &v};
    pc_buf_init(&j.text, MAX_INPUT);
    if ((args.positional.n > 1 && !v.decode) || (args.positional.n && v.file))
        code = pc_command_misuse(
            self, "one TEXT or one --file, not both and not more (quote a text with spaces)");
    else if (v.show && v.json)
        code = pc_command_misuse(self, "--show and --json exclude each other");
    else
        code = run_job(&j, &args) < 0 ? pc_command_fail(self, &j.err) : PC_EXIT_OK;
    pc_tokenizer_free(j.tok);
    pc_free(j.path);
    pc_ids_release(&j.ids);
    pc_buf_release(&j.text);
    pc_args_release(&args);
    return code;
}

const struct pc_command pc_cmd_tokenize = {
    .name = "tokenize",
    .summary = "turn text into token ids, and ids into text",
    .usage = "-m MODEL [TEXT|-] [options] | -m MODEL --decode [ID...|-]",
    .description =
        "Text becomes the ids the model's own tokenizer gives, with BOS where its settings say so. Without\n"
        "TEXT, or with -, the input comes from standard input; it may hold any bytes. With --decode the\n"
        "input is a list of ids, divided by spaces or commas, or a JSON array.\n"
        "\n"
        "Output is one line of ids per text (the text itself with --decode), a table with --show, or with\n"
        "--json an object with ids and pieces.",
    .examples = "$ paco tokenize -m model.gguf 'Hello there'\n"
                "$ paco tokenize -m model.gguf --show --format tulu 'Hello there'\n"
                "$ paco tokenize -m DIR --decode 1 529 29989\n"
                "$ paco tokenize -m DIR --lines --json < texts.txt > ids.jsonl",
    .options = options,
    .run = run,
};
