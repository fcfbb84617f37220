"""Inventories of real servers that are dead, cut off, slow, changed, without Python, behind bastions, or ask for a password.

Run as root: ``.venv/bin/python tests/site/inventory_site_test.py``; with ``--beside-window``, a process of its own asks the
servers, as where there is a window. The servers and the console's confinement are those of ``site_test.py``. Prints one line a step
and ends with ``N passed, N failed``.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import testbed  # noqa: E402
from site_test import SEALIFT, Console, expect  # noqa: E402

PROGRAM = (sys.executable, str(Path(__file__).parent / "beside_window.py")) if "--beside-window" in sys.argv else (str(SEALIFT),)
SERVERS = ("s1", "s2", "s3", "s4", "s5")
BARE = "s5"
NOTICED_S = 45
"""A pulled cable is noticed within this: keepalives every 8 s, and what is sent is given up after 25 s."""


def program(name: str, text: str, folder: Path) -> Path:
    """A folder that holds one program, for ``testbed profile``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)
    return folder


def on(name: str, script: str) -> str:
    """Run a script as root on a server, not over SSH."""
    return testbed.testbed("sh", name, "sh", "-c", script)


class InventorySiteTest:
    """The steps, in order; each leaves the servers as the next one expects them."""

    def __init__(self, folder: Path, hosts: list[dict]):
        self.folder, self.console = folder, Console(folder, PROGRAM)
        self.hosts = {host["name"]: host for host in hosts}

    def steps(self) -> list[Callable[[], None]]:
        return [self.known, self.healthy, self.values, self.leftovers, self.no_python, self.sudo, self.accounts, self.noisy, self.stubborn,
                self.bastions, self.busy_bastion, self.dead, self.slow, self.cut, self.changed_key, self.closed_bastion, self.differences,
                self.secrets]  # fmt: skip

    def ask(self, *words: str, accept: tuple[int, ...] = (0,), sudo: bool = True) -> dict[str, dict[str, Any]]:
        found = self.console("inventory", *words, *(self.console.on_server() if sudo else ()), accept=accept)
        return {server["name"]: server for server in found["servers"]}

    def fingerprint(self, name: str) -> str:
        return on(name, "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub").split()[1]

    def add(self, entry: str, name: str, *more: str) -> None:
        host = self.hosts[name]
        self.console("server", "add", entry, f"ops@{host['host']}", "--identity", host["key"], "--sudo", "password",
                     "--fingerprint", self.fingerprint(name), *more)  # fmt: skip

    def known(self) -> None:
        """Five servers are added, their keys compared on the servers themselves."""
        for name in SERVERS:
            self.add(name, name, "--group", "lab")
        listed = self.console("server", "list", "--group", "lab", "--sort", "address", "--state", "never-asked")["servers"]
        expect([s["name"] for s in listed] == list(SERVERS), f"the list is {listed}")

    def healthy(self) -> None:
        """All are read, with everything that needs root."""
        found = self.ask()
        for name in SERVERS:
            expect(found[name]["reached"], f"{name}: {found[name]['error']}")
            facts = found[name]["facts"]
            expect(facts["os.release"]["value"]["os_id"] == "debian", f"{name}: {facts['os.release']}")
            expect(facts["init.system"]["value"]["init"] == "systemd", f"{name}: {facts['init.system']}")
            odd = {n: f["reason"] for n, f in facts.items() if f["state"] == "unreadable" and n != "kernel.log"}
            expect(not odd, f"{name}: not read: {odd}")

    def values(self) -> None:
        """What was read is what the server's own commands say."""
        name = "s1"
        facts = {id: fact["value"] for id, fact in self.ask(name)[name]["facts"].items()}

        def said(script: str) -> str:
            return on(name, script).strip()

        def numbers(script: str) -> list[int]:
            return [int(word) for word in said(script).split()]

        same = {
            "os.kernel": said("uname -r"), "os.arch": said("uname -m"), "os.hostname": said("hostname"),
            "os.boot": said("cat /proc/sys/kernel/random/boot_id"), "os.virtualization": said("systemd-detect-virt"),
            "network.routes-tables": None}  # fmt: skip
        for id, value in same.items():
            expect(facts[id] == value, f"{id}: {facts[id]!r} is not {value!r}")
        routes = [(route["destination"], route["default"]) for route in facts["network.routes"]]
        expect(routes == [(line.split("/")[0], False) for line in said("ip -4 route").splitlines()], f"{routes}")
        expect(len(facts["network.routes6"]) == len(said("ip -6 route show table all | grep -v 'dev lo' || true").splitlines()), f"{facts['network.routes6']}")
        release = dict(line.split("=", 1) for line in said("cat /etc/os-release").splitlines())
        expect(facts["os.release"]["os_pretty_name"] == release["PRETTY_NAME"].strip('"'), f"{facts['os.release']}")
        expect(facts["cpu.info"]["cpu_count"] == numbers("nproc --all")[0] and facts["cpu.info"]["model_name"] in said("cat /proc/cpuinfo"),
               f"{facts['cpu.info']}")  # fmt: skip
        expect([node["cpus"] for node in facts["cpu.numa"]] == said("cat /sys/devices/system/node/node*/cpulist").split(), f"{facts['cpu.numa']}")
        expect(facts["memory.info"]["mem_total_kib"] == numbers("awk '/^MemTotal/ { print $2 }' /proc/meminfo")[0], f"{facts['memory.info']}")
        huge = {page["size_kib"]: page["total"] for page in facts["memory.hugepages"] or () if page["node"] is None}
        for size, total in huge.items():
            expect(total == numbers(f"cat /sys/kernel/mm/hugepages/hugepages-{size}kB/nr_hugepages")[0], f"{huge}")
        root = next(entry for entry in facts["disk.free"] if entry["mount"] == "/")
        size, free = numbers("df -B1 --output=size,avail / | tail -n 1")
        expect(root["size_bytes"] == size and abs(root["free_bytes"] - free) < 32 << 20, f"{root}")
        store = facts["disk.store"]
        expect((store["store"], store["folder"], store["writable"], store["mount"]) == ("/home/ops/sealift", "/home/ops", True, "/"), f"{store}")
        expect(abs(store["free_bytes"] - free) < 32 << 20 and store["inodes"] == numbers("df --output=itotal / | tail -n 1")[0], f"{store}")
        expect(any(entry["mount"] == "/" for entry in facts["disk.mounts"]), f"{facts['disk.mounts']}")
        eth = next(link for link in facts["network.links"] if link["name"] == "eth0")
        expect(eth["mac"] == said("cat /sys/class/net/eth0/address") and eth["mtu"] == numbers("cat /sys/class/net/eth0/mtu")[0], f"{eth}")
        [speed] = numbers("cat /sys/class/net/eth0/speed 2>/dev/null || echo -1")
        expect(eth["speed_mbit_per_s"] == (speed if speed > 0 else None), f"{eth}")
        expect(self.hosts[name]["host"] in [entry["address"] for entry in facts["network.addresses"]], f"{facts['network.addresses']}")
        expect([entry["port"] for entry in facts["net.listening"] if entry["address"] == "0.0.0.0"] == [22], f"{facts['net.listening']}")
        expect(abs(facts["time.sync"]["epoch_s"] - time.time()) < 30 and abs(facts["time.sync"]["console_offset_s"]) < 2, f"{facts['time.sync']}")
        expect(facts["time.sync"]["synchronized"] is (said("timedatectl show -p NTPSynchronized --value") == "yes"), f"{facts['time.sync']}")
        expect(facts["limits"]["open_files"]["hard"] == numbers("su ops -c 'ulimit -Hn'")[0], f"{facts['limits']}")
        rights, allowed = facts["sudo.rights"], facts["sudo.allowed"]
        expect((rights["user"], rights["uid"], rights["sudo"]) == ("ops", numbers("id -u ops")[0], "refused-without-password"), f"{rights}")
        expect(rights["groups"] == said("id -Gn ops").split() and allowed == {"everything": True, "rules": ["(ALL : ALL) ALL"]}, f"{allowed}")
        expect([p["path"] for p in facts["python.versions"]] == ["/usr/bin/python3"] and said("python3 -V") == f"Python {facts['python.versions'][0]['version']}",
               f"{facts['python.versions']}")  # fmt: skip
        expect(facts["init.system"]["services"]["systemd-timesyncd"] == said("systemctl is-active systemd-timesyncd || true"), f"{facts['init.system']}")
        for tool, path in facts["tools.present"].items():
            there = said(f"[ -e {path} ] && echo yes || echo no" if path else f"command -v {tool} || true")
            expect(there == ("yes" if path else ""), f"{tool} at {path}: {there}")

    def leftovers(self) -> None:
        """An inventory leaves no file, no process and no change on a server."""
        look = ("find / -xdev -newer /root/.stamp -type f -not -path '/proc/*' -not -path '/sys/*' -not -path '/run/*' -not -path '/var/log/*' "
                "-not -path '/dev/*' -not -path '/var/lib/systemd/*'; ps -u ops -o comm= | grep -vE '^(systemd|.sd-pam.|sshd|dbus-daemon)' || true")  # fmt: skip
        on("s1", "touch /root/.stamp; sync; sleep 1.1; touch /root/.stamp")
        self.ask("s1", "--full")
        left = [line for line in on("s1", look).split("\n") if line and line != "/root/.stamp"]
        expect(not left, f"left behind: {left}")

    def no_python(self) -> None:
        """The server without Python says so, and lacks nothing else."""
        facts = self.ask(BARE)[BARE]["facts"]
        expect(facts["python.versions"]["state"] == "empty", f"{facts['python.versions']}")
        expect(facts["tools.present"]["value"]["python3"] is None, "a python3 was found")
        expect(self.ask("s1")["s1"]["facts"]["python.versions"]["value"], "no Python on s1")

    def sudo(self) -> None:
        """A wrong or missing sudo password costs what needs root, in words, and nothing else."""
        right = self.ask("s1")["s1"]["facts"]["kernel.log"]
        expect("sudo" not in (right["reason"] or ""), f"with the right password: {right}")
        missing = self.ask("s1", sudo=False)["s1"]
        expect("sudo" in missing["facts"]["kernel.log"]["reason"], f"without: {missing['facts']['kernel.log']}")
        wrong = self.folder / "wrong.pw"
        wrong.write_text("not-it\n")
        refused = self.console("inventory", "s1", "--sudo-password-file", str(wrong))["servers"][0]
        expect(refused["reached"] and "wrong" in refused["facts"]["kernel.log"]["reason"], f"{refused['facts']['kernel.log']}")
        expect(refused["facts"]["os.kernel"]["state"] == "value", "the rest was lost with it")

    def accounts(self) -> None:
        """As root, as somebody without sudo, with other shells than bash, each is read as far as its rights go."""
        on("s1", "id plain 2>/dev/null || useradd -m -s /bin/sh plain; echo plain:ops-pw | chpasswd; mkdir -p /home/plain/.ssh; cp /home/ops/.ssh/authorized_keys /home/plain/.ssh/; "
                 "chown -R plain /home/plain/.ssh")  # fmt: skip
        mark, host = self.fingerprint("s1"), self.hosts["s1"]
        for entry, login, sudo in (("as-root", "root", "none"), ("no-sudo", "plain", "none"), ("not-allowed", "plain", "password")):
            self.console("server", "add", entry, f"{login}@{host['host']}", "--identity", host["key"], "--sudo", sudo, "--fingerprint", mark)
        found = self.ask("as-root", "no-sudo", "not-allowed")
        root, none, refused = (found[entry]["facts"] for entry in ("as-root", "no-sudo", "not-allowed"))
        expect(root["sudo.allowed"]["value"]["everything"] and root["sudo.rights"]["value"]["uid"] == 0, f"{root['sudo.allowed']}")
        expect("needs root" in none["sudo.allowed"]["reason"] and none["sudo.rights"]["value"]["user"] == "plain", f"{none['sudo.allowed']}")
        expect("plain" in refused["sudo.allowed"]["reason"] and "sudoers" in refused["sudo.allowed"]["reason"], f"{refused['sudo.allowed']}")
        for facts in (root, none, refused):
            expect(all(facts[id]["state"] == "value" for id in ("os.kernel", "memory.info", "disk.store")), "the rest was lost")

    def noisy(self) -> None:
        """Greetings, banners, and log-in files that talk, in Chinese too, are not taken for answers."""
        on("s2", "printf 'echo 欢迎; echo 警告 >&2; export LANG=zh_CN.UTF-8 LC_ALL=zh_CN.UTF-8; cd /tmp\\n' >/home/ops/.bashrc; "
                 "head -c 60000 /dev/urandom | base64 >/etc/issue.net; printf 'Banner /etc/issue.net\\nSetEnv LANG=zh_CN.UTF-8\\n' "
                 ">/etc/ssh/sshd_config.d/00-noisy.conf; systemctl restart ssh")  # fmt: skip
        facts = self.ask("s2")["s2"]["facts"]
        odd = {n: f["reason"] for n, f in facts.items() if f["state"] == "unreadable" and n != "kernel.log"}
        expect(not odd and facts["os.release"]["value"]["os_id"] == "debian" and "欢迎" not in json.dumps(facts, ensure_ascii=False), f"{odd}")
        on("s2", "rm /home/ops/.bashrc /etc/ssh/sshd_config.d/00-noisy.conf /etc/issue.net; systemctl restart ssh")

    def stubborn(self) -> None:
        """A tool that ignores the signal to end, and leaves a child that holds its output open, costs its own answer."""
        text = "trap '' TERM INT HUP; (trap '' TERM HUP; sleep 600) & echo part; while :; do sleep 1; done"
        testbed.testbed("profile", "s2", str(program("amd-smi", text, self.folder / "stubborn")))
        began = time.monotonic()
        facts = self.ask("s2")["s2"]["facts"]
        took = time.monotonic() - began
        left = on("s2", "pgrep -f '[a]md-smi' || true; pkill -KILL -x sleep || true").split()
        on("s2", "rm /usr/local/bin/amd-smi")
        expect("did not end within 60 s" in facts["amd.devices"]["reason"], f"{facts['amd.devices']}")
        expect(facts["os.kernel"]["state"] == "value" and facts["ascend.nodes"]["state"] == "empty", "the rest was lost")
        expect("not asked again" in facts["amd.topology"]["reason"] and took < 90, f"{took:.0f} s; {facts['amd.topology']['reason']}")
        expect(not left, f"it still runs: {left}")

    def bastions(self) -> None:
        """Through one bastion and through two, each key checked."""
        self.add("behind-one", "s3", "--jump", "s1")
        self.add("behind-two", "s3", "--jump", "s1", "--jump", "s2")
        found = self.ask("behind-one", "behind-two")
        for name, server in found.items():
            expect(server["reached"] and server["facts"]["os.hostname"]["value"] == found["behind-one"]["facts"]["os.hostname"]["value"],
                   f"{name}: {server['error']}")  # fmt: skip

    def busy_bastion(self) -> None:
        """Many servers behind a bastion that takes few log-ins at a time are all read, and it sees one log-in for them all."""
        names = [f"many-{number}" for number in range(24)]
        table = self.folder / "many.csv"
        host = self.hosts["s3"]
        table.write_text("name;address;user;identity;sudo;jump;group\n" + "".join(f"{n};{host['host']};ops;{host['key']};password;s1;many\n" for n in names))
        self.console("server", "import", str(table))
        pins = self.folder / "known_hosts"
        pins.write_text(f"{host['host']} ssh-ed25519 {host['host_key']}\n")
        self.console("server", "import", str(pins))
        on("s1", "echo 'MaxStartups 1:100:1' >/etc/ssh/sshd_config.d/00-few.conf; systemctl restart ssh; journalctl --rotate -q; journalctl --vacuum-time=1s -q")
        found = self.ask("@many")
        logins = on("s1", "journalctl -q -u ssh -g 'Accepted publickey' | wc -l").strip()
        on("s1", "rm /etc/ssh/sshd_config.d/00-few.conf; systemctl restart ssh")
        expect(len(found) == 24 and all(s["reached"] for s in found.values()), f"{[s['error'] for s in found.values() if not s['reached']][:2]}")
        expect(logins == "1", f"{logins} log-ins on the bastion")

    def dead(self) -> None:
        """A server that ended and one off the network are so in words; the others are read, and the run is done."""
        testbed.testbed("crash", "s3")
        testbed.testbed("cut", "s4")
        began = time.monotonic()
        found = self.ask(*SERVERS)
        took = time.monotonic() - began
        testbed.testbed("heal", "s4")
        expect([n for n in SERVERS if not found[n]["reached"]] == ["s3", "s4"], f"{ {n: f['error'] for n, f in found.items()} }")
        # The address of a container that ended may still answer, with a refusal.
        for name, codes in (("s3", ("ssh.refused", "ssh.unreachable", "ssh.timeout")), ("s4", ("ssh.unreachable", "ssh.timeout"))):
            error = found[name]["error"]
            expect(error["code"] in codes and error["retryable"] and error["remedy"] and name in error["message"], f"{error}")
        expect(took < 60, f"it took {took:.0f} s")
        alone = self.console("inventory", "s3", accept=(3,))
        expect(not alone["servers"][0]["reached"], "a dead server answered")
        testbed.testbed("boot", "s3")
        self.until_reached("s3")

    def until_reached(self, name: str) -> None:
        end = time.monotonic() + 60
        while not self.ask(name, accept=(0, 3))[name]["reached"]:
            expect(time.monotonic() < end, f"{name} did not come back")

    def streamed(self, *names: str, on_first: Callable[[], None] | None = None) -> tuple[list[dict], dict[str, Any], float]:
        """(results in the order of their arrival, the document, seconds after the first result)."""
        # The document goes to a file: nobody reads a pipe while the progress is read.
        out = self.folder / "document.json"
        with out.open("w") as file:
            process = subprocess.Popen(self.console.argv("--progress", "json", "inventory", *names, *self.console.on_server()),
                                       stdout=file, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)  # fmt: skip
        heard: list[dict] = []
        first = 0.0
        for line in process.stderr:
            event = json.loads(line)
            if event["event"] == "ServerResult":
                heard.append(event)
                if len(heard) == 1:
                    first = time.monotonic()
                    if on_first:
                        on_first()
        process.wait()
        document = json.loads(out.read_text())
        return heard, document, time.monotonic() - first

    def slow(self) -> None:
        """A thin link delays its own server only."""
        # More than passes at once before the limit is felt, and less than is read of a command.
        testbed.testbed("profile", "s2", str(program("nvidia-smi", "head -c 800000 /dev/zero | tr '\\000' x", self.folder / "much")))
        testbed.testbed("shape", "s2", "2mbit")
        try:
            heard, document, later = self.streamed("s1", "s2", "s3")
        finally:
            testbed.testbed("shape", "s2", "off")
            on("s2", "rm /usr/local/bin/nvidia-smi")
        expect(later > 3, f"the link was not slow: {later:.1f} s")
        expect([e["server"] for e in heard][-1] == "s2", f"the order was {[e['server'] for e in heard]}")
        expect(all(s["reached"] for s in document["servers"]), "a server was not read")

    def cut(self) -> None:
        """A cable pulled in the middle is noticed in time; the server ends as lost, the others as read."""
        testbed.testbed("profile", "s4", str(program("nvidia-smi", "sleep 25", self.folder / "hang")))
        heard, document, later = self.streamed("s1", "s4", on_first=lambda: testbed.testbed("cut", "s4"))
        testbed.testbed("heal", "s4")
        by_name = {s["name"]: s for s in document["servers"]}
        expect([e["server"] for e in heard] == ["s1", "s4"] and by_name["s1"]["reached"], f"{heard}")
        expect(by_name["s4"]["error"]["code"] == "ssh.connection-lost" and by_name["s4"]["error"]["retryable"], f"{by_name['s4']['error']}")
        expect(later < NOTICED_S, f"it was noticed after {later:.0f} s")
        on("s4", "rm /usr/local/bin/nvidia-smi")
        self.until_reached("s4")

    def changed_key(self) -> None:
        """A server with another host key is not spoken to, nor anything behind it, until its key is compared anew."""
        old = self.fingerprint("s1")
        on("s1", "rm /etc/ssh/ssh_host_*; ssh-keygen -A >/dev/null; systemctl restart ssh")
        new = self.fingerprint("s1")
        found = self.ask("s1", "s2", "behind-one")
        for name in ("s1", "behind-one"):
            error = found[name]["error"]
            expect(error and error["code"] == "ssh.host-key-changed", f"{name}: {error}")
            expect(old in error["message"] and new in error["message"] and "s1" in error["message"], f"{name}: {error['message']}")
        expect(found["s2"]["reached"], "another server was stopped with it")
        shown = self.console("server", "trust", "s1")
        expect(shown["changed"] and shown["fingerprint"] == new, f"{shown}")
        self.console("server", "trust", "s1", old, accept=(1,))
        self.console("server", "trust", "s1", new)
        expect(all(s["reached"] for s in self.ask("s1", "behind-one").values()), "not reached with the new key")

    def closed_bastion(self) -> None:
        """A bastion that forbids forwarding is named as what is in the way."""
        on("s1", "echo 'AllowTcpForwarding no' >/etc/ssh/sshd_config.d/00-closed.conf; systemctl restart ssh")
        error = self.ask("s1", "behind-one")["behind-one"]["error"]
        expect(error["code"] == "ssh.forward-refused" and "s1" in error["message"], f"{error}")
        on("s1", "rm /etc/ssh/sshd_config.d/00-closed.conf; systemctl restart ssh")

    def differences(self) -> None:
        """What changed on a server since the last time is told, kept and in the log; what cannot change is not asked again."""
        self.ask("s2")
        testbed.testbed("profile", "s2", str(program("podman", "echo podman version 5.0.3", self.folder / "podman")))
        server = self.ask("s2")["s2"]
        expect([(d["kind"], d["subject"]) for d in server["differences"]] == [("fact-changed", "containers.engines")],
               f"{server['differences']}")  # fmt: skip
        expect("asked_at" in server["facts"]["cpu.info"]["evidence"], "the processors were asked about again")
        shown = self.console("server", "show", "s2")
        expect(shown["inventory"]["differences"] == server["differences"], "server show does not tell the change")
        noted = self.console("audit", "list")
        expect("node.inventory-changed" in json.dumps(noted), "the change is not in the log")
        expect("asked_at" not in json.dumps(self.ask("s2", "--full")["s2"]["facts"]), "--full did not ask everything")

    def secrets(self) -> None:
        """No password is anywhere in the workspace."""
        found = subprocess.run(["grep", "-rlE", "ops-pw|not-it", str(self.folder / "workspace")], capture_output=True, text=True).stdout
        expect(not found, f"a password was written to: {found}")


if __name__ == "__main__":
    sys.exit(testbed.run("inventory-site-test", InventorySiteTest, hosts=len(SERVERS), bare=1, disk="600M"))
