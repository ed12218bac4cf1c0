#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Training under mpirun: the same bytes for 1, 2 and 4 ranks, going on with another number of them, a rank that dies."""
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from ranked import ENV, MODULES, STEPS, command, inputs, log, processes, read, same, train, wait_for  # noqa: E402
from tiny import case, finish, work  # noqa: E402


def equal_ranks():
    one = work("one")
    r = train(1, one, "--dtype", "f32")
    case("one process trains", r.returncode == 0 and len(log(one)) == STEPS, r)
    for n in (2, 4):
        for zero in ("0", "1", "3"):
            out = work(f"f32-{n}-{zero}")
            r = train(n, out, "--dtype", "f32", "--zero", zero)
            case(f"F32, {n} ranks, --zero {zero}: the same weights and log", r.returncode == 0 and same(out, one), r)
            case(f"{n} ranks print one result", r.stdout.count(f"{STEPS} steps") == 1, r.stdout)
    r = train(2, work("measured"), "--zero", "3", "--validation_split_percentage", "20")
    case("what nobody has whole is not measured", r.returncode != 0 and r.stderr.count("--zero 3 keeps the whole model nowhere") == 1, r.stderr)
    for flag, text in ((["--weights", "bf16"], "several ranks share F32 weights"),
                       (["--update_in_backward", "--gradient_accumulation_steps", "1", "--clip_grad_norm", "0"], "add up their gradients before")):
        r = train(2, work("alone"), *flag)
        case("for one process: " + flag[0], r.returncode != 0 and r.stderr.count(text) == 1 and not os.path.exists(work("alone")), r.stderr)
    r = train(3, work("three"), "--dtype", "f32")
    case("three ranks cannot share four slots", r.returncode != 0 and "1, 2 or 4 ranks" in r.stderr and r.stderr.count("3 ranks:") == 1, r.stderr)
    case("nothing is left of what could not begin", not os.path.exists(work("three")), r)


def bf16_ranks():
    a, b, more = work("passes-2"), work("passes-3"), ("--per_device_train_batch_size", "37")
    r, s = train(2, a, "--zero", "2", *more), train(2, b, "--zero", "3", *more)
    case("BF16, several passes a step: --zero 2 and 3 end with the same bytes", (r.returncode, s.returncode) == (0, 0) and same(a, b), (r, s))
    lora = ("--use_lora", "--lora_rank", "4", "--dtype", "f32")
    a, b = work("lora-1"), work("lora-4")
    r, s = train(1, a, *lora), train(4, b, *lora)
    case("LoRA, 4 ranks: the same adapter as one", (r.returncode, s.returncode) == (0, 0) and log(a) == log(b) and
         isinstance(read(a, "adapter_model.safetensors"), bytes) and
         read(a, "adapter_model.safetensors") == read(b, "adapter_model.safetensors"), (r, s))
    r = train(2, work("lora-3"), *lora, "--zero", "3")
    case("LoRA, --zero 3: the same adapter", r.returncode == 0 and log(a) == log(work("lora-3")) and
         read(a, "adapter_model.safetensors") == read(work("lora-3"), "adapter_model.safetensors"), r)
    for n in (2, 3):
        a, b = work(f"bf16-{n}-a"), work(f"bf16-{n}-b")
        r, again = train(n, a, "--zero", "2"), train(n, b, "--zero", "0", "-t", "2")
        case(f"BF16, {n} ranks: the same bytes each time", (r.returncode, again.returncode) == (0, 0) and same(a, b), (r, again))
    packs = ("--packing", "--max_seq_length", "90")
    out = [work(f"packs-{name}") for name in ("1", "4", "zero2", "zero3")]
    r = [train(1, out[0], *packs, "--dtype", "f32"), train(4, out[1], *packs, "--dtype", "f32"),
         train(2, out[2], *packs, "--zero", "2"), train(2, out[3], *packs, "--zero", "3")]
    case("packs: 1 and 4 ranks in F32, --zero 2 and 3 in BF16, end with the same bytes", not any(x.returncode for x in r) and
         same(out[0], out[1]) and same(out[2], out[3]) and not same(out[0], out[2]), r)
    lr = ("--dtype", "f32", "--optim_states", "8bit")
    a, b = work("8bit-1"), work("8bit-2")
    case("8-bit states, 2 ranks: the same as one", (train(1, a, *lr).returncode, train(2, b, *lr).returncode) == (0, 0) and same(a, b))


