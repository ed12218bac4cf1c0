# SPDX-License-Identifier: Apache-2.0
"""Small models and adapters as PEFT makes them, for the scripts that hold paco against it."""
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from common import work


def tiny(name, dtype=torch.float32, **kw):
    """A random LLaMA on disk."""
    torch.manual_seed(7)
    config = LlamaConfig(**{**dict(vocab_size=160, hidden_size=64, intermediate_size=112, num_hidden_layers=2, num_attention_heads=4,
                                   num_key_value_heads=2, max_position_embeddings=64, tie_word_embeddings=False), **kw})
    model = LlamaForCausalLM(config).to(dtype)
    with torch.no_grad():
        for n, p in model.named_parameters():
            if n.endswith("bias"):
                p.normal_(0, 0.02)
    path = work(name) / "base"
    model.save_pretrained(path)
    return path


def adapter(base, name, resize=None, dtype=None, safe=True, **kw):
    """An adapter for base with random weights; returns its folder."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    if resize:
        model.resize_token_embeddings(resize)
    model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **kw))
    torch.manual_seed(11)
    with torch.no_grad():
        for n, p in model.named_parameters():
            if p.requires_grad:
                p.normal_(0, 0.05)
                if dtype:
                    p.data = p.data.to(dtype)
    path = work(name) / "adapter"
    model.save_pretrained(path, safe_serialization=safe, save_embedding_layers=True if resize else "auto")
    return path
