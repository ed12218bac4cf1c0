// SPDX-License-Identifier: Apache-2.0
/* The progress bar, and the signals that stop a job.
 *
 * On a terminal one line is redrawn ten times a second; elsewhere (a pipe, a log, TERM=dumb) a whole line
 * appears every few seconds, more rarely the longer it takes. Jobs call update from whichever thread has
 * news, so the state sits behind a mutex. The rate is an exponential average over some seconds, so that the
 * time left follows a disk that slows down; where a unit takes seconds, over some units, for between two of
 * them the rate is not 0. Signal handlers only set a flag: the job sees it as the answer of its next update
 * and ends in an orderly way. They are installed while a bar is in use, and not before: a command that never
 * asks would otherwise be deaf to Ctrl-C. */
#include "cli/command.h"

#include "base/host.h"

#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static const double REDRAW = 0.1, FIRST_LINE = 2.0, LINE_EVERY = 5.0, LINE_SHARE = 0.05, LINE_LAST = 60.0;
static const double RATE_WINDOW = 3.0, RATE_UNITS = 8.0;
enum { BAR_WIDTH = 20 };

static struct {
    pthread_mutex_t lock;
    const struct pc_command *self;
    bool drawn; /* a bar is on the terminal's current line */
    bool shown; /* something of this phase was shown */
    char phase[64], unit[16];
    uint64_t first, done, total;
    double start, last_shown, last_sample;
    uint64_t last_done;
    double rate; /* units per second, smoothed; 0 = unknown */
} g_bar = {.lock = PTHREAD_MUTEX_INITIALIZER};

static volatile sig_atomic_t g_signal;
static bool g_handling;
static const int g_signals[] = {SIGINT, SIGTERM, SIGHUP};
static struct sigaction g_before[3];

static void on_signal(int number)
{
    g_signal = number;
}

static void catch_signals(void)
{
    if (g_handling)
        return;
    g_handling = true;
    for (int i = 0; i < 3; i++) {
        // SA_RESETHAND: the second one kills. What the parent ignores (nohup, a background job) stays
        // ignored, what the command has a handler of its own for is left to that.
        struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND | SA_RESTART};
        sigemptyset(&action.sa_mask);
        if (sigaction(g_signals[i], NULL, &g_before[i]) == 0 && g_before[i].sa_handler == SIG_DFL)
            sigaction(g_signals[i], &action, NULL);
    }
}

static void release_signals(void)
{
    for (int i = 0; g_handling && i < 3; i++)
        sigaction(g_signals[i], &g_before[i], NULL);
    g_handling = false;
}

int pc_progress_stopped(void)
{
    return g_signal;
}

void pc_progress_stop(int number)
{
    g_signal = number;
}

static bool on_terminal(void)
{
    const char *term = getenv("TERM");
    return isatty(STDERR_FILENO) && term && strcmp(term, "dumb") != 0;
}

static bool is_utf8(void)
{
    const char *names[] = {"LC_ALL", "LC_CTYPE", "LANG"};
    for (int i = 0; i < 3; i++) {
        const char *value = getenv(names[i]);
        if (value && *value)
            return strcasestr(value, "utf-8") || strcasestr(value, "utf8");
    }
    return false;
}

static int terminal_width(void)
{
    struct winsize size;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col ? size.ws_col : 80;
}

static void erase(void)
{
    if (g_bar.drawn)
        fputs("\r\033[K", stderr);
    g_bar.drawn = false;
}

/* "6.31 GB of 13.5 GB" or "7 of 12 tensors". */
static void amount_of_total(char *out, size_t size)
{
    char a[48], b[48];
    if (strcmp(g_bar.unit, "B") == 0)
        snprintf(out, size, "%s of %s", pc_human_bytes(g_bar.done, a), pc_human_bytes(g_bar.total, b));
    else
        snprintf(out, size, "%llu of %llu %s", (unsigned long long)g_bar.done,
            (unsigned long long)g_bar.total, g_bar.unit);
}

/* "6.31 GB" or "12 tensors". */
static char *amount(uint64_t n, char out[48])
{
    if (strcmp(g_bar.unit, "B") == 0)
        return pc_human_bytes(n, out);
    snprintf(out, 48, "%llu %s", (unsigned long long)n, g_bar.unit);
    return out;
}

