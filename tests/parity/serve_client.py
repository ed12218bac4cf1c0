# SPDX-License-Identifier: Apache-2.0
"""The official openai client against paco serve, on the default model: it must work unchanged. Stack: today."""
import os
import sys

import openai

from common import ROOT, binary, case, default_model, equal, expect, finish

os.environ.setdefault("PACO", str(binary()))
sys.path.insert(0, str(ROOT / "tests" / "integration"))
from serving import Server  # noqa: E402

TALK = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "What is the capital of France?"}]
ASK = {"model": "served", "messages": TALK, "temperature": 0, "max_tokens": 24}


def refused(kind, code, ask):
    try:
        ask()
    except kind as e:
        equal("code", e.code, code)
        return e
    raise AssertionError("it was not refused")


def chats(client):
    with case("a chat with log-probabilities"):
        whole = client.chat.completions.create(**ASK, logprobs=True, top_logprobs=2)
        notes = whole.choices[0].logprobs.content
        expect(whole.choices[0].message.content, "no text")
        equal("tokens noted", len(notes), whole.usage.completion_tokens)
        equal("others beside each", {len(n.top_logprobs) for n in notes}, {2})
    with case("a stream says the same"):
        chunks = list(client.chat.completions.create(**ASK, stream=True, stream_options={"include_usage": True}))
        equal("text", "".join(c.choices[0].delta.content or "" for c in chunks if c.choices), whole.choices[0].message.content)
        equal("usage", chunks[-1].usage.completion_tokens, whole.usage.completion_tokens)
    with case("the client's own way to read streams"):
        with client.chat.completions.stream(**ASK) as stream:
            equal("text", stream.get_final_completion().choices[0].message.content, whole.choices[0].message.content)


def others(client):
    with case("models"):
        equal("names", [m.id for m in client.models.list()], ["served"])
    with case("a completion with echo"):
        done = client.completions.create(model="served", prompt="The capital of France is", temperature=0, max_tokens=4, echo=True, logprobs=1)
        notes = done.choices[0].logprobs
        expect(done.choices[0].text.startswith("The capital of France is"), done.choices[0].text)
        equal("the first token's", notes.token_logprobs[0], None)
        equal("tokens", (len(notes.tokens), len(notes.text_offset)), (done.usage.total_tokens,) * 2)
    with case("embeddings"):  # the client asks for base64
        vectors = client.embeddings.create(model="served", input=["a cat", "a dog"]).data
        expect(abs(sum(x * x for x in vectors[0].embedding) - 1) < 1e-4, "length")
        equal("how many", len(vectors), 2)


def refusals(client, base):
    with case("an unknown model"):
        e = refused(openai.NotFoundError, "model_not_found", lambda: client.chat.completions.create(**{**ASK, "model": "gpt-4"}))
        equal("field", e.param, "model")
    with case("a prompt too long"):
        long = [{"role": "user", "content": "a b " * 20000}]
        refused(openai.BadRequestError, "context_length_exceeded", lambda: client.chat.completions.create(**{**ASK, "messages": long}))
    with case("a wrong key"):
        refused(openai.AuthenticationError, "invalid_api_key", lambda: openai.OpenAI(base_url=base, api_key="wrong").models.list())


def main():
    with Server("-m", default_model(), "--alias", "served", "--api-key", "secret") as s:
        base = f"http://127.0.0.1:{s.port}/v1"
        client = openai.OpenAI(base_url=base, api_key="secret", max_retries=0)
        chats(client)
        others(client)
        refusals(client, base)
    finish()


main()
