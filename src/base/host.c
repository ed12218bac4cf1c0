// SPDX-License-Identifier: Apache-2.0
#include "base/host.h"

#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* The number in a one-word file; UINT64_MAX for "max", a missing file or anything else. */
static uint64_t read_number(const char *path)
{
    uint64_t n = UINT64_MAX;
    FILE *f = fopen(path, "re");
    if (f) {
        if (fscanf(f, "%" SCNu64, &n) != 1)
            n = UINT64_MAX;
        fclose(f);
    }
    return n;
}

/* A line of /proc/meminfo, in bytes. */
static uint64_t meminfo(const char *name)
{
    FILE *f = fopen("/proc/meminfo", "re");
    uint64_t kib = 0;
    bool found = false;
    char line[128];
    while (f && !found && fgets(line, sizeof line, f))
        found =
            strncmp(line, name, strlen(name)) == 0 && sscanf(line + strlen(name), ": %" SCNu64, &kib) == 1;
    if (f)
        fclose(f);
    return found ? kib * 1024 : UINT64_MAX;
}

/* The page cache a group holds can be dropped, so it counts as free: memory.stat's inactive and active file
 * pages. */
static uint64_t group_file_pages(const char *dir)
{
    char path[PATH_MAX], key[64];
    snprintf(path, sizeof path, "%s/memory.stat", dir);
    FILE *f = fopen(path, "re");
    uint64_t value, sum = 0;
    while (f && fscanf(f, "%63s %" SCNu64, key, &value) == 2)
        if (strcmp(key, "inactive_file") == 0 || strcmp(key, "active_file") == 0)
            sum += value;
    if (f)
        fclose(f);
    return sum;
}

static uint64_t group_limit(const char *dir, const char *limit_name, const char *used_name)
{
    (void)used_name;
    char path[PATH_MAX + 96];
    snprintf(path, sizeof path, "%s/%s", dir, limit_name);
    uint64_t limit = read_number(path);
    return limit >= (uint64_t)1 << 60 ? UINT64_MAX : limit; /* version 1 writes a huge number for none */
}

static uint64_t group_left(const char *dir, const char *limit_name, const char *used_name)
{
    char path[PATH_MAX + 96];
    uint64_t limit = group_limit(dir, limit_name, used_name);
    snprintf(path, sizeof path, "%s/%s", dir, used_name);
    uint64_t used = read_number(path);
    if (limit == UINT64_MAX || used == UINT64_MAX)
        return UINT64_MAX;
    uint64_t file = group_file_pages(dir), held = used > file ? used - file : 0;
    return limit > held ? limit - held : 0;
}

/* The least that `of` says of this process's group in the unified hierarchy and every one above it. */
static uint64_t groups_least(uint64_t (*of)(const char *dir, const char *limit_name, const char *used_name))
{
    char line[PATH_MAX], dir[PATH_MAX + 32];
    uint64_t left = of("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes");
    FILE *f = fopen("/proc/self/cgroup", "re");
    if (!f)
        return left;
    while (fgets(line, sizeof line, f)) {
        if (strncmp(line, "0::/", 4) != 0)
            continue;
        line[strcspn(line, "\n")] = '\0';
        snprintf(dir, sizeof dir, "/sys/fs/cgroup%s", line + 3);
        for (char *slash; (slash = strrchr(dir, '/')) && slash > dir + strlen("/sys/fs"); *slash = '\0') {
            uint64_t here = of(dir, "memory.max", "memory.current");
            left = here < left ? here : left;
        }
    }
    fclose(f);
    return left;
}

uint64_t pc_host_memory_available(void)
{
    uint64_t system = meminfo("MemAvailable"), group = groups_least(group_left);
    return system < group ? system : group;
}

uint64_t pc_host_memory_limit(void)
{
    uint64_t system = meminfo("MemTotal"), group = groups_least(group_limit);
    return system < group ? system : group;
}

double pc_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void pc_doze(void)
{
    nanosleep(&(const struct timespec){.tv_nsec = 1000000}, NULL);
}

double pc_cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

uint64_t pc_host_memory_resident(void)
{
    uint64_t total, resident = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (f && fscanf(f, "%" SCNu64 " %" SCNu64, &total, &resident) != 2)
        resident = 0;
    if (f)
        fclose(f);
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}
