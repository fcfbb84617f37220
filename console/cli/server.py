"""``sealift server``: servers and their host keys."""

from __future__ import annotations

import argparse
import getpass
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from console.cli.inventory import change_lines
from console.errors import EXIT_BAD_VERDICT, EXIT_DONE, InputError, UsageError, code, shown, words_of
from console.i18n import N_, into
from console.servers.importing import LineProblem, parse_csv, read_text
from console.servers.keys import HostKey, parse_known_hosts
from console.servers.plain import plain
from console.servers.record import AUTHS, SUDOS, ServerRecord
from console.servers.sshconfig import parse_ssh_config
from console.transport.problems import KEY_CHANGED

BAD_ADDRESS = code("server.bad-address", UsageError, N_("{address} is not an address."),
                   N_("Give it as HOST, USER@HOST or USER@HOST:PORT."))
NO_FILE = code("server.import-unreadable", InputError, N_("{path} cannot be read: {reason}."),
               N_("Check the path and the rights."))


def register(sub: argparse._SubParsersAction, common: list[argparse.ArgumentParser]) -> None:
    """Add ``server`` with its actions."""
    parser = sub.add_parser("server", parents=common, help="servers and their host keys")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    _register_add(actions, common)
    one = actions.add_parser("import", parents=common,
                             help="servers from CSV or an OpenSSH config; host keys from known_hosts")
    one.add_argument("file", type=Path)
    one.add_argument("--format", choices=("csv", "ssh-config", "known-hosts"), help="told from the name when left out")
    one.set_defaults(run=_import)
    one = actions.add_parser("trust", parents=common, help="show the offered host key, or trust it by its fingerprint")
    one.add_argument("name")
    one.add_argument("fingerprint", nargs="?", help="SHA256:… as the server's administrator gives it")
    one.set_defaults(run=_trust)
    one = actions.add_parser("list", parents=common, help="all servers")
    one.add_argument("--group", action="append", default=[], help="only servers of this group; may be repeated")
    one.add_argument("--label", action="append", default=[], help="only servers with this label; may be repeated, all count")
    one.add_argument("--match", metavar="TEXT", help="only servers with this text in name, address, group or labels")
    one.add_argument("--state", choices=STATES, help="only servers that are so")
    one.add_argument("--sort", choices=SORTS, default="name")
    one.add_argument("--reverse", action="store_true")
    one.set_defaults(run=_list)
    for name, function, text in (("show", _show, "one server"), ("remove", _remove, "take a server out of the book")):
        one = actions.add_parser(name, parents=common, help=text)
        one.add_argument("name")
        one.set_defaults(run=function)


def _register_add(actions: argparse._SubParsersAction, common: list[argparse.ArgumentParser]) -> None:
    one = actions.add_parser("add", parents=common, help="add a server")
    one.add_argument("name")
    one.add_argument("address", help="HOST, USER@HOST or USER@HOST:PORT")
    # Not --user: everywhere in this program that is the account of the site that acts.
    one.add_argument("--login", metavar="USER", help="the account on the server")
    one.add_argument("--port", type=int)
    one.add_argument("--identity", metavar="FILE", help="private key; a certificate beside it (FILE-cert.pub) is used")
    one.add_argument("--auth", choices=AUTHS, help="key with --identity, else agent")
    one.add_argument("--sudo", choices=SUDOS, default="none")
    one.add_argument("--store", default=ServerRecord.store, help="folder for weights on the server")
    one.add_argument("--jump", action="append", default=[], metavar="NAME", help="server to go through; nearest first")
    one.add_argument("--label", action="append", default=[])
    one.add_argument("--group", default="")
    one.add_argument("--fingerprint", metavar="SHA256:…", help="trust the host key at once if this is its fingerprint")
    one.set_defaults(run=_add)
    one = actions.add_parser("change", parents=common, help="change the entry of a server; what is not named stays")
    one.add_argument("name")
    one.add_argument("--address", help="HOST, USER@HOST or USER@HOST:PORT")
    one.add_argument("--login", metavar="USER", help="the account on the server")
    one.add_argument("--port", type=int)
    one.add_argument("--identity", metavar="FILE", help="private key; empty for none")
    one.add_argument("--auth", choices=AUTHS)
    one.add_argument("--sudo", choices=SUDOS)
    one.add_argument("--store", help="folder for weights on the server")
    one.add_argument("--jump", action="append", metavar="NAME", help="server to go through, instead of those before; empty for none")
    one.add_argument("--label", action="append", help="label, instead of those before; empty for none")
    one.add_argument("--group")
    one.set_defaults(run=_change)


_ADDRESS = re.compile(r"(?:(?P<user>[^@\s]+)@)?(?:\[(?P<v6>[0-9A-Fa-f:.%]+)\]|(?P<host>[^:@\s\[\]]+))"
                      r"(?::(?P<port>[0-9]{1,5}))?")
_BARE_V6 = re.compile(r"[0-9A-Fa-f]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*")


