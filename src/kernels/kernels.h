// SPDX-License-Identifier: Apache-2.0
/* All tables of one level together: what a model is handed. */
#ifndef PC_KERNELS_KERNELS_H
#define PC_KERNELS_KERNELS_H

#include "kernels/adamw.h"
#include "kernels/attention.h"
#include "kernels/attention_backward.h"
#include "kernels/beside.h"
#include "kernels/bf16.h"
#include "kernels/convert.h"
#include "kernels/cross_entropy.h"
#include "kernels/dropout.h"
#include "kernels/gemm.h"
#include "kernels/llm_int8.h"
#include "kernels/matmul.h"
#include "kernels/packed.h"
#include "kernels/rmsnorm.h"
#include "kernels/rope.h"
#include "kernels/signs.h"
#include "kernels/silu.h"
#include "kernels/softmax.h"

struct pc_kernels {
    struct pc_matmul matmul;
    struct pc_beside beside;
    struct pc_bf16 bf16;
    struct pc_gemm gemm;
    struct pc_packed packed;
    struct pc_llm_int8 llm_int8;
    struct pc_attention attention;
    struct pc_attention_backward attention_backward;
    struct pc_rmsnorm rmsnorm;
    struct pc_rope rope;
    struct pc_signs signs;
    struct pc_silu silu;
    struct pc_softmax softmax;
    struct pc_cross_entropy cross_entropy;
    struct pc_dropout dropout;
    struct pc_adamw adamw;
    struct pc_convert convert;
};

/** Fill every table for cpu_flags (enum pc_cpu_flag). */
static inline void pc_kernels_init(struct pc_kernels *k, unsigned cpu_flags)
{
    pc_matmul_init(&k->matmul, cpu_flags);
    pc_beside_init(&k->beside, cpu_flags);
    pc_bf16_init(&k->bf16, cpu_flags);
    pc_gemm_init(&k->gemm, cpu_flags);
    pc_packed_init(&k->packed, cpu_flags);
    pc_llm_int8_init(&k->llm_int8, cpu_flags);
    pc_attention_init(&k->attention, cpu_flags);
    pc_attention_backward_init(&k->attention_backward, cpu_flags);
    pc_rmsnorm_init(&k->rmsnorm, cpu_flags);
    pc_rope_init(&k->rope, cpu_flags);
    pc_signs_init(&k->signs, cpu_flags);
    pc_silu_init(&k->silu, cpu_flags);
    pc_softmax_init(&k->softmax, cpu_flags);
    pc_cross_entropy_init(&k->cross_entropy, cpu_flags);
    pc_dropout_init(&k->dropout, cpu_flags);
    pc_adamw_init(&k->adamw, cpu_flags);
    pc_convert_init(&k->convert, cpu_flags);
}

#endif
