"""``sealift deploy``: plan, approve, apply, look, roll back, retire."""

from __future__ import annotations

import argparse
from typing import Any

from console.cli.credentials import add_credential_options, fill_credentials
from console.errors import EXIT_BAD_VERDICT, EXIT_DONE, EXIT_FAILED, UsageError, code, words_of
from console.i18n import N_, tr

BAD_ANSWER = code("deploy.bad-answer-form", UsageError, N_("{text} is not of the form NAME=VALUE."),
                  N_("Give each answer as --answer NAME=VALUE."))

BAD_VERDICTS = frozenset({"deploy.smoke-failed", "deploy.not-healthy", "deploy.image-differs", "deploy.file-differs",
                          "deploy.changed-since-plan"})
"""What was done and then judged to be bad; other errors are the world's."""

OUTCOMES = {
    "serving": N_("serving"), "refused": N_("refused"), "failed": N_("failed, taken back"),
    "unreachable": N_("unreachable"),
    "interrupted": N_("cut off; apply again to go on, or roll back"), "cancelled": N_("cancelled, taken back"),
    "rolled-back": N_("rolled back"), "retired": N_("retired"), "applying": N_("under way, or cut off when a console "
                                                                               "stopped"),
    "superseded": N_("replaced by a newer one"), "waiting": N_("waiting")}


def register(sub: argparse._SubParsersAction, common: list[argparse.ArgumentParser]) -> None:
    """Add ``deploy`` with its actions."""
    parser = sub.add_parser("deploy", parents=common, help="plan, approve, apply, look, roll back, retire")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    one = actions.add_parser("playbooks", parents=common, help="the playbooks that ship with the program")
    one.set_defaults(run=_playbooks)
    one = actions.add_parser("plan", parents=common, help="say what would change on which server; changes nothing")
    one.add_argument("playbook")
    one.add_argument("--release", required=True, metavar="ID", help="of the library")
    one.add_argument("--to", required=True, nargs="+", metavar="NAME", help="servers")
    one.add_argument("--name", help="of the deployment, and of the model as served; the model's id when left out")
    one.add_argument("--model", metavar="ID", help="which model component, when the release has several")
    one.add_argument("--runtime", metavar="ID", help="which runtime component, when the release has several")
    one.add_argument("--answer", action="append", default=[], metavar="NAME=VALUE", help="to what the playbook asks; "
                                                                                         "also port=NUMBER")
    add_credential_options(one)
    one.set_defaults(run=_plan)
    for name, function, text in (("show", _show, "a stored plan"), ("approve", _approve, "say yes to a plan, as "
                                                                                         "approver")):
        one = actions.add_parser(name, parents=common, help=text)
        one.add_argument("plan")
        one.set_defaults(run=function)
    one = actions.add_parser("apply", parents=common, help="make an approved plan true; again, to go on where it was "
                                                           "cut off")
    one.add_argument("plan")
    add_credential_options(one)
    one.set_defaults(run=_apply)
    one = actions.add_parser("status", parents=common, help="all deployments and plans; or one, with its health now")
    one.add_argument("deployment", nargs="?")
    add_credential_options(one)
    one.set_defaults(run=_status)
    for name, function, text in (("rollback", _rollback, "undo a deployment; what ran before runs again"),
                                 ("retire", _retire, "stop a deployment and remove its service and runtime")):
        one = actions.add_parser(name, parents=common, help=text)
        one.add_argument("deployment")
        one.add_argument("--on", nargs="+", default=[], metavar="NAME", help="only on these servers")
        add_credential_options(one)
        one.set_defaults(run=function)


def _playbooks(args: argparse.Namespace, app: Any) -> int:
    from console.deploy.playbook import built_in

    books = list(built_in().values())
    app.out({"playbooks": [one.as_dict() for one in books]},
            lambda: "\n".join(f"{one.id}: {one.title.get(app.lang, one.title['en'])} ({one.status})" for one in books))
    return EXIT_DONE


def _answers(args: argparse.Namespace) -> dict[str, str]:
    made = {}
    for text in args.answer:
        name, mark, value = text.partition("=")
        if not mark or not name:
            raise BAD_ANSWER(text=text)
        made[name] = value
    return made


def _plan(args: argparse.Namespace, app: Any) -> int:
    answers = _answers(args)
    fill_credentials(args, app)
    made = app.engine().deployments.plan(args.playbook, args.release, args.to, answers, name=args.name,
                                         model=args.model,
                                         runtime=args.runtime)
    app.out(made.as_dict(app.lang), lambda: _plan_text(app, made))
    return EXIT_BAD_VERDICT if all(part.refused for part in made.servers) else EXIT_DONE


