"""``sealift bundle`` and ``sealift model``: build, look into, verify, import; and OpenSSF Model Signing."""

from __future__ import annotations

import argparse
import contextlib
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from console import units
from console.cli.key import load_signing_key
from console.cli.output import table
from console.cli.root import read_file
from console.errors import EXIT_BAD_VERDICT, EXIT_DONE, Cancelled, InputError, SealiftError, WorldError, code, shown
from console.i18n import N_

BAD_SIZE = code("bundle.bad-volume-size", InputError, N_("{size} is not a size."), N_("Write it as 8GiB, 32GB or a number of bytes."))
NO_SIGNATURE = code(
    "model.signature-unreadable", InputError, N_("The signature {path} cannot be read: {reason}."), N_("Check the path and the rights.")
)
BAD_CERTIFICATE = code(
    "model.bad-certificate", InputError, N_("{path} holds no certificate in PEM."), N_("Name the file of a certificate authority.")
)
NO_FOLDER = code("model.not-found", InputError, N_("There is no model at {path}."), N_("Name the model's folder."))
UNWRITABLE = code(
    "model.signature-unwritable",
    WorldError,
    N_("The signature cannot be written to {path}: {reason}."),
    N_("Check the folder and its rights."),
)


def register(sub: argparse._SubParsersAction, common: list[argparse.ArgumentParser]) -> None:
    """Add ``bundle`` and ``model``."""
    parser = sub.add_parser("bundle", parents=common, help="build, inspect, verify, import, list, remove")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    one = actions.add_parser("build", parents=common, help="make a signed bundle of what a spec describes (connected side)")
    one.add_argument("spec", help="YAML file, the folder of one model, or one file of weights or packages")
    one.add_argument("--out", required=True, action="append", metavar="DIR",
                     help="the drive; several: each takes what it has room for")
    one.add_argument("--key", required=True, action="append", metavar="FILE", help="signing key; several for several signers")
    one.add_argument("--passphrase-file", metavar="FILE", help="passphrase of the key")
    one.add_argument("--trust-root", action="append", default=[], metavar="FILE",
                     help="a trust root that it carries; the whole chain, oldest first")
    _volume_options(one)
    one.set_defaults(run=_build)
    one = actions.add_parser("plan", parents=common, help="how many drives a bundle takes and what repair data costs; writes nothing")
    one.add_argument("spec", help="YAML file, the folder of one model, or one file of weights or packages")
    one.add_argument("--out", required=True, action="append", metavar="DIR",
                     help="the drive; several: each takes what it has room for")
    _volume_options(one)
    one.set_defaults(run=_plan)
    one = actions.add_parser("drives", parents=common, help="the drives that are plugged in, in what state, and what to do next")
    one.add_argument("media", nargs="*", metavar="DIR", help="folders to look into besides")
    one.set_defaults(run=_drives)
    for name, function, text in (
        ("inspect", _inspect, "who signed and what is inside, accepting nothing"),
        ("verify", _verify, "check signature and every byte"),
    ):
        one = actions.add_parser(name, parents=common, help=text)
        one.add_argument("media", nargs="+", metavar="DIR", help="drive or bundle folder; several for several volumes")
        one.add_argument("--public-key", action="append", default=[], metavar="FILE", help="believe this key; needs no workspace")
        one.add_argument("--threshold", type=int, default=1, help="with --public-key: how many keys must have signed")
        one.set_defaults(run=function)
    one = actions.add_parser("import", parents=common, help="check and copy into the site's library")
    one.add_argument("media", nargs="+", metavar="DIR")
    one.set_defaults(run=_import)
    one.add_argument("--swap", action="store_true", help="ask for one drive after the other; each comes to the same DIR")
    one.add_argument("--override", action="append", default=[], choices=("older", "expired", "state", "clock"),
                     help="let pass once, recorded: an older release that was here before, an expired one, a state "
                          "that fell behind the log, one issued after what the clock says")
    one = actions.add_parser("sign", parents=common, help="add a signature to a bundle that others have signed")
    one.add_argument("media", nargs="+", metavar="DIR", help="every volume of it")
    one.add_argument("--key", required=True, action="append", metavar="FILE")
    one.add_argument("--passphrase-file", metavar="FILE")
    one.set_defaults(run=_sign)
    one = actions.add_parser("check", parents=common, help="hash the library's files again")
    one.add_argument("name", nargs="?", help="release id, bundle id or title; all when left out")
    one.set_defaults(run=_check)
    one = actions.add_parser("receipt", parents=common, help="write an import's signed receipt")
    one.add_argument("name", help="release id, bundle id or title")
    one.add_argument("--out", required=True, metavar="FILE", help="the file, or a drive, which then gets it below RECEIPTS")
    one.set_defaults(run=_receipt)
    one = actions.add_parser("verify-receipt", parents=common, help="check a receipt that came back from a site")
    one.add_argument("file")
    one.add_argument("--public-key", action="append", default=[], metavar="FILE", help="of the console that is believed (`key public` there)")
    one.set_defaults(run=_verify_receipt)
    one = actions.add_parser("list", parents=common, help="the library")
    one.set_defaults(run=_list)
    one = actions.add_parser("remove", parents=common, help="take a release out of the library, or throw away what an unfinished import has copied")
    one.add_argument("name", help="release id, bundle id or title")
    one.set_defaults(run=_remove)

    parser = sub.add_parser("model", parents=common, help="OpenSSF Model Signing of any folder")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    one = actions.add_parser("verify", parents=common, help="check a folder against its signature")
    one.add_argument("folder", metavar="DIR")
    one.add_argument("--signature", required=True, metavar="FILE")
    one.add_argument("--public-key", action="append", default=[], metavar="FILE")
    one.add_argument("--certificate-chain", nargs="+", default=[], metavar="FILE", help="certificate authorities that are believed")
    one.set_defaults(run=_model_verify)
    one = actions.add_parser("sign", parents=common, help="sign a folder")
    one.add_argument("folder", metavar="DIR")
    one.add_argument("--signature", required=True, metavar="FILE")
    one.add_argument("--key", required=True, metavar="FILE")
    one.add_argument("--passphrase-file", metavar="FILE")
    one.set_defaults(run=_model_sign)


