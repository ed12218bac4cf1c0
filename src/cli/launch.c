// SPDX-License-Identifier: Apache-2.0
#include "cli/launch.h"

#include "base/cpu.h"
#include "base/host.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
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
