"""The decoding code of the small ONNX runtime, as the servers run it, loaded from ``assets/runtime``."""

from __future__ import annotations

import importlib.util
import json
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from console.assets import asset
from console.errors import InputError, WorldError, code
from console.i18n import N_

NO_MODEL = code("smoke.bad-model", InputError, N_("This folder does not hold a model for the small runtime: {reason}."),
                N_("Name a folder with model.onnx, config.json and tokenizer.json, such as the smoke model of the "
                   "bundle."))
NO_RUNTIME = code("smoke.no-onnxruntime", WorldError, N_("onnxruntime cannot be loaded on this console: {reason}."),
                  N_("The processor may be older than x86-64-v2. Smoke inference on servers still works."))


def package() -> Path:
    """The folder of the server package, whose ``decode`` module the console shares."""
    return asset("runtime") / "onnx_server"


def smoke_model() -> Path:
    """The folder of the model that ships with the program."""
    return asset("smoke-model")


@cache
def _decode() -> ModuleType:
    try:
        import onnxruntime  # noqa: F401  asked for here, so that its absence has a name of its own
    except ImportError as problem:
        raise NO_RUNTIME(reason=str(problem)) from None
    spec = importlib.util.spec_from_file_location("sealift_onnx_decode", package() / "decode.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def load(model_dir: Path) -> Any:
    """The model in ``model_dir``, ready to answer.

    Raises:
        InputError: ``smoke.bad-model``. WorldError: ``smoke.no-onnxruntime``.
    """
    decode = _decode()
    try:
        return decode.SmallModel(model_dir)
    except decode.ModelError as problem:
        raise NO_MODEL(reason=str(problem)) from None


def expected(raw: bytes | None) -> list[dict[str, str]]:
    """Questions with their known answers out of an ``expected.json``.

    Raises:
        InputError: ``smoke.bad-model``.
    """
    try:
        answers = json.loads(raw or b"{}").get("answers", [])
        return [{"question": str(one["question"]), "answer": str(one["answer"])} for one in answers[:200]]
    except (ValueError, RecursionError, AttributeError, TypeError, KeyError):
        raise NO_MODEL(reason="expected.json is malformed") from None
