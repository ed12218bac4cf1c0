# SPDX-License-Identifier: Apache-2.0
"""Block types and GGUF's layout: what `paco convert` makes of GGUF files, in F32, against Python's gguf, bit for bit.

Random bytes are blocks too, with scales of every kind; NaN must meet NaN. The default model is held whole.
"""
import gguf
import numpy
from common import case, default_model, equal, expect, finish, note, paco, work
from gguf.quants import dequantize
from safetensors.numpy import load_file

TYPES = ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q4_K", "Q5_K", "Q6_K")
NAMES = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head", "attn_norm": "input_layernorm",
         "ffn_norm": "post_attention_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
         "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_down": "mlp.down_proj",
         "ffn_up": "mlp.up_proj"}
WIDTH, HEADS, KV_HEADS, VOCAB = 512, 4, 2, 40


def expected(path, heads, kv_heads):
    """Name and F32 values of each tensor in Hugging Face's layout, from gguf's own reader."""
    for t in gguf.GGUFReader(path).tensors:
        part = t.name.split(".")
        module = NAMES[part[-2]]
        x = dequantize(t.data, t.tensor_type).astype(numpy.float32)
        n = {"attn_q": heads, "attn_k": kv_heads}.get(part[-2])
        if n:
            x = x.reshape(n, -1, 2, x.shape[-1]).swapaxes(1, 2).reshape(x.shape)
        yield ("model.layers.%s." % part[1] if part[0] == "blk" else "") + module + ".weight", x


def random_model(path, kind):
    """A one-layer LLaMA whose matrices are random bytes of one type."""
    rng = numpy.random.default_rng(7)
    qtype = gguf.GGMLQuantizationType[kind]
    n_block, block_size = gguf.GGML_QUANT_SIZES[qtype]
    w = gguf.GGUFWriter(path, "llama")
    w.add_block_count(1)
    w.add_context_length(64)
    w.add_embedding_length(WIDTH)
    w.add_feed_forward_length(256)
    w.add_head_count(HEADS)
    w.add_head_count_kv(KV_HEADS)
    w.add_layer_norm_rms_eps(1e-5)
    w.add_vocab_size(VOCAB)
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("smollm")
    w.add_token_list(["a", "b", "ab"] + ["t%d" % i for i in range(3, VOCAB)])
    w.add_token_types([1] * VOCAB)
    w.add_token_merges(["a b"])
    kv = WIDTH // HEADS * KV_HEADS
    for name, rows, cols in (("token_embd", VOCAB, WIDTH), ("blk.0.attn_q", WIDTH, WIDTH), ("blk.0.attn_k", kv, WIDTH),
                             ("blk.0.attn_v", kv, WIDTH), ("blk.0.attn_output", WIDTH, WIDTH), ("blk.0.ffn_gate", 256, WIDTH),
                             ("blk.0.ffn_down", WIDTH, 256), ("blk.0.ffn_up", 256, WIDTH)):
        raw = rng.integers(0, 256, (rows, cols // n_block * block_size), dtype=numpy.uint8)
        w.add_tensor(name + ".weight", raw, raw_dtype=qtype)
    for name in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"):
        w.add_tensor(name + ".weight", rng.standard_normal(WIDTH, dtype=numpy.float32))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def compare(path, heads, kv_heads, name):
    out = work() / name
    paco("convert", path, "--out", out, "--to", "hf", "--type", "f32")
    got = load_file(out / "model.safetensors")
    want = dict(expected(path, heads, kv_heads))
    equal("tensors", sorted(got), sorted(want))
    n_nan = 0
    for tensor, x in want.items():
        y = got[tensor]
        equal(tensor + " shape", y.shape, x.shape)
        nan = numpy.isnan(x)
        n_nan += int(nan.sum())
        same = (x.view(numpy.uint32) == y.view(numpy.uint32)) | (nan & numpy.isnan(y))
        expect(same.all(), "%s: %d of %d elements differ" % (tensor, (~same).sum(), same.size))
    note("%d tensors, %d elements, %d of them NaN" % (len(want), sum(x.size for x in want.values()), n_nan))


for kind in TYPES:
    with case("random blocks of " + kind):
        source = work() / (kind + ".gguf")
        random_model(source, kind)
        compare(source, HEADS, KV_HEADS, kind)
with case("the default model"):
    compare(default_model(), 9, 3, "default")
finish()
