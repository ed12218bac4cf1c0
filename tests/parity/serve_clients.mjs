// SPDX-License-Identifier: Apache-2.0
// The JavaScript half of serve_clients.py: node serve_clients.mjs OPENAI_MODULE BASE_URL MODEL. One JSON object of what
// the official client returned, or the error it raised, for each call by its name.
import { pathToFileURL } from "node:url";

const [, , module, baseURL, model] = process.argv;
const { default: OpenAI } = await import(pathToFileURL(module));
const client = new OpenAI({ baseURL, apiKey: "none", maxRetries: 0 });
const messages = [{ role: "user", content: "Name a colour." }];
const seen = {};

async function call(name, f) {
    try {
        seen[name] = await f();
    } catch (e) {
        seen[name] = { raised: e.constructor.name, status: e.status, code: e.code, param: e.param };
    }
}

await call("models", async () => (await client.models.list()).data.map((m) => m.id));
await call("chat", async () => {
    const r = await client.chat.completions.create({ model, messages, max_tokens: 12, temperature: 0 });
    return [r.choices[0].message.content, r.choices[0].finish_reason, r.usage.total_tokens];
});
await call("stream", async () => {
    let text = "", usage = null;
    const stream = await client.chat.completions.create({ model, messages, max_tokens: 12, temperature: 0, stream: true,
        stream_options: { include_usage: true } });
    for await (const chunk of stream) {
        text += chunk.choices[0]?.delta?.content ?? "";
        usage = chunk.usage ?? usage;
    }
    return [text, usage.total_tokens];
});
await call("runner", async () =>
    client.chat.completions.stream({ model, messages, max_tokens: 12, temperature: 0 }).finalContent());
await call("stopped", async () => {
    const stream = await client.chat.completions.create({ model, messages, max_tokens: 2000, stream: true });
    for await (const _ of stream) break; // which aborts the request
    return true;
});
await call("completion", async () => {
    const r = await client.completions.create({ model, prompt: "The sky is", max_tokens: 2, temperature: 0, echo: true, logprobs: 2 });
    return [r.choices[0].text, r.choices[0].logprobs.tokens, r.choices[0].logprobs.token_logprobs];
});
await call("embedding", async () => {
    // The client asks for base64 and unpacks it.
    const r = await client.embeddings.create({ model, input: ["sky", "sea"] });
    return r.data.map((d) => d.embedding.slice(0, 8));
});
await call("no such model", () => client.chat.completions.create({ model: "other", messages }));
await call("bad request", () => client.chat.completions.create({ model, messages, temperature: 9 }));
console.log(JSON.stringify(seen));
