"""Serving frameworks and toolkits found in the system's Python, and as container images."""

from __future__ import annotations

import re
from typing import Any

from console.facts.fact import Fact
from console.facts.grammar import clean

NAMES = ("vllm", "vllm-ascend", "sglang", "torch", "torch-npu", "transformers", "triton", "tensorrt-llm", "lmdeploy",
         "mindspore", "mindie", "mindie-llm", "onnxruntime", "onnxruntime-gpu", "deepspeed", "ray", "flashinfer-python",
         "text-generation", "ktransformers", "llama-cpp-python")

_SCRIPT = r"""python3 - <<'END' 2>/dev/null
try:
    from importlib import metadata
except ImportError:
    raise SystemExit
for name in "@NAMES@".split():
    try:
        print("python|%s|%s" % (name, metadata.version(name)))
    except Exception:
        pass
END
for t in ollama llama-server vllm sglang mindieservice_daemon trtllm-serve; do
command -v "$t" >/dev/null 2>&1 && printf 'program|%s|\n' "$t"; done
for f in /usr/local/Ascend/mindie/latest/version.info /usr/local/cuda/version.json; do
[ -r "$f" ] && printf 'file|%s|%s\n' "$f" "$(tr -d '\n' < "$f" | cut -c 1-400)"; done
exit 0""".replace("@NAMES@", " ".join(NAMES))


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


FACTS = [Fact("frameworks.found", ("sh", "-c", _SCRIPT), 30, _found)]
