/* ranks.c -- which of several processes this one is, as its launcher's environment tells. */
#include "ranks.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Names of variables; NULL where a launcher has none. */
struct launcher {
    const char *name, *rank, *count, *local, *here, *address, *port, *token, *hosts;
};

static const struct launcher launchers[] = {
    {"TTT_RANK", "TTT_RANK", "TTT_RANKS", "TTT_LOCAL_RANK", NULL, NULL, NULL, NULL, NULL},
    {"mpirun", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK",
     "OMPI_COMM_WORLD_LOCAL_SIZE", NULL, NULL, "PMIX_NAMESPACE", "SLURM_JOB_NODELIST"},
    {"torchrun", "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR",
     "MASTER_PORT", "TORCHELASTIC_RUN_ID", NULL},
    {"srun", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", NULL, NULL, NULL,
     "SLURM_JOB_ID", "SLURM_STEP_NODELIST"},
    {"mpirun", "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS", NULL, NULL, "PMI_PORT",
     NULL},
};

enum { FIRST_PORT = 20000, PORTS = 10000 };

static const char *value(const char *name)
{
    const char *text = name ? getenv(name) : NULL;
    return text && *text ? text : NULL;
}

/* A variable's number; `absent` where it is not set. */
static int number(int *to, const char *name, int absent, int least)
{
    const char *text = value(name);
    char *end;
    *to = absent;
    if (!text)
        return 0;
    errno = 0;
    long n = strtol(text, &end, 10);
    if (errno || *end || n < least || n > 1 << 20)
        return fail("%s=%s in the environment: expected a number from %d on", name, text, least);
    *to = (int)n;
    return 0;
}

void ranks_first_host(char *name, int size, const char *list)
{
    int n = (int)strcspn(list, "[,");
    snprintf(name, (size_t)size, "%.*s", n, list);
    if (list[n] == '[') {
        int digits = (int)strspn(list + n + 1, "0123456789");
        const char *rest = strchr(list + n, ']');
        snprintf(name, (size_t)size, "%.*s%.*s%.*s", n, list, digits, list + n + 1,
                 rest ? (int)strcspn(rest + 1, ",[") : 0, rest ? rest + 1 : "");
    }
}

/* Jobs on one machine meet at different ports. */
static int port_of(const char *token)
{
    uint32_t hash = 2166136261u;
    for (; *token; token++)
        hash = (hash ^ (uint8_t)*token) * 16777619u;
    return FIRST_PORT + (int)(hash % PORTS);
}

static int find_token(struct ranks *r, const struct launcher *l)
{
    const char *token = value("TTT_JOB_TOKEN"), *step = value("SLURM_STEP_ID");
    bool slurm = l->token && !strcmp(l->token, "SLURM_JOB_ID");
    if (!token)
        token = value(l->token);
    if (token)
        snprintf(r->token, sizeof r->token, "%s%s%s", token, slurm && step ? "." : "",
                 slurm && step ? step : "");
    else /* ranks of one mpirun are children of one process on a machine */
        snprintf(r->token, sizeof r->token, "parent %ld", l->here ? (long)getppid() : 0L);
    return 0;
}

static int find_address(struct ranks *r, const struct launcher *l)
{
    const char *given = value("TTT_MASTER_ADDR"), *told = value(l->address);
    const char *hosts = value(l->hosts);
    if (given || told)
        snprintf(r->address, sizeof r->address, "%s", given ? given : told);
    else if (r->here == r->count)
        snprintf(r->address, sizeof r->address, "127.0.0.1");
    else if (hosts)
        ranks_first_host(r->address, sizeof r->address, hosts);
    else
        return fail("%s says that this is rank %d of %d, but nothing tells on which machine rank 0 "
                    "is: set TTT_MASTER_ADDR",
                    l->name, r->rank, r->count);
    int port;
    if (number(&r->port, "TTT_MASTER_PORT", 0, 1) || number(&port, l->port, 0, 1))
        return -1;
    /* The launcher's own port is taken by its own store. */
    if (!r->port)
        r->port = port ? port + 1 : port_of(r->token);
    return r->port < 65536 ? 0 : fail("the port %d of rank 0 is none", r->port);
}

static int find_ranks(struct ranks *r, const struct launcher *l)
{
    r->launcher = l->name;
    if (number(&r->rank, l->rank, 0, 0) || number(&r->count, l->count, 1, 1) ||
        number(&r->local, l->local, 0, 0) || number(&r->here, l->here, 0, 1))
        return -1;
    if (r->rank >= r->count)
        return fail("%s=%d in the environment, but %s=%d: ranks are counted from 0", l->rank,
                    r->rank, l->count, r->count);
    return r->count == 1 || (!find_token(r, l) && !find_address(r, l)) ? 0 : -1;
}

int ranks_find(struct ranks *r)
{
    *r = (struct ranks){.count = 1, .here = 1, .launcher = ""};
    for (size_t i = 0; i < sizeof launchers / sizeof *launchers; i++)
        if (value(launchers[i].rank) && value(launchers[i].count))
            return find_ranks(r, &launchers[i]);
    return 0;
}
