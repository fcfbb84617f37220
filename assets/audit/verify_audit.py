#!/usr/bin/env python3
"""Checks an exported Sealift audit record with nothing but Python 3.9 or newer. No network, no packages.

    python3 verify_audit.py FOLDER --key 'ORIGIN+NUMBER+BASE64' [--known-head FILE]... [--json]

FOLDER is the exported folder. The key is the log's verifier key, noted apart from the export when the log began; the
copy inside the folder alone proves nothing. Known heads are checkpoints kept from earlier.

Exit: 0 VERIFIED, 3 VERIFIED with warnings, 1 FAILED, 2 UNVERIFIED or wrong use.
"""

import argparse
import base64
import hashlib
import json
import os
import re
import sys

MAX_RECORD = 64 << 10
MAX_FILE = 16 << 30
P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
I = pow(2, (P - 1) // 4, P)  # noqa: E741 - the name that RFC 8032 gives it


# Ed25519 (RFC 8032), verification only ---------------------------------------------------------------------------


def _x_of(y, sign):
    x2 = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    if x2 == 0:
        return None if sign else 0
    x = pow(x2, (P + 3) // 8, P)
    if (x * x - x2) % P:
        x = x * I % P
    if (x * x - x2) % P:
        return None
    return P - x if x & 1 != sign else x


_BY = 4 * pow(5, P - 2, P) % P
_BASE = (_x_of(_BY, 0), _BY, 1, _x_of(_BY, 0) * _BY % P)


def _add(p, q):
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def _times(n, p):
    total = (0, 1, 1, 0)
    while n:
        if n & 1:
            total = _add(total, p)
        p, n = _add(p, p), n >> 1
    return total


def _point(raw):
    y = int.from_bytes(raw, "little")
    sign, y = y >> 255, y & ((1 << 255) - 1)
    if y >= P:
        return None
    x = _x_of(y, sign)
    return None if x is None else (x, y, 1, x * y % P)


def ed25519_verify(key, signature, data):
    """Whether ``signature`` (64 bytes) over ``data`` is by ``key`` (32 bytes)."""
    if len(key) != 32 or len(signature) != 64:
        return False
    a, r = _point(key), _point(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if a is None or r is None or s >= L:
        return False
    h = int.from_bytes(hashlib.sha512(signature[:32] + key + data).digest(), "little") % L
    left, right = _times(s, _BASE), _add(r, _times(h, a))
    return (left[0] * right[2] - right[0] * left[2]) % P == 0 and (left[1] * right[2] - right[1] * left[2]) % P == 0


# The tree (RFC 6962) ---------------------------------------------------------------------------------------------


def leaf_hash(record):
    return hashlib.sha256(b"\x00" + record).digest()


def node_hash(left, right):
    return hashlib.sha256(b"\x01" + left + right).digest()


class Edge:
    """The right edge of a growing tree."""

    def __init__(self, size=0, hashes=()):
        if bin(size).count("1") != len(hashes):
            raise ValueError("the edge does not fit its size")
        self.size, self.hashes = size, list(hashes)

    def add(self, leaf):
        self.size += 1
        self.hashes.append(leaf)
        for _ in range((self.size & -self.size).bit_length() - 1):
            right = self.hashes.pop()
            self.hashes.append(node_hash(self.hashes.pop(), right))

    def root(self):
        if not self.hashes:
            return hashlib.sha256(b"").digest()
        root = self.hashes[-1]
        for left in reversed(self.hashes[:-1]):
            root = node_hash(left, root)
        return root


def consistent(old, new, old_root, new_root, proof):
    """Whether ``proof`` shows the tree of ``old`` leaves to be a prefix of that of ``new``."""
    if not 0 < old <= new:
        return False
    if old == new:
        return not proof and old_root == new_root
    steps = list(proof)
    if old & (old - 1) == 0:
        steps.insert(0, old_root)
    if not steps:
        return False
    at, last = old - 1, new - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    first = second = steps[0]
    for step in steps[1:]:
        if last == 0:
            return False
        if at & 1 or at == last:
            first, second = node_hash(step, first), node_hash(step, second)
            while at and not at & 1:
                at, last = at >> 1, last >> 1
        else:
            second = node_hash(second, step)
        at, last = at >> 1, last >> 1
    return last == 0 and first == old_root and second == new_root


# Signed notes ----------------------------------------------------------------------------------------------------


def read_key(line):
    """(origin, number, key) of a verifier line, or ValueError."""
    match = re.fullmatch(r"(.+?)\+([0-9a-f]{8})\+([A-Za-z0-9+/=]+)", line.strip())
    if not match:
        raise ValueError("not a verifier key line")
    raw = base64.b64decode(match.group(3), validate=True)
    number = hashlib.sha256(match.group(1).encode() + b"\n" + raw).digest()[:4]
    if len(raw) != 33 or raw[:1] != b"\x01" or number.hex() != match.group(2):
        raise ValueError("the verifier key line is damaged")
    return match.group(1), number, raw[1:]


def read_note(raw):
    """(origin, size, root, signed text, signature lines) of a checkpoint, or ValueError."""
    text, mark, signatures = raw.decode("utf-8").partition("\n\n")
    lines = text.split("\n")
    if not mark or len(lines) != 3 or not re.fullmatch(r"0|[1-9][0-9]{0,17}", lines[1]):
        raise ValueError("not a checkpoint")
    root = base64.b64decode(lines[2], validate=True)
    if len(root) != 32:
        raise ValueError("not a checkpoint")
    return lines[0], int(lines[1]), root, (text + "\n").encode(), signatures.splitlines()


def signed_by(note, key):
    origin, _, _, text, lines = note
    wanted_origin, number, public = key
    if origin != wanted_origin:
        return False
    for line in lines:
        if line.startswith("\u2014 " + origin + " "):
            try:
                raw = base64.b64decode(line.rsplit(" ", 1)[1], validate=True)
            except ValueError:
                continue
            if raw[:4] == number and ed25519_verify(public, raw[4:], text):
                return True
    return False


# The package -----------------------------------------------------------------------------------------------------


class Report:
    """What was found; ``failed`` and ``warnings`` decide the verdict."""

    def __init__(self):
        self.findings, self.warnings, self.facts = [], [], {}

    def fail(self, code, message, record=None, path=None):
        if len(self.findings) < 1000:
            self.findings.append({k: v for k, v in (("code", code), ("record", record), ("path", path), ("message", message))
                                  if v is not None})

    def warn(self, message):
        if len(self.warnings) < 1000:
            self.warnings.append(message)


def _unique(pairs):
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key twice")
    return found


def _no_number(text):
    raise ValueError("the number " + text)


def canonical(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode("utf-8")


def parse(raw):
    return json.loads(raw.decode("utf-8"), object_pairs_hook=_unique, parse_float=_no_number, parse_constant=_no_number)


def _inside(folder, name):
    path = os.path.join(folder, *name.split("/"))
    if os.path.islink(path) or not os.path.isfile(path):
        raise ValueError(name + " is missing or not a plain file")
    return path


def _small(folder, name):
    with open(_inside(folder, name), "rb") as source:
        raw = source.read((64 << 20) + 1)
    if len(raw) > 64 << 20:
        raise ValueError(name + " is too large")
    return raw


def check_manifest(folder, report):
    listed = {}
    try:
        for line in _small(folder, "MANIFEST.sha256").decode("utf-8").splitlines():
            match = re.fullmatch(r"([0-9a-f]{64})  ([A-Za-z0-9._/-]+)", line)
            if not match or ".." in match.group(2).split("/") or match.group(2).startswith("/"):
                report.fail("json", "a line of MANIFEST.sha256 cannot be read", path="MANIFEST.sha256")
                continue
            listed[match.group(2)] = match.group(1)
    except (ValueError, OSError) as problem:
        report.fail("missing", str(problem), path="MANIFEST.sha256")
        return
    there = set()
    for base, folders, files in os.walk(folder):
        for name in files + [f for f in folders if os.path.islink(os.path.join(base, f))]:
            there.add(os.path.relpath(os.path.join(base, name), folder).replace(os.sep, "/"))
    for name in sorted(there - set(listed) - {"MANIFEST.sha256"}):
        report.fail("extra", "the file is not in MANIFEST.sha256", path=name)
    for name, digest in listed.items():
        try:
            with open(_inside(folder, name), "rb") as source:
                real = hashlib.sha256()
                for block in iter(lambda: source.read(1 << 20), b""):
                    real.update(block)
            if real.hexdigest() != digest:
                report.fail("digest", "the file is not what MANIFEST.sha256 says", path=name)
        except (ValueError, OSError) as problem:
            report.fail("missing", str(problem), path=name)


def check_start(folder, report):
    """The edge that the records go on from, and the size before them."""
    try:
        start = parse(_small(folder, "start.json"))
        edge = Edge(start["size"], [bytes.fromhex(h) for h in start["edge"]])
    except (ValueError, KeyError, TypeError, OSError) as problem:
        report.fail("json", "start.json: " + str(problem), path="start.json")
        return None
    if edge.size:
        try:
            note = read_note(_small(folder, "previous.note"))
            if note[1] != edge.size or note[2] != edge.root():
                report.fail("root-digest", "this export does not go on from the head of the one before", path="previous.note")
        except (ValueError, OSError) as problem:
            report.fail("missing", "previous.note: " + str(problem), path="previous.note")
    return edge


def check_records(folder, edge, sizes, report):
    """Walk the records; the roots at the sizes asked for."""
    roots = {edge.size: edge.root()}
    previous, sequence = None, edge.size
    counts, actors, times, boots, last_ts = {}, {}, [], [], ""
    requested, same = {}, 0
    with open(_inside(folder, "records.jsonl"), "rb") as source:
        while True:
            line = source.readline(MAX_RECORD + 2)
            if not line:
                break
            sequence += 1
            if not line.endswith(b"\n") or len(line) > MAX_RECORD + 1:
                report.fail("json", "the line is cut off or too long", record=sequence)
                break
            raw = line[:-1]
            leaf = leaf_hash(raw)
            try:
                record = parse(raw)
                if canonical(record) != raw:
                    report.fail("json", "the record is not in its canonical form", record=sequence)
                if record["seq"] != sequence:
                    report.fail("statement", "record %s stands where %d belongs" % (record["seq"], sequence), record=sequence)
                wanted = previous if previous is not None else ("0" * 64 if sequence == 1 else None)
                if wanted is not None and record["prev"] != wanted:
                    report.fail("root-digest", "the record does not go on from the one before it", record=sequence)
                key = (record["event"], record["outcome"])
                counts[key] = counts.get(key, 0) + 1
                who = (record.get("actor") or {}).get("id")
                actors[who] = actors.get(who, 0) + 1
                if record["event"].startswith("clock."):
                    report.warn("record %d: the clock was changed (%s)" % (sequence, record["event"]))
                if last_ts and record["ts"] < last_ts:
                    report.warn("record %d: the time goes back" % sequence)
                last_ts = record["ts"]
                times = [times[0] if times else record["ts"], record["ts"]]
                if not boots or boots[-1] != record.get("boot"):
                    boots.append(record.get("boot"))
                if record["event"] == "approval.request" and record["outcome"] == "success":
                    requested[record["object"]["digest"]] = who
                if record["event"] == "approval.grant" and record["outcome"] == "success":
                    same += requested.get(record["object"]["digest"]) == who
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as problem:
                report.fail("json", "the record cannot be read: %s" % problem, record=sequence)
            previous = leaf.hex()
            edge.add(leaf)
            if edge.size in sizes:
                roots[edge.size] = edge.root()
    if same:
        report.warn("%d approvals were given by the person who asked for them" % same)
    refused = sum(n for (event, _), n in counts.items() if event == "auth.fail")
    report.facts.update({
        "records": sequence - min(roots), "first": min(roots) + 1, "last": sequence, "from": times[0] if times else None,
        "until": times[-1] if times else None, "boots": len(boots), "failed_logins": refused,
        "events": {"%s %s" % key: n for key, n in sorted(counts.items())}, "actors": {str(k): v for k, v in actors.items()}})
    return roots


def check_heads(folder, edge, roots, heads, key, report):
    for name, note in heads:
        origin, size, root, _, _ = note
        label = "checkpoint %s" % name
        if key is not None and not signed_by(note, key):
            report.fail("signature", label + " is not signed by the given key", path=name)
            continue
        if size in roots:
            if roots[size] != root:
                report.fail("root-digest", label + " covers other records than these", path=name)
        elif size > edge.size:
            report.fail("missing", "%s covers %d records; this export ends at %d" % (label, size, edge.size), path=name)
        else:
            report.warn("%s lies before this export and cannot be compared with it" % label)
    _check_consistency(folder, edge, roots, report)


def _check_consistency(folder, edge, roots, report):
    try:
        proof = parse(_small(folder, "consistency.json"))
        if proof is None or not proof.get("proof") and not proof.get("from"):
            return
        old, new = proof["from"], proof["to"]
        steps = [base64.b64decode(p, validate=True) for p in proof["proof"]]
        if old in roots and new in roots and not consistent(old, new, roots[old], roots[new], steps):
            report.fail("root-digest", "the proof of consistency does not hold", path="consistency.json")
    except (ValueError, KeyError, TypeError, OSError) as problem:
        report.fail("json", "consistency.json: %s" % problem, path="consistency.json")


def verify(folder, key_line=None, known_heads=()):
    """Check an exported folder.

    Returns a dict: verdict, findings, warnings, and what the records tell.
    """
    report = Report()
    key = None
    if key_line:
        try:
            key = read_key(key_line)
        except ValueError as problem:
            report.fail("key", str(problem))
    check_manifest(folder, report)
    heads, signed_size = [], None
    for name in ["checkpoint"] + list(known_heads):
        try:
            raw = _small(folder, "checkpoint") if name == "checkpoint" else open(name, "rb").read(1 << 20)
            note = read_note(raw)
            heads.append((os.path.basename(name), note))
            if name == "checkpoint":
                signed_size = note[1]
                report.facts["origin"], report.facts["root"] = note[0], note[2].hex()
        except (ValueError, OSError) as problem:
            report.fail("signature", "%s: %s" % (os.path.basename(name), problem), path=os.path.basename(name))
    edge = check_start(folder, report)
    if edge is not None:
        try:
            roots = check_records(folder, edge, {note[1] for _, note in heads}, report)
            check_heads(folder, edge, roots, heads, key, report)
        except (ValueError, OSError) as problem:
            report.fail("missing", str(problem), path="records.jsonl")
        if signed_size is not None and edge.size > signed_size:
            report.fail("signature", "%d records come after the signed head" % (edge.size - signed_size), record=signed_size + 1)
    verdict = "failed" if report.findings else "verified" if key else "unverified"
    if verdict == "unverified":
        report.warn("no key was given: that the folder fits together does not show who wrote it")
    return {"verdict": verdict, "findings": report.findings, "warnings": report.warnings,
            "signer": key_line.strip() if key_line and key else None, **report.facts}


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--key")
    parser.add_argument("--known-head", action="append", default=[])
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args(argv)
    found = verify(asked.folder, asked.key, asked.known_head)
    if asked.json:
        print(json.dumps(found, ensure_ascii=False, indent=2))
    else:
        print(found["verdict"].upper())
        for item in found["findings"]:
            print("  %s  %s  %s" % (item["code"], item.get("record", item.get("path", "")), item["message"]))
        for line in found["warnings"]:
            print("  note: " + line)
        for name in ("origin", "first", "last", "from", "until", "root", "boots", "failed_logins"):
            if found.get(name) is not None:
                print("  %s: %s" % (name, found[name]))
    if found["verdict"] == "verified":
        return 3 if found["warnings"] else 0
    return 1 if found["verdict"] == "failed" else 2


if __name__ == "__main__":
    sys.exit(main())
