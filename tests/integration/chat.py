#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""paco chat: on a terminal that this script holds the other end of, through a pipe, and behind an endpoint."""
import json
import os
import pty
import re
import select
import signal
import stat
import subprocess
import time

from counting import ID, V, adapter, babbler, model as counting_model, one_hot
from fake_api import Api
from serving import Server
from tiny import PACO, case, config, finish, llama, paco, save, work, write


class Terminal:
    """paco chat on a terminal of its own. see() waits for a text, and forgets what came before its end."""

    def __init__(self, *args, **env):
        self.seen = ""
        pid, self.fd = pty.fork()
        if pid == 0:
            for key in [k for k in os.environ if k.startswith("PACO_")]:
                del os.environ[key]
            os.environ.update(TERM="xterm", LC_ALL="C.UTF-8", XDG_STATE_HOME=work("state"), HF_HUB_OFFLINE="1", NO_COLOR="1")
            os.environ.update(env)
            os.execv(PACO, [PACO, "chat", *args])
        self.pid = pid

    def read(self, seconds):
        """Whether anything came; False at the end."""
        if not select.select([self.fd], [], [], seconds)[0]:
            return None
        try:
            data = os.read(self.fd, 65536)
        except OSError:
            data = b""
        self.seen += data.decode("utf-8", "replace")
        return bool(data)

    def see(self, text, what=None, timeout=60):
        end = time.time() + timeout
        while text not in self.seen and time.time() < end:
            if self.read(0.1) is False:
                break
        found = text in self.seen
        before, _, after = self.seen.partition(text)
        if what:
            case(what, found, repr(self.seen))
        if found:
            self.seen = after
        return before if found else None

    def type(self, text):
        os.write(self.fd, text.encode() if isinstance(text, str) else text)

    def end(self):
        limit = time.time() + 60
        more = True
        while more is not False and time.time() < limit:
            more = self.read(0.1)
        if more is not False:
            os.kill(self.pid, signal.SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        os.close(self.fd)
        return os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status)


def ready(t, what=None):
    return t.see("\x1b[?2004h> ", what)


def on_a_terminal(model):
    t = Terminal("-m", model, "--format", "raw", "-n", "4")
    t.see("format raw, 256 tokens of context; /help shows commands, Ctrl-D leaves", "it says who answers")
    ready(t, "and waits for a message")
    t.type("ab\r")
    t.see("cdef", "an answer is written")
    t.see("cut off: it had the most tokens allowed")
    ready(t, "and the next message is waited for")
    t.type("/set tokens 2\r")
    ready(t)
    t.type("hx\x7fi\r")  # a letter taken back
    t.see("jk", "lines are edited")
    ready(t)
    t.type("\x1b[A\r")  # the line before
    t.see("jk", "the history gives them back")
    ready(t)
    t.type("/stats\r")
    t.see("6 messages, ", "/stats counts messages")
    t.see("of 256 tokens", "and tokens")
    ready(t)
    t.type("/retry\r")
    t.see("same answer again", "/retry of a greedy model says so")
    ready(t)
    t.type("/system s\r")
    t.see("the system message stands before the whole conversation", "/system")
    ready(t)
    t.type("/stats\r")
    case("/stats counts no tokens of another conversation", "tokens with the last answer" not in ready(t))
    t.type("/retry\r")
    case("with another system message it is not the same", "same answer again" not in ready(t))
    t.type("/system -\r")
    ready(t)
    t.type("/undo\r")
    t.see("taken back; 4 messages are left", "/undo takes one question and its answer")
    ready(t)
    t.type("/helo\r")
    t.see("there is no /helo: did you mean /help?", "a mistyped command is no message")
    ready(t)
    t.type("/help\r")
    t.see("/save FILE", "/help lists commands")
    case("in 80 columns", all(len(line.rstrip()) < 80 for line in ready(t).split("\n")))
    t.type("abc\x03")
    t.see("(Ctrl-D or /quit leaves, /help shows commands)", "Ctrl-C at the prompt only drops the line")
    ready(t)
    t.type("p\r")
    t.see("qr", "and the dropped line is gone")
    ready(t)
    t.type("\x04")
    case("Ctrl-D leaves", t.end() == 0)
    path = work("state") + "/paco/chat_history"
    lines = open(path).read().split("\n")
    case("the history is kept", lines[:4] == ["ab", "/set tokens 2", "hi", "hi"] and "abc" not in lines, lines)
    case("for nobody else to read", stat.S_IMODE(os.stat(path).st_mode) == 0o600, oct(os.stat(path).st_mode))
    t = Terminal("-m", model, "--format", "raw", "-n", "2")
    ready(t)
    t.type("\x1b[A\r")
    t.see("qr", "and there the next time")
    ready(t)
    t.type("/quit\r")
    case("/quit leaves", t.end() == 0)


