"""Serving frameworks and toolkits found in the Pythons of the server, as programs, and as container images."""

from __future__ import annotations

import re
from typing import Any

from console.facts.fact import Fact
from console.facts.grammar import clean

NAMES = ("vllm", "vllm-ascend", "sglang", "torch", "torch-npu", "transformers", "triton", "tensorrt-llm", "lmdeploy",
         "mindspore", "mindie", "mindie-llm", "onnxruntime", "onnxruntime-gpu", "deepspeed", "ray", "flashinfer-python",
         "text-generation", "ktransformers", "llama-cpp-python")



def _pattern(name: str) -> str:
    """A pattern of the shell for what pip may have made of a name: small or capital letters, and any of its separators."""
    return "".join(f"[{letter.lower()}{letter.upper()}]" if letter.isalpha() else "[-_.]" if letter == "-" else letter for letter in name)


LOOK = r"""look() { who=$1; shift
for d; do [ -d "$d" ] || continue
for e in "$d"/*-info; do e=${e##*/}
case $e in @NAMES@) out="${out}package|$e|$who
";; esac; done; done; }""".replace(
    "@NAMES@", "|".join(f"{_pattern(name)}[-.]*-info" for name in NAMES))
"""A function for the shell that puts into ``out`` the packages that are of interest here in the folders that it is given, by the names of
the folders that pip leaves beside each; the interpreter that they are for comes first."""

SHELL = r"""for t in ollama llama-server vllm sglang mindieservice_daemon trtllm-serve; do
command -v "$t" >/dev/null 2>&1 && out="${out}program|$t|
"; done
for f in /usr/local/Ascend/mindie/latest/version.info /usr/local/cuda/version.json; do
[ -r "$f" ] && out="${out}file|$f|$(tr -d '\n' < "$f" | cut -c 1-400)
"; done
"""
"""The part of a shell script that puts into ``out`` what is installed elsewhere."""


def _found(text: str) -> list[dict[str, Any]]:
    """``kind`` (python, program, file), ``name``, ``version`` where told, and ``where`` for a package the interpreter it is for."""
    found: dict[tuple[str, str, str | None], dict[str, Any]] = {}
    for line in clean(text).splitlines():
        kind, mark, rest = line.partition("|")
        name, _, said = rest.partition("|")
        if not mark or kind not in ("package", "program", "file"):
            continue
        where = None
        if kind == "package":
            words, where = name.rsplit(".", 1)[0].split("-"), said or None
            kind, name, said = "python", re.sub(r"[._]", "-", words[0].lower()), words[1] if len(words) > 1 else ""
            if name not in NAMES:
                continue
        version = re.search(r"\d+(?:\.\w+)+[\w.+-]*", said[:400])
        # An interpreter takes the first of the folders in which a package is.
        found.setdefault((kind, name, where), {"kind": kind, "name": name, "version": version[0] if version else None, "where": where})
    return list(found.values())


_IMAGE = re.compile(r"vllm|sglang|mindie|tensorrt|trt-?llm|tritonserver|lmdeploy|text-generation-inference|ollama|llama[.-]?cpp|ktransformers"
                    r"|onnxruntime|lightllm|xinference", re.IGNORECASE)


def images(names: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those of the container images whose name is that of a serving framework."""
    return [image for image in names if _IMAGE.search(image["name"][:300])]


def fact_of(asked: Fact) -> Fact:
    """The fact, found in the output of the one that asks the interpreters."""
    return Fact("frameworks.found", asked.argv, asked.timeout_s, _found, of=asked.id)
