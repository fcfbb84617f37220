"""``sealift self-test``: proves on this very machine that the parts of the installed program work together."""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from console.errors import EXIT_BAD_VERDICT, EXIT_DONE, SealiftError, VerdictError, code
from console.i18n import N_

WRONG = code(
    "self-test.wrong", VerdictError, N_("{part} gave something else than it must: {found}."),
    N_("Install the program again. If it stays, report it with the output of sealift self-test --json."),
)

CONFIRMED = "sealift self-test"


def register(sub: argparse._SubParsersAction, common: list[argparse.ArgumentParser]) -> None:
    """Add ``self-test``."""
    parser = sub.add_parser("self-test", parents=common, help="prove that this installation works: window, models, SSH, store, signing")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace, app: Any) -> int:
    with tempfile.TemporaryDirectory(prefix="sealift-self-test-", ignore_cleanup_errors=True) as scratch:
        parts = [
            _part("store and audit", lambda: _store(Path(scratch))),
            _part("signing", lambda: _signing(Path(scratch))),
            _part("smoke model", _model),
            _part("SSH to a practice server", lambda: _practice(Path(scratch))),
            *([_part("window", app.window_check)] if app.window_check else []),
        ]
    good = all(part["verdict"] == "pass" for part in parts)
    data = {"verdict": "pass" if good else "fail", "parts": parts}
    app.out(data, lambda: "\n".join(f"{p['verdict'].upper():<4}  {p['part']:<26} {p['seconds']:6.2f} s  {p['told']}" for p in parts))
    return EXIT_DONE if good else EXIT_BAD_VERDICT


def _part(name: str, work: Callable[[], str]) -> dict[str, Any]:
    began = time.monotonic()
    try:
        verdict, told = "pass", work()
    except SealiftError as problem:
        verdict, told = "fail", f"{problem} [{problem.code}]"
    except Exception as problem:  # the very purpose: whatever a broken installation raises is the finding
        verdict, told = "fail", f"{type(problem).__name__}: {problem}"
    return {"part": name, "verdict": verdict, "seconds": round(time.monotonic() - began, 3), "told": told}


def _store(scratch: Path) -> str:
    from console.engine import Engine

    with Engine.open(scratch / "workspace") as engine:
        engine.site.init("Self-test", "other", "internal")
        found = engine.audit.verify()
        if found["verdict"] != "verified":
            raise WRONG(part="the audit log", found=found["verdict"])
        exported = engine.audit.export(scratch)
    from console.audit.package import verify_export

    checked = verify_export(Path(exported["folder"]), exported["verifier_key"])
    if checked["verdict"] != "verified":
        raise WRONG(part="the exported record", found=checked["verdict"])
    return f"{checked['records']} records exported and verified"


def _signing(scratch: Path) -> str:
    from console.bundles.build import build
    from console.bundles.verify import verify
    from console.jobs.job import NullContext
    from console.smoke.practice_bundle import MODEL_FILES
    from console.smoke.runtime import smoke_model
    from console.trust.keys import PrivateKey

    key, ctx, model = PrivateKey.generate(), NullContext(), scratch / "model"
    model.mkdir()
    for name in MODEL_FILES:
        shutil.copyfile(smoke_model() / name, model / name)
    built = build(ctx, model, scratch / "drive", [key])
    found = verify(ctx, [scratch / "drive"], {key.public.keyid: (key.public, "self-test")})
    if found["verdict"] != "verified":
        raise WRONG(part="a fresh bundle", found=found["verdict"])
    one = next(p for p in (built.folders[0] / "objects").rglob("*") if p.is_file() and p.stat().st_size)
    raw = bytearray(one.read_bytes())
    raw[0] ^= 1
    one.write_bytes(raw)
    found = verify(ctx, [scratch / "drive"], {key.public.keyid: (key.public, "self-test")})
    if found["verdict"] != "failed":
        raise WRONG(part="a damaged bundle", found=found["verdict"])
    return f"{built.files} files signed and verified; one flipped bit refused"


def _model() -> str:
    from console.smoke.local import local

    result = local()
    bad = [p for p in result.probes if p.verdict != "pass"]
    if bad:
        raise WRONG(part="the smoke model", found=f"{bad[0].asked} → {bad[0].got}")
    return f"{len(result.probes)} known answers"


def _practice(scratch: Path) -> str:
    from console.practice.server import PracticeServer, make_key
    from console.transport.ssh import connect
    from console.transport.target import Target

    key = scratch / "practice-key"
    server = PracticeServer(scratch / "practice", authorized_key=make_key(key))
    server.start()
    try:
        target = Target("self-test", server.address, server.port, server.user, (server.host_key,), "key", str(key))
        link = connect(target)
        try:
            done = link.run(("printf", "%s", CONFIRMED))
        finally:
            link.close()
    finally:
        server.stop()
    if done.stdout.decode() != CONFIRMED:
        raise WRONG(part="the practice server", found=done.stdout.decode("utf-8", "replace")[:200])
    return "connected, host key checked, a command run"
