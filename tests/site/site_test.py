"""The main job on real servers, with the console killed, a cable cut and a server crashed on the way.

Run by ``make site-test`` as root. The servers are those of the shared testbed: systemd, OpenSSH, sudo that asks for
a password, the last one without python3. The console runs confined to their network (see ``testbed.py``), so a
connection to anything else cannot succeed. Prints one line a step and ends with ``N passed, N failed``.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import testbed  # noqa: E402
from testbed import Failed  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
SEALIFT = ROOT / ".venv" / "bin" / "sealift"
SERVERS = ("s1", "s2", "s3")
WITH_PYTHON, BARE = ("s1", "s2"), "s3"
BIG_BYTES = 256 << 20
"""Large enough that a push over the shaped link takes some 10 s, so that there is a middle to break it in."""


def expect(condition: object, what: str) -> None:
    if not condition:
        raise Failed(what)


class Console:
    """The real program as a process of its own in the confined namespace."""

    def __init__(self, folder: Path, program: tuple[str, ...] = (str(SEALIFT),)):
        self.folder, self.program = folder, program
        self.sudo = folder / "sudo.pw"
        self.sudo.write_text("ops-pw\n")
        self.sudo.chmod(0o600)

    def argv(self, *words: str) -> list[str]:
        return testbed.in_namespace([*self.program, "--workspace", str(self.folder / "workspace"), "--json", *words])

    def __call__(self, *words: str, accept: tuple[int, ...] = (0,)) -> dict[str, Any]:
        done = subprocess.run(self.argv(*words), capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode not in accept:
            raise Failed(f"`sealift {' '.join(words)}` gave {done.returncode}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
        expect("Traceback" not in done.stderr, f"`sealift {' '.join(words)}` printed a traceback:\n{done.stderr[-3000:]}")
        return json.loads(done.stdout)

    def start(self, *words: str) -> subprocess.Popen:
        return subprocess.Popen(self.argv("--progress", "json", *words), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                stdin=subprocess.DEVNULL, text=True, start_new_session=True)

    def on_server(self) -> tuple[str, ...]:
        return ("--sudo-password-file", str(self.sudo))


def until_bytes(process: subprocess.Popen, wanted: int, limit_s: float = 120) -> None:
    """Read a push's progress lines until one server has ``wanted`` bytes."""
    end = time.monotonic() + limit_s
    for line in process.stderr:
        try:
            event = json.loads(line)
        except ValueError:
            raise Failed(f"a line of --progress json is not JSON: {line!r}") from None
        if event.get("unit") == "bytes" and event.get("done", 0) >= wanted:
            return
        expect(time.monotonic() < end, "the push did not get that far in time")
    raise Failed(f"the push ended before it was broken: {process.stdout.read()[-2000:]}")


