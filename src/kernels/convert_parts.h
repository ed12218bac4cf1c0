// SPDX-License-Identifier: Apache-2.0
/* The files convert.c is made of: each overwrites the rows of the table it knows better. */
#ifndef PC_KERNELS_CONVERT_PARTS_H
#define PC_KERNELS_CONVERT_PARTS_H

#include "kernels/convert.h"

void pc_convert_init_blocks(struct pc_convert *table); /* scalar block types */
void pc_convert_init_avx2(struct pc_convert *table);
void pc_convert_init_avx512(struct pc_convert *table);
void pc_convert_init_neon(struct pc_convert *table);

#endif
