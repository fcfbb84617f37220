"""Checks what lies on a server against the signed index, long after the push."""

from __future__ import annotations

from typing import Any

from console.bundles.library import Release
from console.errors import SealiftError
from console.jobs.job import Context

# Low priority, so that a model that is being served keeps the disk; past the cache where dd can drop it.
_SCRIPT = r"""
case $1 in '~') store=$HOME ;; '~/'*) store=$HOME/${1#'~/'} ;; *) store=$1 ;; esac
if command -v openssl >/dev/null 2>&1; then digest() { openssl dgst -sha256 | sed 's/.*= *//'; }
else digest() { sha256sum | cut -d' ' -f1; }; fi
renice 19 $$ >/dev/null 2>&1; ionice -c3 -p $$ >/dev/null 2>&1
while IFS= read -r path; do
    f=$store/releases/$2/$path
    if [ -f "$f" ] && [ ! -L "$f" ]; then
        dd if="$f" iflag=nocache count=0 2>/dev/null
        digest <"$f"
    else echo missing; fi
done
"""


def check(ctx: Context, servers: Any, release: Release, name: str) -> dict[str, Any]:
    """``{"name", "verdict", "findings", "error"}`` of one server."""
    try:
        transport = servers.connect(name)
        try:
            with ctx.on_cancel(transport.close):
                findings = _findings(ctx, transport, servers.get(name).store, release)
        finally:
            transport.close()
    except SealiftError as problem:
        ctx.result("unverified")
        return {"name": name, "verdict": "unverified", "findings": [], "error": problem.as_dict()}
    verdict = "failed" if findings else "verified"
    ctx.result(verdict)
    return {"name": name, "verdict": verdict, "findings": findings, "error": None}


def _findings(ctx: Context, transport: Any, store: str, release: Release) -> list[dict[str, str]]:
    findings, done, total = [], 0, release.bytes
    stream = transport.open(("sh", "-c", _SCRIPT, "verify", store, release.release_id))
    try:
        buffer = b""
        for entry in release.files:
            stream.write(entry.path.encode() + b"\n")
            while b"\n" not in buffer and len(buffer) < 4096:
                data = stream.read(4096, 6 * 3600)
                if not data:
                    return [*findings, {"code": "missing", "path": entry.path, "message": "the server stopped answering"}]
                buffer += data
            line, _, buffer = buffer.partition(b"\n")
            said = line.decode("ascii", "replace").strip()
            if said == "missing":
                findings.append({"code": "missing", "path": entry.path, "message": "the file is not there"})
            elif said != entry.sha256:
                findings.append({"code": "digest", "path": entry.path, "message": "the file is not the one that was signed"})
            done += entry.size
            ctx.progress(done, total, "bytes")
    finally:
        stream.close()
    return findings
