"""``sealift site`` and ``sealift settings``."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

from console.cli.output import table
from console.errors import EXIT_DONE
from console.i18n import N_
from console.site.site import CLASSIFICATIONS, DEGREES, JURISDICTIONS, Site


def _truth(text: str) -> bool:
    if text not in ("yes", "no"):
        raise argparse.ArgumentTypeError("yes or no")
    return text == "yes"


POLICY_WORDS = {
    "two_person": N_("A second person's yes"), "release_threshold": N_("Holders that must have signed a bundle"),
    "push_degree": N_("Least verification of a push"), "relay": N_("Servers may hand files on"),
    "keyring": N_("Secrets in the desktop's keyring"), "max_age_days": N_("Days until the newest release counts as old"),
}


def register(sub: argparse._SubParsersAction, common: list[argparse.ArgumentParser]) -> None:
    """Add ``site`` and ``settings``."""
    parser = sub.add_parser("site", parents=common, help="create and describe the site in the workspace")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    one = actions.add_parser("init", parents=common, help="create the site")
    one.add_argument("--name", required=True)
    one.add_argument("--jurisdiction", default="other", choices=JURISDICTIONS, help="us, ca, eu, cn or other")
    one.add_argument("--classification", default="internal", choices=CLASSIFICATIONS, help="public, internal, confidential or restricted")
    one.add_argument("--id", help="the site's id in bundles' audiences; made from the name when left out")
    _policy_options(one)
    one.set_defaults(run=_init)
    one = actions.add_parser("show", parents=common, help="the site as it is set up")
    one.set_defaults(run=_show)
    one = actions.add_parser("set", parents=common, help="change it")
    one.add_argument("--name")
    one.add_argument("--jurisdiction", choices=JURISDICTIONS, help="us, ca, eu, cn or other")
    one.add_argument("--classification", choices=CLASSIFICATIONS, help="public, internal, confidential or restricted")
    _policy_options(one)
    one.set_defaults(run=_set)

    parser = sub.add_parser("settings", parents=common, help="how this console behaves")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    one = actions.add_parser("list", parents=common, help="every setting with its value")
    one.set_defaults(run=_settings)
    one = actions.add_parser("set", parents=common, help="change one")
    one.add_argument("key")
    one.add_argument("value")
    one.set_defaults(run=_change)


def _policy_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("policy")
    group.add_argument("--two-person", type=_truth, metavar="yes|no", help="trust, import and deployment need a second person")
    group.add_argument("--release-threshold", type=int, metavar="N", help="distinct holders that must have signed a bundle")
    group.add_argument("--push-degree", choices=DEGREES, metavar="DEGREE", help="least verification of a push: received, stored or media")
    group.add_argument("--relay", type=_truth, metavar="yes|no", help="servers may hand a push on to each other")
    group.add_argument("--keyring", type=_truth, metavar="yes|no", help="secrets may be kept in the desktop's keyring")
    group.add_argument("--max-age-days", type=int, metavar="N", help="warn when the newest release is older")


def _policy(args: argparse.Namespace) -> dict[str, Any]:
    names = ("two_person", "release_threshold", "push_degree", "relay", "keyring", "max_age_days")
    return {name: getattr(args, name) for name in names if getattr(args, name) is not None}


def _init(args: argparse.Namespace, app: Any) -> int:
    site = app.engine().site.init(args.name, args.jurisdiction, args.classification, args.id, **_policy(args))
    app.out(
        _document(app, site),
        lambda: app.t(N_("The site {name} is set up in {workspace}."), name=site.name, workspace=str(app.workspace)),
    )
    return EXIT_DONE


def _show(args: argparse.Namespace, app: Any) -> int:
    site = app.engine().site.need()
    document = _document(app, site)

    def text() -> str:
        words = {True: app.t(N_("yes")), False: app.t(N_("no")), None: app.t(N_("as soon as there is an approver"))}
        rows = [
            (N_("Name"), site.name),
            ("ID", site.site_id),
            (N_("Jurisdiction"), site.jurisdiction),
            (N_("Classification"), site.classification),
            *((POLICY_WORDS[key], words[value] if value is None or isinstance(value, bool) else str(value))
              for key, value in asdict(site.policy).items()),
            (N_("Verifier key of the audit log"), document["audit_verifier_key"]),
            (N_("Workspace"), document["workspace"]),
        ]
        return "\n".join(f"{app.t(key)}: {value}" for key, value in rows)

    app.out(document, text)
    return EXIT_DONE


def _document(app: Any, site: Site) -> dict[str, Any]:
    engine = app.engine()
    return {"site": asdict(site), "two_person_in_force": engine.approvals.required(), "workspace": str(app.workspace),
            "audit_verifier_key": engine.audit.verifier_line()}


def _set(args: argparse.Namespace, app: Any) -> int:
    fields = {name: getattr(args, name) for name in ("name", "jurisdiction", "classification") if getattr(args, name)}
    site = app.engine().site.set(policy=_policy(args), **fields)
    app.out({"site": asdict(site)}, lambda: app.t(N_("Changed.")))
    return EXIT_DONE


def _settings(args: argparse.Namespace, app: Any) -> int:
    from console.settings import DECLARED

    values = app.engine().settings.all()
    app.out(
        {
            "settings": {
                key: {"value": value, "default": DECLARED[key].default, "explanation": app.t(DECLARED[key].explanation)}
                for key, value in values.items()
            }
        },
        lambda: table(
            [(key, str(value), app.t(DECLARED[key].explanation)) for key, value in values.items()],
            (app.t(N_("Setting")), app.t(N_("Value")), app.t(N_("Meaning"))),
        ),
    )
    return EXIT_DONE


def _change(args: argparse.Namespace, app: Any) -> int:
    engine = app.engine()
    engine.require("admin")
    with engine.act("config.change", {"kind": "setting", "id": args.key, "digest": None}) as told:
        told["old"], told["new"] = engine.settings.set(args.key, args.value)
    app.out({"key": args.key, "value": engine.settings.get(args.key)}, lambda: app.t(N_("Changed.")))
    return EXIT_DONE
