/* mesh.c -- ranks in three axes, as --mesh_dim asks for them. */
#include "mesh.h"

#include <stdlib.h>
#include <string.h>

enum { AXES = 3, MOST = 1 << 20 };

static const char *const names[AXES] = {"dp", "fsdp", "mp"};

static int malformed(const char *text)
{
    return fail("--mesh_dim=%s: expected three numbers of ranks, dp, fsdp and mp, one of which may "
                "be -1, such as -1,1,1",
                text);
}

/* The axis that a part of the text is about: by its name, else by its place. */
static int axis_of(const char **at, int place)
{
    size_t name = strcspn(*at, ":,");
    if ((*at)[name] != ':')
        return place;
    for (int a = 0; a < AXES; a++)
        if (strlen(names[a]) == name && !strncmp(*at, names[a], name)) {
            *at += name + 1;
            return a;
        }
    return -1;
}

static int parse(long size[AXES], const char *text)
{
    const char *at = text + (*text == '!');
    for (int place = 0; place < AXES; place++) {
        char *end;
        int axis = axis_of(&at, place);
        if (axis < 0 || size[axis])
            return malformed(text);
        size[axis] = strtol(at, &end, 10);
        if (end == at || *end != (place < AXES - 1 ? ',' : 0) || size[axis] == 0 ||
            size[axis] < -1 || size[axis] > MOST)
            return malformed(text);
        at = end + 1;
    }
    return 0;
}

int mesh_parse(struct mesh *m, const char *text, int ranks)
{
    long size[AXES] = {0}, told = 1;
    int open = -1;
    if (parse(size, text))
        return -1;
    for (int a = 0; a < AXES; a++) {
        if (size[a] < 0 && open >= 0)
            return malformed(text);
        if (size[a] < 0)
            open = a;
        else
            told *= size[a];
    }
    if (told > MOST || (open < 0 ? told != ranks : ranks % told != 0)) {
        if (ranks == 1)
            return fail("--mesh_dim=%s: asks for %ld ranks, but this process is alone: start so "
                        "many of it (mpirun -n %ld, srun, torchrun)",
                        text, told, told);
        return fail("--mesh_dim=%s: %ld ranks along the axes it tells, but %d were started", text,
                    told, ranks);
    }
    if (open >= 0)
        size[open] = ranks / told;
    *m = (struct mesh){(int)size[0], (int)size[1], (int)size[2], 0};
    return 0;
}
