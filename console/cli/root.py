"""``sealift trust root``: the signed root that says who holds which key, made on the connected side, followed inside.

A description of a root is a short YAML file::

    version: 2
    expires_at: null
    holders: {Ann: [ann.pub], Bo: [bo.pub], Cy: [cy.pub]}      # public key files beside it
    roles:
      root: {threshold: 2, holders: [Ann, Bo, Cy]}
      release: {threshold: 2, holders: [Ann, Bo]}
    revoked: [{key: old.pub, reason: lost, last_sequence: {deepseek-r1: 4}}]
    x509_roots: [{file: ca.pem, label: Publisher}]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from console.cli.key import load_signing_key
from console.errors import EXIT_DONE, InputError, WorldError, code
from console.i18n import N_

UNREADABLE = code("trust.root-unreadable", InputError, N_("The file {path} cannot be read: {reason}."),
                  N_("Check the path and the rights."))
UNWRITABLE = code("trust.root-unwritable", WorldError, N_("The trust root cannot be written to {path}: {reason}."),
                  N_("Check the folder and its rights."))
BAD_DESCRIPTION = code("trust.root-description", InputError, N_("The description {path} of a trust root is wrong: {reason}."),
                       N_("Correct it; `sealift trust root make --help` tells what it holds."))
NOT_COMPARED = code("trust.root-not-compared", InputError, N_("The trust root's fingerprint is {fingerprint}."),
                    N_("Let two people compare it with what its holders read out, then give it with --fingerprint."))
NO_ROOT = code("trust.no-root", InputError, N_("No trust root is installed."),
               N_("Install the first one: sealift trust root add FILE --fingerprint …"))


def register_under(actions: Any, common: list[argparse.ArgumentParser]) -> None:
    """Add ``root`` below ``trust``."""
    parser = actions.add_parser("root", parents=common, help="the signed root of all trust: make, sign, add, follow, show")
    steps = parser.add_subparsers(dest="step", required=True, metavar="STEP")
    one = steps.add_parser("make", parents=common, help="write a root from a description (YAML: version, holders, roles, …)")
    one.add_argument("description")
    one.add_argument("--previous", metavar="FILE", help="the version before it")
    one.add_argument("--key", action="append", required=True, metavar="FILE", help="root key that signs it")
    one.add_argument("--passphrase-file", metavar="FILE")
    one.add_argument("--out", required=True, metavar="FILE")
    one.set_defaults(run=_make)
    one = steps.add_parser("sign", parents=common, help="add a signature to a root")
    one.add_argument("file")
    one.add_argument("--key", action="append", required=True, metavar="FILE")
    one.add_argument("--passphrase-file", metavar="FILE")
    one.set_defaults(run=_sign)
    one = steps.add_parser("add", parents=common, help="install the first root, its fingerprint compared by two people")
    one.add_argument("file")
    one.add_argument("--fingerprint", help="as its holders give it; spaces do not matter")
    one.set_defaults(run=_add)
    one = steps.add_parser("follow", parents=common, help="take over newer roots, each signed by the one before")
    one.add_argument("file", nargs="+")
    one.set_defaults(run=_follow)
    one = steps.add_parser("show", parents=common, help="the root in force, or one in a file")
    one.add_argument("file", nargs="?")
    one.set_defaults(run=_show)


def read_file(path: str) -> bytes:
    """The bytes of a signed root.

    Raises:
        InputError: ``trust.root-unreadable``.
    """
    from console.trust.root import MAX_BYTES

    try:
        with open(path, "rb") as source:
            return source.read(MAX_BYTES + 1)
    except OSError as problem:
        raise UNREADABLE(path=path, reason=problem.strerror or "?") from None


def _put(path: str, raw: bytes) -> None:
    try:
        Path(path).write_bytes(raw)
    except OSError as problem:
        raise UNWRITABLE(path=path, reason=problem.strerror or "?") from None


def _opened(raw: bytes) -> Any:
    from console.trust import dsse, root

    return root.read(dsse.parse(raw, root.TYPE).payload, raw)


def _make(args: argparse.Namespace, app: Any) -> int:
    import yaml

    from console.trust import root

    previous = _opened(read_file(args.previous)) if args.previous else None
    try:
        told = yaml.safe_load(read_file(args.description))
        fields = _fields(told, Path(args.description).parent)
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, ValueError, AttributeError) as problem:
        reason = f"{type(problem).__name__}: {problem}".replace("\n", " ")[:200]
        raise BAD_DESCRIPTION(path=args.description, reason=reason) from None
    payload = root.make(prev=previous.digest if previous else None, **fields)
    raw = root.seal(payload, [load_signing_key(path, args.passphrase_file, app) for path in args.key])
    if previous is not None and fields["version"] != previous.version + 1:
        raise BAD_DESCRIPTION(path=args.description, reason=f"the version after {previous.version} is {previous.version + 1}")
    _put(args.out, raw)
    return _told(app, _opened(raw), args.out)


def _fields(told: dict[str, Any], base: Path) -> dict[str, Any]:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    from console.trust.keys import load_public
    from console.units import utc_now

    held = {holder: [load_public(base / name) for name in names] for holder, names in told["holders"].items()}
    revoked = [(load_public(base / r["key"]).keyid, str(r["reason"]), r.get("last_sequence") or {})
               for r in told.get("revoked") or []]
    authorities = [(x509.load_pem_x509_certificate((base / a["file"]).read_bytes()).public_bytes(Encoding.DER),
                    str(a["label"])) for a in told.get("x509_roots") or []]
    return {"version": told["version"], "issued_at": utc_now(), "expires_at": told.get("expires_at"),
            "keys": [(key, holder) for holder, keys in held.items() for key in keys],
            "roles": {name: (role["threshold"], [k.keyid for h in role["holders"] for k in held[h]])
                      for name, role in told["roles"].items()},
            "revoked": revoked, "x509_roots": authorities, "policy": told.get("policy") or {}}


def _sign(args: argparse.Namespace, app: Any) -> int:
    from console.trust import dsse, root

    keys = [load_signing_key(path, args.passphrase_file, app) for path in args.key]
    raw = dsse.cosign(read_file(args.file), root.TYPE, keys)
    _put(args.file, raw)
    return _told(app, _opened(raw), args.file)


def _add(args: argparse.Namespace, app: Any) -> int:
    raw = read_file(args.file)
    if not args.fingerprint:
        raise NOT_COMPARED(fingerprint=_opened(raw).fingerprint)
    return _told(app, app.engine().trust.install_root(raw, args.fingerprint), args.file)


def _follow(args: argparse.Namespace, app: Any) -> int:
    root = app.engine().trust.follow([read_file(path) for path in args.file])
    if root is None:
        raise NO_ROOT()
    return _told(app, root, None)


def _show(args: argparse.Namespace, app: Any) -> int:
    root = _opened(read_file(args.file)) if args.file else app.engine().trust.root()
    if root is None:
        raise NO_ROOT()
    return _told(app, root, args.file)


def _told(app: Any, root: Any, file: str | None) -> int:
    data = {"version": root.version, "fingerprint": root.fingerprint, "digest": root.digest, "issued_at": root.issued_at,
            "expires_at": root.expires_at, "file": file,
            "roles": {name: {"threshold": role.threshold, "keys": list(role.keys),
                             "holders": sorted({root.keys[k][1] for k in role.keys})} for name, role in root.roles.items()},
            "revoked": [{"key_id": keyid, "reason": reason} for keyid, (reason, _) in root.revoked.items()]}
    lines = [app.t(N_("Trust root {version}. Fingerprint: {fingerprint}"), version=root.version, fingerprint=root.fingerprint)]
    lines += [f"  {name}: {role['threshold']} / {', '.join(role['holders'])}"
              for name, role in data["roles"].items() if role["keys"]]
    app.out(data, "\n".join(lines))
    return EXIT_DONE
