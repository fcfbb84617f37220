"""``sealift key`` and ``sealift trust``: signing keys, and the keys whose bundles this site accepts."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from console.cli.output import table
from console.errors import EXIT_DONE, InputError, WorldError, code
from console.i18n import N_
from console.secrets import Secret

NOT_COMPARED = code(
    "trust.not-compared",
    InputError,
    N_("The key's fingerprint is {fingerprint}. It was not compared yet."),
    N_("Compare it with what its holder reads out, then give it with --fingerprint."),
)
PUBLIC_UNWRITABLE = code(
    "key.public-unwritable", WorldError, N_("{path} cannot be written: {reason}."), N_("Check the folder and its rights.")
)
NO_PASSPHRASE = code(
    "key.no-passphrase",
    InputError,
    N_("A new key needs a passphrase."),
    N_("Run it on a terminal, give --passphrase-file, or say --no-passphrase if the file is protected otherwise."),
)


def register(sub: argparse._SubParsersAction, common: list[argparse.ArgumentParser]) -> None:
    """Add ``key`` and ``trust``."""
    parser = sub.add_parser("key", parents=common, help="signing keys of the bundle builder and of this console")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    one = actions.add_parser("new", parents=common, help="make a key")
    one.add_argument("file", nargs="?", help="where the private key goes")
    one.add_argument("--out", metavar="FILE", help="the same")
    one.add_argument("--alg", choices=("ecdsa-p384", "ecdsa-p256", "ed25519"), default="ecdsa-p384")
    lock = one.add_mutually_exclusive_group()
    lock.add_argument("--passphrase-file", metavar="FILE")
    lock.add_argument("--no-passphrase", action="store_true", help="leave the key file unencrypted")
    one.set_defaults(run=_new)
    one = actions.add_parser("public", parents=common, help="print or write the public half")
    one.add_argument("file", nargs="?", help="a private key; this console's log key when left out")
    one.add_argument("--out", metavar="FILE")
    one.add_argument("--passphrase-file", metavar="FILE")
    one.set_defaults(run=_public)

    parser = sub.add_parser("trust", parents=common, help="keys whose bundles this site accepts")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    one = actions.add_parser("add", parents=common, help="trust a key after comparing its fingerprint")
    one.add_argument("file", help="the public key, in PEM")
    one.add_argument("--name", metavar="HOLDER", help="who holds it; the file's name when left out")
    one.add_argument("--fingerprint", help="as its holder gives it; spaces do not matter")
    one.add_argument("--yes", action="store_true", help="the fingerprint shown by `trust fingerprint` was compared already")
    one.set_defaults(run=_add)
    one = actions.add_parser("list", parents=common, help="all keys, the revoked ones too")
    one.set_defaults(run=_list)
    one = actions.add_parser("revoke", parents=common, help="believe a key no more")
    one.add_argument("key", help="its id or the beginning of its fingerprint (8 digits or more)")
    one.add_argument("--reason", default="")
    one.set_defaults(run=_revoke)
    one = actions.add_parser("fingerprint", parents=common, help="the fingerprint of a key file")
    one.add_argument("file")
    one.set_defaults(run=_fingerprint)
    from console.cli.root import register_under

    register_under(actions, common)


def _new(args: argparse.Namespace, app: Any) -> int:
    from console.trust.keys import PrivateKey

    path = args.out or args.file
    if path is None:
        from console.cli.main import USAGE

        raise USAGE(problem="name the file for the new key", command="key new")
    key, public = PrivateKey.generate(args.alg), _beside(Path(path))
    key.save(Path(path), _new_passphrase(args, app))
    try:
        if public is not None:
            public.write_bytes(key.public.pem)
    except OSError as problem:
        raise PUBLIC_UNWRITABLE(path=str(public), reason=problem.strerror or "?") from None
    app.out(
        {"file": path, "public": public and str(public), "key_id": key.public.keyid, "alg": args.alg, "fingerprint": key.public.fingerprint},
        lambda: "\n".join([app.t(N_("Key written to {path}. Fingerprint: {fingerprint}"), path=path, fingerprint=key.public.fingerprint),
                           *([app.t(N_("Its public half, for those who are to trust it: {path}"), path=str(public))] if public else [])]),
    )
    return EXIT_DONE


def _beside(path: Path) -> Path | None:
    """Where the public half of a new key goes; None where that name is taken, for nothing is ever overwritten."""
    public = path.with_suffix(".pub")
    return public if public != path and not os.path.lexists(public) else None


def _new_passphrase(args: argparse.Namespace, app: Any) -> Secret | None:
    if args.no_passphrase:
        return None
    secret = app.ask_secret(app.t(N_("Passphrase for the new key: ")), args.passphrase_file)
    if not secret.reveal():
        raise NO_PASSPHRASE()
    return secret


def load_signing_key(path: str | Path, passphrase_file: str | None, app: Any) -> Any:
    """A private key, its passphrase asked for only when it has one."""
    from console.trust import keys

    if passphrase_file:
        return keys.load_private(Path(path), app.ask_secret("", passphrase_file))
    try:
        return keys.load_private(Path(path))
    except InputError as problem:
        if problem.code != keys.LOCKED.code:
            raise
        return keys.load_private(Path(path), app.ask_secret(app.t(N_("Passphrase of {path}: "), path=str(path)), None))


def _public(args: argparse.Namespace, app: Any) -> int:
    key = load_signing_key(args.file, args.passphrase_file, app).public if args.file else app.engine().audit.key().public
    if args.out:
        try:
            Path(args.out).write_bytes(key.pem)
        except OSError as problem:
            raise PUBLIC_UNWRITABLE(path=args.out, reason=problem.strerror or "?") from None
    app.out(
        {"key_id": key.keyid, "alg": key.alg, "fingerprint": key.fingerprint, "pem": key.pem.decode(), "file": args.out},
        lambda: key.fingerprint if args.out else key.pem.decode().rstrip(),
    )
    return EXIT_DONE


def _add(args: argparse.Namespace, app: Any) -> int:
    from console.trust.keys import load_public

    key = load_public(Path(args.file))
    if not args.fingerprint and not args.yes:
        raise NOT_COMPARED(fingerprint=key.fingerprint)
    added = app.engine().trust.add(key, args.name or Path(args.file).stem, args.fingerprint or key.fingerprint)
    app.out(
        {"key_id": key.keyid, "name": added.holder, "fingerprint": key.fingerprint, "alg": key.alg},
        lambda: app.t(
            N_("Bundles signed by {holder} are accepted from now on. Fingerprint: {fingerprint}"),
            holder=added.holder,
            fingerprint=key.fingerprint,
        ),
    )
    return EXIT_DONE


def _list(args: argparse.Namespace, app: Any) -> int:
    keys = app.engine().trust.list()

    def text() -> str:
        if not keys:
            return app.t(N_("No key is trusted yet, so no bundle can be verified. Add one: sealift trust add FILE --fingerprint …"))
        return table(
            [(k.holder, k.key.alg, k.key.fingerprint, app.t(N_("revoked")) if k.revoked_at else "") for k in keys],
            (app.t(N_("Holder")), app.t(N_("Algorithm")), app.t(N_("Fingerprint")), ""),
        )

    app.out(
        {
            "keys": [
                {
                    "key_id": k.key.keyid,
                    "name": k.holder,
                    "alg": k.key.alg,
                    "fingerprint": k.key.fingerprint,
                    "added_at": k.added_at,
                    "added_by": k.added_by,
                    "revoked_at": k.revoked_at,
                    "reason": k.reason,
                }
                for k in keys
            ]
        },
        text,
    )
    return EXIT_DONE


def _revoke(args: argparse.Namespace, app: Any) -> int:
    key = app.engine().trust.revoke(args.key, args.reason)
    app.out(
        {"key_id": key.key.keyid, "name": key.holder, "revoked_at": key.revoked_at},
        lambda: app.t(N_("The key of {holder} counts no more."), holder=key.holder),
    )
    return EXIT_DONE


def _fingerprint(args: argparse.Namespace, app: Any) -> int:
    from console.trust.keys import load_public

    key = load_public(Path(args.file))
    app.out({"key_id": key.keyid, "alg": key.alg, "fingerprint": key.fingerprint}, key.fingerprint)
    return EXIT_DONE
