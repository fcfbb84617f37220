"""Smoke computation on a server's devices: a small matrix product in the framework's own Python, compared with the CPU.

Read-only: nothing is written, a few MiB of device memory are used for a moment. Where no framework is installed the
answer is unknown, and says so.
"""

from __future__ import annotations

import json
from typing import Any

from console.i18n import N_
from console.smoke.result import Probe, SmokeResult
from console.transport.base import Completed, Transport

NO_PYTHON = N_("The server has no python3, so nothing could be computed on its devices.")
NO_FRAMEWORK = N_("The server's python3 has neither torch with CUDA or ROCm nor torch_npu, so nothing could be "
                  "computed "
                  "on its devices.")
NO_DEVICE = N_("The framework is installed and sees no device.")
WRONG = N_("The device computed a wrong result.")
BROKE = N_("The computation ended with an error: {error}")
LATE = N_("The computation did not end within {timeout_s} s.")

_COMPUTE = r"""
import json, sys
def say(**found):
    print(json.dumps(found)); sys.exit(0)
try:
    import torch
except Exception:
    say(state="no-framework")
kind = None
try:
    import torch_npu
    kind = "npu" if torch.npu.is_available() else None
except Exception:
    pass
if kind is None and torch.cuda.is_available():
    kind = "cuda"
if kind is None:
    say(state="no-device" if torch.version.cuda or getattr(torch.version, "hip", None) else "no-framework",
        torch=torch.__version__)
results = []
count = getattr(torch, kind).device_count()
torch.manual_seed(7)
a, b = torch.randn(256, 256), torch.randn(256, 256)
right = a @ b
for index in range(count):
    try:
        got = (a.to("%s:%d" % (kind, index)) @ b.to("%s:%d" % (kind, index))).cpu()
        worst = float((got - right).abs().max() / right.abs().max())
        results.append({"index": index, "worst": worst, "ok": worst < 0.02})
    except Exception as error:
        results.append({"index": index, "error": str(error)[:300], "ok": False})
say(state="computed", torch=torch.__version__, kind=kind, devices=results)
"""


def device(ctx: Any, transport: Transport, *, python: str = "python3", timeout_s: float = 180) -> SmokeResult:
    """Compute on every device that the server's framework sees.

    Args:
        python: the interpreter that has the framework.

    Raises:
        WorldError: the link broke.
    """
    ctx.checkpoint()
    done = transport.run((python, "-c", _COMPUTE), timeout_s=timeout_s, max_output_bytes=256 << 10)
    return SmokeResult("device", transport.server, _judge(done, timeout_s))


def _judge(done: Completed, timeout_s: float) -> tuple[Probe, ...]:
    seconds = round(done.duration_s, 3)
    if done.timed_out:
        return (Probe("device", "fail", seconds=seconds, reason=LATE, params={"timeout_s": timeout_s}),)
    if done.exit_code in (126, 127):
        return (Probe("device", "unknown", seconds=seconds, reason=NO_PYTHON),)
    try:
        found = json.loads(done.stdout.splitlines()[-1])
        state = found["state"]
    except (ValueError, IndexError, KeyError, TypeError, RecursionError):
        error = (done.stderr or done.stdout)[-500:].decode("utf-8", "replace")
        return (Probe("device", "fail", seconds=seconds, reason=BROKE, params={"error": error}),)
    if state != "computed":
        return (Probe("device", "unknown", got=str(found.get("torch", "")), seconds=seconds,
                      reason=NO_DEVICE if state == "no-device" else NO_FRAMEWORK),)
    rows = [row for row in found.get("devices", []) if isinstance(row, dict)]
    if not rows:
        return (Probe("device", "unknown", seconds=seconds, reason=NO_DEVICE),)
    return tuple(_row(found, row, seconds) for row in rows)


def _row(found: dict[str, Any], row: dict[str, Any], seconds: float) -> Probe:
    asked = f"{found.get('kind')}:{row.get('index')}, torch {found.get('torch')}"
    if row.get("ok") is True:
        return Probe("device", "pass", asked, f"{row.get('worst')}", seconds)
    if "error" in row:
        return Probe("device", "fail", asked, "", seconds, BROKE, {"error": str(row["error"])})
    return Probe("device", "fail", asked, f"{row.get('worst')}", seconds, WRONG)
