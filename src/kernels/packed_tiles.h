// SPDX-License-Identifier: Apache-2.0
/* From GGUF's blocks to tiles, scalar: the `pack` functions of packed.h in its common layout. */
#ifndef PC_KERNELS_PACKED_TILES_H
#define PC_KERNELS_PACKED_TILES_H

#include "kernels/packed.h"

pc_pack_fn pc_pack_q4_0, pc_pack_q4_1, pc_pack_q5_0, pc_pack_q5_1, pc_pack_q8_0, pc_pack_q4_k, pc_pack_q5_k,
    pc_pack_q6_k;

#endif