def other_ranks():
    whole, parts = work("whole"), work("parts")
    more = ("--dtype", "f32", "--checkpointing_steps", "5", "--keep", "0")
    r = train(1, whole, *more)
    s = train(2, parts, *more, "--zero", "3")
    case("checkpoints are the same bytes with 1 and 2 ranks", (r.returncode, s.returncode) == (0, 0) and
         all(read(whole, f"step_{k}", "model.safetensors") == read(parts, f"step_{k}", "model.safetensors") for k in (5, 10)), (r, s))
    for n in (1, 2, 4):
        out = work(f"on-{n}")
        os.makedirs(out)
        shutil.copytree(os.path.join(parts, "step_5"), os.path.join(out, "step_5"))
        shutil.copy(os.path.join(parts, "train_log.jsonl"), out)
        r = train(n, out, *more, "--resume", "--zero", "3" if n == 2 else "1")
        case(f"what 2 ranks began, {n} end with the same bytes", r.returncode == 0 and same(out, whole), r)


def quirks():
    """Two of upstream's processes: a micro-batch each, and a tick of the schedule each."""
    more = ("--dtype", "f32", "--upstream-quirks", "--gradient_accumulation_steps", "1", "--warmup_ratio", "0", "--zero", "2", "--logging_steps", "4")
    two, one, flat = work("quirks-2"), work("quirks-1"), ("--lr_scheduler_type", "constant")
    r = train(2, two, *more, *flat, "--per_device_train_batch_size", "4")
    s = train(1, one, *more, *flat, "--per_device_train_batch_size", "2", "--gradient_accumulation_steps", "2")
    case("two ranks' batch of 4 is two micro-batches of 2", (r.returncode, s.returncode) == (0, 0) and same(one, two), (r, s))
    ticks = work("ticks")
    r = train(2, ticks, *more, "--per_device_train_batch_size", "4")
    rates = [row[3] for row in log(ticks)]
    # 37 examples in batches of 2 are 19 an epoch, two epochs 38 ticks; 10 updates an epoch take two each.
    case("the schedule ticks twice a step", [round(x * 38e3, 6) for x in rates] == [max(0, 38 - 2 * k) for k in range(20)], rates)
    case("and the next step's rate is said", "Step: 4, LR: %r, " % rates[4] in r.stderr and "Step: 20, LR: 0.0, " in r.stderr, r.stderr)
    r = train(2, work("uneven"), *more)
    case("a batch that ranks cannot share", r.returncode != 0 and "batches of 3 cannot be shared by 2 ranks evenly" in r.stderr, r.stderr)


def apart(*more, second=(), out="out"):
    """Two ranks as on two machines: each in a folder of its own, which has the same base and examples in it and no name in common."""
    each = []
    for side, extra in (("a", more), ("b", (*more, *second))):
        folder = os.path.dirname(work(side, "x"))
        if not os.path.exists(os.path.join(folder, "model")):
            shutil.copytree(work("model"), os.path.join(folder, "model"))
            shutil.copy(work("data.jsonl"), folder)
        args = command(1, out, *extra)
        args[args.index("-m") + 1], args[args.index("--train_file") + 1] = "model", "data.jsonl"
        each.append(["-n", "1", "--wdir", folder, *args])
    return subprocess.run(["mpirun", "--oversubscribe", *each[0], ":", *each[1]], env=ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, timeout=120)