def _volume_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--exclude", action="append", default=[], metavar="PATTERN", help="files that stay out, such as '*.py' or 'original/*'")
    add("--volume-size", metavar="SIZE", help="split over volumes of this size, such as 29GiB")
    add("--parity", metavar="WHAT", help="repair data: `volume` for a drive of it, from which any one lost drive is rebuilt, or a "
                                         "number N for one object to every N")
    add("--swap", action="store_true", help="write one drive after the other, asking for the next; each comes to the same DIR")


def _ask_for_drive(text: str) -> None:
    """Wait until the operator says that the next drive is there.

    Raises:
        Cancelled: nobody answers any more; what was done is gone on with another time.
    """
    print(text, file=sys.stderr, flush=True)
    if not sys.stdin or not sys.stdin.readline():
        raise Cancelled


def _swap(app: Any) -> Any:
    def ask(number: int, of: int, place: Path) -> None:
        _ask_for_drive(app.t(N_("Volume {done} of {of} is written and read back. Remove the drive safely, bring the drive for volume "
                                     "{number} to {place}, then press Enter."), done=number - 1, of=of, number=number, place=str(place)))

    return ask


def _run(app: Any, work: Any) -> Any:
    """Run ``work(ctx)`` outside any workspace, showing its progress."""
    from console.jobs.apart import run_apart

    printer = app.progress_printer()
    try:
        return run_apart(work, printer)
    finally:
        printer.finish()


def _build(args: argparse.Namespace, app: Any) -> int:
    from console.bundles.build import build

    keys = [load_signing_key(path, args.passphrase_file, app) for path in args.key]
    volume, chain = _volume_size(args), [read_file(path) for path in args.trust_root]
    swap = _swap(app) if args.swap else None
    built = _run(app, lambda ctx: build(ctx, Path(args.spec), _out(args), keys, volume, chain, parity=args.parity, swap=swap,
                                        exclude=args.exclude))
    data = {
        "bundle_id": built.bundle_id,
        "release_id": built.release_id,
        "folders": [str(f) for f in built.folders],
        "files": built.files,
        "bytes": built.bytes,
        "objects": built.objects,
        "parity_bytes": built.parity_bytes,
        "warnings": list(built.warnings),
    }
    app.out(data, lambda: _told_built(app, built))
    return EXIT_DONE


def _out(args: argparse.Namespace) -> list[Path]:
    return [Path(place) for place in args.out]


def _volume_size(args: argparse.Namespace) -> int | None:
    try:
        return units.parse_size(args.volume_size) if args.volume_size else None
    except ValueError:
        raise BAD_SIZE(size=args.volume_size) from None