static char *per_second(double rate, char out[56])
{
    char number[48];
    if (strcmp(g_bar.unit, "B") == 0)
        snprintf(out, 56, "%s/s", pc_human_bytes((uint64_t)rate, number));
    else
        snprintf(out, 56, "%.*f %s/s", rate < 1 ? 2 : rate < 10 ? 1 : 0, rate, g_bar.unit);
    return out;
}

static char *duration(double seconds, char out[32])
{
    long s = (long)(seconds + 0.5);
    if (seconds < 10)
        snprintf(out, 32, "%.1f s", seconds);
    else if (s < 60)
        snprintf(out, 32, "%ld s", s);
    else if (s < 3600)
        snprintf(out, 32, "%ld:%02ld min", s / 60, s % 60);
    else
        snprintf(out, 32, "%ld:%02ld h", s / 3600, s / 60 % 60);
    return out;
}

static double share(void)
{
    double x = g_bar.total ? (double)g_bar.done / (double)g_bar.total : 0;
    return x > 1 ? 1 : x;
}

/* "47 %  6.31 GB of 13.5 GB  1.21 GB/s  5 s left": the words both forms share. Before anything is done there
 * is no rate, and how long that has been is all that moves. status, where there is one, stands for the rate.
 */
static void facts(bool with_rate, const char *status, char *out, size_t size)
{
    char all[128], rate[56], time[32];
    int n;
    if (g_bar.total) {
        amount_of_total(all, sizeof all);
        n = snprintf(out, size, "%3.0f %%  %s", 100 * share(), all);
    } else {
        n = snprintf(out, size, "%s", amount(g_bar.done, all));
    }
    if (with_rate && !status && g_bar.rate > 0 && n > 0 && (size_t)n < size)
        n += snprintf(out + n, size - (size_t)n, "  %s", per_second(g_bar.rate, rate));
    if (g_bar.rate > 0 && g_bar.total > g_bar.done && n > 0 && (size_t)n < size)
        n += snprintf(out + n, size - (size_t)n, "  %s left",
            duration((double)(g_bar.total - g_bar.done) / g_bar.rate, time));
    if (g_bar.done == g_bar.first && n > 0 && (size_t)n < size)
        n += snprintf(
            out + n, size - (size_t)n, "  %s so far", duration(g_bar.last_shown - g_bar.start, time));
    if (status && n > 0 && (size_t)n < size)
        snprintf(out + n, size - (size_t)n, "  %s", status);
}

/* The bar itself, n columns wide, into out. */
static void strip(int n, char *out, size_t size)
{
    bool wide = is_utf8();
    const char *full = wide ? "\u2501" : "#", *rest = wide ? "\u2500" : "-";
    int filled = (int)(share() * n);
    size_t w = 0;
    for (int i = 0; i < n; i++) {
        const char *c = i < filled ? full : rest;
        size_t len = strlen(c);
        if (w + len >= size)
            break;
        memcpy(out + w, c, len);
        w += len;
    }
    out[w] = '\0';
}

/* What does not fit goes fact by fact: half a number is worse than none. */
static void cut(char *text, int room)
{
    char *end = text + strlen(text);
    while (end > text && end - text > room) {
        do
            end--;
        while (end > text && !(end[0] == ' ' && end[1] == ' '));
        *end = '\0';
    }
}

static void draw(const char *item, const char *status)
{
    char text[256], bar[128] = "", name[128] = "", safe[256];
    int width = terminal_width() - 1, phase = (int)strlen(g_bar.phase) + 2;
    facts(true, status, text, sizeof text);
    if ((int)strlen(text) > width - phase)
        facts(false, status, text, sizeof text);
    cut(text, width - phase);
    int len = (int)strlen(text), room = width - phase - len - 2;
    if (g_bar.total && room >= 5) {
        strip(room < BAR_WIDTH ? room : BAR_WIDTH, bar, sizeof bar);
        room -= BAR_WIDTH + 2;
    }
    // Columns are counted as bytes: names are ASCII, and a longer one merely shows less.
    if (item && room >= 10)
        snprintf(name, sizeof name, "  %.*s", room, pc_printable(item, safe, sizeof safe));
    const char *on = *bar && pc_command_color(true) ? "\033[36m" : "", *off = *on ? "\033[0m" : "";
    fprintf(stderr, "\r\033[K%s  %s%s%s%s%s%s", g_bar.phase, on, bar, off, *bar ? "  " : "", text, name);
    fflush(stderr);
    g_bar.drawn = true;
}