def _parse_address(text: str) -> tuple[str | None, str, int | None]:
    if _BARE_V6.fullmatch(text):
        return None, text, None
    match = _ADDRESS.fullmatch(text)
    if not match:
        raise BAD_ADDRESS(address=text)
    return match["user"], match["v6"] or match["host"], int(match["port"]) if match["port"] else None


def _given(*ports: int | None) -> int | None:
    """The first that was given; 0 was, and is refused as any other port that there is not."""
    return next((port for port in ports if port is not None), None)


def _add(args: argparse.Namespace, app: Any) -> int:
    user, address, port = _parse_address(args.address)
    identity = str(Path(args.identity).expanduser().absolute()) if args.identity else None
    record = ServerRecord(
        args.name, address, _given(args.port, port, 22), args.login or user or getpass.getuser(), identity,
        args.auth or ("key" if identity else "agent"), args.sudo, tuple(args.jump), tuple(args.label), args.group,
        args.store)
    book = app.engine().servers
    book.add(record)
    if args.fingerprint:
        book.trust(record.name, args.fingerprint)
    added = book.get(record.name)
    app.out({"server": _public(added)}, lambda: app.t(
        N_("Added {name}. Compare and trust its host key: sealift server trust {name}") if not added.host_keys
        else N_("Added {name}, host key trusted."), name=added.name))
    return EXIT_DONE


def _change(args: argparse.Namespace, app: Any) -> int:
    book = app.engine().servers
    user, address, port = _parse_address(args.address) if args.address else (None, None, None)
    given = {"address": address, "user": args.login or user, "port": _given(args.port, port, None), "auth": args.auth, "sudo": args.sudo,
             "store": args.store, "group": args.group}
    changes: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    if args.identity is not None:
        changes["identity_file"] = str(Path(args.identity).expanduser().absolute()) if args.identity else None
    for key, words in (("jump", args.jump), ("labels", args.label)):
        if words is not None:
            changes[key] = tuple(word for word in words if word)
    changed = book.update(replace(book.get(args.name), **changes))
    app.out({"server": _public(changed)}, lambda: app.t(N_("Changed {name}."), name=args.name))
    return EXIT_DONE


def _public(record: ServerRecord) -> dict[str, Any]:
    keys = [HostKey(line) for line in record.host_keys]
    return record.as_dict() | {"host_keys": [
        {"type": k.type, "fingerprint": k.fingerprint} | ({"authority": True} if k.authority else {}) for k in keys]}


def _import(args: argparse.Namespace, app: Any) -> int:
    try:
        text = read_text(args.file)
    except OSError as problem:
        raise NO_FILE(path=str(args.file), reason=problem.strerror or "?") from None
    kind = args.format or _format_of(args.file)
    if kind == "known-hosts":
        return _import_pins(text, app)
    found = parse_csv(text) if kind == "csv" else parse_ssh_config(text, folder=args.file.absolute().parent)
    added, refused = app.engine().servers.add_all(found.records)
    problems = [{"line": p.line, "message": shown(into(p.text, app.lang))} for p in found.problems]
    problems += [{"line": found.lines.get(name, 0), "name": name, **problem.as_dict(app.lang)} for name, problem in refused]
    told = [*found.problems, *(found.not_taken(name, problem) for name, problem in refused)]
    app.out({"added": [r.name for r in added], "problems": problems}, lambda: _imported_text(app, added, told))
    return EXIT_BAD_VERDICT if problems else EXIT_DONE


def _imported_text(app: Any, added: list, problems: list[LineProblem]) -> str:
    lines = [app.t(N_("{count} servers added."), count=len(added))]
    for p in sorted(problems, key=lambda p: p.line or sys.maxsize):
        problem = shown(into(p.text, app.lang))
        lines.append(app.t(N_("Line {line}: {problem}"), line=p.line, problem=problem) if p.line else problem)
    return "\n".join(lines)


def _format_of(file: Path) -> str:
    name = file.name.lower()
    return "known-hosts" if "known_hosts" in name else "csv" if name.endswith((".csv", ".tsv")) else "ssh-config"


def _import_pins(text: str, app: Any) -> int:
    known = parse_known_hosts(text)
    book = app.engine().servers
    dropped, pinned, authorities = book.distrust_revoked(known), book.trust_known_hosts(known), book.trust_authorities(known)
    problems = [{"line": line, "message": shown(into(reason, app.lang))} for line, reason in known.skipped]
    app.out({"trusted": pinned, "authorities": authorities, "revoked": dropped, "problems": problems}, lambda: "\n".join(
        [app.t(N_("Host keys of {count} servers trusted."), count=len(pinned)),
         *(app.t(N_("The key of {server} is revoked, and no longer trusted: {fingerprint}"), server=name or "@cert-authority",
                 fingerprint=", ".join(marks)) for name, marks in dropped.items()),
         *(app.t(N_("Host certificates are believed of the authority {fingerprint}."), fingerprint=mark) for mark in authorities),
         *(app.t(N_("Line {line}: {problem}"), line=line, problem=shown(into(reason, app.lang))) for line, reason in known.skipped)]))
    return EXIT_DONE