def _told_built(app: Any, built: Any) -> str:
    lines = [app.t(N_("Bundle {bundle} written: {files} files, {size}, on {volumes} volumes."), bundle=built.bundle_id, files=built.files,
                   size=units.size(built.bytes), volumes=len(built.folders))]
    if built.parity_bytes:
        lines.append("  " + app.t(N_("Repair data: {size}"), size=units.size(built.parity_bytes)))
    lines += [f"  {folder}" for folder in built.folders]
    lines += [f"  {warning}" for warning in built.warnings]
    lines.append(app.t(N_("Every byte was read back. Remove the drives safely before they are unplugged.")))
    return "\n".join(lines)


def _plan(args: argparse.Namespace, app: Any) -> int:
    from console.bundles.build import preview

    told = preview(Path(args.spec), _out(args), _volume_size(args), parity=args.parity, swap=args.swap, exclude=args.exclude)
    data = {"title": told.title, "files": told.files, "bytes": told.bytes, "parity_bytes": told.parity_bytes,
            "volumes": [{"number": n, "place": str(place), "bytes": size, "repair_data": repair}
                        for n, (place, size, repair) in enumerate(told.volumes, 1)]}
    kinds = {True: app.t(N_("Repair data")), False: app.t(N_("Contents"))}
    rows = [(str(v["number"]), v["place"], units.size(v["bytes"]), kinds[v["repair_data"]]) for v in data["volumes"]]
    share = 100 * told.parity_bytes // max(told.bytes, 1)
    app.out(data, lambda: "\n".join([
        app.t(N_("{title}: {files} files, {size}, on {volumes} volumes."), title=told.title, files=told.files, size=units.size(told.bytes),
              volumes=len(told.volumes)),
        app.t(N_("The repair data takes {size}, {share} % of the contents."), size=units.size(told.parity_bytes), share=share)
        if told.parity_bytes else app.t(N_("There is no repair data; --parity adds it.")),
        table(rows, ("#", app.t(N_("Place")), app.t(N_("Size")), app.t(N_("Holds"))))]))
    return EXIT_DONE


def _drives(args: argparse.Namespace, app: Any) -> int:
    from console.bundles import media
    from console.bundles.drives import NONE_HERE, STATES, survey

    found = []
    for place in survey([str(Path(m)) for m in args.media]):
        held: list[media.Media] = []
        with contextlib.suppress(OSError):  # pulled since; its state is what was found a moment ago
            held = media.find([place.path]) if place.readable else []
        found.append((place, held))
    data = {"drives": [
        {"path": str(p.path), "label": p.label, "removable": p.drive, "file_system": p.file_system, "free_bytes": p.free_bytes,
         "total_bytes": p.total_bytes, "state": p.state, "next": STATES[p.state][1],
         "bundles": [{"bundle_id": m.bundle_id, "volumes": [v.number for v in m.volumes], "of": m.volumes[0].of,
                      "label": m.volumes[0].label} for m in held]} for p, held in found]}

    def told() -> str:
        if not found:
            return app.t(NONE_HERE)
        rows = [(str(p.path), p.file_system or "–", units.size(p.free_bytes), units.size(p.total_bytes), app.t(STATES[p.state][0]),
                 str(len(held))) for p, held in found]
        lines = [table(rows, tuple(app.t(h) for h in (N_("Drive"), N_("File system"), N_("Free"), N_("Size"), N_("State"), N_("Bundles"))))]
        for p, held in found:
            lines += [f"{p.path}: {app.t(STATES[p.state][1])}"] if STATES[p.state][1] else []
            lines += [app.t(N_("{path}: bundle {bundle}, {label}, volume {number} of {of}"), path=str(p.path), bundle=m.bundle_id,
                            label=shown(v.label), number=v.number, of=v.of) for m in held for v in m.volumes]
        return "\n".join(lines)

    app.out(data, told)
    return EXIT_DONE


def _judge(args: argparse.Namespace, app: Any) -> Any:
    """On whose behalf a bundle is looked at: of the keys on the command line, else of the site where there is one."""
    from console.bundles.inspection import Outsider
    from console.trust.keys import load_public

    if args.public_key:
        keys = [(load_public(Path(p)), Path(p).stem) for p in args.public_key]
        return Outsider({k.keyid: (k, name) for k, name in keys}, args.threshold)
    if not (app.workspace / "sealift.db").exists():
        return Outsider({})
    from console.bundles.acceptance import Site

    return Site(app.engine())


