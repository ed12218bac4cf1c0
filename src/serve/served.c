// SPDX-License-Identifier: Apache-2.0
#include "serve/served.h"

#include <string.h>

const struct pc_served *pc_served_find(const struct pc_house *house, const char *name, size_t len)
{
    for (size_t i = 0; i < house->n_models; i++)
        if (strlen(house->models[i].name) == len && memcmp(house->models[i].name, name, len) == 0)
            return &house->models[i];
    return NULL;
}
