"""The server's side of a push: standard library only, Python 3.6 and newer.

It is sent over the channel, as one text with its neighbours here, and run from memory; nothing is installed. It reads a
plan and then frames from standard input, checks each chunk against the plan's digests, writes it at its place, and answers
with one JSON object a line.

Folders below the store:
    objects/<hh>/<sha256>           finished files, read-only, each once
    objects/<hh>/<sha256>.chunks    which chunks a finished file consists of, and its state when they were right; a small
                                    file has none, for hashing it costs less than keeping one
    staging/<release>/              files on their way (.part) and, for each, the journal of chunks that are safely on disk
    releases/<release>/<path>       hard links into objects

Killed at any moment it leaves finished objects, and parts whose journal tells what was flushed to disk. A journal or a
note is believed only while the file's device, inode, size and times are what they were; otherwise the file is hashed.

One push may use several connections: a receiver with the role ``lead`` holds the store's lock, looks at what is there,
finishes files and links the release; those with the role ``lane`` only write chunks. The lead learns from the journals,
not from the console, what the lanes have put on disk.

Frames: ``C`` file index length bytes, ``Z`` the same with the bytes packed, ``S`` flush, ``P`` nothing (sign of life), ``L``
lanes are to come, ``E`` end; those of a push that servers hand on to each other are told in ``onward``.
"""

import array
import errno
import fcntl
import hashlib
import itertools
import json
import os
import signal
import struct
import time

from console.push.remote import planes
from console.push.remote.disk import (
    FEW,
    FULL,
    NOFOLLOW,
    can_share,
    chunks_of,
    copy_range,
    hash_range,
    in_threads,
    make_folders,
    medium_digests,
    open_part,
    range_digest,
    read_digest,
    read_note,
    remove_tree,
    same,
    shared_part,
    stamp,
    sync_file_system,
    sync_folder,
    sync_folders,
    write_at,
    written_out,
)
from console.push.remote.wire import RANK, Failed, Wire, ranges, read_plan

SYNC_BYTES = 32 << 20
AGAIN_BYTES = 512 << 10
OPEN_FILES = 128
DEDUPE_BYTES = 32 << 10
NOTE_BYTES = 256 << 10
TELL_BYTES = 256 << 20
LINK_IMPOSSIBLE = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOSYS, errno.EOPNOTSUPP)


class Missing:
    """For each file that is not whole yet, how many chunks it lacks; like a dict, at four bytes a file."""

    def __init__(self, files):
        self.counts, self.files = array.array("i", [-1]) * files, 0

    def __contains__(self, number):
        return self.counts[number] >= 0

    def __getitem__(self, number):
        return self.counts[number]

    def __setitem__(self, number, count):
        self.files += self.counts[number] < 0
        self.counts[number] = count

    def __iter__(self):
        return (number for number, count in enumerate(self.counts) if count >= 0)

    def __len__(self):
        return self.files

    def remove(self, number):
        """The file is whole."""
        self.files -= self.counts[number] >= 0
        self.counts[number] = -1


class Part:
    """A file that is being written."""

    def __init__(self, handle):
        self.handle, self.fresh = handle, []


