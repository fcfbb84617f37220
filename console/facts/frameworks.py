"""Serving frameworks and toolkits found in the Pythons of the server, as programs, and as container images."""

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
            print("python|%s|%s|%s" % (name, words[1] if len(words) > 1 else "", sys.argv[1]))
""".replace("@NAMES@", " ".join(NAMES))
"""The part of a program for Python that prints what is installed for it, ``sys`` being imported, and the interpreter's path the
first argument."""

SHELL = r"""for t in ollama llama-server vllm sglang mindieservice_daemon trtllm-serve; do
command -v "$t" >/dev/null 2>&1 && printf 'program|%s|\n' "$t"; done
for f in /usr/local/Ascend/mindie/latest/version.info /usr/local/cuda/version.json; do
[ -r "$f" ] && printf 'file|%s|%s\n' "$f" "$(tr -d '\n' < "$f" | cut -c 1-400)"; done
"""
"""The part of a shell script that prints what is installed elsewhere."""


def _found(text: str) -> list[dict[str, Any]]:
    """``kind`` (python, program, file), ``name``, ``version`` where told, and ``where`` for a package the interpreter it is for."""
    found = []
    for line in clean(text).splitlines():
        kind, mark, rest = line.partition("|")
        name, _, said = rest.partition("|")
        if mark and kind in ("python", "program", "file"):
            version = re.search(r"\d+(?:\.\w+)+[\w.+-]*", said[:400])
            where = said.partition("|")[2] if kind == "python" else ""
            found.append({"kind": kind, "name": name, "version": version[0] if version else None, "where": where or None})
    return found


_IMAGE = re.compile(r"vllm|sglang|mindie|tensorrt|trt-?llm|tritonserver|lmdeploy|text-generation-inference|ollama|llama[.-]?cpp|ktransformers"
                    r"|onnxruntime|lightllm|xinference", re.IGNORECASE)


def images(names: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those of the container images whose name is that of a serving framework."""
    return [image for image in names if _IMAGE.search(image["name"][:300])]


def fact_of(asked: Fact) -> Fact:
    """The fact, found in the output of the one that asks the interpreters."""
    return Fact("frameworks.found", asked.argv, asked.timeout_s, _found, of=asked.id)
