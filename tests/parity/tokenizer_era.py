# SPDX-License-Identifier: Apache-2.0
"""Ids of Transformers 4.28.1's slow LLaMA tokenizer, for tokenizer.py: DIR IN OUT reads lines from IN and writes, one line each,
the ids the tokenizer saved in DIR gives, then what it decodes them to, as JSON. Stack: era."""
import json
import sys

import transformers

folder, source, target = sys.argv[1:]
tokenizer = transformers.LlamaTokenizer.from_pretrained(folder)
with open(source, encoding="utf-8", newline="\n") as lines, open(target, "w") as out:
    for line in lines:
        ids = tokenizer(line[:-1]).input_ids
        text = tokenizer.decode(ids, skip_special_tokens=True, spaces_between_special_tokens=False)
        out.write(json.dumps([ids, text]) + "\n")