class Receiver:
    """One connection of the push of one release into one store."""

    def __init__(self, wire, plan):
        self.wire, self.plan, head = wire, plan, plan.head
        self.release, self.degree, self.push = head["release"], head["degree"], head["push"]
        # Where the store itself lies is the site's choice, links on the way to it included.
        self.store = os.path.realpath(os.path.expanduser(head["store"]))
        wire.idle_s = head["idle_s"]
        self.objects = os.path.join(self.store, "objects")
        self.staging = os.path.join(self.store, "staging", self.release)
        self.have = bytearray(len(plan.lengths))
        self.missing = Missing(len(plan.sizes))
        self.parts, self.ready, self.unsynced = {}, [], 0
        self.replaced = set()
        self.looked = self.told = 0
        self.journals, self.made, self.changed = set(), set(), set()
        self.lanes_came, self.unnamed, self.onward = False, False, None

    # Locks -----------------------------------------------------------------------------------------------------------

    def lock_store(self):
        """One push at a time. A receiver whose console is gone ends by itself when it hears nothing for ``idle_s``; one
        that an earlier connection of this same push left behind is told to end."""
        end = time.monotonic() + self.plan.head["patience_s"]
        self.lock = os.open(os.path.join(self.store, "lock"), os.O_RDWR | os.O_CREAT | NOFOLLOW, 0o600)
        lanes = os.open(os.path.join(self.store, "lock.lanes"), os.O_RDWR | os.O_CREAT | NOFOLLOW, 0o600)
        for handle in (self.lock, lanes):
            asked = False
            while True:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except OSError as problem:
                    if problem.errno not in (errno.EAGAIN, errno.EACCES, errno.EINTR):
                        raise
                    if time.monotonic() > end:
                        raise Failed("store-busy") from None
                if handle == self.lock and not asked:
                    asked = self.end_own()
                time.sleep(0.1)
        data = json.dumps({"push": self.push, "pid": os.getpid()}).encode()
        os.ftruncate(self.lock, 0)
        os.pwrite(self.lock, data, 0)
        os.close(lanes)

    def end_own(self):
        holder = self.holder()
        if holder.get("push") == self.push:
            os.kill(int(holder["pid"]), signal.SIGTERM)
            return True
        return False

    def holder(self):
        try:
            return json.loads(os.pread(self.lock, 4096, 0).decode())
        except ValueError:
            return {}

    def join_lead(self):
        """Hold the lanes' lock for as long as this lane lives, under the lead of the same push and no other."""
        self.lanes = os.open(os.path.join(self.store, "lock.lanes"), os.O_RDWR | NOFOLLOW)
        self.lock = os.open(os.path.join(self.store, "lock"), os.O_RDWR | NOFOLLOW)
        fcntl.flock(self.lanes, fcntl.LOCK_SH)
        try:
            fcntl.flock(self.lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            if self.holder().get("push") == self.push:
                return
        raise Failed("store-busy")

    # Before the first byte -------------------------------------------------------------------------------------------

    def place(self, number):
        # Asked for several times a file, of which there may be 100,000: os.path.join takes four times as long.
        sha = self.plan.sha(number)
        return "%s/%s/%s" % (self.objects, sha[:2], sha)

    def part_path(self, number):
        return "%s/%s.part" % (self.staging, self.plan.sha(number))

    def journal_path(self, number):
        return "%s/%s.journal" % (self.staging, self.plan.sha(number))

    def prepare(self):
        changed = make_folders("/", self.store)
        for path in ("objects", "staging/" + self.release, "releases"):
            changed += make_folders(self.store, path)
        for folder in set(changed):
            sync_folder(folder)
        self.lock_store()
        if self.plan.head.get("relay") or traces_of_relay():
            from console.push.remote import onward

            onward.sweep()
            if self.plan.head.get("relay"):
                self.onward = onward.Onward(self)
        self.reused = self.resumed = 0
        self.how = self.by = "none"
        self.adopt_parts()
        here = set(os.listdir(self.staging))
        damaged = []
        for number in range(len(self.plan.sizes)):
            self.wire.live()
            state = self.finished(number)
            if state is True:
                self.mark_file(number)
                continue
            if state is None:
                damaged.append(number)
            self.missing[number] = self.plan.first[number + 1] - self.plan.first[number]
            if self.plan.sha(number) + ".part" in here:
                self.look_at_part(number)
        tight = not self.check_space(may_share=True)
        self.copy_known_chunks(damaged, tight)
        if tight:
            self.check_space()
        for number in damaged:
            self.retire(number)

    def mark_file(self, number):
        low, high = self.plan.first[number], self.plan.first[number + 1]
        self.have[low:high] = b"\1" * (high - low)

    def adopt_parts(self):
        """Files of this release that a broken push of another release has begun."""
        wanted = None
        for other in os.listdir(os.path.join(self.store, "staging")):
            folder = os.path.join(self.store, "staging", other)
            if other == self.release or os.path.islink(folder) or not os.path.isdir(folder):
                continue
            if wanted is None:
                wanted = set(self.plan.sha(n) for n in range(len(self.plan.sizes)))
            for name in os.listdir(folder):
                if name.endswith(".part") and name[:-5] in wanted and not os.path.exists(os.path.join(self.staging, name)):
                    for kind in (".journal", ".part"):
                        try:
                            os.rename(os.path.join(folder, name[:-5] + kind), os.path.join(self.staging, name[:-5] + kind))
                        except OSError:
                            pass  # no journal: the part is hashed then

    def finished(self, number):
        """Whether the object is there whole: True, False, or None where it is there and damaged. It is hashed, unless
        its note shows that it is untouched since it was, and to a degree that is enough."""
        path = self.place(number)
        try:
            handle = os.open(path, os.O_RDONLY | NOFOLLOW)
        except OSError:
            return False
        try:
            state = os.fstat(handle)
            if state.st_size != self.plan.sizes[number]:
                return None
            note = read_note(path)
            if self.degree != "media" and note and note["stat"] == stamp(state) and RANK.get(note["degree"], 0) >= RANK[self.degree]:
                if self.give_rights(handle, number, state):
                    self.write_note(number, os.fstat(handle), note["degree"])
                self.reuse(state.st_size, True)
                return True
            found = (
                self.from_medium(path, number)
                if self.degree == "media"
                else self.digests(path, [(at, length) for _, _, _, at, length in self.plan.chunks(number)])
            )
            for (_, _, digest, _, length), real in zip(self.plan.chunks(number), found):
                if digest != real:
                    return None
                self.tell_looked(length)
            self.write_note(number, os.fstat(handle) if self.give_rights(handle, number, state) else state, self.degree)
            self.reuse(state.st_size, False)
            return True
        finally:
            os.close(handle)

    def give_rights(self, handle, number, state):
        """Have an object readable, and executable where a release wants it so; a crash may have come before that, and what is
        data in one release may be a program in another. Whether anything was changed."""
        mode = self.rights(number) | state.st_mode & 0o111
        if mode == state.st_mode & 0o7777:
            return False
        try:
            os.fchmod(handle, mode)
            os.fsync(handle)
        except OSError as problem:
            problem.filename = self.place(number)
            raise
        return True

    def rights(self, number):
        return 0o555 if self.plan.modes[number] else 0o444

    def reuse(self, length, trusted):
        """Bytes that need not come; ``by`` says whether all of them were believed untouched or some had to be hashed."""
        self.reused += length
        if length:
            self.by = "journal" if trusted and self.by != "rehash" else "rehash"

    @staticmethod
    def digests(path, spans):
        """SHA-256 of each (offset, length), in order."""
        size = sum(length for _, length in spans)
        return (real for _, real in in_threads(lambda span, buffer: range_digest(path, span[0], span[1], buffer), spans, size))

    def from_medium(self, path, number):
        low, high = self.plan.first[number], self.plan.first[number + 1]
        return medium_digests(path, self.plan.lengths[low:high], self.wire.scratch)

    def tell_looked(self, length):
        """A sign of life while much is hashed."""
        self.looked += length
        if self.looked - self.told >= TELL_BYTES:
            self.told = self.looked
            self.wire.say(looked=self.looked)
            self.wire.flush()

    def journal(self, number):
        """Chunk indices that the journal holds, its last state of the file and the least degree of its lines."""
        noted, last, rank = set(), None, 2
        try:
            with open(self.journal_path(number)) as lines:
                for line in lines:
                    entry = json.loads(line)
                    noted.update(int(n) for n in entry["chunks"])
                    last, rank = entry["stat"], min(rank, RANK[entry["degree"]])
        except (OSError, ValueError, KeyError, TypeError):
            pass  # none, or the line that was being written when the power went
        return noted, last, rank

    def look_at_part(self, number):
        """Take over what an earlier push left: by its journal while the file is untouched since, else by hashing."""
        handle = open_part(self.part_path(number))
        try:
            state = os.fstat(handle)
            noted, last, rank = self.journal(number)
            self.journals.add(number)
            # A part of an object that was never renamed may be shared with nothing; one with more names is not ours.
            if state.st_nlink != 1:
                os.unlink(self.part_path(number))
                return
            trusted = last == stamp(state) and rank >= min(RANK[self.degree], 1)
            good = []
            there = [c for c in self.plan.chunks(number) if c[3] + c[4] <= state.st_size and (not trusted or c[1] in noted)]
            found = () if trusted else self.digests(self.part_path(number), [(at, length) for _, _, _, at, length in there])
            for (every, index, digest, _, length), real in zip(there, (c[2] for c in there) if trusted else found):
                if not trusted:
                    self.tell_looked(length)
                if real == digest:
                    self.have[every] = 1
                    self.missing[number] -= 1
                    self.resumed += length
                    good.append(index)
            if good:
                self.how = "journal" if trusted and self.how != "rehash" else "rehash"
            if not trusted:
                # Only what was just hashed is noted from now on.
                self.forget_journal(number)
                part = self.parts[number] = Part(os.dup(handle))
                part.fresh = good
                self.flush_part(number)
                self.close_part(number)
                self.name_parts()
        finally:
            os.close(handle)

    def check_space(self, may_share=False):
        """Refuse what would not fit; whether it fits without sharing blocks with files that are there, where that may be done."""
        state = os.statvfs(self.store)
        free = state.f_bavail * state.f_frsize
        need = self.lacking()
        if need > free and not (may_share and can_share(self.staging)):
            raise Failed("disk-full", need=need, free=free)
        if state.f_files and state.f_favail < 2 * len(self.missing):
            raise Failed("no-inodes", need=2 * len(self.missing), free=state.f_favail)
        return need <= free

    def lacking(self):
        return sum(length for had, length in zip(self.have, self.plan.lengths) if not had)

    def copy_known_chunks(self, damaged, tight=False):
        """Chunks that are in the store under another name, in another version, or in a damaged file, are copied here; where room is
        ``tight``, only those that share their blocks."""
        wanted = {}
        for number in self.missing:
            for every, index, digest, at, length in self.plan.chunks(number):
                if not self.have[every] and (length >= DEDUPE_BYTES or number in damaged):
                    wanted.setdefault(digest, []).append((number, index, every, at, length))
        wrong = set()
        while wanted:
            tasks = {}
            for path, chunks in self.known_chunks(damaged):
                if path not in wrong:
                    self.find_copies(path, chunks, wanted, tasks, tight)
            found = self.copy_all(tasks) if tasks else ()
            if not found:
                return
            wrong.update(found)

    def known_chunks(self, damaged):
        """(path, [(digest, length), …]) of every file in the store of which the chunks are known."""
        for number in damaged:
            yield self.place(number), [(digest, length) for _, _, digest, _, length in self.plan.chunks(number)]
        for base, _, names in os.walk(self.objects):
            for name in names:
                self.wire.live()
                if name.endswith(".chunks"):
                    yield os.path.join(base, name[:-7]), chunks_of(os.path.join(base, name[:-7]))

    def find_copies(self, path, chunks, wanted, tasks, tight):
        """Add to ``tasks`` what this file has of what is wanted; each chunk from one file only."""
        at, trusted = 0, None
        for digest, length in chunks:
            for number, index, every, target, wanted_length in wanted.get(digest, ()):
                if wanted_length == length and not self.have[every] and every not in tasks:
                    if tight and not shared_part(at, target, length)[1]:
                        continue
                    if trusted is None:
                        trusted = self.untouched(path)
                    tasks[every] = (number, index, every, path, at, target, length, None if trusted else digest)
            at += length

    def untouched(self, path):
        """Whether copying alone is enough: *received* asks for a hash in flight, and this file was hashed and not touched since."""
        try:
            note = read_note(path)
            return self.degree == "received" and bool(note) and note["stat"] == stamp(os.lstat(path))
        except OSError:
            return False

    def copy_all(self, tasks):
        """Do the copies, hashing each where it was written; gives the files that were not what they should be."""
        wrong, rows = set(), {}
        for task in tasks.values():
            rows.setdefault(task[0], []).append(task)
        for number in rows:
            self.open_part(number)
        # By turns from each file: two threads that write to one would wait for each other.
        ordered = [task for row in itertools.zip_longest(*rows.values()) for task in row if task is not None]
        for task, right in in_threads(self.copied, ordered, sum(task[6] for task in ordered)):
            number, index, every, path, _, _, length, digest = task
            if right:
                self.open_part(number)
                self.count(number, index, every)
                self.reuse(length, digest is None)
            else:
                wrong.add(path)
            self.tell_looked(length)
        return wrong

    def copied(self, task, buffer):
        """One copy, in whatever thread; whether it is right."""
        number, _, _, path, at, target, length, digest = task
        try:
            return self.copy_chunk(path, self.part_path(number), at, target, length, digest, buffer)
        except OSError as problem:
            if problem.errno in FULL:
                raise
            return False

    @staticmethod
    def copy_chunk(path, part, at, target, length, digest, buffer):
        """One chunk from one file into another; whether it is right there. ``digest`` is None where that need not be asked."""
        source, place = os.open(path, os.O_RDONLY | NOFOLLOW), os.open(part, os.O_RDWR | NOFOLLOW)
        try:
            copy_range(source, at, place, target, length, buffer)
            return digest is None or read_digest(place, target, length, buffer) == digest
        finally:
            os.close(source)
            os.close(place)

    def retire(self, number):
        """A damaged object goes; what its releases still link to is replaced when the good one is there."""
        path = self.place(number)
        state = os.lstat(path)
        if state.st_nlink > 1:
            self.replaced.add((state.st_dev, state.st_ino, number))
        for name in (path, path + ".chunks"):
            try:
                os.unlink(name)
            except OSError as problem:
                if problem.errno != errno.ENOENT:
                    raise

    # Receiving -------------------------------------------------------------------------------------------------------

    def open_part(self, number):
        part = self.parts.get(number)
        if part is None:
            if len(self.parts) >= OPEN_FILES:
                self.settle_parts()
            part = self.parts[number] = Part(open_part(self.part_path(number)))
        return part

    def chunk(self, wire, packed, number, index, length):
        """Receive one chunk; a wrong one is answered, not counted, and its place stays open."""
        plan = self.plan
        every = plan.first[number] + index if number < len(plan.sizes) else -1
        if every < 0 or every >= plan.first[number + 1] or plan.lengths[every] != length:
            raise Failed("bad-frame")
        digest, start = plan.digest(number, index), sum(plan.lengths[plan.first[number] : every])
        views = planes.unpacked(wire, length) if packed else wire.views(length)
        if self.have[every]:
            for _ in views:
                pass
            self.wire.say(ok=[number, index])
            return
        part, at = self.open_part(number), start
        hashed, flight, received = start, hashlib.sha256(), self.degree == "received"
        if self.onward is not None:
            self.onward.begin(every)
        for view in views:
            if received:
                flight.update(view)
            write_at(part.handle, view, at)
            at += len(view)
            # Read back while more arrives, not when all is there: the sender need not wait for it then.
            if not received and (at - hashed >= AGAIN_BYTES or at == start + length):
                hash_range(flight, part.handle, hashed, at - hashed, self.wire.scratch)
                hashed = at
            if self.onward is not None:
                self.onward.wrote(len(view))
        if flight.digest() != digest:
            self.wire.say(bad=[number, index])
            return
        self.count(number, index, every)
        self.wire.say(ok=[number, index])

    def count(self, number, index, every):
        part = self.parts[number]
        self.have[every] = 1
        part.fresh.append(index)
        self.unsynced += self.plan.lengths[every]
        if number not in self.missing:
            self.missing[number] = self.plan.first[number + 1] - self.plan.first[number]
        self.missing[number] -= 1
        if self.onward is not None:
            self.onward.offer(every)
        if self.missing[number] == 0 and self.leads and not (self.lanes_came and self.plan.sizes[number] >= self.plan.head["lane_bytes"]):
            self.ready.append(number)
        if self.unsynced >= SYNC_BYTES or len(self.ready) >= OPEN_FILES // 2:
            self.flush_written()

    def flush_written(self):
        """All that was written goes to disk, whichever file it is of: a power cut takes no more than was counted since."""
        self.unsynced = 0
        self.finish_ready()
        for number in self.parts:
            self.flush_part(number)
        self.name_parts()

    def flush_part(self, number):
        """Put what was written onto the disk, then into the journal; never the other way round."""
        part = self.parts[number]
        if not part.fresh:
            return
        os.fsync(part.handle)
        line = json.dumps({"chunks": part.fresh, "stat": stamp(os.fstat(part.handle)), "degree": self.degree, "push": self.push}) + "\n"
        handle = os.open(self.journal_path(number), os.O_WRONLY | os.O_CREAT | os.O_APPEND | NOFOLLOW, 0o600)
        try:
            os.write(handle, line.encode())
            os.fsync(handle)
        finally:
            os.close(handle)
        if number not in self.journals:
            self.unnamed = True
        part.fresh = []
        self.journals.add(number)

    def close_part(self, number):
        os.close(self.parts.pop(number).handle)

    def settle_parts(self):
        """Everything that was written goes to disk and into the journals; no file stays open."""
        self.flush_written()
        for number in list(self.parts):
            self.close_part(number)

    def name_parts(self):
        """Have the names of new parts and journals on the disk as well."""
        if self.unnamed:
            self.unnamed = False
            sync_folder(self.staging)

    # Whole files -----------------------------------------------------------------------------------------------------

    def finish_ready(self):
        """Whole files become objects, many at once: flushed, read back past the cache if that was asked for, renamed."""
        ready, self.ready = self.ready, []
        for number in ready:
            self.settle_state(number)
        flushed = len(ready) > FEW and sync_file_system(self.lock)
        for number in ready:
            if self.whole(number, flushed):
                self.changed.add(os.path.dirname(self.place(number)))

    def sync_changed(self):
        """Flush the folders in which something was made."""
        changed, self.changed = self.changed, set()
        sync_folders(changed, self.lock)

    def settle_state(self, number):
        """Size and rights as they are to stay, before the flush that covers them; whether anything was changed."""
        handle = self.open_part(number).handle
        state = os.fstat(handle)
        # Only where it is needed: setting the size it has makes the file unwritten again, and its flush slow.
        cut, mode = state.st_size != self.plan.sizes[number], self.rights(number)
        if cut:
            os.ftruncate(handle, self.plan.sizes[number])
        if state.st_mode & 0o7777 != mode:
            os.fchmod(handle, mode)
        return cut or state.st_mode & 0o7777 != mode

    def whole(self, number, flushed):
        """Make the object of a part that has every chunk; False where the medium gives back something else. ``flushed``: its
        file system was, since it was written."""
        changed, part, path = self.settle_state(number), self.open_part(number), self.part_path(number)
        if changed or not (flushed and written_out(part.handle)):
            os.fsync(part.handle)
        if self.degree == "media" and not self.medium_is_right(number, path):
            self.flush_part(number)
            return False
        place = self.place(number)
        self.folder(self.objects, self.plan.sha(number)[:2])
        os.rename(path, place)
        self.write_note(number, os.fstat(part.handle), self.degree)
        self.close_part(number)
        self.missing.remove(number)
        if number in self.journals:
            self.forget_journal(number)
        return True

    def forget_journal(self, number):
        self.journals.discard(number)
        try:
            os.unlink(self.journal_path(number))
        except OSError:
            pass  # there was none

    def folder(self, base, path):
        """Make folders, once."""
        if (base, path) not in self.made:
            self.changed.update(make_folders(base, path))
            self.made.add((base, path))

    def medium_is_right(self, number, path):
        wrong = []
        for (every, index, digest, _, _), real in zip(self.plan.chunks(number), self.from_medium(path, number)):
            self.tell_looked(self.plan.lengths[every])
            if digest != real:
                self.have[every] = 0
                wrong.append(index)
        part = self.parts[number]
        part.fresh = [index for index in part.fresh if index not in wrong]
        self.missing[number] = len(wrong)
        if wrong:
            self.forget_journal(number)
            part.fresh = [index for every, index, _, _, _ in self.plan.chunks(number) if self.have[every]]
        return not wrong

    def write_note(self, number, state, degree):
        """Which chunks the object consists of, and its state when they were right. Not flushed: a torn note is no JSON,
        and costs only a hashing."""
        path = self.place(number) + ".chunks"
        if self.plan.sizes[number] < NOTE_BYTES:
            return
        chunks = [[digest.hex(), length] for _, _, digest, _, length in self.plan.chunks(number)]
        data = json.dumps({"stat": stamp(state), "degree": degree, "chunks": chunks}).encode()
        handle = os.open(path + ".part", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | NOFOLLOW, 0o600)
        try:
            os.write(handle, data)
        finally:
            os.close(handle)
        os.rename(path + ".part", path)

    # After the last byte ---------------------------------------------------------------------------------------------

    def outlive_lanes(self):
        """Wait until no lane can write any more; one whose console is gone ends when it hears nothing for ``idle_s``."""
        lanes = os.open(os.path.join(self.store, "lock.lanes"), os.O_RDWR | NOFOLLOW)
        end = time.monotonic() + self.plan.head["patience_s"]
        while True:
            try:
                fcntl.flock(lanes, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() > end:
                    raise Failed("store-busy") from None
                time.sleep(0.05)
        os.close(lanes)

    def take_over_lanes(self):
        """What the lanes of this push have put on disk, as their journals say."""
        for number in list(self.missing):
            noted = None
            for every, index, _, _, _ in self.plan.chunks(number):
                if not self.have[every]:
                    noted = self.lane_chunks(number) if noted is None else noted
                    if index in noted:
                        self.have[every] = 1
                        self.missing[number] -= 1
            if self.missing[number] == 0 and number not in self.ready:
                self.ready.append(number)

    def lane_chunks(self, number):
        found = set()
        try:
            with open(self.journal_path(number)) as lines:
                for line in lines:
                    entry = json.loads(line)
                    if entry["push"] == self.push:
                        found.update(int(n) for n in entry["chunks"])
        except (OSError, ValueError, KeyError, TypeError):
            pass  # no lane wrote to this file
        return found

    def link_release(self):
        """Give every path its link. A new release is made beside its place and renamed there; one that is there already
        (other components came earlier, or files were damaged) has single links renamed in, and never misses a file."""
        target = os.path.join(self.store, "releases", self.release)
        fresh = target + ".new"
        remove_tree(fresh)
        os.mkdir(fresh, 0o755)
        if os.path.islink(target):
            raise Failed("unsafe-store", path=target)
        old = os.path.isdir(target)
        self.changed.add(target if old else fresh)
        for count, (path, number) in enumerate(self.plan.links()):
            self.wire.live()
            self.folder(target if old else fresh, os.path.dirname(path))
            place = os.path.join(target if old else fresh, path)
            self.changed.add(os.path.dirname(place))
            if not old:
                self.link(number, place)
            elif not same(place, self.place(number)):
                beside = os.path.join(fresh, "link-%d" % count)
                self.link(number, beside)
                os.rename(beside, place)
        self.sync_changed()
        if old:
            remove_tree(fresh)
        else:
            os.rename(fresh, target)
        sync_folder(os.path.dirname(target))

    def link(self, number, place):
        try:
            os.link(self.place(number), place)
        except OSError as problem:
            if problem.errno not in LINK_IMPOSSIBLE:
                raise
            self.copy_object(number, place)

    def copy_object(self, number, place):
        """Where the file system has no hard links: a second copy, hashed like the first."""
        source = os.open(self.place(number), os.O_RDONLY | NOFOLLOW)
        target = os.open(place, os.O_RDWR | os.O_CREAT | os.O_EXCL | NOFOLLOW, 0o600)
        try:
            copy_range(source, 0, target, 0, self.plan.sizes[number], self.wire.scratch)
            os.fsync(target)
            for _, _, digest, at, length in self.plan.chunks(number):
                if read_digest(target, at, length, self.wire.scratch) != digest:
                    raise Failed("io", path=place, reason="a copy reads back wrong")
            os.fchmod(target, self.rights(number))
            os.fsync(target)
        finally:
            os.close(source)
            os.close(target)

    def linked(self):
        """Whether the release's folder already holds exactly these objects."""
        target = os.path.join(self.store, "releases", self.release)
        return all(same(os.path.join(target, path), self.place(number)) for path, number in self.plan.links())

    def renew_notes(self):
        """A new link changes an object's ctime; its note stays good when that is the only change."""
        for number in range(len(self.plan.sizes)):
            if self.plan.sizes[number] < NOTE_BYTES:
                continue
            note, now = read_note(self.place(number)), os.lstat(self.place(number))
            if note and note["stat"][:4] == stamp(now)[:4] and note["stat"] != stamp(now):
                self.write_note(number, now, note["degree"])

    def mend_other_releases(self):
        """Links of other releases to an object that was damaged get the good one."""
        known = dict(((device, inode), number) for device, inode, number in self.replaced)
        releases = os.path.join(self.store, "releases")
        for base, _, names in os.walk(releases) if known else ():
            for name in names:
                state = os.lstat(os.path.join(base, name))
                number = known.get((state.st_dev, state.st_ino))
                if number is not None:
                    beside = os.path.join(self.staging, "link")
                    self.link(number, beside)
                    os.rename(beside, os.path.join(base, name))
                    sync_folder(base)

    def clean_staging(self):
        """Parts of other components of this release stay, for the push that left them."""
        left = os.listdir(self.staging)
        mine = set(self.plan.sha(n) for n in range(len(self.plan.sizes))) if left else ()
        for name in left:
            if name[:64] in mine or name[:4] in ("beat", "prob"):
                os.unlink(os.path.join(self.staging, name))
        try:
            os.rmdir(self.staging)
        except OSError:
            pass  # not empty

    # The conversation ------------------------------------------------------------------------------------------------

    @property
    def leads(self):
        return self.plan.head["role"] == "lead"

    def run(self):
        if self.leads:
            self.prepare()
            self.ready += [n for n in self.missing if self.missing[n] == 0 and n not in self.ready]
            self.finish_ready()
            self.wire.say(have=ranges(self.have), reused=self.reused, resumed=self.resumed, how=self.how, by=self.by)
        else:
            self.join_lead()
            self.wire.say(joined=True)
        while True:
            if self.onward is not None and self.onward.ready() is not self.wire:
                self.onward.frame()
                continue
            kind = self.wire.take(1)
            if kind in (b"C", b"Z"):
                self.chunk(self.wire, kind == b"Z", *struct.unpack(">III", self.wire.take(12)))
            elif kind == b"S":
                self.settle_parts()
                self.wire.say(synced=True)
            elif kind == b"E":
                # The servers after this one may need it longer.
                if self.end() and self.onward is None:
                    return
            elif self.onward is not None and kind in self.onward.kinds:
                if self.onward.told(kind):
                    return
            elif kind == b"L":
                self.lanes_came = True
            elif kind != b"P":
                raise Failed("bad-frame")

    def end(self):
        if not self.leads:
            self.settle_parts()
            self.wire.say(synced=True)
            return True
        self.settle_parts()
        if self.lanes_came:
            self.outlive_lanes()
            self.lanes_came = False
        self.take_over_lanes()
        while self.ready:
            self.wire.say(settling=len(self.ready))
            self.wire.flush()
            rest, self.ready = self.ready[OPEN_FILES // 2 :], self.ready[: OPEN_FILES // 2]
            self.finish_ready()
            self.ready += rest
        if self.missing:
            self.settle_parts()
            self.wire.say(again=ranges(self.have))
            return False
        # A name that a power cut takes back before this is the part's again, which is then hashed.
        self.sync_changed()
        if self.replaced:
            self.mend_other_releases()
        if self.replaced or not self.linked():
            self.link_release()
            self.renew_notes()
        self.clean_staging()
        self.wire.say(done=True, degree=self.degree)
        return True

    def settle(self):
        """Save what can be saved of an interrupted push."""
        if self.onward is not None:
            self.onward.close()
        for number in list(self.parts):
            try:
                self.flush_part(number)
                self.name_parts()
            except OSError:
                pass  # the disk is full or gone; what the journal says is still true


def traces_of_relay():
    """Whether an earlier push may have left something of ``onward`` on this account; told quickly."""
    try:
        with open(os.path.expanduser("~/.ssh/authorized_keys"), "rb") as keys:
            if b"sealift-relay-" in keys.read():
                return True
    except OSError:
        pass  # no such list: no traces in it
    bases = [b for b in ("/run/user/%d" % os.getuid(), "/dev/shm", "/run", "/tmp") if os.path.isdir(b)]
    return any(name.lstrip(".").startswith("sealift-relay-") for base in bases for name in os.listdir(base))


def told_to_end(number, frame):
    signal.signal(number, signal.SIG_IGN)
    raise Failed("link-lost")


def main():
    wire, receiver = Wire(0, 1), None
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, told_to_end)
    try:
        receiver = Receiver(wire, read_plan(wire))
        receiver.run()
        if receiver.onward is not None:
            receiver.onward.close()
        wire.flush()
        return 0
    except Failed as problem:
        answer = problem.answer
    except OSError as problem:
        rights = problem.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
        kind = "disk-full" if problem.errno in FULL else "no-rights" if rights else "io"
        answer = {"error": kind, "reason": os.strerror(problem.errno or 0), "path": str(problem.filename or "")}
        if kind == "disk-full" and receiver is not None:
            state = os.statvfs(receiver.store)
            answer.update(free=state.f_bavail * state.f_frsize, need=receiver.lacking())
    if receiver is not None:
        receiver.settle()
    if answer["error"] != "link-lost":
        try:
            wire.say(**answer)
            wire.flush()
        except OSError:
            pass  # nobody listens any more
    return 1