def messages(t, path):
    t.type("/save %s!\r" % path)
    t.see("messages saved")
    ready(t)
    with open(path) as f:
        return json.load(f)["messages"]


def several_lines(model):
    path = work("talk.json")
    t = Terminal("-m", model, "--format", "raw", "-n", "1", "--no-history", HOME=work("home"))
    ready(t)
    t.type("a\\\r")
    t.see("\x1b[?2004h... ", "a backslash goes on in the next line")
    t.type("b\r")
    t.see("c")
    ready(t)
    t.type('"""one\r')
    t.see("... ")
    t.type("\r")
    t.see("... ")
    t.type('two"""\r')
    ready(t)
    t.type("\x1b[200~x\n\ty\x1b[31m\r/quit\x1b[201~ z\r")
    ready(t, "what is pasted waits for Enter, and is one message")
    t.type("//new w\u00f6rd \u4f60\r")
    ready(t)
    got = [m["content"] for m in messages(t, path) if m["role"] == "user"]
    case("the messages are what was typed and pasted", got == ["a\nb", "one\n\ntwo", "x\n\ty[31m\n/quit z", "/new w\u00f6rd \u4f60"], got)
    t.type("/save %s\r" % path)
    t.see("that file exists: /save FILE! replaces it", "/save overwrites nothing by itself")
    ready(t)
    t.type("/new\r")
    ready(t)
    t.type("/load %s\r" % path)
    t.see("8 messages", "/load brings it back")
    ready(t)
    t.type("/save ~/talk2.json\r")
    t.see("messages saved")
    ready(t)
    case("~ is the home", os.path.exists(work("home") + "/talk2.json") and not os.path.exists("~"))
    t.type("/load ~/talk2.json\r")
    t.see("8 messages", "for /load, too")
    ready(t)
    t.type("/load /nowhere/x.json\r")
    t.see("/nowhere/x.json", "a file that is not there leaves the conversation")
    ready(t)
    case("as it was", len(messages(t, path)) == 8)
    os.kill(t.pid, signal.SIGTERM)
    case("SIGTERM ends it", t.end() in (-15, 143))


def stopping(model):
    t = Terminal("-m", model, "--format", "raw", "-c", "20", "--no-history")
    ready(t)
    t.type("a\r")
    t.see("context of 20 tokens is full", "an answer that fills the context says so")
    ready(t)
    t.type("b\r")
    t.see("and the context holds 20 with the answer: /undo takes back", "and so does the next message, which is not cut")
    ready(t)
    t.type("/undo\r")
    t.see("0 messages are left", "so that /undo takes the answer before")
    ready(t)
    t.type("/retry\r")
    t.see("nothing was asked yet", "/retry without a question")
    ready(t)
    t.type("/set tokens 0\r")
    t.see("/set tokens wants a number from 1", "settings have bounds")
    ready(t)
    t.type("/set temp 1.5\r/set seed 12345678\r/set\r")
    t.see("temp 1.5", "a change is said")
    t.see("temp             1.5", "/set shows them")
    t.see("top-p            (not set: as the model says)", "and what stands for others")
    t.see("seed             12345678", "in all digits")
    t.see("tokens           (not set: as many as fit)", "no model says how long an answer is")
    ready(t)
    t.type("\x04")
    case("done", t.end() == 0)


def endless_model():
    """One that counts from a to | and round again, and takes its time."""
    cfg = dict(config(vocab=V, hidden=V, layers=60, heads=2, kv_heads=1, ff=512), max_position_embeddings=100000)
    source = counting_model("counting-slow")
    files = {f: open(os.path.join(source, f), "rb").read() for f in ("tokenizer.json", "tokenizer_config.json")}
    weights = {k: (d, shape, b"\0" * len(b)) if len(shape) == 2 else (d, shape, b) for k, (d, shape, b) in llama(cfg).items()}
    weights["model.embed_tokens.weight"] = one_hot(V, lambda i: i)
    weights["lm_head.weight"] = one_hot(V, lambda i: V - 1 if i == ID["a"] else max(i - 1, 0) if i > ID["a"] else 0)
    return save(work("endless"), weights, cfg, files)


