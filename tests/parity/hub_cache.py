# SPDX-License-Identifier: Apache-2.0
"""What paco pull leaves in the cache, as huggingface_hub finds it: scan_cache_dir, snapshot_download and hf_hub_download without a
network; and the other way round, a cache that huggingface_hub filled, where paco has nothing to fetch. Both speak with the same
imitation of the hub. Stack: today."""
import os
import random
import sys

from common import ROOT, case, equal, finish, paco, work

sys.path.insert(0, str(ROOT / "tests" / "integration"))
os.environ.setdefault("PACO", "paco")  # tiny.py wants it; nothing there is run
from fake_hub import Hub, Repo  # noqa: E402

FILES = {"config.json": b"{}", "model.safetensors": random.Random(1).randbytes(200000), "a/b/c d.txt": b"text", "empty.txt": b""}


def main():
    hub, top = Hub(), work("hub")
    repo = Repo(FILES, ["model.safetensors"])
    hub.repos["org/name"] = {"main": repo, "v1": repo}
    for key in [k for k in os.environ if k.startswith("HF_") or "proxy" in k.lower()]:
        del os.environ[key]
    os.environ.update(HF_ENDPOINT=hub.url, HF_HOME=str(top), HF_HUB_DISABLE_XET="1", HF_HUB_DISABLE_PROGRESS_BARS="1")
    import huggingface_hub as hh

    def offline(**more):
        return hh.snapshot_download("org/name", local_files_only=True, cache_dir=str(top / "hub"), **more)

    with case("pull: huggingface_hub finds the snapshot"):
        done = paco("pull", "org/name")
        equal("path", offline(), done.json["path"])
        for name, data in FILES.items():
            path = hh.hf_hub_download("org/name", name, local_files_only=True, cache_dir=str(top / "hub"))
            equal(name, open(path, "rb").read(), data)
    with case("pull: a tag"):
        paco("pull", "org/name@v1")
        equal("path", offline(revision="v1"), offline())
    with case("pull: scan_cache_dir has no complaint"):
        info = hh.scan_cache_dir(str(top / "hub"))
        equal("warnings", [str(w) for w in info.warnings], [])
        (found,) = info.repos
        equal("repository", (found.repo_id, found.repo_type, found.nb_files, found.size_on_disk),
              ("org/name", "model", len(FILES), sum(map(len, FILES.values()))))
        equal("refs", sorted(found.refs), ["main", "v1"])
    with case("pull: online huggingface_hub has nothing to fetch"):
        hub.asked.clear()
        hh.snapshot_download("org/name", cache_dir=str(top / "hub"))
        equal("asked for", [a for a in hub.asked if a[0] == "storage"], [])
    with case("pull: nothing to fetch where huggingface_hub was before"):
        other = work("other")
        hh.snapshot_download("org/name", cache_dir=str(other / "hub"))
        os.environ["HF_HOME"] = str(other)
        hub.asked.clear()
        paco("pull", "org/name")
        equal("requests", len(hub.asked), 1)
    finish()


main()
