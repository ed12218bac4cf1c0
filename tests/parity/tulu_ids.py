# SPDX-License-Identifier: Apache-2.0
"""Conversations in the card's format, tokenised as its training did: Transformers 4.28.1's slow LLaMA tokenizer after
the fine-tuning script has added its special tokens again, as plain strings (reference: Open-Instruct of June 2023).

From then on `<s>`, `</s>`, `<unk>` and `<pad>` in any text are tokens; the text beside one is stripped of Unicode white
space and every piece is encoded on its own, with its own dummy prefix. Writes or checks fixtures/prompt/tulu_ids.json:

    files   the text of the tokenizer's JSON files as that stack saves them, beside LLaMA's tokenizer.model
    cases   messages, [role, content] each; `prompt`, the ids up to where the assistant speaks (when the last message is
            not the assistant's); `train`, the ids of the whole example

Stack: era.
"""
import shutil

import transformers

from common import case, data, equal, expect, finish, fixture, work

SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}

U, A, S = "user", "assistant", "system"
CASES = [
    [(U, "Your message here!")],
    [(U, "hello"), (A, "Sure, here"), (U, "x"), (A, "y z")],
    [(U, "hello"), (A, "Sure, here"), (U, "x")],
    [(U, "  two leading, two trailing  ")],
    [(U, "\n\nnewlines around\n\n"), (A, "\n ok \n"), (U, "\tand a tab\t")],
    [(U, "")],
    [(U, ""), (A, ""), (U, "")],
    [(U, "   "), (A, "blank before"), (U, " \n ")],
    [(A, "I speak first.")],
    [(A, "I speak first."), (U, "And I second.")],
    [(A, "one"), (A, "two"), (U, "three")],
    [(U, "one"), (U, "two"), (A, "three"), (U, "four")],
    [(S, "You are a careful clerk."), (U, "Add 2 and 3.")],
    [(S, "You are a careful clerk."), (U, "Add 2 and 3."), (A, "5"), (U, "And 4?"), (A, "9"), (U, "Stop.")],
    [(S, ""), (U, "an empty system message")],
    [(U, "a"), (S, "a system message in the middle"), (U, "b")],
    [(U, "a"), (A, "b"), (S, "after an answer"), (U, "c")],
    [(U, "the characters </s> inside"), (A, "fine"), (U, "next")],
    [(U, "</s>")],
    [(U, "</s></s> twice </s> \n </s>")],
    [(U, "spaces   </s>   around   </s>tight</s>")],
    [(U, "a begin <s> and an unknown <unk> and a pad <pad> in the text")],
    [(U, "x"), (A, "ends in one</s>"), (U, "y")],
    [(U, "near misses: </ s> < /s> </S> <s <pad >")],
    [(U, "tags in text: <|user|>\nfake\n<|assistant|>\nfake</s>\n<|user|>\nagain")],
    [(U, "no-break\u00a0spaces\u00a0</s>\u00a0around the end")],
    [(U, "ideographic\u3000space\u3000</s>\u3000here"), (A, "\u3000ok\u3000"), (U, "\u2003em\u2003")],
    [(U, "next line \u0085</s>\u0085 and file separators \x1c</s>\x1f here")],
    [(U, "zero width\u200b</s>\u200bis no white space"), (A, "\u200bkept\u200b"), (U, "\ufeffa mark\ufeff")],
    [(U, "\u2028line and paragraph\u2029"), (A, "\u2028x\u2029"), (U, "\u180emongolian\u180e")],
    [(U, "r\u00e9sum\u00e9, na\u00efve, \u00fcber"), (A, "\u00e7a va"), (U, "\u0141\u00f3d\u017a")],
    [(U, "\u4f60\u597d\uff0c\u4e16\u754c"), (A, "\u3053\u3093\u306b\u3061\u306f"), (U, "\uc548\ub155")],
    [(U, "\u0645\u0631\u062d\u0628\u0627 \u05e9\u05dc\u05d5\u05dd"), (A, "\u0928\u092e\u0938\u094d\u0924\u0947"),
     (U, "\u0c28\u0c2e\u0c38\u0c4d\u0c15\u0c3e\u0c30\u0c02 \u0b9a")],
    [(U, "\U0001f999\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1eb\U0001f1f7"), (A, "\U0001f44d\U0001f3fd"),
     (U, "?")],
    [(U, "e\u0301 and \u00e9 differ; \ufb01 and \u2460 and \uff21 stay")],
    [(U, "def f(x):\n    if x:\n\t\treturn  x   # two  spaces\n\n\n    return 0"), (A, "```c\nint x;\n```"),
     (U, "a\r\nb\rc")],
    [(U, "1234567890 3.14159 1,000,000 -5 1e-10 0x1F"), (A, "12"), (U, "= 3")],
    [(U, "control \x01\x02\x7f bytes")],
    [(U, "      six spaces and a single x"), (A, "x" * 40), (U, "_" * 17 + "=" * 33)],
    [(U, "\u2581 the piece's own mark \u2581\u2581 twice"), (A, "\u2581"), (U, "\u2581\u2581")],
    [(U, "Is 1 < 2 | 3 > 2 |> <| ?"), (A, "<|assistant|>"), (U, "<|user|>")],
    [(U, "a\n"), (A, "a\n\n"), (U, "\na"), (A, "\n\na"), (U, "a"), (A, "a"), (U, "a")],
]


def render(messages, eos):
    """The fine-tuning script's text of a list of messages."""
    text = ""
    for role, content in messages:
        text += "<|%s|>\n" % role + content.strip() + (eos if role == A else "") + "\n"
    return text


def llama_tokenizer():
    """The slow tokenizer as the fine-tuning script has it, and the folder it was saved to."""
    raw, saved = work("raw"), work("saved")
    shutil.copy(str(data("tokenizer/tokenizer.model")), str(raw))
    tokenizer = transformers.LlamaTokenizer.from_pretrained(str(raw))
    equal("added tokens", tokenizer.add_special_tokens(SPECIAL), 1)
    tokenizer.save_pretrained(str(saved))
    return tokenizer, saved


def main():
    with case("tulu ids: fixtures/prompt/tulu_ids.json"):
        tokenizer, saved = llama_tokenizer()
        rows = []
        for messages in CASES:
            text = render(messages, tokenizer.eos_token)
            row = {"messages": messages}
            if messages[-1][0] != A:
                row["prompt"] = tokenizer(text + "<|assistant|>\n").input_ids
            row["train"] = tokenizer(text.strip()).input_ids
            rows.append(row)
        # The worked example of the reference, so that a wrong stack is noticed before its ids are believed.
        equal("ids of the worked example", len(rows[1]["train"]), 39)
        equal("its first answer", rows[1]["train"][16:21], tokenizer.convert_tokens_to_ids(
            ["S", "ure", ",", "\u2581here", "</s>"]))
        # As text: tokenizer_config.json has an integer of 31 digits, which not every JSON reader keeps.
        files = {p.name: p.read_text() for p in sorted(saved.glob("*.json"))}
        expect(str(saved) not in "".join(files.values()), "a path of this run is in the tokenizer's files")
        expect("added_tokens.json" in files, "the tokenizer saved no added_tokens.json")
        fixture("prompt/tulu_ids.json", {"made_by": "tests/parity/tulu_ids.py", "transformers": transformers.__version__,
                                         "files": files, "cases": rows})


main()
finish()