def ctrl_c(model):
    t = Terminal("-m", model, "--format", "raw", "-c", "90000", "--no-history")
    ready(t)
    t.type("a\r")
    t.see("bcdefghijklmnopqrstuvwxyz", timeout=120)
    t.type("\x03")
    t.see("stopped; what came stays in the conversation", "Ctrl-C stops an answer")
    ready(t, "and not the program")
    path = work("stopped.json")
    said = messages(t, path)
    case("what came stays", len(said) == 2 and len(said[1]["content"]) > 5, said)
    t.type("\x04")
    case("the program ends well", t.end() == 0)


def control_characters():
    """A model whose every word is ESC [ 2 J."""
    source = counting_model("counting-esc")
    tok = json.load(open(source + "/tokenizer.json"))
    esc, vocab = "\u011b", tok["model"]["vocab"]  # ESC in GPT-2's letters
    vocab = {esc if k == "c" else k: v for k, v in vocab.items()}
    tok["model"]["vocab"] = vocab
    write(source + "/tokenizer.json", tok)
    t = Terminal("-m", source, "--format", "raw", "-n", "2", "--no-history")
    ready(t)
    t.type("ab\r")
    t.see("\\x1bd", "an escape sequence of a model is shown, not obeyed")
    ready(t)
    t.type("\x04")
    t.end()
    done = paco("chat", "-m", source, "--format", "raw", "-n", "2", input="ab\n")
    case("a pipe gets the bytes as they are", done.stdout == "\x1bd\n", done)


def through_a_pipe(model):
    done = paco("chat", "-m", model, "--format", "raw", "-n", "3", "-q", input='ab\nx\\\ny\n"""p\nq"""\n')
    case("a pipe: a message each, and only answers", done.stdout == "cde\nz \nrst\n" and done.stderr == "", done)
    done = paco("chat", "-m", model, "--format", "raw", "-n", "3", "-q", "-p", "ab", input="")
    case("-p is the first message", done.stdout == "cde\n" and done.stderr == "", done)
    done = paco("chat", "-m", model, "--format", "raw", "-n", "3", "-q", input="h")
    case("a last line without its end", done.stdout == "ijk\n", done)
    done = paco("chat", "-m", model, "--format", "raw", "-n", "3", input="a\n/nosuch\nb\n")
    case("the first failure ends it", done.returncode == 1 and done.stdout == "bcd\n" and "there is no /nosuch" in done.stderr, done)
    done = paco("chat", "-m", model, "--format", "raw", "-c", "10", input="a" * 12 + "\n")
    case("a message that does not fit is refused with both numbers", done.returncode == 1 and done.stdout == "" and "has 12 tokens" in done.stderr and
         "holds 10" in done.stderr, done)
    done = paco("chat", "-m", model, "--format", "raw", "-n", "3", input="a\0b\n")
    case("a NUL", done.returncode == 1 and "NUL" in done.stderr, done)
    for args, part in (([], "who is to answer?"), (["-m", "/nowhere"], "/nowhere"), (["--api", "x", "--diff", "d"], "--diff is for models here"),
                       (["--api", "x", "--adapter", "d"], "--adapter is for models here"),
                       (["--api", "x", "--format", "tulu"], "--format is for models here"), (["--api", "x", "--bos", "never"], "--bos is for models here"),
                       (["--api", "x", "-c", "99"], "--context is for models here"),
                       (["--api", "http://h", "--api-key-env", "NOT_SET"], "the environment has no NOT_SET"), (["-m", model, "hello"], "hello")):
        done = paco("chat", *args, input="")
        case("refused: %s" % " ".join(args)[:60], done.returncode in (1, 2) and part in done.stderr, done)


