#!/usr/bin/env python3
"""Checks an exported Sealift audit record with nothing but Python 3.9 or newer. No network, no packages.

    python3 verify_audit.py FOLDER --key 'ORIGIN+NUMBER+BASE64' [--known-head FILE]... [--json]

FOLDER is the exported folder. The key is the log's verifier key, noted apart from the export, when the log began or
later; the copy inside the folder alone proves nothing. Known heads are checkpoints kept from earlier: those of former
exports, or the copies that another folder or a server keeps.

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
        size, pop = self.size, self.hashes.pop
        self.size = size + 1
        while size & 1:
            leaf = hashlib.sha256(b"\x01" + pop() + leaf).digest()
            size >>= 1
        self.hashes.append(leaf)

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


_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def canonical(value):
    return _ENCODER.encode(value).encode("utf-8")


def parse(raw):
    return json.loads(raw.decode("utf-8"), object_pairs_hook=_unique, parse_float=_no_number, parse_constant=_no_number)


_RECORDS = json.JSONDecoder(parse_float=_no_number, parse_constant=_no_number)


def parse_record(raw):
    """The value of a record that is in its canonical form; a key that stands twice would not come back twice."""
    text = raw.decode("utf-8")
    value, end = _RECORDS.scan_once(text, 0)
    if end != len(text) or _ENCODER.encode(value) != text:
        raise ValueError("it is not in its canonical form")
    if not isinstance(value, dict):
        raise ValueError("it is not an object")
    return value


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


# The keys --------------------------------------------------------------------------------------------------------


def handover_text(origin, old, new, record):
    return ("sealift audit key hand-over\n%s\n%s\n%s\n%d\n" % (origin, old, new, record)).encode("utf-8")


def read_keys(folder, given, report):
    """The line of keys, oldest first: (line, key, hand-over's record or None, signature), each signed for by the one
    before it. Without keys.json that can be read, the given key alone."""
    try:
        rows = parse(_small(folder, "keys.json"))["keys"]
        keys = [(r["verifier_key"], read_key(r["verifier_key"]), r.get("handover_record"), r.get("signature")) for r in rows]
    except (ValueError, KeyError, TypeError, OSError, AttributeError) as problem:
        report.fail("json", "keys.json: %s" % problem, path="keys.json")
        keys = []
    for n in range(1, len(keys)):
        old, new = keys[n - 1], keys[n]
        try:
            good = ed25519_verify(old[1][2], base64.b64decode(new[3], validate=True), handover_text(old[1][0], old[0], new[0], new[2]))
        except (ValueError, TypeError):
            good = False
        if not good or old[1][0] != new[1][0]:
            report.fail("key", "the hand-over to the key %s is not signed by the one before it" % new[1][1].hex(), path="keys.json")
            return [k for k in keys if given is not None and k[1] == given]
    if given is not None and all(k[1] != given for k in keys):
        keys = [(None, given, None, None)]
    return keys


def check_handovers(keys, seen, first, last, report):
    """Compare the line of keys with the records that hand over."""
    by_record = {key[2]: n for n, key in enumerate(keys) if n and key[2] is not None}
    for sequence, detail in seen:
        n = by_record.pop(sequence, None)
        if n is None or detail.get("new_key") != keys[n][0] or detail.get("old_key") != keys[n - 1][0] or detail.get("signature") != keys[n][3]:
            report.fail("key", "the record hands over to a key that keys.json does not list", record=sequence)
    for sequence in by_record:
        if first <= sequence <= last:
            report.fail("key", "no record %d hands over to the key that keys.json lists" % sequence, record=sequence)
    report.facts["key_handovers"] = [sequence for sequence, _ in seen]


# The records -----------------------------------------------------------------------------------------------------


_S = r'"[^"\\\x00-\x1f]*"'
_SN = "(?:%s|null)" % _S
_N = "(?:0|-?[1-9][0-9]{0,14})"
_PLAIN = re.compile(
    r'\{"actor":\{"auth":%(sn)s,"id":(?P<who>%(sn)s),"kind":%(sn)s,"role":%(sn)s,"session":%(sn)s\},"approvers":\[\],'
    r'"boot":(?P<boot>%(sn)s),"clock":%(s)s,"corr":%(sn)s,"detail":(?P<detail>\{[^\\\x00-\x1f]*?\}),"event":"(?P<event>[a-z0-9.-]*)",'
    r'"mono_ns":[1-9][0-9]{0,17},"object":\{"digest":%(sn)s,"id":(?:%(sn)s|%(n)s),"kind":%(sn)s\},"origin":%(s)s,'
    r'"outcome":"(?P<outcome>[a-z]*)","prev":"(?P<prev>[0-9a-f]{64})","reason":%(sn)s,"seq":(?P<seq>[1-9][0-9]{0,14}),'
    r'"severity":%(n)s,"source":\{"app":%(s)s,"host":%(sn)s,"ip":%(sn)s,"pid":%(n)s,"version":%(s)s\},'
    r'"ts":"(?P<ts>[0-9TZ:.-]*)","v":1\}' % {"s": _S, "sn": _SN, "n": _N}).fullmatch
"""The form that nearly all records have. What does not match is read in full; this only spares the time."""
_FIELDS = ("seq", "prev", "event", "outcome", "ts", "who", "boot", "detail")
_SPECIAL = ("approval.", "clock.", "audit.key")


class Told:
    """What the records tell, gathered while they are walked."""

    def __init__(self, report):
        self.report = report
        self.counts, self.actors, self.requested = {}, {}, {}
        self.first_ts = self.last_ts = ""
        self.boots, self.boot = 0, None
        self.same = self.overrides = self.back = 0
        self.clocks, self.handovers, self._details = [], [], {}

    def plain(self, text):
        """The number and ``prev`` of a record of the usual form, after taking note of it; None for one of another form."""
        match = _PLAIN(text)
        if match is None:
            return None
        seq, prev, event, outcome, ts, who, boot, detail = match.group(*_FIELDS)
        if event.startswith(_SPECIAL) or "override" in event or not self._plain_detail(detail):
            return None
        self._count(event, outcome, ts, None if who == "null" else who[1:-1], None if boot == "null" else boot[1:-1], seq)
        return int(seq), prev

    def _plain_detail(self, text):
        known = self._details.get(text)
        if known is None:
            try:
                value, end = _RECORDS.scan_once(text, 0)
                known = end == len(text) and _ENCODER.encode(value) == text and "override" not in value
            except (ValueError, StopIteration):
                known = False  # the detail may end further on than the short cut saw
            if len(self._details) < 4096:
                self._details[text] = known
        return known

    def _count(self, event, outcome, ts, who, boot, sequence):
        key = (event, outcome)
        self.counts[key] = self.counts.get(key, 0) + 1
        self.actors[who] = self.actors.get(who, 0) + 1
        if ts < self.last_ts:
            self.back += 1
            self.report.warn("record %s: the time goes back" % sequence)
        self.first_ts, self.last_ts = self.first_ts or ts, ts
        if boot != self.boot or not self.boots:
            self.boots, self.boot = self.boots + 1, boot

    def take(self, record, sequence):
        """Take note of any record."""
        event, outcome, ts = record["event"], record["outcome"], record["ts"]
        if not isinstance(event, str) or not isinstance(outcome, str) or not isinstance(ts, str):
            raise ValueError("event, outcome and ts must be text")
        actor = record.get("actor")
        who = actor.get("id") if actor else None
        self._count(event, outcome, ts, who, record.get("boot"), sequence)
        if event.startswith("clock."):
            self.clocks.append({"record": sequence, "event": event})
            self.report.warn("record %d: the clock was changed (%s)" % (sequence, event))
        elif event.startswith("approval."):
            self._approval(record, event, outcome, who)
        elif event == "audit.key":
            self.handovers.append((sequence, record.get("detail") or {}))
        if "override" in event or (record.get("detail") and "override" in record["detail"]):
            self.overrides += 1

    def _approval(self, record, event, outcome, who):
        about = record.get("object") or {}
        about = (about.get("kind"), about.get("digest"))
        if outcome == "success" and event == "approval.request":
            self.requested[about] = who
        elif outcome == "success" and event == "approval.grant":
            self.same += about in self.requested and self.requested[about] == who

    def facts(self):
        if self.same:
            self.report.warn("%d approvals were given by the person who asked for them" % self.same)
        if self.overrides:
            self.report.warn("%d overrides of a rule were recorded" % self.overrides)
        return {"from": self.first_ts or None, "until": self.last_ts or None, "boots": self.boots, "times_back": self.back,
                "clock_events": self.clocks[:1000],
                "failed_logins": sum(n for (event, _), n in self.counts.items() if event == "auth.fail"),
                "overrides": self.overrides, "self_approvals": self.same,
                "events": {"%s %s" % key: n for key, n in sorted(self.counts.items())},
                "actors": {str(k): v for k, v in self.actors.items()}}


def check_records(folder, edge, sizes, report):
    """Walk the records. Returns the roots at the sizes asked for, and what the records tell."""
    roots = {edge.size: edge.root()}
    before, previous, sequence = edge.size, "0" * 64 if edge.size == 0 else None, edge.size
    told = Told(report)
    plain, add, sha256 = told.plain, edge.add, hashlib.sha256
    with open(_inside(folder, "records.jsonl"), "rb") as source:
        while True:
            line = source.readline(MAX_RECORD + 2)
            if not line:
                break
            sequence += 1
            if line[-1:] != b"\n" or len(line) > MAX_RECORD + 1:
                report.fail("json", "the line is cut off or too long", record=sequence)
                break
            raw = line[:-1]
            try:
                seen = plain(raw.decode("utf-8"))
                if seen is None:
                    record = parse_record(raw)
                    told.take(record, sequence)
                    seen = record["seq"], record["prev"]
                number, prev = seen
                if number != sequence:
                    report.fail("statement", "record %s stands where %d belongs" % (number, sequence), record=sequence)
                if previous is not None and prev != previous:
                    report.fail("root-digest", "the record does not go on from the one before it", record=sequence)
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError, StopIteration) as problem:
                report.fail("json", "the record cannot be read: %s" % (problem or "no value"), record=sequence)
            leaf = sha256(b"\x00" + raw).digest()
            previous = leaf.hex()
            add(leaf)
            if sequence in sizes:
                roots[sequence] = edge.root()
    report.facts.update({"records": sequence - before, "first": before + 1, "last": sequence, "computed_root": edge.root().hex()})
    report.facts.update(told.facts())
    return roots, told


# The heads -------------------------------------------------------------------------------------------------------


def check_head(folder, edge, roots, note, signers, report):
    """The package's own head: signed by the given key or one that it handed over to, over exactly these records."""
    origin, size, root, _, _ = note
    signer = next((key for key in signers if signed_by(note, key[1])), None)
    if signers and signer is None:
        report.fail("signature", "the checkpoint is not signed by the given key, nor by one that it handed over to", path="checkpoint")
    report.facts["signer_key"] = (signer[0] or "") if signer else None
    if size > edge.size:
        report.fail("missing", "the checkpoint covers %d records; this export ends at %d" % (size, edge.size), path="checkpoint")
    elif roots.get(size) != root:
        report.fail("root-digest", "the checkpoint covers other records than these", path="checkpoint")
    report.facts["unsigned_tail"] = max(0, edge.size - size)
    if edge.size > size:
        report.fail("signature", "%d records come after the signed head" % (edge.size - size), record=size + 1)


def check_known(name, note, edge, roots, keys, given, proofs, newest, report):
    """A head kept from earlier: consistent, inconsistent, or not provable from this export."""
    origin, size, root, _, _ = note
    if given is not None and not any(signed_by(note, key[1]) for key in keys):
        report.fail("signature", "the head %s is not signed by a key of this log" % name, path=name)
        return {"name": name, "size": size, "status": "refused"}
    status = "not-provable"
    if size in roots:
        status = "consistent" if roots[size] == root else "inconsistent"
    elif size > edge.size:
        status = "inconsistent"
    else:
        for old, new, steps in proofs:
            if old == size and newest is not None and new == newest[1]:
                status = "consistent" if consistent(old, new, root, newest[2], steps) else "inconsistent"
    if status == "inconsistent":
        code = "missing" if size > edge.size else "root-digest"
        why = "; the log was longer once than this export" if size > edge.size else ""
        report.fail(code, "this export does not go on from the head %s, which covers %d records%s" % (name, size, why), path=name)
    elif status == "not-provable":
        report.warn("the head %s lies before this export and cannot be compared with it; an export from the first record shows more" % name)
    return {"name": name, "size": size, "status": status}


def read_proofs(folder, roots, report):
    """The proofs of consistency.json as (old, new, steps); those that can be checked with what is here are."""
    try:
        first = parse(_small(folder, "consistency.json"))
        proofs = [(p["from"], p["to"], [base64.b64decode(s, validate=True) for s in p["proof"]])
                  for p in [first] + list(first.get("more", [])) if p["from"]]
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as problem:
        report.fail("json", "consistency.json: %s" % problem, path="consistency.json")
        return []
    for old, new, steps in proofs:
        if old in roots and new in roots and not consistent(old, new, roots[old], roots[new], steps):
            report.fail("root-digest", "the proof of consistency does not hold", path="consistency.json")
    return proofs


def _note(path, report, name):
    try:
        with open(path, "rb") as source:
            return read_note(source.read(1 << 20))
    except (ValueError, OSError) as problem:
        report.fail("signature", "%s: %s" % (name, problem), path=name)
        return None


def verify(folder, key_line=None, known_heads=()):
    """Check an exported folder.

    Returns a dict: verdict, findings, warnings, and what the records tell.
    """
    report, given = Report(), None
    if key_line:
        try:
            given = read_key(key_line)
        except ValueError as problem:
            report.warn("the key given is of no use: %s" % problem)
    check_manifest(folder, report)
    own = _note(os.path.join(folder, "checkpoint"), report, "checkpoint")
    if own is not None:
        report.facts["origin"], report.facts["size"], report.facts["root"] = own[0], own[1], own[2].hex()
    heads = [(os.path.basename(path), _note(path, report, os.path.basename(path))) for path in known_heads]
    if os.path.lexists(os.path.join(folder, "previous.note")):
        heads.append(("previous.note", _note(os.path.join(folder, "previous.note"), report, "previous.note")))
    heads = [(name, note) for name, note in heads if note is not None]
    keys = read_keys(folder, given, report)
    at = next((n for n, key in enumerate(keys) if key[1] == given), None)
    signers = [] if at is None else keys[at:]
    edge = check_start(folder, report)
    if edge is not None:
        try:
            sizes = {note[1] for _, note in heads} | ({own[1]} if own else set())
            roots, told = check_records(folder, edge, sizes, report)
            check_handovers(keys, told.handovers, report.facts["first"], report.facts["last"], report)
            if own is not None:
                check_head(folder, edge, roots, own, signers, report)
            proofs = read_proofs(folder, roots, report)
            report.facts["known_heads"] = [check_known(name, note, edge, roots, keys, given, proofs, own, report) for name, note in heads]
        except (ValueError, OSError) as problem:
            report.fail("missing", str(problem), path="records.jsonl")
    verdict = "failed" if report.findings else "verified" if given else "unverified"
    if not given:
        report.warn("no key was given: that the folder fits together does not show who wrote it")
    return {"verdict": verdict, "findings": report.findings, "warnings": report.warnings,
            "signer": key_line.strip() if given else None, **report.facts}


SHOWN = ("origin", "first", "last", "records", "root", "signer", "signer_key", "from", "until", "boots", "unsigned_tail", "key_handovers",
         "failed_logins", "overrides", "self_approvals", "times_back")


def print_text(found):
    """The report for people; of the findings the first ten of each kind."""
    print(found["verdict"].upper())
    shown = {}
    for item in found["findings"]:
        shown[item["code"]] = shown.get(item["code"], 0) + 1
        if shown[item["code"]] <= 10:
            print("  %s  %s  %s" % (item["code"], item.get("record", item.get("path", "")), item["message"]))
    for code, count in shown.items():
        if count > 10:
            print("  %s  %d more" % (code, count - 10))
    for line in found["warnings"]:
        print("  note: " + line)
    for name in SHOWN:
        if found.get(name) not in (None, []):
            print("  %s: %s" % (name, found[name]))
    for head in found.get("known_heads", []):
        print("  head %s, %d records: %s" % (head["name"], head["size"], head["status"]))
    for name, count in found.get("events", {}).items():
        print("  %6d  %s" % (count, name))


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
        print_text(found)
    if found["verdict"] == "verified":
        return 3 if found["warnings"] else 0
    return 1 if found["verdict"] == "failed" else 2


if __name__ == "__main__":
    sys.exit(main())
