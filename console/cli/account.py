"""``sealift account``: people and roles."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

from console.cli.output import table
from console.errors import EXIT_DONE
from console.i18n import N_
from console.site.accounts import ROLES


def register(sub: argparse._SubParsersAction, common: list[argparse.ArgumentParser]) -> None:
    """Add ``account``."""
    parser = sub.add_parser("account", parents=common, help="people and roles")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    one = actions.add_parser("add", parents=common, help="add a person; the first one must be an admin")
    one.add_argument("name")
    one.add_argument("--role", action="append", required=True, choices=ROLES, help="may be given several times")
    one.add_argument("--new-password-file", metavar="FILE", help="the new account's password")
    one.set_defaults(run=_add)
    one = actions.add_parser("list", parents=common, help="all accounts")
    one.set_defaults(run=_list)
    one = actions.add_parser("role", parents=common, help="give an account other roles, in place of those it has")
    one.add_argument("name")
    one.add_argument("--role", action="append", required=True, choices=ROLES, help="may be given several times")
    one.set_defaults(run=_role)
    one = actions.add_parser("disable", parents=common, help="let an account log in no more")
    one.add_argument("name")
    one.set_defaults(run=_disable)
    one = actions.add_parser("passwd", parents=common, help="set a new password")
    one.add_argument("name")
    one.add_argument("--new-password-file", metavar="FILE", help="the new password")
    one.set_defaults(run=_passwd)


def _new_password(args: argparse.Namespace, app: Any) -> Any:
    # Where nobody has to log in, the one password file that is given can only be the new one.
    file = args.new_password_file or (args.password_file if not args.user else None)
    return app.ask_secret(app.t(N_("New password of {name}: "), name=args.name), file)


def _add(args: argparse.Namespace, app: Any) -> int:
    engine = app.engine()
    account = engine.accounts.add(args.name, tuple(dict.fromkeys(args.role)), _new_password(args, app))
    app.out({"account": asdict(account)}, lambda: app.t(N_("Added {name}."), name=account.name))
    return EXIT_DONE


def _list(args: argparse.Namespace, app: Any) -> int:
    accounts = app.engine().accounts.list()

    def text() -> str:
        if not accounts:
            return app.t(N_("No accounts: whoever is logged in to this desktop acts with every role."))
        return table(
            [(a.name, ", ".join(a.roles), app.t(N_("disabled")) if a.disabled else "") for a in accounts],
            (app.t(N_("Name")), app.t(N_("Roles")), ""),
        )

    app.out({"accounts": [asdict(a) for a in accounts]}, text)
    return EXIT_DONE


def _role(args: argparse.Namespace, app: Any) -> int:
    account = app.engine().accounts.set_roles(args.name, tuple(dict.fromkeys(args.role)))
    app.out({"account": asdict(account)}, lambda: app.t(N_("{name} has the roles {roles} now."), name=account.name,
                                                        roles=", ".join(account.roles)))
    return EXIT_DONE


def _disable(args: argparse.Namespace, app: Any) -> int:
    app.engine().accounts.disable(args.name)
    app.out({"disabled": args.name}, lambda: app.t(N_("{name} can log in no more."), name=args.name))
    return EXIT_DONE


def _passwd(args: argparse.Namespace, app: Any) -> int:
    engine = app.engine()
    engine.accounts.set_password(args.name, _new_password(args, app))
    app.out({"changed": args.name}, lambda: app.t(N_("The password of {name} is changed."), name=args.name))
    return EXIT_DONE