def _media(args: argparse.Namespace) -> list[Path]:
    return [Path(m) for m in args.media]


def _inspect(args: argparse.Namespace, app: Any) -> int:
    from console.bundles.acceptance import Site
    from console.bundles.inspection import document, inspect

    judge = _judge(args, app)
    seen = inspect(_media(args), judge)
    data = document(seen, None)
    if isinstance(judge, Site):
        room = app.engine().library.room(seen)
        data["room"] = {"needed_bytes": room.needed, "free_bytes": room.free, "enough": room.enough}
    data["files_listed"] = [{"path": f.path, "size": f.size, "sha256": f.sha256, "component": f.component} for f in seen.files]
    app.out(data, lambda: _told(app, data))
    return EXIT_DONE if data["verdict"] != "failed" else EXIT_BAD_VERDICT


def _verify(args: argparse.Namespace, app: Any) -> int:
    from console.bundles.verify import verify

    judge = _judge(args, app)
    data = _run(app, lambda ctx: verify(ctx, _media(args), judge))
    app.out(data, lambda: _told(app, data))
    return EXIT_DONE if data["verdict"] == "verified" else EXIT_BAD_VERDICT


def _told(app: Any, data: dict[str, Any]) -> str:
    from console.bundles.inspection import STATES

    lines = [data["verdict"].upper()]
    if data.get("release_id"):
        lines += _facts(app, data)
    lines += [f"  {app.t(N_('Signed by'))} {shown(s['name'])}: {s['fingerprint']}" for s in data["signers"]]
    lines += [f"  {app.t(N_('Signed by a key that is not trusted'))}: {key}" for key in data["unknown_keys"]]
    lines += [f"  {app.t(N_('Publisher of {component}'), component=p['component'])}: {shown((p['signer'] or {}).get('name') or '?')}, "
              f"{(p['signer'] or {}).get('fingerprint', '')} ({p['verdict']})" for p in data["publishers"]]
    if max((v["of"] for v in data["volumes"]), default=1) > 1:
        lines += ["  " + app.t(N_("Volume {number} of {of}: {state}, {folder}"), number=v["number"], of=v["of"],
                               state=app.t(STATES.get(v["state"], v["state"])), folder=v["folder"]) for v in data["volumes"]]
    lines += ["  " + app.t(N_("Not of this bundle: {state}, {folder}"), state=app.t(STATES.get(v["state"], v["state"])),
                           folder=v["folder"]) for v in data["other_volumes"]]
    lines += [f"  {f['code']}  {shown(f['path'])}  {shown(app.t(f['message']))}" for f in data["findings"]]
    if data["missing_volumes"]:
        lines.append(f"  {app.t(N_('Volumes that are not here'))}: {', '.join(map(str, data['missing_volumes']))}")
    if data["repairable"]:
        lines.append("  " + app.t(N_("What is damaged can be rebuilt from the repair data; import does so.")))
    return "\n".join([*lines, _next(app, data)])


def _facts(app: Any, data: dict[str, Any]) -> list[str]:
    group = " ".join(data["release_id"][i : i + 4] for i in range(0, 16, 4))
    facts = [(N_("Title"), shown(data["title"])), (N_("Release"), group),
             (N_("Channel"), f"{data['channel']} #{data['sequence']}, {data['issued_at'][:10]}"),
             (N_("Files"), f"{data['files']}, {units.size(data['bytes'])}")]
    if data["parity"]["objects"]:
        facts.append((N_("Repair data"), units.size(data["parity"]["bytes"])))
    if "room" in data:
        facts.append((N_("Room"), app.t(N_("{needed} are needed for the import, {free} are free"), needed=units.size(data["room"]["needed_bytes"]),
                                        free=units.size(data["room"]["free_bytes"]))))
    titles = [app.t(title) for title, _ in facts]
    lines = ["  " + line for line in table(list(zip([f"{t}:" for t in titles], [v for _, v in facts], strict=True)), ("", "")).split("\n")[1:]]
    rows = [(c["id"], f"{c['type']}, {c['format']}", shown(c["version"]), shown(c["license"]) or "–", units.size(c["installed_bytes"]),
             shown(c["source"].get("uri", "")) or "–") for c in data["components"]]
    head = tuple(app.t(h) for h in (N_("Component"), N_("Kind"), N_("Version"), N_("Licence"), N_("Unpacked"), N_("Origin")))
    return lines + ["  " + line for line in table(rows, head).split("\n")]