def as_training_saw_it():
    """Several turns: each answer is what generate gives for the conversation so far, from a model whose every token counts."""
    cfg = dict(config(vocab=V, hidden=32, layers=2, heads=2, kv_heads=1, ff=64), max_position_embeddings=512)
    source = counting_model("counting-tulu")
    files = {f: open(os.path.join(source, f), "rb").read() for f in ("tokenizer.json", "tokenizer_config.json")}
    model = save(work("random"), llama(cfg, spread=0.6, seed=5), cfg, files)
    for form in ("tulu", "alpaca", "vicuna", "chatml", "llama2", "llama3", "raw"):
        path = work("%s.json" % form)
        said = "abc\n hello \n/system mind\nlong words\n/retry\n/undo\n/set tokens 5\nmore\nandmore\n/stats\n"
        done = paco("chat", "-m", model, "--format", form, "-n", "12", "--dtype", "f32", "--verbose", input=said + "/save %s\n" % path)
        if not case("%s: a conversation" % form, done.returncode == 0, done):
            continue
        talk = json.load(open(path))["messages"]
        users = [m["content"] for m in talk if m["role"] == "user"]
        case("%s: /undo and /system did what they say" % form, talk[0] == {"role": "system", "content": "mind"} and
             [u.strip() for u in users] == ["abc", "hello", "more", "andmore"], talk)
        want = []
        for i, m in enumerate(talk):
            if m["role"] == "assistant" and i > 5:  # the system message came after the first
                write(work("turn.jsonl"), json.dumps({"messages": talk[:i]}) + "\n")
                g = paco("generate", "-m", model, "--format", form, "-n", "5", "--dtype", "f32", "-f", work("turn.jsonl"))
                want.append((i, json.loads(g.stdout)))
        case("%s: answers are generate's for the whole conversation" % form, len(want) == 2 and all(talk[i]["content"] == g["text"] for i, g in want),
             (talk, want))
        read = [tuple(map(int, m)) for m in re.findall(r"(\d+) tokens, of which (\d+) were new", done.stderr)]
        case("%s: and so are the numbers of their tokens" % form, [r[0] for r in read[-2:]] == [g["n_prompt"] for _, g in want], (read, want))
        case("%s: only what is new is computed" % form, all(0 < new < n for n, new in read[-1:]) and read[1][1] < read[1][0], read)


