"""What can go wrong in a push, as the operator is told it."""

from __future__ import annotations

from typing import Any

from console.errors import SealiftError, WorldError, code
from console.i18n import N_
from console.units import size as shown_size

DISK_FULL = code(
    "push.disk-full",
    WorldError,
    N_("The disk of {server} is full where {store} lies: {free} free, {need} still needed, {short} short."),
    N_("Free space there and push again; it goes on from the last verified chunk."),
    retryable=True,
)
NO_INODES = code(
    "push.no-inodes",
    WorldError,
    N_("The file system of {server} where {store} lies can take no more files: {free} are free, {need} are needed."),
    N_("Remove files there, or choose another store for the server, and push again."),
)
NO_RIGHTS = code(
    "push.no-rights",
    WorldError,
    N_("On {server} the account may not write to {path}."),
    N_("Give the account rights to the store, or set another store for the server."),
)
BUSY = code(
    "push.store-busy",
    WorldError,
    N_("Another push is writing to the store of {server}."),
    N_("Wait until it has ended, then push again."),
    retryable=True,
)
WRONG_BYTES = code(
    "push.wrong-bytes",
    WorldError,
    N_("{server} keeps storing wrong bytes of {path}: what it reads back is not what was sent."),
    N_("Its disk, memory or network card is faulty. Nothing of it went live. Check the hardware before trying again."),
)
SOURCE_DAMAGED = code(
    "push.source-damaged",
    WorldError,
    N_("The library's own copy of {path} is damaged, so it was not sent."),
    N_("Import the bundle again from its drive; only what is damaged is copied."),
)
BROKEN = code(
    "push.receiver-failed",
    WorldError,
    N_("The receiver on {server} failed: {reason}."),
    N_("Push again; it goes on from the last verified chunk. If it fails again, look at the server."),
    retryable=True,
)
UNSAFE = code(
    "push.unsafe-store",
    WorldError,
    N_("On {server}, {path} in the store is a link, which a push does not follow."),
    N_("Remove the link, or set the server's store to where it leads."),
)
NO_DIGEST = code(
    "push.no-digest-tool",
    WorldError,
    N_("{server} has neither python3 nor openssl nor sha256sum, so nothing could be verified there."),
    N_("Install one of them on the server."),
)
NO_TOOL = code(
    "push.no-tool",
    WorldError,
    N_("{server} has no python3, and its {tool} cannot do what the push needs without it."),
    N_("Install python3, or GNU coreutils, on the server."),
)

NO_MEDIUM = code(
    "push.no-medium",
    WorldError,
    N_("On {server}, {path} cannot be read past the cache, so nothing can be verified on the medium there."),
    N_("Choose the degree stored, or a store on a file system of a disk of the server's own."),
)


def named(server: str, store: str, kind: str, told: dict[str, Any]) -> SealiftError:
    """The error for what a receiver said. ``told`` comes from the server, so nothing in it is relied on."""
    if kind == "disk-full":
        return _disk_full(server, store, told.get("free"), told.get("need"))
    if kind == "no-inodes":
        return NO_INODES(server=server, store=store, free=str(told.get("free"))[:20], need=str(told.get("need"))[:20])
    if kind == "store-busy":
        return BUSY(server=server)
    if kind == "no-rights":
        return NO_RIGHTS(server=server, path=str(told.get("path") or store)[:500])
    if kind == "unsafe-store":
        return UNSAFE(server=server, path=str(told.get("path", ""))[:500])
    if kind == "no-medium":
        return NO_MEDIUM(server=server, path=str(told.get("path", ""))[:500])
    if kind == "no-digest-tool":
        return NO_DIGEST(server=server)
    if kind == "no-tool":
        return NO_TOOL(server=server, tool=str(told.get("reason", ""))[:40])
    return BROKEN(server=server, reason=f"{kind} {told.get('reason', '')}".strip()[:500])


def not_agreed(server: str) -> SealiftError:
    """The error for an answer that is none."""
    return BROKEN(server=server, reason=N_("it answered something else than was agreed"))


def _disk_full(server: str, store: str, free: Any, need: Any) -> SealiftError:
    free, need = (v if isinstance(v, int) and v >= 0 else None for v in (free, need))
    short = need - free if free is not None and need is not None and need > free else None
    return DISK_FULL(
        server=server,
        store=store,
        free=shown_size(free),
        need=shown_size(need),
        short=shown_size(short),
        free_bytes=free,
        need_bytes=need,
        short_bytes=short,
    )