def _show(args: argparse.Namespace, app: Any) -> int:
    made = app.engine().deployments.get_plan(args.plan)
    app.out(made.as_dict(app.lang), lambda: _plan_text(app, made))
    return EXIT_DONE


def _plan_text(app: Any, plan: Any) -> str:
    lines = [app.t(N_("Plan {id}: {playbook}, release {release} ({status})"), id=plan.id, playbook=plan.playbook,
                   release=plan.release_id[:16], status=plan.status)]
    for part in plan.servers:
        lines.append(f"{part.name}:")
        lines += [f"  - {change.summary(app.lang)}" for change in part.changes]
        if not part.changes and not part.refused:
            lines.append("  " + app.t(N_("nothing changes")))
        if part.refused:
            lines.append("  " + app.t(N_("will stop there: {message}"), message=_message(part.refused, app.lang)))
    return "\n".join(lines)


def _message(error: dict[str, Any] | None, lang: str) -> str:
    return words_of(error, lang)[0] if error else ""


def _approve(args: argparse.Namespace, app: Any) -> int:
    done = app.engine().deployments.approve(args.plan)
    app.out({"plan": args.plan} | done, lambda: app.t(N_("{plan} is approved."), plan=args.plan))
    return EXIT_DONE


def _apply(args: argparse.Namespace, app: Any) -> int:
    fill_credentials(args, app)
    found = app.ctx_job(app.engine().deployments.apply_job(args.plan))
    app.out(found, lambda: _outcomes(app, found))
    return _exit_code(found["servers"])


def _exit_code(servers: list[dict[str, Any]]) -> int:
    """Done; or something was judged and found bad, on any server; or it could not be done."""
    if all(one["outcome"] == "serving" for one in servers):
        return EXIT_DONE
    judged = any(one["outcome"] == "refused" or (one["error"] or {}).get("code") in BAD_VERDICTS for one in servers)
    return EXIT_BAD_VERDICT if judged else EXIT_FAILED


def _rollback(args: argparse.Namespace, app: Any) -> int:
    fill_credentials(args, app)
    return _taken(app, app.ctx_job(app.engine().deployments.rollback_job(args.deployment, args.on)), "rolled-back")


def _retire(args: argparse.Namespace, app: Any) -> int:
    fill_credentials(args, app)
    return _taken(app, app.ctx_job(app.engine().deployments.retire_job(args.deployment, args.on)), "retired")


def _taken(app: Any, found: dict[str, Any], wanted: str) -> int:
    app.out(found, lambda: _outcomes(app, found))
    return EXIT_DONE if all(one["outcome"] == wanted for one in found["servers"]) else EXIT_FAILED


def _outcomes(app: Any, found: dict[str, Any]) -> str:
    lines = [app.t(N_("Deployment {id}"), id=found["deployment"])]
    for one in found["servers"]:
        line = f"  {one['name']}: {tr(OUTCOMES.get(one['outcome'], one['outcome']), app.lang)}"
        lines.append(line + (f" - {_message(one['error'], app.lang)}" if one.get("error") else ""))
    return "\n".join(lines)


def _status(args: argparse.Namespace, app: Any) -> int:
    from console.jobs.job import NullContext

    deployments = app.engine().deployments
    if args.deployment is None:
        every = {"deployments": deployments.list(), "plans": deployments.plans()}
        app.out(every, lambda: _list_text(app, every))
        return EXIT_DONE
    fill_credentials(args, app)
    found = deployments.status(NullContext(), args.deployment)
    app.out(found, lambda: _list_text(app, {"deployments": [found], "plans": []}))
    return EXIT_BAD_VERDICT if any(one["healthy"] is False for one in found["servers"]) else EXIT_DONE


def _list_text(app: Any, every: dict[str, Any]) -> str:
    lines = []
    for row in every["deployments"]:
        lines.append(app.t(N_("{id}: {playbook}, release {release}"), id=row["id"], playbook=row["playbook"],
                           release=row["release_id"][:16]))
        for one in row["servers"]:
            health = {True: app.t(N_(", healthy")), False: app.t(N_(", does not answer"))}.get(one.get("healthy"), "")
            lines.append(f"  {one['name']}: {tr(OUTCOMES.get(one['state'], one['state']), app.lang)}{health}")
    waiting = [plan for plan in every["plans"] if plan["state"] != "applied"]
    lines += [app.t(N_("plan {id} ({playbook}) waits to be approved or applied"), id=p["id"], playbook=p["playbook"])
              for p in waiting]
    return "\n".join(lines) or app.t(N_("Nothing is deployed yet. Plan it: sealift deploy plan PLAYBOOK --release ID "
                                        "--to NAME"))