def piped_into(model, stop):
    """A conversation on a pipe that ends in the middle of its first answer, and what it said."""
    p = subprocess.Popen([PACO, "chat", "-m", model, "--format", "raw", "-c", "90000"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
    p.stdin.write(b"a\na\n")
    p.stdin.close()
    p.stdout.read(5)
    stop(p)
    out = b"" if p.stdout.closed else p.stdout.read()
    said = p.stderr.read().decode()
    return p.wait(), out, said


def ends_of_pipes(model):
    code, out, said = piped_into(model, lambda p: p.send_signal(signal.SIGINT))
    case("Ctrl-C on a pipe ends it, not one answer", code in (-2, 130) and out.count(b"\n") == 1 and said == "", (code, out[-40:], said))
    code, _, said = piped_into(model, lambda p: p.stdout.close())
    case("a reader that left is no reason for words", code in (-13, 141) and said == "", (code, said))


def behind_an_endpoint(model):
    api = Api()

    def ask(*args, said="hi\n", faults=(), **more):
        api.faults = list(faults)
        api.asked.clear()
        return paco("chat", "--api", api.url, *args, input=said, **more)

    done = ask("-m", "some-model", "--temp", "0.5", "--seed", "3", "--system", "be kind", said="hi\nagain\n")
    case("an endpoint answers", done.returncode == 0 and done.stdout == "Hello w\u00f6rld\n" * 2, done)
    path, body, key = api.asked[-1]
    case("it is asked with the whole conversation", path == "/v1/chat/completions" and key is None and body == {
        "model": "some-model", "messages": [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hi"},
                                            {"role": "assistant", "content": "Hello w\u00f6rld"}, {"role": "user", "content": "again"}],
        "stream": True, "stream_options": {"include_usage": True}, "temperature": 0.5, "seed": 3}, body)
    for fault in ("crlf", "comments", "bytes", "whole"):
        done = ask(faults=[fault])
        case("a stream: %s" % fault, done.returncode == 0 and done.stdout == ("all at once\n" if fault == "whole" else "Hello w\u00f6rld\n"), done)
    done = ask(faults=["length"])
    case("an answer that was cut off says so", "cut off: it had the most tokens allowed" in done.stderr, done)
    done = ask(faults=[503, 429])
    case("busy is asked again", done.returncode == 0 and len(api.asked) == 3, (done, api.asked))
    for fault, part, out in (("break", "127.0.0.1", "Hel\n"), ("no end", None, None), ("error", "the cards caught fire", "Hel\n"), ("nonsense", "{not json", "Hel\n"),
                             ("page", "sign in", ""), (400, "status 400", ""), (401, "status 401", ""), (404, "no such model", "")):
        done = ask(faults=[fault])
        if fault == "no end":
            case("a stream that just ends is an error", done.returncode == 1 and "broke off" in done.stderr, done)
        else:
            case("a fault: %s" % fault, done.returncode == 1 and part in done.stderr and done.stdout == out and len(api.asked) == 1, (done, len(api.asked)))
    os.environ["MY_KEY"] = "sk-secret"
    done = ask("--api-key-env", "MY_KEY", faults=[400])
    case("the key is sent, and never shown", api.asked[0][2] == "Bearer sk-secret" and "sk-secret" not in done.stderr + done.stdout and "[key]" in done.stderr, done)
    for key in ([], ["--api-key-env", "MY_KEY"]):
        done = ask(*key, faults=[401])
        case("a key that is missed or refused is said with its option%s" % (", refused" if key else ""), "--api-key-env" in done.stderr, done)
    done = paco("chat", "--api", "http://127.0.0.1:9", input="hi\n")
    case("nobody there", done.returncode == 1 and "127.0.0.1:9" in done.stderr, done)
    api.delay, api.answer, api.faults = 0.3, ["word "] * 50, []
    t = Terminal("--api", api.url, "--no-history")
    ready(t)
    t.type("go\r")
    t.see("word word", "answers come as they are written")
    t.type("\x03")
    t.see("stopped; what came stays", "Ctrl-C stops one")
    ready(t)
    t.type("/format tulu\r")
    t.see("the format is the endpoint's affair", "/format")
    ready(t)
    t.type("/model other\r")
    t.see("other at http://127.0.0.1", "/model")
    ready(t)
    api.faults = [400]
    t.type("/retry\r")
    t.see("the answer before stays", "/retry that fails")
    ready(t)
    t.type("/stats\r")
    t.see("2 messages", "takes nothing back")
    ready(t)
    api.delay, api.answer = 0, ["fine", "\x1b[2J", "\u202e", "\u009b"]
    t.type("and now?\r")
    t.see("fine\\x1b[2J\\u202e\\x9b", "control characters of an endpoint")
    ready(t)
    case("the other model is asked", api.asked[-1][1]["model"] == "other" and len(api.asked[-1][1]["messages"]) == 3, api.asked[-1])
    t.type("\x04")
    case("done there", t.end() == 0)


def behind_paco_serve():
    """The real server: a base and a fine-tune of it, by /model, whose tokens are counted."""
    base = babbler()
    with Server("-m", base, "--alias", "base", "--adapter", "tuned=" + adapter("tuned", 1), "--api-key", "sk-right") as server:
        os.environ["MY_KEY"] = "sk-right"
        done = paco("chat", "--api", "http://127.0.0.1:%d/v1" % server.port, "-m", "tuned", "--api-key-env", "MY_KEY", "-n", "8", "--temp", "0",
                    input="abc\n/stats\n/undo\n/model base\nabc\n")
        said = {m: server.post("/v1/chat/completions", {"model": m, "max_tokens": 8, "temperature": 0, "messages": [{"role": "user", "content": "abc"}]},
                               {"Authorization": "Bearer sk-right"})[1] for m in ("tuned", "base")}
        case("paco serve: fine-tune and base answer by /model, each in its words", done.returncode == 0 and all(
            r["choices"][0]["message"]["content"] in done.stdout for r in said.values()) and "base at" in done.stderr, done)
        total = said["tuned"]["usage"]["total_tokens"]
        case("paco serve: /stats counts its tokens", "2 messages, %d tokens with the last answer" % total in done.stdout, (done, total))
        done = paco("chat", "--api", "http://127.0.0.1:%d/v1" % server.port, "--api-key-env", "MY_KEY", input="a" * 2000 + "\n")
        case("paco serve: what does not fit is refused with both numbers", done.returncode == 1 and "1024 tokens" in done.stderr and "20" in done.stderr, done)


def models(model):
    other = counting_model("counting-other")
    t = Terminal("-m", model, "--format", "raw", "-n", "2", "--no-history")
    ready(t)
    t.type("/model /nowhere/at/all\r")
    t.see("/nowhere/at/all", "/model that is not there")
    ready(t)
    t.type("a\r")
    t.see("bc", "the one before goes on")
    ready(t)
    t.type("/model %s\r" % other)
    t.see("counting-other", "/model")
    ready(t)
    t.type("/format raw\r")
    t.see("format raw")
    ready(t)
    t.type("d\r")
    t.see("ef", "another model goes on with the conversation")
    ready(t)
    t.type("\x04")
    case("and ends", t.end() == 0)
    t = Terminal("-m", model, "--format", "raw", "-n", "2", TERM="dumb")
    t.see("> ")
    t.type("a\n")
    t.see("bc", "a dumb terminal")
    t.see("> ")
    t.type("\x04")
    case("ends, too", t.end() == 0)


counting = counting_model("counting")
on_a_terminal(counting)
several_lines(counting)
stopping(counting)
endless = endless_model()
ctrl_c(endless)
ends_of_pipes(endless)
control_characters()
through_a_pipe(counting)
as_training_saw_it()
behind_an_endpoint(counting)
behind_paco_serve()
models(counting)
finish()
