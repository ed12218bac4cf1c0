# SPDX-License-Identifier: Apache-2.0
"""Makes the GGUF files that bench/peers compares on; what is there is kept.

    make_models.py smollm2 DIR SMOLLM2.gguf [TYPE...]     the default model widened to BF16, then as llama.cpp quantises it
    make_models.py llama7b DIR [TOKENIZER.model]          random Q4_0 weights of LLaMA-7B's shape: 3.8 GB, made in pieces
    make_models.py tiny DIR [STORIES.bin TOKENIZER.bin]   260,000 parameters in F32: random, or a checkpoint of llama2.c

Needs numpy and gguf; smollm2 also llama-cpp-python, whose library does the quantising."""
import os
import pathlib
import struct
import sys

import gguf
import numpy

F32, BF16, Q4_0 = gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.BF16, gguf.GGMLQuantizationType.Q4_0
TYPES = "f32 f16 q8_0 q4_0 q4_1 q5_0 q5_1 q4_k_m q5_k_m q6_k".split()


def say(path):
    print("made %s, %.2f GB" % (path, path.stat().st_size / 1e9), flush=True)


def finish(part, path):
    """Only whole files get their names."""
    os.replace(part, path)
    say(path)


# ---- the default model ----

def copy_metadata(reader, writer):
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name in ("general.architecture", "general.file_type", "general.quantization_version"):
            continue
        kind = field.types[0]
        sub = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(name, field.contents(), kind, sub_type=sub)


