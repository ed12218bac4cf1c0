# SPDX-License-Identifier: Apache-2.0
"""What every parity script shares: finding things, running paco, and the lines a run is judged by.

A script makes its inputs with a reference stack, runs paco on them, and compares live:

    from common import case, equal, finish, paco, work

    with case("recover: sharded .bin, f16 base"):
        out = work() / "tuned"
        paco("recover", "--raw", raw, "--diff", diff, "--out", out)
        equal("model.norm.weight", got, want)
    finish()

Each case prints one line, PASS, FAIL or SKIP, then the reason; finish() prints `N passed, N failed, N skipped` and
exits 1 when something failed. An exception inside a case fails that case only. Python 3.9+, standard library only: it
runs under both stacks (see setup.sh).

Environment
    PACO              the binary (default: build/paco of this tree)
    PACO_DATA         the test data (default: ../shared/data beside this tree); cases that need it skip without it
    PACO_PARITY_HOME  where setup.sh put the stacks and the default model (default: ~/.cache/paco-parity)
    PACO_PARITY_WORK  where scratch directories go (default: /var/tmp); they are removed at exit unless PACO_PARITY_KEEP
    PACO_PARITY_BIG   1 to run the cases that take gigabytes or many minutes
    PACO_PEERS_HOME   where bench/peers/run put llama.cpp (default: ~/.cache/paco-peers); cases that need it skip without it
    PACO_PARITY_UPDATE  1 to write the committed fixtures anew instead of comparing with them
"""
import atexit
import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import traceback

ROOT = pathlib.Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "tests" / "fixtures"

_counts = {"PASS": 0, "FAIL": 0, "SKIP": 0}


class Failed(Exception):
    """A comparison that did not hold; the message says what was found and what was expected."""


class Skipped(Exception):
    """This case cannot run here; the message says what is missing."""


@contextlib.contextmanager
def case(name):
    """One case: PASS when the block ends, FAIL when it raises, SKIP when it raises Skipped."""
    started = time.monotonic()
    try:
        yield
        verdict, why = "PASS", ""
    except Skipped as e:
        verdict, why = "SKIP", str(e)
    except Failed as e:
        verdict, why = "FAIL", str(e)
    except Exception as e:
        verdict, why = "FAIL", "%s: %s\n%s" % (type(e).__name__, e, traceback.format_exc())
    _counts[verdict] += 1
    print("%s %s (%.1f s)%s" % (verdict, name, time.monotonic() - started, ": " + why if why else ""), flush=True)


def finish():
    """The closing line, and the exit code."""
    print("%d passed, %d failed, %d skipped" % (_counts["PASS"], _counts["FAIL"], _counts["SKIP"]), flush=True)
    sys.exit(1 if _counts["FAIL"] else 0)


def note(text):
    """A remark in the log, such as a figure measured; judged by nobody."""
    print("     " + text, flush=True)


def expect(truth, message):
    """Fail the case with message unless truth."""
    if not truth:
        raise Failed(message)


def equal(what, got, want):
    """Fail unless got == want, naming what, and the first place where two sequences part."""
    if got == want:
        return
    if isinstance(got, (list, tuple, str, bytes)) and isinstance(want, type(got)):
        at = next((i for i, (a, b) in enumerate(zip(got, want)) if a != b), min(len(got), len(want)))
        lo = max(0, at - 5)
        raise Failed("%s: lengths %d and %d, first difference at %d: got ...%r, expected ...%r"
                     % (what, len(got), len(want), at, got[lo:at + 8], want[lo:at + 8]))
    raise Failed("%s: got %r, expected %r" % (what, got, want))


def data(name):
    """A path inside the test data; skips the case when it is not there."""
    home = pathlib.Path(os.environ.get("PACO_DATA") or ROOT.parent / "shared" / "data")
    path = home / name
    if not path.exists():
        raise Skipped("no %s (set PACO_DATA)" % path)
    return path


def parity_home():
    """Where setup.sh put things."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return pathlib.Path(os.environ.get("PACO_PARITY_HOME") or os.path.join(cache, "paco-parity"))


def default_model():
    """The default model's .gguf file, as setup.sh fetched it; skips the case when it is not there."""
    path = parity_home() / "SmolLM2-135M-Instruct.Q4_1.gguf"
    if not path.exists():
        raise Skipped("no %s (run tests/parity/setup.sh)" % path)
    return path


def big():
    """Whether the long cases were asked for."""
    return os.environ.get("PACO_PARITY_BIG", "") not in ("", "0")