def _trust(args: argparse.Namespace, app: Any) -> int:
    book = app.engine().servers
    if args.fingerprint is None:
        offered = book.offered_key(args.name)
        known = [line for line in book.get(args.name).host_keys if not HostKey(line).authority]
        data = {"server": args.name, "type": offered.type, "fingerprint": offered.fingerprint, "key": offered.line,
                "trusted": offered.line in known, "changed": bool(known) and offered.line not in known}
        app.out(data, lambda: app.t(
            N_("{name} offers {type} {fingerprint}. Compare it with what its administrator gives, then: "
               "sealift server trust {name} {fingerprint}"),
            name=args.name, type=offered.type, fingerprint=offered.fingerprint))
        return EXIT_DONE
    key = book.trust(args.name, args.fingerprint)
    app.out({"server": args.name, "type": key.type, "fingerprint": key.fingerprint, "trusted": True},
            lambda: app.t(N_("The host key of {name} is trusted: {fingerprint}"), name=args.name,
                          fingerprint=key.fingerprint))
    return EXIT_DONE


def _list(args: argparse.Namespace, app: Any) -> int:
    everything = app.engine().servers.list()
    rows = [(r, _standing(app, r)) for r in everything if _chosen(r, args)]
    rows = [row for row in rows if args.state in (None, row[1])]
    rows.sort(key=lambda row: (_SORT_KEYS[args.sort](row), _natural(row[0].name)), reverse=args.reverse)

    def text() -> str:
        if not everything:
            return app.t(N_("No servers yet. Add one: sealift server add NAME ADDRESS"))
        if not rows:
            return app.t(N_("No server is like that."))
        width = max(len(r.name) for r, _ in rows)
        return "\n".join(f"{r.name:<{width}}  {r.user}@{r.address}:{r.port}  {app.t(_STATE_TEXTS[state])}"
                         + "".join(f"  {part}" for part in (r.group and f"@{r.group}", ", ".join(r.labels)) if part) for r, state in rows)

    app.out({"servers": [_public(r) | {"state": state} for r, state in rows]}, text)
    return EXIT_DONE


def _chosen(r: ServerRecord, args: argparse.Namespace) -> bool:
    words = " ".join((r.name, r.address, r.group, *r.labels)).casefold()
    return ((not args.group or r.group in args.group) and set(args.label) <= set(r.labels)
            and (args.match is None or args.match.casefold() in words))


def _standing(app: Any, r: ServerRecord) -> str:
    latest = app.engine().inventory.latest(r.name)
    if not r.host_keys:
        return "untrusted"
    return "never-asked" if latest is None else _how_asked(latest)


def _how_asked(taken: Any) -> str:
    if taken.reached:
        return "reached"
    return "key-changed" if (taken.error or {}).get("code") == KEY_CHANGED.code else "unreachable"


_STATE_TEXTS = {"key-changed": N_("host key changed"), "untrusted": N_("host key not trusted"), "never-asked": N_("never asked"),
                "reached": N_("answered"), "unreachable": N_("not reached")}
STATES, SORTS = tuple(_STATE_TEXTS), ("name", "address", "group", "state")
_SORT_KEYS = {"name": lambda row: (), "address": lambda row: _natural(row[0].address), "group": lambda row: row[0].group,
              "state": lambda row: STATES.index(row[1])}


def _natural(text: str) -> list[tuple[int, int, str]]:
    """A key that sorts gpu-2 before gpu-10."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"([0-9]{1,18})", text) if part]


def _show(args: argparse.Namespace, app: Any) -> int:
    record = app.engine().servers.get(args.name)
    latest = app.engine().inventory.latest(args.name)
    changes = app.engine().inventory.changes(args.name) if latest and latest.reached else []
    taken = latest and {"taken_at": latest.taken_at, "reached": latest.reached, "error": latest.error,
                        "devices": plain(latest.devices), "differences": [c.as_dict() for c in changes]}
    data = {"server": _public(record), "inventory": taken}

    def text() -> str:
        lines = [f"{key}: {', '.join(value) if isinstance(value, list) else value}"
                 for key, value in record.as_dict().items() if value not in (None, [], "")]
        lines += [f"{'host authority' if HostKey(line).authority else 'host key'}: {HostKey(line).type} {HostKey(line).fingerprint}"
                  for line in record.host_keys]
        if latest:
            lines.append(app.t(N_("Asked at {when}: {state}."), when=latest.taken_at,
                               state=app.t(_STATE_TEXTS[_how_asked(latest)])))
            lines += words_of(latest.error, app.lang) if latest.error else ()
        return "\n".join(lines + change_lines(app, changes))

    app.out(data, text)
    return EXIT_DONE


def _remove(args: argparse.Namespace, app: Any) -> int:
    app.engine().servers.remove(args.name)
    app.out({"removed": args.name}, lambda: app.t(
        N_("Removed {name}. Nothing was changed on the server itself."), name=args.name))
    return EXIT_DONE
