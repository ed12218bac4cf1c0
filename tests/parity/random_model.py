# SPDX-License-Identifier: Apache-2.0
"""Random weights for a small LLaMA: the same for a name, and far enough from their beginnings that a forgotten norm, bias or
scale shows."""
import math

import torch
from transformers import LlamaConfig, LlamaForCausalLM


def random_llama(name, settings, embedding=None, matrices=1.0):
    """A model of these settings, seeded by its name. embedding: the spread of embedding and head, or None: that of other matrices,
    which is `matrices` over the square root of their width."""
    torch.manual_seed(sum(map(ord, name)))
    model = LlamaForCausalLM(LlamaConfig(**settings))
    with torch.no_grad():
        for key, p in model.named_parameters():
            if p.dim() == 1 and "norm" in key:
                p.copy_(1 + 0.2 * torch.randn_like(p))
            elif p.dim() == 1:
                p.copy_(0.3 * torch.randn_like(p))
            elif embedding is not None and ("embed" in key or "lm_head" in key):
                p.copy_(embedding * torch.randn_like(p))
            else:
                p.copy_(matrices * torch.randn_like(p) / math.sqrt(p.shape[1]))
    return model
