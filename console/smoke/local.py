"""Smoke inference in the console itself: proves that the model answers, before any server is touched."""

from __future__ import annotations

import time
from pathlib import Path

from console.i18n import N_
from console.smoke import runtime
from console.smoke.result import Probe, SmokeResult

WRONG = N_("The answer differs from the known one: {expected}")
NOTHING_KNOWN = N_("The folder has no expected.json, so the answer cannot be compared.")


def local(model_dir: Path | None = None) -> SmokeResult:
    """Answer every question of ``expected.json`` with onnxruntime and compare.

    Args:
        model_dir: a folder with model.onnx; None for the smoke model that ships with the program.

    Raises:
        InputError: ``smoke.bad-model``. WorldError: ``smoke.no-onnxruntime``.
    """
    folder = Path(model_dir) if model_dir else runtime.smoke_model()
    model = runtime.load(folder)
    file = folder / "expected.json"
    known = runtime.expected(file.read_bytes() if file.is_file() and file.stat().st_size < 1 << 20 else None)
    if not known:
        return SmokeResult("local", "console", (_unknown(model),))
    probes = tuple(_compared(model, one["question"], one["answer"]) for one in known)
    return SmokeResult("local", "console", probes, probes[0].got)


def _compared(model, question: str, right: str) -> Probe:
    began = time.monotonic()
    got = model.answer(question)
    seconds = round(time.monotonic() - began, 4)
    if got == right:
        return Probe("completion", "pass", question, got, seconds)
    return Probe("completion", "fail", question, got, seconds, WRONG, {"expected": right})


def _unknown(model) -> Probe:
    began = time.monotonic()
    got = model.answer("Hello")
    return Probe("completion", "unknown", "Hello", got, round(time.monotonic() - began, 4), NOTHING_KNOWN)
