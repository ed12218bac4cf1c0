// SPDX-License-Identifier: Apache-2.0
#include "cli/launch.h"

#include "base/cpu.h"
#include "cli/command.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int pc_launch_n_local(void)
{
    const char *local = getenv("OMPI_COMM_WORLD_LOCAL_SIZE");
    long n = local ? strtol(local, NULL, 10) : 1;
    return n > 1 && n < 65536 ? (int)n : 1;
}

int pc_launch_threads(int64_t asked)
{
    int n_local = pc_launch_n_local(), n = pc_cpu_count();
    if (asked || n_local == 1 || n < sysconf(_SC_NPROCESSORS_ONLN)) // the last: bound by mpirun
        return (int)asked;
    return n > n_local ? n / n_local : 1;
}

int pc_launch_silence(void)
{
    int errors = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3), null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (null >= 0) {
        dup2(null, STDOUT_FILENO);
        dup2(null, STDERR_FILENO);
        close(null);
    }
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    return errors;
}

/* ---- last words ---- */

/* A while before mpirun's SIGKILL; what can still be said better, of the rank that is gone, comes first. */
enum { WORDS_MS = 300, MAX_WORDS = 2048 };

static struct pc_launch_words g_words;
static timer_t g_timer;
static volatile sig_atomic_t g_has_timer;

static size_t append(char *to, size_t at, const char *text)
{
    size_t n = strlen(text), room = MAX_WORDS - at;
    n = n < room ? n : room;
    memcpy(to + at, text, n);
    return at + n;
}

/* Only what handlers may call, here and below. */
static void on_time(int number)
{
    char text[MAX_WORDS];
    (void)number;
    size_t n = append(text, 0, g_words.words);
    const char *const parts[] = {g_words.before, g_words.latest, g_words.after};
    for (size_t i = 0; i < sizeof parts / sizeof *parts && *g_words.latest; i++)
        n = append(text, n, parts[i]);
    if (!*g_words.latest)
        n = append(text, n, g_words.if_none);
    (void)!write(g_words.fd, text, n);
}

static void set_timer(int ms)
{
    const struct itimerspec when = {.it_value = {.tv_nsec = ms * 1000000L}};
    if (g_has_timer)
        timer_settime(g_timer, 0, &when, NULL);
}

static void on_term(int number)
{
    if (g_words.stops)
        pc_progress_stop(number);
    set_timer(WORDS_MS);
}

void pc_launch_words_begin(const struct pc_launch_words *words)
{
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM};
    struct sigaction alarm = {.sa_handler = on_time, .sa_flags = SA_RESTART},
                     term = {.sa_handler = on_term, .sa_flags = SA_RESTART};
    g_words = *words;
    g_has_timer = timer_create(CLOCK_MONOTONIC, &event, &g_timer) == 0;
    sigaction(SIGALRM, &alarm, NULL);
    sigaction(SIGTERM, &term, NULL);
}

void pc_launch_words_end(void)
{
    if (!g_has_timer)
        return;
    signal(SIGTERM, SIG_IGN);
    set_timer(0);
    timer_delete(g_timer);
    g_has_timer = false;
}
