"""Serving frameworks and toolkits found in the system's Python, and as container images."""

from __future__ import annotations

import re
from typing import Any

from console.facts.fact import Fact
from console.facts.grammar import clean

NAMES = ("vllm", "vllm-ascend", "sglang", "torch", "torch-npu", "transformers", "triton", "tensorrt-llm", "lmdeploy",
         "mindspore", "mindie", "mindie-llm", "onnxruntime", "onnxruntime-gpu", "deepspeed", "ray", "flashinfer-python",
         "text-generation", "ktransformers", "llama-cpp-python")

# Names and versions are those of the folders that pip leaves beside a package; asking importlib.metadata for them
# costs ten times as long, and is not there before Python 3.8.
PYTHON = r"""import os
names, seen = "@NAMES@".split(), set()
for folder in sys.path:
    try:
        entries = sorted(os.listdir(folder)) if folder else ()
    except OSError:
        continue
    for entry in entries:
        if not entry.endswith((".dist-info", ".egg-info")):
            continue
        words = entry.rsplit(".", 1)[0].split("-")
        name = words[0].lower().replace("_", "-").replace(".", "-")
        if name in names and name not in seen:
            seen.add(name)
            print("python|%s|%s" % (name, words[1] if len(words) > 1 else ""))
""".replace("@NAMES@", " ".join(NAMES))
"""The part of a program for Python that prints what is installed for it, ``sys`` being imported."""

SHELL = r"""for t in ollama llama-server vllm sglang mindieservice_daemon trtllm-serve; do
command -v "$t" >/dev/null 2>&1 && printf 'program|%s|\n' "$t"; done
for f in /usr/local/Ascend/mindie/latest/version.info /usr/local/cuda/version.json; do
[ -r "$f" ] && printf 'file|%s|%s\n' "$f" "$(tr -d '\n' < "$f" | cut -c 1-400)"; done
"""
"""The part of a shell script that prints what is installed elsewhere."""


def _found(text: str) -> list[dict[str, Any]]:
    """``kind`` (python, program, file), ``name``, ``version`` where told."""
    found = []
    for line in clean(text).splitlines():
        kind, mark, rest = line.partition("|")
        name, _, said = rest.partition("|")
        if mark and kind in ("python", "program", "file"):
            version = re.search(r"\d+(?:\.\w+)+[\w.+-]*", said[:400])
            found.append({"kind": kind, "name": name, "version": version[0] if version else None})
    return found


def fact_of(asked: Fact) -> Fact:
    """The fact, found in the output of the one that asks the interpreters."""
    return Fact("frameworks.found", asked.argv, asked.timeout_s, _found, of=asked.id)