def folders_apart():
    """What rank 0 alone has: the output directory, its checkpoints, the answer to whether all is done."""
    a, b = os.path.dirname(work("a", "x")), os.path.dirname(work("b", "x"))
    f32, out = ("--dtype", "f32", "--checkpointing_steps", "5", "--keep", "0"), os.path.join(a, "out")
    r = apart(*f32, "--zero", "3")
    case("folders that ranks do not share: the same bytes", r.returncode == 0 and same(out, work("one")), r)
    case("and nothing in that of rank 1", sorted(os.listdir(b)) == ["data.jsonl", "model"], os.listdir(b))
    r = apart(*f32, "--resume")
    case("rank 0 alone can see that all is done", r.returncode == 0 and r.stderr.count("nothing left to do") == 1, r)
    for zero, states in (("0", "f32"), ("1", "8bit"), ("2", "bf16"), ("3", "8bit")):
        whole, on = work("a", f"whole-{states}"), work("a", f"on-{zero}")
        more = (*f32, "--optim_states", states)
        if not os.path.exists(whole):
            train(1, whole, *more)
        os.makedirs(on)
        shutil.copytree(os.path.join(whole, "step_10"), os.path.join(on, "step_10"))
        shutil.copytree(os.path.join(whole, "step_5"), os.path.join(on, "step_5"))
        shutil.copy(os.path.join(whole, "train_log.jsonl"), on)
        if zero == "2":  # the latest is damaged
            with open(os.path.join(on, "step_10", "model.safetensors"), "r+b") as f:
                f.seek(-5, os.SEEK_END)
                f.write(b"\xff")
        r = apart(*more, "--resume", "--zero", zero, out=os.path.basename(on))
        case(f"what rank 0 alone has is gone on with by both, --zero {zero}, {states}", r.returncode == 0 and same(on, whole), r)
    case("still nothing in the folder of rank 1", sorted(os.listdir(b)) == ["data.jsonl", "model"], os.listdir(b))
    r = apart(*f32)
    case("what is there is refused once", r.returncode != 0 and r.stderr.count("is there already") == 1 and "rank 1" not in r.stderr, r.stderr)
    r = apart(*f32, "--resume_from_checkpoint", "out/step_10", out="from")
    case("rank 0's checkpoint by name", r.returncode == 0 and same(os.path.join(a, "from"), out) or log(os.path.join(a, "from"))[-1] == log(out)[-1], r)


def refused_together():
    """Ranks that were not given the same end together, and the message says who and what."""
    def refused(name, text, second=(), more=()):
        r = apart("--dtype", "f32", *more, second=second, out="never")
        case(name, r.returncode != 0 and re.search(text, r.stderr) and r.stderr.count("rank 1: ") == 1 and
             not os.path.exists(work("a", "never")), (r.returncode, r.stderr))
    b = os.path.dirname(work("b", "x"))
    refused("another learning rate", r"rank 1: does not do what rank 0 does; what differs: learning_rate \(rank 0: 0.001, here: 0.002\)",
            ("--learning_rate", "2e-3"))
    refused("other checkpoints and another --zero", r"zero \(rank 0: 1, here: 2\).*checkpointing_steps \(rank 0: not given, here: \"7\"\)",
            ("--zero", "2", "--checkpointing_steps", "7"))
    refused("other instructions", r"what differs: instructions \(--cpu\) \(rank 0: \".*\", here: \"scalar\"\)", ("--cpu", "scalar"))
    text = read(b, "data.jsonl").decode()
    with open(os.path.join(b, "data.jsonl"), "w", encoding="utf-8") as f:
        f.write(text.replace("a", "b", 1))
    refused("other examples", r"rank 1: does not do what rank 0 does; what differs: train_file\. All ranks")
    os.unlink(os.path.join(b, "data.jsonl"))
    refused("no examples on one machine", r"data\.jsonl: rank 1: .*No such file")
    shutil.copy(work("data.jsonl"), b)
    weights = os.path.join(b, "model", "model.safetensors")
    with open(weights, "r+b") as f:
        f.seek(-7, os.SEEK_END)
        f.write(b"\x3d")
    refused("another base", r"rank 1: does not do what rank 0 does; what differs: model\.")
    shutil.copy(os.path.join(work("model"), "model.safetensors"), weights)


def no_place():
    """The model cannot get its name at the end: all ranks' shares are kept."""
    out = work("no-place")
    os.makedirs(os.path.join(out, "config.json", "in the way"))
    more = ("--dtype", "f32", "--zero", "3")
    r = train(2, out, *more, "--force")
    left = [n for n in os.listdir(out) if n.startswith("step_")]
    case("no place for the model: what ranks trained is kept", r.returncode == 1 and left == [f"step_{STEPS}"] and
         r.stderr.count("--resume writes the model") == 1 and "MPI_ABORT" not in r.stderr, (r.stderr, left))
    shutil.rmtree(os.path.join(out, "config.json"))
    r = train(4, out, *more, "--resume")
    case("and then a place", r.returncode == 0 and same(out, work("one")), r)


