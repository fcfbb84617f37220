"""One server as the steps see it: fixed shell scripts with arguments, files written whole, the store's place."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from console.errors import WorldError, code
from console.i18n import N_
from console.transport.base import Completed, Transport

FAILED = code("deploy.command-failed", WorldError, N_("On {server}, {what} failed (exit code {exit_code}): {output}"),
              N_("The output says why. Remove the cause on the server and apply again."))
LATE = code("deploy.command-late", WorldError, N_("On {server}, {what} did not end within {timeout_s} s."),
            N_("The server may be overloaded. Apply again; what is done stays done."), retryable=True)
FULL = code("deploy.disk-full", WorldError, N_("The disk of {server} is full: {what} failed."),
            N_("Free space on the server and apply again."), retryable=True)

_STORE = 'case $1 in "~/"*) printf %s "$HOME/${1#??}";; *) printf %s "$1";; esac'
_READ = '[ -f "$1" ] && head -c 262144 "$1" || exit 44'
_WRITE = """
set -eu
umask 077
part="$1.$$.part"
trap 'rm -f "$part"' EXIT
mkdir -p "$(dirname "$1")"
cat >"$part"
chmod "$2" "$part"
sync "$part" 2>/dev/null || sync
[ "$(sha256sum <"$part" | cut -c1-64)" = "$3" ]
mv -f "$part" "$1"
trap - EXIT
"""


@dataclass
class Host:
    """One connected server.

    Attributes:
        server: its name.
        sudo: whether its entry allows acting as root at all.
        services: what steps may ask of the engine, by name (``push``), each a plain function.
    """

    transport: Transport
    server: str
    store: str
    user: str
    sudo: bool
    services: dict[str, Callable[..., Any]] = field(default_factory=dict)

    @staticmethod
    def of(transport: Transport, record: Any, services: dict[str, Callable[..., Any]] | None = None) -> Host:
        """The host behind ``transport``; its store's folder is asked there."""
        done = transport.run(("sh", "-c", _STORE, "sh", record.store), timeout_s=30)
        store = done.stdout.decode("utf-8", "surrogateescape").rstrip("/")
        if not done.ok or not store.startswith("/"):
            raise FAILED(server=record.name, what="finding the store", exit_code=done.exit_code, output=tail(done))
        return Host(transport, record.name, store, record.user, record.sudo != "none" or record.user == "root",
                    services or {})

    def try_script(self, text: str, *args: str, stdin: bytes = b"", timeout_s: float = 60,
                   sudo: bool = False) -> Completed:
        """Run the fixed script ``text`` with ``args`` as ``$1``…; whatever the exit code."""
        return self.transport.run(("sh", "-c", text, "sh", *args), stdin=stdin, timeout_s=timeout_s, sudo=sudo)

    def script(self, what: str, text: str, *args: str, stdin: bytes = b"", timeout_s: float = 60,
               sudo: bool = False) -> str:
        """The output of a script that must succeed.

        Raises:
            WorldError: ``deploy.command-failed`` with what it said, ``deploy.command-late``, ``deploy.disk-full``.
        """
        done = self.try_script(text, *args, stdin=stdin, timeout_s=timeout_s, sudo=sudo)
        if done.timed_out:
            raise LATE(server=self.server, what=what, timeout_s=timeout_s)
        if not done.ok:
            output = tail(done)
            if "No space left" in output or "File too large" in output or "Disk quota" in output:
                raise FULL(server=self.server, what=what)
            raise FAILED(server=self.server, what=what, exit_code=done.exit_code, output=output)
        return done.stdout.decode("utf-8", "replace")

    def read_file(self, path: str, *, sudo: bool = False) -> str | None:
        """Up to 256 KiB of a file's text; None when there is none."""
        done = self.try_script(_READ, path, sudo=sudo)
        return done.stdout.decode("utf-8", "replace") if done.ok else None

    def write_file(self, path: str, content: str, mode: str = "0600", *, sudo: bool = False) -> None:
        """Write a file whole: temporary name, flush, digest compared there, rename."""
        data = content.encode()
        self.script(f"writing {path}", _WRITE, path, mode, hashlib.sha256(data).hexdigest(), stdin=data, sudo=sudo)

    def remove_file(self, path: str, *, sudo: bool = False) -> None:
        """Remove a file if it is there."""
        self.script(f"removing {path}", 'rm -f -- "$1"', path, sudo=sudo)


def tail(done: Completed, limit: int = 1500) -> str:
    """The end of what a command said, errors first choice."""
    said = done.stderr.strip() or done.stdout.strip()
    return said[-limit:].decode("utf-8", "replace")


def digest(text: str) -> str:
    """SHA-256 of a text, in hex."""
    return hashlib.sha256(text.encode()).hexdigest()