/* The last words of a phase that was long enough to be shown. */
static void finish_phase(void)
{
    erase();
    if (g_bar.shown && !pc_command_quiet() && g_bar.done > g_bar.first) {
        char n[48], rate[56], time[32];
        double seconds = g_bar.last_sample - g_bar.start;
        fprintf(stderr, "%s: %s in %s", g_bar.phase, amount(g_bar.done - g_bar.first, n),
            duration(seconds, time));
        if (seconds > 0.05)
            fprintf(stderr, " (%s)", per_second((double)(g_bar.done - g_bar.first) / seconds, rate));
        fputc('\n', stderr);
    }
    g_bar.shown = false;
    g_bar.phase[0] = '\0';
}

static void begin_phase(const struct pc_progress_event *event, double now)
{
    finish_phase();
    snprintf(g_bar.phase, sizeof g_bar.phase, "%s", event->phase ? event->phase : "working");
    g_bar.first = g_bar.last_done = event->done;
    g_bar.start = g_bar.last_sample = g_bar.last_shown = now;
    g_bar.rate = 0;
}

static void measure(uint64_t done, double now)
{
    double dt = now - g_bar.last_sample;
    if (dt < REDRAW / 2)
        return;
    double rate = (double)(done - g_bar.last_done) / dt, since = now - g_bar.start;
    double n = (double)(done - g_bar.first), units = n > 0 ? RATE_UNITS * since / n : since;
    double window = fmin(since, fmax(RATE_WINDOW, units));
    g_bar.rate += fmin(1, dt / window) * (rate - g_bar.rate);
    g_bar.last_sample = now;
    g_bar.last_done = done;
}

/* A log of hours wants fewer lines than one of a minute. */
static double line_pause(double now)
{
    return g_bar.shown ? fmin(LINE_LAST, fmax(LINE_EVERY, LINE_SHARE * (now - g_bar.start))) : FIRST_LINE;
}

static void show(const struct pc_progress_event *event, double now)
{
    bool terminal = on_terminal();
    if (!terminal && now - g_bar.last_shown < line_pause(now))
        return;
    g_bar.last_shown = now;
    g_bar.shown = true;
    if (terminal) {
        draw(event->item, event->status);
    } else {
        char text[256];
        facts(true, event->status, text, sizeof text);
        fprintf(stderr, "%s: %s\n", g_bar.phase, text + strspn(text, " "));
    }
}

static int update(void *ctx, const struct pc_progress_event *event)
{
    (void)ctx;
    double now = pc_seconds();
    pthread_mutex_lock(&g_bar.lock);
    bool same =
        strcmp(g_bar.phase, event->phase ? event->phase : "working") == 0 && event->done >= g_bar.last_done;
    if (!same)
        begin_phase(event, now);
    snprintf(g_bar.unit, sizeof g_bar.unit, "%s", event->unit ? event->unit : "");
    g_bar.done = event->done;
    g_bar.total = event->total;
    measure(event->done, now);
    if (!pc_command_quiet() && now - g_bar.last_shown >= REDRAW)
        show(event, now);
    pthread_mutex_unlock(&g_bar.lock);
    return g_signal != 0;
}

static void note(void *ctx, const char *text)
{
    (void)ctx;
    pthread_mutex_lock(&g_bar.lock);
    erase();
    pc_command_note(g_bar.self, "%s", text);
    pthread_mutex_unlock(&g_bar.lock);
}

const struct pc_progress *pc_progress_bar(const struct pc_command *self)
{
    static const struct pc_progress progress = {update, note, NULL};
    pthread_mutex_lock(&g_bar.lock);
    g_bar.self = self;
    catch_signals();
    pthread_mutex_unlock(&g_bar.lock);
    return &progress;
}

void pc_progress_bar_end(void)
{
    pthread_mutex_lock(&g_bar.lock);
    finish_phase();
    release_signals();
    fflush(stderr);
    pthread_mutex_unlock(&g_bar.lock);
}
