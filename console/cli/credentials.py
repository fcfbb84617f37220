"""Options for the secrets that reaching a server may need; never the secrets themselves on the command line."""

from __future__ import annotations

import argparse
import sys
import threading
from pathlib import Path
from typing import Any

from console.i18n import N_
from console.secrets import Secret

_PROMPTS = {"password": N_("Password for {server}: "), "passphrase": N_("Passphrase of the key for {server}: "),
            "sudo_password": N_("Sudo password on {server}: ")}
_OPTIONS = (("password", "ssh_password_file"), ("passphrase", "identity_passphrase_file"),
            ("sudo_password", "sudo_password_file"))


def add_credential_options(parser: argparse.ArgumentParser) -> None:
    """Add the options to a command that reaches servers; the command calls :func:`fill_credentials` with them."""
    group = parser.add_argument_group("secrets for the servers (asked for on a terminal when needed)")
    group.add_argument("--ssh-password-file", type=Path, metavar="FILE", help="the password for logging in")
    group.add_argument("--identity-passphrase-file", type=Path, metavar="FILE", help="the passphrase of the key file")
    group.add_argument("--sudo-password-file", type=Path, metavar="FILE", help="the password that sudo asks for")


def fill_credentials(args: argparse.Namespace, app: Any) -> None:
    """Hand the secrets of the options to ``engine.servers.credentials``, for every server; on a terminal, have it ask
    for those that turn out to be missing."""
    credentials = app.engine().servers.credentials
    for kind, option in _OPTIONS:
        file = getattr(args, option, None)
        if file is not None:
            credentials.set(kind, app.ask_secret("", file))
    if sys.stdin is not None and sys.stdin.isatty():
        one_at_a_time = threading.Lock()

        def ask(server: str, kind: str) -> Secret | None:
            with one_at_a_time:
                return app.ask_secret(app.t(_PROMPTS[kind], server=server), None)

        credentials.ask = ask