def work(name=None):
    """A scratch directory of this run, made once per name."""
    if not hasattr(work, "top"):
        work.top = pathlib.Path(tempfile.mkdtemp(prefix="paco-parity.", dir=os.environ.get("PACO_PARITY_WORK", "/var/tmp")))
        if not os.environ.get("PACO_PARITY_KEEP"):
            atexit.register(shutil.rmtree, work.top, ignore_errors=True)
    path = work.top / name if name else work.top
    path.mkdir(parents=True, exist_ok=True)
    return path


def binary():
    """The paco under test."""
    path = pathlib.Path(os.environ.get("PACO") or ROOT / "build" / "paco").resolve()
    if not path.exists():
        raise Failed("no %s: build it (make) or set PACO" % path)
    return path


class Outcome:
    """What a finished command left: code, stdout and stderr (text), seconds, peak_rss (bytes), and json, the last
    line of stdout parsed, or None. lines() parses every line of stdout."""

    def __init__(self, argv, code, stdout, stderr, seconds, peak_rss):
        self.argv, self.code, self.stdout, self.stderr = argv, code, stdout, stderr
        self.seconds, self.peak_rss = seconds, peak_rss
        self.json = None
        if stdout.strip().endswith("}"):
            with contextlib.suppress(ValueError):
                self.json = json.loads(stdout.strip().splitlines()[-1])

    def lines(self):
        return [json.loads(line) for line in self.stdout.splitlines() if line.strip()]


# A process's ru_maxrss begins with the size of the process it was forked from. A command started straight from a Python
# that holds a model would be charged for that model: so a shell forks a small Python, which forks the command.
_METER = """
import os, sys, time
t = time.monotonic()
pid = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)
_, status, use = os.wait4(pid, 0)
with open(sys.argv[1], 'w') as f:
    f.write('%r %d' % (time.monotonic() - t, use.ru_maxrss * 1024))
sys.exit(os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status))
"""


def measure(argv, stdin=None, env=None, timeout=3600):
    """Run argv (anything str() can spell) to its end and return its Outcome. peak_rss has a floor of about 10 MB."""
    argv = [os.fspath(a) if isinstance(a, os.PathLike) else str(a) for a in argv]
    with tempfile.NamedTemporaryFile(prefix="paco-meter.") as meter:
        done = subprocess.run(
            ["sh", "-c", '"$@"; exit $?', "sh", sys.executable, "-I", "-S", "-c", _METER, meter.name] + argv,
            input=stdin if stdin is None or isinstance(stdin, bytes) else stdin.encode(), stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, env=env, timeout=timeout, check=False)
        seconds, rss = (meter.read().split() + [b"nan", b"0"])[:2]
    return Outcome(argv, done.returncode, done.stdout.decode("utf-8", "replace"),
                   done.stderr.decode("utf-8", "replace"), float(seconds), int(rss))


def paco(*args, json=True, code=0, stdin=None, env=None, timeout=3600):
    """Run paco with --json (unless json=False) and return its Outcome; fails the case on any other exit code than
    code (None accepts all)."""
    argv = [binary(), *args] + (["--json"] if json else [])
    outcome = measure(argv, stdin=stdin, env=env, timeout=timeout)
    if code is not None and outcome.code != code:
        raise Failed("paco %s: exit %d, expected %d: %s"
                     % (" ".join(outcome.argv[1:]), outcome.code, code, outcome.stderr.strip()[-800:]))
    return outcome


def fixture(name, value):
    """Hold a freshly made JSON value against the committed tests/fixtures/NAME, or write it when asked to."""
    path = FIXTURES / name
    if os.environ.get("PACO_PARITY_UPDATE"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value, ensure_ascii=True, separators=(",", ":")).replace("},{", "},\n{") + "\n")
        note("wrote %s, %d bytes" % (path, path.stat().st_size))
        return
    expect(path.exists(), "no %s (PACO_PARITY_UPDATE=1 writes it)" % path)
    equal(name, json.loads(path.read_text()), json.loads(json.dumps(value)))


def run_in(stack, script, *args, timeout=3600):
    """Run a script of this folder under the other stack ("today" or "era"); returns its Outcome. Skips the case when
    the stack is not there."""
    python = parity_home() / stack / "bin" / "python"
    if not python.exists():
        raise Skipped("no %s stack at %s (run tests/parity/setup.sh)" % (stack, python))
    outcome = measure([python, pathlib.Path(__file__).parent / script, *args], timeout=timeout)
    expect(outcome.code == 0, "%s under %s: exit %d: %s" % (script, stack, outcome.code, outcome.stderr.strip()[-2000:]))
    return outcome
