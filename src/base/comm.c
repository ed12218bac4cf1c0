// SPDX-License-Identifier: Apache-2.0
#include "base/comm.h"
#include "base/comm_module.h"
#include "base/file.h"
#include "base/memory.h"

#include <assert.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MODULE "libpaco-mpi.so"

struct pc_comm {
    int rank, size;
    bool threads;
    const struct pc_comm_module *module; /* NULL: a process on its own */
};

static long number_of(const char *name)
{
    const char *text = getenv(name);
    return text ? strtol(text, NULL, 10) : 0;
}

bool pc_comm_is_launched(void)
{
    // Open MPI and what speaks PMI (MPICH, Slurm's srun --mpi).
    return number_of("OMPI_COMM_WORLD_SIZE") > 1 || number_of("PMI_SIZE") > 1;
}

/* Where the module may be: where the user says, beside the program, or where both were installed. */
static bool find_module(char *out, size_t size)
{
    const char *said = getenv("PACO_MODULES");
    if (said)
        return snprintf(out, size, "%s/" MODULE, said) < (int)size && pc_path_exists(out);
    char program[4096];
    ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
    program[n > 0 ? n : 0] = '\0';
    char *slash = strrchr(program, '/');
    int len = slash ? (int)(slash - program) : 0;
    static const char *const places[] = {"", "/../" PC_LIBDIR "/paco"};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        if (snprintf(out, size, "%.*s%s/" MODULE, len, program, places[i]) < (int)size && pc_path_exists(out))
            return true;
    return false;
}

static int load(const struct pc_comm_module **out, struct paco_error *err)
{
    char path[4300];
    if (!find_module(path, sizeof path))
        return pc_error_set(err, PACO_EUNSUPPORTED,
            "started by mpirun as one of several processes, but this paco has no " MODULE
            ": on Debian, install libopenmpi-dev and build paco again");
    // Open MPI's own plug-ins look for its symbols among the global ones.
    void *handle = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
    if (!handle)
        return pc_error_set(err, PACO_EUNSUPPORTED,
            "started by mpirun as one of several processes, but MPI cannot be loaded: %s", dlerror());
    const struct pc_comm_module *module = dlsym(handle, "pc_comm_module");
    if (!module || module->version != PC_COMM_MODULE_VERSION)
        return pc_error_set(err, PACO_EUNSUPPORTED,
            MODULE " is of another version of paco: remove it, or build both together");
    *out = module;
    return 0;
}

static int failed(const struct pc_comm *comm, const char *why, struct paco_error *err)
{
    return pc_error_set(err, PACO_EIO, "rank %d of %d: MPI: %s", comm->rank, comm->size, why);
}

int pc_comm_open(struct pc_comm **out, struct paco_error *err)
{
    struct pc_comm *comm = pc_alloc_zero(1, sizeof *comm);
    if (!comm)
        return pc_error_mem(err, sizeof *comm, "a group of processes");
    comm->size = 1;
    int rc = pc_comm_is_launched() ? load(&comm->module, err) : 0;
    char why[PC_COMM_WHY_SIZE] = "";
    if (rc == 0 && comm->module && comm->module->open(&comm->rank, &comm->size, &comm->threads, why) < 0)
        rc = failed(comm, why, err);
    if (rc < 0) {
        pc_free(comm);
        return rc;
    }
    *out = comm;
    return 0;
}

int pc_comm_close(struct pc_comm *comm, struct paco_error *err)
{
    char why[PC_COMM_WHY_SIZE] = "";
    int rc = 0;
    if (comm && comm->module && (comm->module->flush(why) < 0 || comm->module->close(why) < 0))
        rc = failed(comm, why, err);
    pc_free(comm);
    return rc;
}

void pc_comm_abort(struct pc_comm *comm, int code)
{
    if (comm && comm->module)
        comm->module->abort(code);
}

int pc_comm_rank(const struct pc_comm *comm)
{
    return comm ? comm->rank : 0;
}

int pc_comm_size(const struct pc_comm *comm)
{
    return comm ? comm->size : 1;
}

int pc_comm_send(struct pc_comm *comm, int to, const void *bytes, size_t len, struct paco_error *err)
{
    assert(comm->module && to >= 0 && to < comm->size && to != comm->rank);
    char why[PC_COMM_WHY_SIZE] = "";
    if (len > PC_COMM_MAX_MESSAGE)
        return pc_error_set(err, PACO_ELIMIT, "a message of %zu bytes to rank %d, at most %d can be sent",
            len, to, PC_COMM_MAX_MESSAGE);
    return comm->module->send(to, bytes, len, why) < 0 ? failed(comm, why, err) : 0;
}

int pc_comm_receive(struct pc_comm *comm, int *from, struct pc_buf *message, struct paco_error *err)
{
    char why[PC_COMM_WHY_SIZE] = "";
    size_t len = 0;
    int rc = comm->module ? comm->module->probe(from, &len, why) : 0;
    if (rc <= 0)
        return rc < 0 ? failed(comm, why, err) : 0;
    char *to = pc_buf_reserve(message, len);
    if (!to)
        return pc_buf_check(message, "a message of another rank", err);
    if (comm->module->receive(*from, to, len, why) < 0)
        return failed(comm, why, err);
    message->len += len;
    message->data[message->len] = '\0';
    return 1;
}

int pc_comm_post(
    struct pc_comm *comm, const struct pc_comm_part *part, int n, void **handle, struct paco_error *err)
{
    char why[PC_COMM_WHY_SIZE] = "";
    for (int i = 0; i < n; i++)
        assert(part[i].peer >= 0 && part[i].peer < comm->size && part[i].peer != comm->rank &&
               part[i].len <= PC_COMM_MAX_MESSAGE);
    return comm->module->post(part, n, handle, why) < 0 ? failed(comm, why, err) : 0;
}

int pc_comm_test(struct pc_comm *comm, void *handle, struct paco_error *err)
{
    char why[PC_COMM_WHY_SIZE] = "";
    int rc = comm->module->test(handle, why);
    return rc < 0 ? failed(comm, why, err) : rc;
}

bool pc_comm_has_threads(const struct pc_comm *comm)
{
    return comm->threads;
}

int pc_comm_barrier(struct pc_comm *comm, struct paco_error *err)
{
    char why[PC_COMM_WHY_SIZE] = "";
    return comm->module && comm->module->barrier(why) < 0 ? failed(comm, why, err) : 0;
}

int pc_comm_broadcast(struct pc_comm *comm, void *bytes, size_t len, struct paco_error *err)
{
    char why[PC_COMM_WHY_SIZE] = "";
    if (len > PC_COMM_MAX_MESSAGE)
        return pc_error_set(
            err, PACO_ELIMIT, "a broadcast of %zu bytes, at most %d can be sent", len, PC_COMM_MAX_MESSAGE);
    return comm->module && comm->module->broadcast(bytes, len, why) < 0 ? failed(comm, why, err) : 0;
}
