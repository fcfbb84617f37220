"""``sealift demo``: the main job from end to end on the practice site, as the commands an operator would type.

It holds no logic of its own: every step is one command of this program, shown before it runs, on a workspace
that is thrown away afterwards. What it proves is therefore what the commands do.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from console import units
from console.errors import EXIT_BAD_VERDICT, VerdictError, code
from console.i18n import N_

STEP_FAILED = code(
    "demo.step-failed",
    VerdictError,
    N_("The demonstration stopped at `sealift {command}` (exit code {exit_code})."),
    N_("The lines above say what went wrong. The workspace is kept at {workspace}."),
)

SERVERS = ("practice-nvidia", "practice-ascend", "practice-amd")


def register(sub: argparse._SubParsersAction, common: list[argparse.ArgumentParser]) -> None:
    """Add ``demo``."""
    parser = sub.add_parser("demo", parents=common, help="the main job end to end on the practice site, without hardware")
    parser.add_argument("--keep", action="store_true", help="keep the workspace and the drive afterwards and say where they are")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, app: Any) -> int:
    """Run every stage; the last one verifies the exported audit package."""
    from console.cli.main import main

    scratch = Path(tempfile.mkdtemp(prefix="sealift-demo-"))
    scratch.chmod(0o700)
    console = _Console(main, scratch / "workspace", app.lang)
    began, finished = time.monotonic(), False
    try:
        summary = _job(console, scratch)
        finished = True
    finally:
        console.quietly("practice", "down")
        if finished and not args.keep:
            shutil.rmtree(scratch, ignore_errors=True)
    summary["seconds"] = round(time.monotonic() - began, 1)
    if args.keep:
        summary["workspace"] = str(console.workspace)
    app.out(
        summary,
        lambda: app.t(
            N_("Done in {seconds} s: {answers} servers answered, and the exported record is verified."),
            seconds=summary["seconds"],
            answers=len(summary["answers"]),
        ),
    )
    return 0 if summary["audit"] == "verified" else EXIT_BAD_VERDICT


class _Console:
    """Types commands: shows each one on stderr, runs it, and reads its one JSON document."""

    def __init__(self, main: Callable[[list[str]], int], workspace: Path, lang: str):
        self._main, self.workspace, self._lang = main, workspace, lang

    def __call__(self, *words: str, accept: tuple[int, ...] = (0,)) -> dict[str, Any]:
        print(f"\n$ sealift {' '.join(words)}", file=sys.stderr, flush=True)
        began = time.monotonic()
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exit_code = self._main(["--workspace", str(self.workspace), "--lang", self._lang, "--json", *words])
        document = json.loads(printed.getvalue())
        if exit_code not in accept:
            print(json.dumps(document, indent=2, ensure_ascii=False), file=sys.stderr)
            raise STEP_FAILED(command=" ".join(words), exit_code=exit_code, workspace=str(self.workspace))
        print(f"  exit {exit_code}, {units.duration(time.monotonic() - began)}", file=sys.stderr)
        return document

    def say(self, text: str) -> None:
        print(f"  {text}", file=sys.stderr, flush=True)

    def quietly(self, *words: str) -> None:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            self._main(["--workspace", str(self.workspace), "--json", *words])


def _job(console: _Console, scratch: Path) -> dict[str, Any]:
    drive, key, public = scratch / "drive", scratch / "builder.key", scratch / "builder.pub"
    console("site", "init", "--name", "Demonstration", "--jurisdiction", "other", "--classification", "internal")

    # The connected side: a signing key, and a bundle written onto a drive.
    console("key", "new", "--out", str(key), "--no-passphrase")
    console("key", "public", str(key), "--out", str(public))
    built = console("practice", "bundle", "--out", str(drive), "--key", str(key))
    console.say(f"{built['files']} files, {units.size(built['bytes'])}, bundle {built['bundle_id']}")

    # Inside: nothing is trusted until the key's fingerprint was compared.
    unknown = console("bundle", "verify", str(drive), accept=(EXIT_BAD_VERDICT,))
    console.say(f"before the key is trusted: {unknown['verdict']}")
    fingerprint = console("trust", "fingerprint", str(public))["fingerprint"]
    console("trust", "add", str(public), "--name", "builder", "--fingerprint", fingerprint)
    verified = console("bundle", "verify", str(drive))
    console.say(f"after: {verified['verdict']}, every one of {units.size(verified['bytes'])} hashed")
    release = console("bundle", "import", str(drive))["release_id"]

    console("practice", "up")
    found = console("inventory", *SERVERS)
    for server in found["servers"]:
        console.say(f"{server['name']}: {len(server['devices'])} devices")
    ready = console("ready", *SERVERS, "--playbook", "onnx-smoke", accept=(0, EXIT_BAD_VERDICT))
    for server in ready["servers"]:
        counts = {v: sum(c["verdict"] == v for c in server["checks"]) for v in ("pass", "info", "warn", "fail", "unknown")}
        console.say(f"{server['name']}: " + ", ".join(f"{n} {v}" for v, n in counts.items() if n))

    pushed = console("push", release, "--to", *SERVERS)
    for server in pushed["servers"]:
        console.say(f"{server['name']}: {server['outcome']} ({server['degree']}), {units.size(server['bytes_sent'])} sent")

    plan = console("deploy", "plan", "onnx-smoke", "--release", release, "--to", *SERVERS)
    for server in plan["servers"]:
        console.say(f"{server['name']}: " + "; ".join(change["summary"] for change in server["changes"]))
    console("deploy", "approve", plan["id"])
    applied = console("deploy", "apply", plan["id"])
    smoked = console("smoke", "service", applied["deployment"])
    answers = {server["name"]: server["answer"] for server in smoked["servers"]}
    for name, answer in answers.items():
        console.say(f"{name} answers: {answer}")

    console("audit", "verify")
    exported = console("audit", "export", "--out", str(drive))
    checked = console("audit", "verify-export", exported["folder"], "--key", exported["verifier_key"])
    console.say(f"exported record: {checked['verdict']}, {checked['records']} records")
    return {"answers": answers, "audit": checked["verdict"], "records": checked["records"], "release_id": release}