def _next(app: Any, data: dict[str, Any]) -> str:
    """What the verdict means and what comes next."""
    if data["verdict"] == "verified":
        return app.t(N_("Every byte was hashed and is what was signed. Next: sealift bundle import"))
    if data["verdict"] == "failed":
        return app.t(N_("Findings are listed above. Import refuses it, unless repair data makes up for what is damaged."))
    if not data["signers"]:
        return app.t(N_("No key that signed it is trusted. Compare its fingerprint with its holder, then: sealift trust add"))
    if data["missing_volumes"]:
        return app.t(N_("Not all volumes are here. Import takes them one after the other: sealift bundle import --swap"))
    return app.t(N_("Nothing speaks against it so far. Its bytes were not hashed; next: sealift bundle verify"))


def _import(args: argparse.Namespace, app: Any) -> int:
    from console.bundles.library import VOLUMES, as_json
    from console.bundles.media import GONE, NONE

    while True:
        try:
            imported = app.ctx_job(app.engine().library.import_job(
                _media(args), app.t(N_("Import a bundle")), frozenset(args.override)))
            break
        except SealiftError as problem:
            if not args.swap or problem.code not in (VOLUMES.code, NONE.code, GONE.code):
                raise
            _ask_for_drive(app.t(N_("{problem} Bring the next drive to {place}, then press Enter."), problem=problem.message(app.lang),
                                      place=", ".join(args.media)))
    data = as_json(imported.release) | {
        "bytes_copied": imported.bytes_copied,
        "bytes_reused": imported.bytes_reused,
        "bytes_rebuilt": imported.bytes_rebuilt,
        "receipt": imported.receipt,
    }
    release = imported.release.release_id[:16]
    sizes = {name: units.size(data[f"bytes_{name}"]) for name in ("copied", "reused", "rebuilt")}
    app.out(data, lambda: "\n".join([
        app.t(N_("{title} is in the library: release {release}."), title=imported.release.title, release=release),
        app.t(N_("{copied} were copied, {reused} were here already, {rebuilt} were rebuilt from repair data."), **sizes),
        app.t(N_("Its signed receipt, to travel back: sealift bundle receipt {release} --out DIR"), release=release)]))
    return EXIT_DONE


def _sign(args: argparse.Namespace, app: Any) -> int:
    from console.bundles.build import cosign

    keys = [load_signing_key(path, args.passphrase_file, app) for path in args.key]
    folders = cosign(_media(args), keys)
    app.out({"folders": [str(f) for f in folders], "keys": [k.public.keyid for k in keys]},
            lambda: app.t(N_("Signature added on {volumes} volumes."), volumes=len(folders)))
    return EXIT_DONE


def _check(args: argparse.Namespace, app: Any) -> int:
    from console.jobs.job import JobSpec

    library = app.engine().library
    releases = [library.get(args.name)] if args.name else library.list()

    def run(ctx: Any) -> list[dict[str, Any]]:
        return [{"release_id": r.release_id, "title": r.title, "findings": library.verify(ctx, r)} for r in releases]

    told = app.ctx_job(JobSpec("bundle.check", app.t(N_("Hash the library's files again")), run))
    bad = any(r["findings"] for r in told)
    lines = [f"{r['title']}: {f['code']}  {f['path']}  {app.t(f['message'])}" for r in told for f in r["findings"]]
    app.out({"verdict": "failed" if bad else "verified", "releases": told},
            lambda: "\n".join(lines) or app.t(N_("Every file of the library is what it was.")))
    return EXIT_BAD_VERDICT if bad else EXIT_DONE


def _receipt(args: argparse.Namespace, app: Any) -> int:
    library = app.engine().library
    release = library.get(args.name)
    path = str(library.write_receipt(release, Path(args.out)))
    app.out({"receipt": path, "release_id": release.release_id}, lambda: app.t(N_("Receipt written to {path}."), path=path))
    return EXIT_DONE


def _verify_receipt(args: argparse.Namespace, app: Any) -> int:
    from console.bundles import receipts
    from console.trust.keys import load_public

    told = receipts.verify(receipts.read(Path(args.file)), [load_public(Path(p)) for p in args.public_key])
    app.out(told, lambda: _told_receipt(app, told))
    return EXIT_DONE if told["verdict"] == "verified" else EXIT_BAD_VERDICT


