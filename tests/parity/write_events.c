// SPDX-License-Identifier: Apache-2.0
/* write_events DIR: a training's event files, as of a run that was killed behind step 60, between two of its
 * checkpoints, and went on from step 50. For tensorboard_events.py. */
#include "base/memory.h"
#include "report/tensorboard.h"

#include <math.h>
#include <stdio.h>

static int write_steps(const char *dir, int first, int last, double offset, struct paco_error *err)
{
    struct pc_tensorboard *tb = NULL;
    char *text = pc_tensorboard_quote("# no heading\nGr\xc3\xbc\xc3\x9f dich <b>");
    int rc = text ? pc_tensorboard_open(dir, first, &tb, err) : PACO_EMEM;
    for (int step = first; step <= last && rc == 0; step++) {
        const struct pc_tensorboard_value values[] = {
            {.tag = "train/loss", .scalar = offset + 1.0 / (step + 1)},
            {.tag = "train/grad_norm", .scalar = step == 3 ? (double)NAN : step},
            {.tag = "samples/0", .text = text}};
        rc = pc_tensorboard_add(tb, step, values, step % 25 == 0 ? 3 : 2, err);
    }
    pc_tensorboard_close(tb);
    pc_free(text);
    return rc;
}

int main(int argc, char **argv)
{
    struct paco_error err = {0};
    if (argc == 2 && write_steps(argv[1], 0, 60, 100, &err) == 0 &&
        write_steps(argv[1], 51, 100, 200, &err) == 0)
        return 0;
    fprintf(stderr, "write_events: %s\n", err.message);
    return 1;
}
