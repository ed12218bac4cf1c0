# SPDX-License-Identifier: Apache-2.0
"""The cases of encode.py with a tokenizer that is not LLaMA's: SmolLM2's byte-level BPE in the tokenizers library, to which the
fine-tuning scripts add nothing, and whose own EOS they put behind answers. Started by encode.py. Stack: today."""
import sys

import transformers

from common import case, default_model, equal, finish, work
from encode import all_cases


def main():
    source = default_model()
    folder = work("smol")
    transformers.AutoTokenizer.from_pretrained(str(source.parent), gguf_file=source.name).save_pretrained(str(folder))
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder))
    with case("SmolLM2's EOS"):
        equal("EOS", tokenizer.eos_token, "<|im_end|>")
    same = dict.fromkeys(("completion", "messages", "stanford"))
    all_cases("SmolLM2", folder, {k: tokenizer for k in same}, same)


if __name__ == "__main__":
    main()
    finish()