def _told_receipt(app: Any, told: dict[str, Any]) -> str:
    lines = [told["verdict"].upper(), *(f"  {f['code']}  {app.t(f['message'])}" for f in told["findings"])]
    if (receipt := told["receipt"]) is not None:
        volumes = ", ".join(str(v.get("number", "?")) for v in receipt["media"] if isinstance(v, dict))
        facts = [(N_("Title"), receipt["title"]), (N_("Release"), receipt["release_id"]), (N_("Channel"), f"{receipt['channel']} #{receipt['sequence']}"),
                 (N_("Site"), receipt["site"]), (N_("Imported"), f"{receipt['imported_at']}, {receipt['imported_by']}"), (N_("Volumes"), volumes),
                 (N_("Files"), f"{receipt['files']}, {units.size(receipt['bytes'])}")]
        lines += [f"  {app.t(name)}: {shown(value)}" for name, value in facts]
    lines += [f"  {app.t(N_('Signed by a key that is not trusted'))}: {key}" for key in told["unknown_keys"]]
    return "\n".join(lines)


def _list(args: argparse.Namespace, app: Any) -> int:
    from console.bundles.library import as_json

    library = app.engine().library
    releases, unfinished = library.list(), library.unfinished()

    def told() -> str:
        if not releases and not unfinished:
            return app.t(N_("The library is empty. Import a bundle: sealift bundle import DIR"))
        lines = [table([(r.release_id[:16], r.title, r.channel, str(r.sequence), units.size(r.bytes)) for r in releases],
                       (app.t(N_("Release")), app.t(N_("Title")), app.t(N_("Channel")), "#", app.t(N_("Size"))))] if releases else []
        lines += [app.t(N_("{release} {title}: not brought in to its end; {size} are kept. Import it again to go on, or: sealift bundle remove {release}"),
                        release=one.release_id[:16], title=shown(one.title), size=units.size(one.bytes)) for one in unfinished]
        return "\n".join(lines)

    app.out({"releases": [as_json(r) for r in releases], "unfinished": [asdict(one) for one in unfinished]}, told)
    return EXIT_DONE


def _remove(args: argparse.Namespace, app: Any) -> int:
    from console.bundles.library import UNKNOWN

    library = app.engine().library
    try:
        removed = library.remove(args.name)
    except InputError as problem:
        if problem.code != UNKNOWN.code:
            raise
        removed = library.discard(args.name)
    app.out({"removed": removed.release_id}, lambda: app.t(N_("Removed {name}."), name=removed.title or removed.release_id[:16]))
    return EXIT_DONE


def _model_verify(args: argparse.Namespace, app: Any) -> int:
    from cryptography import x509

    from console.trust import oms
    from console.trust.keys import load_public

    folder, signature = Path(args.folder), Path(args.signature)
    if not folder.exists():
        raise NO_FOLDER(path=args.folder)
    try:
        with open(signature, "rb") as source:
            raw = source.read(oms.MAX_SIGNATURE_BYTES + 1)
    except OSError as problem:
        raise NO_SIGNATURE(path=args.signature, reason=problem.strerror or "?") from None
    roots = []
    for path in args.certificate_chain:
        try:
            roots += x509.load_pem_x509_certificates(Path(path).read_bytes())
        except (OSError, ValueError):
            raise BAD_CERTIFICATE(path=path) from None
    data = oms.verify(folder, raw, keys=[load_public(Path(p)) for p in args.public_key], roots=roots, signature_path=signature)
    app.out(data, lambda: "\n".join([data["verdict"].upper(), *_signers(app, data),
                                   *(f"  {f['code']}  {shown(f['path'])}  {shown(app.t(f['message']))}" for f in data["findings"])]))
    return EXIT_DONE if data["verdict"] == "verified" else EXIT_BAD_VERDICT


def _signers(app: Any, data: dict[str, Any]) -> list[str]:
    return [f"  {app.t(N_('Signed by'))} {shown(s['name'])}: {s['fingerprint']}".replace(" : ", ": ") for s in data["signers"]]


def _model_sign(args: argparse.Namespace, app: Any) -> int:
    from console.trust import oms

    folder = Path(args.folder)
    if not folder.is_dir():
        raise NO_FOLDER(path=args.folder)
    raw = oms.sign_folder(folder, load_signing_key(args.key, args.passphrase_file, app), Path(args.signature))
    try:
        Path(args.signature).write_bytes(raw)
    except OSError as problem:
        raise UNWRITABLE(path=args.signature, reason=problem.strerror or "?") from None
    app.out({"signature": args.signature}, lambda: app.t(N_("Signature written to {path}."), path=args.signature))
    return EXIT_DONE
