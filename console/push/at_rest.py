"""Checks what lies on a server against the signed index, long after the push."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from console.bundles.library import Release
from console.bundles.manifest import FileEntry
from console.errors import SealiftError
from console.i18n import N_, Said
from console.jobs.job import Context
from console.push.connection import Lines, hashing_s
from console.push.problems import BROKEN, NO_DIGEST
from console.servers.record import ServerRecord

# At low priority, so that a model that is being served keeps processor and disk. Read past the cache where dd can, for the
# cache may still hold what the disk has lost. A file that is found wrong loses the note that lets the next push trust it.
_SCRIPT = r"""
case $1 in '~') store=$HOME ;; '~/'*) store=$HOME/${1#'~/'} ;; *) store=$1 ;; esac
if command -v openssl >/dev/null 2>&1; then digest() { openssl dgst -sha256 | sed 's/.*= *//'; }
elif command -v sha256sum >/dev/null 2>&1; then digest() { sha256sum | cut -d' ' -f1; }
else echo no-digest-tool; exit 1; fi
renice -n 19 $$ >/dev/null 2>&1; ionice -c3 -p $$ >/dev/null 2>&1
while read -r size sha && IFS= read -r path; do
    f=$store/releases/$2/$path
    [ -f "$f" ] && [ ! -L "$f" ] || { echo missing; continue; }
    from=medium
    if [ "$size" -eq 0 ]; then real=$(digest <"$f")
    elif dd if="$f" iflag=direct bs=1048576 count=1 >/dev/null 2>&1; then
        real=$(dd if="$f" iflag=direct bs=1048576 2>/dev/null | digest)
    else
        dd if="$f" iflag=nocache count=0 2>/dev/null && [ "$(fincore -nbo RES "$f" 2>/dev/null | tr -d ' ')" = 0 ] || from=cache
        real=$(digest <"$f")
    fi
    [ "$real" = "$sha" ] || rm -f "$store/objects/$(printf %.2s "$sha")/$sha.chunks"
    echo "$real $from"
done
"""


def check(ctx: Context, servers: Any, release: Release, record: ServerRecord, components: Sequence[str] | None) -> dict[str, Any]:
    """``{"name", "verdict", "degree", "findings", "error"}`` of one server. ``degree`` is ``media`` when every byte was read
    past the cache, else ``stored``."""
    try:
        transport = servers.connect(record.name)
        try:
            with ctx.on_cancel(transport.close):
                files = [f for f in release.files if components is None or f.component in components]
                findings, degree = _findings(ctx, transport, record.store, release.release_id, files)
        finally:
            transport.close()
    except SealiftError as problem:
        ctx.checkpoint()
        ctx.result("unverified")
        return {"name": record.name, "verdict": "unverified", "degree": "", "findings": [], "error": problem.kept()}
    verdict = "failed" if findings else "verified"
    ctx.result(verdict)
    return {"name": record.name, "verdict": verdict, "degree": degree, "findings": findings, "error": None}


def _findings(ctx: Context, transport: Any, store: str, release_id: str, files: Sequence[FileEntry]) -> tuple[list[dict[str, str]], str]:
    """What is wrong, and the degree. The server's word for a digest is all there is: a lying server is not found out here."""
    findings, done, total, degree = [], 0, sum(f.size for f in files), "media"
    stream = transport.open(("sh", "-c", _SCRIPT, "verify", store, release_id))
    lines = Lines(stream, transport.server)
    try:
        for entry in files:
            stream.write(f"{entry.size} {entry.sha256}\n{entry.path}\n".encode())
            said, _, source = lines.next(hashing_s(entry.size)).decode("utf-8", "replace").strip().partition(" ")
            if said == "no-digest-tool":
                raise NO_DIGEST(server=transport.server)
            if said == "missing":
                findings.append({"code": "missing", "path": entry.path, "message": N_("the file is not there")})
            elif len(said) != 64 or source not in ("medium", "cache"):
                raise BROKEN(server=transport.server, reason=Said(N_("it answered {said} where a digest was due"), said=ascii(said[:80])))
            elif said != entry.sha256:
                findings.append({"code": "digest", "path": entry.path, "message": N_("the file is not the one that was signed")})
            degree = "stored" if source == "cache" else degree
            done += entry.size
            ctx.progress(done, total, "bytes")
    finally:
        stream.close()
    return findings, degree