def small_disk():
    """The plan counts what rank 0 puts together before it is written; what it says is enough."""
    r = train(2, work("never"), "--zero", "3", "--checkpointing_steps", "5", "--keep", "1", "--plan", "--json")
    disk = json.loads(r.stdout)["disk"] if r.returncode == 0 else {"gathering": 0, "total": 0}
    n = os.path.getsize(os.path.join(work("one"), "model.safetensors"))
    case("the plan of the disk has all", disk["gathering"] >= 3 * n - 65536 and disk["total"] >= 2 * disk["checkpoint"] + disk["gathering"] +
         disk["model"], disk)
    top = os.path.dirname(work("small", "x"))
    for missing in (1 << 20, 0):
        if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={disk['total'] + 65536 - missing}", "none", top],
                                               capture_output=True).returncode != 0:
            print("ok - # SKIP a small disk needs root")
            return
        try:
            out = os.path.join(top, "out")
            r = train(2, out, "--zero", "3", "--checkpointing_steps", "5", "--keep", "1")
            if missing:
                case("a disk a little too small is refused", r.returncode != 0 and "free there" in r.stderr and not os.path.exists(out), r.stderr)
            else:
                case("one as large as the plan says is enough", r.returncode == 0 and os.path.exists(os.path.join(out, "config.json")), r)
        finally:
            subprocess.run(["umount", top], check=True)


def dead_rank():
    for victim in (1, 0):
        out = work(f"dead-{victim}")
        more = ("--dtype", "f32", "--checkpointing_steps", "5", "--num_train_epochs", "400")
        p = subprocess.Popen(command(2, out, *more), env=ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        begun = wait_for(os.path.join(out, "step_5"), p)
        try:
            os.kill(processes(out)[victim], signal.SIGKILL)
        except (KeyError, ProcessLookupError) as e:
            begun = f"{begun}, {e!r}"
        _, err = p.communicate(timeout=60)
        case(f"rank {victim} dies: the job ends, and says who and how to go on",
             begun is True and p.returncode != 0 and re.search(rf"rank {victim} \(process \d+ on .*\) is gone", err) and
             re.search(r"The same command with --resume goes on from .*/step_\d+", err) and err.count("is gone") == 1, (begun, p.returncode, err))
        steps = [s for s in os.listdir(out) if s.startswith("step_") and "." not in s]
        r = train(4, out, *more, "--max_train_steps", "1")
        case("a rank that died left checkpoints", bool(steps), os.listdir(out))
        case("another run does not take their place unasked", r.returncode != 0 and "is there already" in r.stderr, r.stderr)


def asked_to_stop():
    out = work("stopped")
    whole = work("whole-6")
    more = ("--dtype", "f32", "--num_train_epochs", "30")
    p = subprocess.Popen(command(2, out, *more), env=ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    begun = wait_for(os.path.join(out, "train_log.jsonl"), p)
    time.sleep(0.2)
    p.send_signal(signal.SIGUSR1)
    _, err = p.communicate(timeout=60)
    case("SIGUSR1 saves and stops all ranks", begun and p.returncode != 0 and "is kept in" in err and len(log(out)) < 210, (p.returncode, err))
    r, s = train(4, out, *more, "--resume"), train(1, whole, *more)
    case("going on from there ends with the same bytes", (r.returncode, s.returncode) == (0, 0) and same(out, whole), (r, s))


def main():
    inputs()
    if not shutil.which("mpirun") or not os.path.exists(os.path.join(MODULES, "libpaco-mpi.so")):
        print("ok - training on several ranks # SKIP no mpirun, or built without MPI: install openmpi-bin and libopenmpi-dev")
        return finish()
    equal_ranks()
    bf16_ranks()
    other_ranks()
    quirks()
    folders_apart()
    refused_together()
    no_place()
    small_disk()
    dead_rank()
    asked_to_stop()
    return finish()


main()