def big_model(folder: Path) -> None:
    """A safetensors model of random tensors, so that nothing in it repeats or packs."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"architectures": ["LlamaForCausalLM"], "model_type": "llama"}))
    size, tensors, offset = BIG_BYTES // 16, {}, 0
    for number in range(16):
        tensors[f"layer.{number:02d}.weight"] = {"dtype": "U8", "shape": [size], "data_offsets": [offset, offset + size]}
        offset += size
    header = json.dumps(tensors).encode()
    header += b" " * (-len(header) % 8)
    with (folder / "model.safetensors").open("wb") as out:
        out.write(struct.pack("<Q", len(header)) + header)
        for _ in range(16):
            out.write(os.urandom(size))


class SiteTest:
    """The steps, in order; each is a method whose docstring says what it shows."""

    def __init__(self, folder: Path, records: list[dict]):
        self.folder, self.records, self.console = folder, {r["name"]: r for r in records}, Console(folder)
        self.release = self.big = ""

    def steps(self) -> list[Callable[[], None]]:
        return [self.bundle, self.servers, self.inventory, self.readiness, self.kill_console, self.cut_cable,
                self.crash_server, self.push_practice, self.deploy, self.smoke, self.reboot, self.update_again, self.audit]

    def bundle(self) -> None:
        """A bundle is built, signed, refused without the key, verified with it, and imported."""
        c, drive, key, public = self.console, self.folder / "drive", self.folder / "k", self.folder / "k.pub"
        c("site", "init", "--name", "Testbed", "--jurisdiction", "other", "--classification", "internal")
        c("key", "new", "--out", str(key), "--no-passphrase")
        c("key", "public", str(key), "--out", str(public))
        c("practice", "bundle", "--out", str(drive), "--key", str(key))
        expect(c("bundle", "verify", str(drive), accept=(1,))["verdict"] == "unverified", "an unknown key was believed")
        c("trust", "add", str(public), "--name", "builder", "--fingerprint",
          c("trust", "fingerprint", str(public))["fingerprint"])
        expect(c("bundle", "verify", str(drive))["verdict"] == "verified", "the bundle is not verified")
        self.release = c("bundle", "import", str(drive))["release_id"]
        big_model(self.folder / "big")
        c("bundle", "build", str(self.folder / "big"), "--out", str(self.folder / "drive2"), "--key", str(key))
        self.big = c("bundle", "import", str(self.folder / "drive2"))["release_id"]

    def servers(self) -> None:
        """Servers are added; a wrong fingerprint is refused; the right one is trusted."""
        for name, record in self.records.items():
            self.console("server", "add", name, f"{record['user']}@{record['host']}", "--identity", record["key"],
                         "--sudo", "password")
            self.console("server", "trust", name, "SHA256:" + "A" * 43, accept=(1, 3))
            blob = base64.b64decode(record["host_key"])
            self.console("server", "trust", name,
                         "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("="))

    def inventory(self) -> None:
        """All servers answer, the bare one too."""
        found = self.console("inventory", *SERVERS, *self.console.on_server())
        expect(all(s["reached"] for s in found["servers"]), f"not all reached: {found}")

    def readiness(self) -> None:
        """Checks carry evidence, and nothing unknown is a pass."""
        ready = self.console("ready", *SERVERS, "--playbook", "onnx-smoke", accept=(0, 1))
        for server in ready["servers"]:
            expect(len(server["checks"]) >= 10, f"{server['name']} has {len(server['checks'])} checks")

    def _push(self, name: str, *more: str, accept: tuple[int, ...] = (0,)) -> dict:
        found = self.console("push", self.big, "--to", name, *more, accept=accept)
        return next(s for s in found["servers"] if s["name"] == name)

    def kill_console(self) -> None:
        """The console is killed in mid-push; the next push goes on from the last verified chunk."""
        testbed.testbed("shape", "s1", "200mbit")
        process = self.console.start("push", self.big, "--to", "s1")
        until_bytes(process, BIG_BYTES // 3)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        jobs = self.console("jobs", "list")
        expect(any(j["state"] == "interrupted" for j in jobs["jobs"]), f"the next start does not say what was cut off: {jobs}")
        result = self._push("s1")
        testbed.testbed("shape", "s1", "off")
        expect(result["outcome"] == "verified", f"not verified: {result}")
        expect(result["bytes_resumed"] >= BIG_BYTES // 4, f"hardly anything resumed: {result}")

    def cut_cable(self) -> None:
        """The cable is pulled in mid-push and plugged in again."""
        testbed.testbed("shape", "s2", "200mbit")
        process = self.console.start("push", self.big, "--to", "s2")
        until_bytes(process, BIG_BYTES // 3)
        testbed.testbed("cut", "s2")
        printed, _ = process.communicate(timeout=180)
        testbed.testbed("heal", "s2")
        expect(process.returncode in (1, 3), f"a push with no cable ended with {process.returncode}: {printed}")
        result = self._push("s2")
        testbed.testbed("shape", "s2", "off")
        expect(result["outcome"] == "verified" and result["bytes_resumed"] > 0, f"not resumed: {result}")

    def crash_server(self) -> None:
        """The server without python3 loses power in mid-push, boots, and the push goes on."""
        testbed.testbed("shape", BARE, "200mbit")
        process = self.console.start("push", self.big, "--to", BARE)
        until_bytes(process, BIG_BYTES // 3)
        testbed.testbed("crash", BARE)
        process.communicate(timeout=180)
        expect(process.returncode in (1, 3), f"a push to a dead server ended with {process.returncode}")
        testbed.testbed("boot", BARE)
        result = self._push(BARE)
        testbed.testbed("shape", BARE, "off")
        expect(result["outcome"] == "verified", f"not verified: {result}")
        self._same_bytes(BARE)

    def _same_bytes(self, name: str) -> None:
        digest = hashlib.sha256((self.folder / "big/model.safetensors").read_bytes()).hexdigest()
        found = testbed.testbed("sh", name, "find", "/home/ops/sealift/releases", "-name", "model.safetensors", "-size", "+100M",
                                "-exec", "sha256sum", "{}", "+")
        expect(digest in found, f"{name} does not hold the right bytes: {found}")

    def push_practice(self) -> None:
        """The smoke model goes to all servers at once."""
        found = self.console("push", self.release, "--to", *SERVERS)
        expect(all(s["outcome"] == "verified" for s in found["servers"]), f"not all verified: {found}")

    def deploy(self) -> None:
        """Deployed under systemd where there is python3; refused in plain words where there is none."""
        plan = self.console("deploy", "plan", "onnx-smoke", "--release", self.release, "--to", *SERVERS, *self.console.on_server())
        self.console("deploy", "approve", plan["id"])
        applied = self.console("deploy", "apply", plan["id"], *self.console.on_server(), accept=(0, 1, 3))
        self.deployment = applied["deployment"]
        by_name = {s["name"]: s for s in applied["servers"]}
        for name in WITH_PYTHON:
            expect(by_name[name]["outcome"] == "serving", f"{name}: {by_name[name]}")
            units = testbed.testbed("sh", name, "systemctl", "list-units", "--no-legend", "sealift*")
            expect("running" in units, f"{name} has no running unit: {units}")
        refused = by_name[BARE]
        expect(refused["outcome"] == "refused" and "python3" in refused["error"]["message"], f"{BARE}: {refused}")

    def smoke(self) -> None:
        """The model answers on each server that has python3."""
        smoked = self.console("smoke", "service", self.deployment, *self.console.on_server())
        answers = {s["name"]: s.get("answer") for s in smoked["servers"]}
        expect(all(answers.get(name) for name in WITH_PYTHON), f"no answer: {smoked}")

    def reboot(self) -> None:
        """A server that loses power comes back with the model answering."""
        testbed.testbed("crash", "s1")
        testbed.testbed("boot", "s1")
        end, smoked = time.monotonic() + 60, {}
        while time.monotonic() < end:
            smoked = self.console("smoke", "service", self.deployment, *self.console.on_server(), accept=(0, 1, 3))
            if any(s["name"] == "s1" and s.get("answer") for s in smoked.get("servers", [])):
                return
            time.sleep(2)
        raise Failed(f"s1 does not answer after a reboot: {smoked}")

    def update_again(self) -> None:
        """A second push of the same release sends nothing."""
        result = self._push("s1")
        expect(result["outcome"] == "verified" and result["bytes_sent"] == 0, f"sent again: {result}")

    def audit(self) -> None:
        """The log verifies; the exported package verifies with the key, and with nothing but Python."""
        expect(self.console("audit", "verify")["verdict"] == "verified", "the log does not verify")
        exported = self.console("audit", "export", "--out", str(self.folder / "drive"))
        checked = self.console("audit", "verify-export", exported["folder"], "--key", exported["verifier_key"])
        expect(checked["verdict"] == "verified", f"the export does not verify: {checked}")
        secrets = subprocess.run(["grep", "-rl", "ops-pw", exported["folder"], str(self.folder / "workspace")],
                                 capture_output=True, text=True).stdout
        expect(not secrets, f"the sudo password was written to: {secrets}")


if __name__ == "__main__":
    sys.exit(testbed.run("site-test", SiteTest, hosts=3, bare=1, disk="2G"))