def widen(source, path):
    reader = gguf.GGUFReader(source)
    part = path.with_suffix(".part")
    writer = gguf.GGUFWriter(part, "llama")
    copy_metadata(reader, writer)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_BF16)
    for t in reader.tensors:
        values = gguf.quants.dequantize(t.data, t.tensor_type)
        if values.ndim == 2:
            writer.add_tensor(t.name, gguf.quants.quantize(values, BF16), raw_dtype=BF16)
        else:
            writer.add_tensor(t.name, values.astype(numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    finish(part, path)


def quantise(source, path, kind):
    import llama_cpp
    ftype = {"f32": llama_cpp.LLAMA_FTYPE_ALL_F32}.get(kind)
    if ftype is None:
        ftype = getattr(llama_cpp, "LLAMA_FTYPE_MOSTLY_" + kind.upper())
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype, params.nthread = ftype, 2
    part = path.with_suffix(".part")
    if llama_cpp.llama_model_quantize(os.fsencode(source), os.fsencode(part), params) != 0:
        sys.exit("make_models: llama_model_quantize failed for " + kind)
    finish(part, path)


def smollm2(folder, source, *types):
    base = folder / "smollm2-bf16.gguf"
    if not base.exists():
        widen(source, base)
    for kind in types or TYPES:
        path = folder / ("smollm2-%s.gguf" % kind)
        if not path.exists():
            quantise(base, path, kind)


# ---- random weights ----

def llama_header(path, layers, width, inner, heads, kv_heads, context):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(layers)
    writer.add_context_length(context)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_rope_dimension_count(width // heads)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    return writer


def add_vocabulary(writer, pieces, scores, kinds):
    writer.add_vocab_size(len(pieces))
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(pieces)
    writer.add_token_scores(scores)
    writer.add_token_types(kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(True)


def made_up_vocabulary(n):
    """<unk>, <s>, </s>, the 256 bytes, the printable characters, and words of made-up syllables."""
    pieces = ["<unk>", "<s>", "</s>"] + ["<0x%02X>" % i for i in range(256)] + ["\u2581"] + [chr(i) for i in range(33, 127)]
    kinds = [2, 3, 3] + [6] * 256 + [1] * (len(pieces) - 259)
    a, b = "bcdfghjklmnpqrstvwxyz", "aeiou"
    syllables = [x + y for x in a for y in b]
    for i in range(n - len(pieces)):
        i, word = i + len(syllables), ""
        while i:
            i, r = divmod(i, len(syllables))
            word = syllables[r] + word
        pieces.append("\u2581" + word)
    kinds += [1] * (n - len(kinds))
    return pieces, [0.0] * 259 + [-float(i) for i in range(n - 259)], kinds


def sentencepiece_vocabulary(path):
    """Pieces, scores and types straight from the protobuf: field 1 of the model, fields 1 to 3 of a piece."""
    def fields(data):
        at = 0

        def varint():
            nonlocal at
            value = shift = 0
            while True:
                value |= (data[at] & 127) << shift
                shift, at = shift + 7, at + 1
                if data[at - 1] < 128:
                    return value
        while at < len(data):
            key = varint()
            size = varint() if key & 7 in (0, 2) else 4 if key & 7 == 5 else 8
            if key & 7 == 0:
                yield key >> 3, size
                continue
            yield key >> 3, data[at:at + size]
            at += size
    pieces, scores, kinds = [], [], []
    for number, value in fields(path.read_bytes()):
        if number == 1:
            piece = dict(fields(value))
            pieces.append(piece[1].decode())
            scores.append(struct.unpack("<f", piece[2])[0])
            kinds.append(piece.get(3, 1))
    return pieces, scores, kinds


def llama_shapes(layers, width, inner, kv_width, vocabulary):
    yield "token_embd.weight", (vocabulary, width)
    for i in range(layers):
        for name, shape in (("attn_norm", (width,)), ("attn_q", (width, width)), ("attn_k", (kv_width, width)),
                            ("attn_v", (kv_width, width)), ("attn_output", (width, width)), ("ffn_norm", (width,)),
                            ("ffn_gate", (inner, width)), ("ffn_up", (inner, width)), ("ffn_down", (width, inner))):
            yield "blk.%d.%s.weight" % (i, name), shape
    yield "output_norm.weight", (width,)
    yield "output.weight", (vocabulary, width)


def random_q4_0(rng, rows, columns):
    """Blocks of 32: an F16 scale that gives weights of about 1/sqrt(columns), then 16 bytes of two weights each."""
    blocks = numpy.empty((rows, columns // 32, 18), dtype=numpy.uint8)
    scale = (rng.uniform(0.8, 1.2, (rows, columns // 32)) / (4.6 * columns ** 0.5)).astype(numpy.float16)
    blocks[:, :, :2] = scale.view(numpy.uint8).reshape(rows, columns // 32, 2)
    blocks[:, :, 2:] = rng.integers(0, 256, (rows, columns // 32, 16), dtype=numpy.uint8)
    return blocks.reshape(rows, columns // 32 * 18)


def llama7b(folder, tokenizer=None):
    path = folder / "llama7b-q4_0.gguf"
    if path.exists():
        return
    part = path.with_suffix(".part")
    writer = llama_header(part, 32, 4096, 11008, 32, 32, 2048)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_0)
    add_vocabulary(writer, *(sentencepiece_vocabulary(pathlib.Path(tokenizer)) if tokenizer else made_up_vocabulary(32000)))
    shapes = list(llama_shapes(32, 4096, 11008, 4096, 32000))
    for name, shape in shapes:
        if len(shape) == 1:
            writer.add_tensor_info(name, shape, numpy.dtype(numpy.float32), shape[0] * 4, F32)
        else:
            packed = (shape[0], shape[1] // 32 * 18)
            writer.add_tensor_info(name, packed, numpy.dtype(numpy.uint8), packed[0] * packed[1], Q4_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    rng = numpy.random.default_rng(7)
    for name, shape in shapes:
        writer.write_tensor_data(numpy.ones(shape, numpy.float32) if len(shape) == 1 else random_q4_0(rng, *shape))
    writer.close()
    finish(part, path)


# ---- 260,000 parameters ----

def stories_tensors(data):
    """A legacy checkpoint of llama2.c: seven int32, then float32 tensors, each kind for all layers at once."""
    width, inner, layers, heads, kv_heads, vocabulary, context = struct.unpack("<7i", data[:28])
    values, at = numpy.frombuffer(data, numpy.float32, offset=28), 0

    def take(*shape):
        nonlocal at
        n = int(numpy.prod(shape))
        at += n
        return values[at - n:at].reshape(shape)
    kv = width // heads * kv_heads
    own_head, vocabulary = vocabulary < 0, abs(vocabulary)
    out = {"token_embd.weight": take(vocabulary, width)}
    for name, shape in (("attn_norm", (width,)), ("attn_q", (width, width)), ("attn_k", (kv, width)), ("attn_v", (kv, width)),
                        ("attn_output", (width, width)), ("ffn_norm", (width,)), ("ffn_gate", (inner, width)),
                        ("ffn_down", (width, inner)), ("ffn_up", (inner, width))):
        for i, each in enumerate(take(layers, *shape)):
            out["blk.%d.%s.weight" % (i, name)] = each
    out["output_norm.weight"] = take(width)
    if own_head:
        take(context, width // heads)
        out["output.weight"] = take(vocabulary, width)
    return (layers, width, inner, heads, kv_heads, context), out


def stories_vocabulary(data, n):
    at, pieces, scores = 4, [], []
    for i in range(n):
        score, size = struct.unpack_from("<fi", data, at)
        at += 8 + size
        scores.append(score)
        pieces.append(data[at - size:at].decode(errors="replace").replace(" ", "\u2581"))
    pieces[:3] = ["<unk>", "<s>", "</s>"]
    return pieces, scores, [2, 3, 3] + [6] * 256 + [1] * (n - 259)


def tiny(folder, stories=None, tokenizer=None):
    path = folder / "tiny-f32.gguf"
    if path.exists():
        return
    if stories:
        shape, tensors = stories_tensors(pathlib.Path(stories).read_bytes())
        vocabulary = stories_vocabulary(pathlib.Path(tokenizer).read_bytes(), len(tensors["token_embd.weight"]))
    else:
        shape, rng = (5, 64, 172, 8, 4, 512), numpy.random.default_rng(7)
        tensors = {name: numpy.ones(s, numpy.float32) if len(s) == 1 else
                   (rng.standard_normal(s) / s[1] ** 0.5).astype(numpy.float32)
                   for name, s in llama_shapes(5, 64, 172, 32, 512) if name != "output.weight"}
        vocabulary = made_up_vocabulary(512)
    part = path.with_suffix(".part")
    writer = llama_header(part, *shape)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    add_vocabulary(writer, *vocabulary)
    for name, values in tensors.items():
        writer.add_tensor(name, numpy.ascontiguousarray(values))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    finish(part, path)


if __name__ == "__main__":
    if len(sys.argv) < 3 or sys.argv[1] not in ("smollm2", "llama7b", "tiny"):
        sys.exit(__doc__)
    where = pathlib.Path(sys.argv[2])
    where.mkdir(parents=True, exist_ok=True)
    {"smollm2": smollm2, "llama7b": llama7b, "tiny": tiny}[sys.argv[1]](where, *sys.argv[3:])
