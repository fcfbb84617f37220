"""Files in a server's store: made without following links, flushed, copied, hashed as they read back."""

import collections
import errno
import fcntl
import hashlib
import json
import mmap
import os
import struct

from console.push.remote.wire import BLOCK, Failed

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
THREADS_BYTES = 64 << 20
WINDOW = 256 << 20
FEW = 4
"""So many flushes cost less one by one than flushing all that is unwritten on the disk, which others may have filled."""

DIRECT = getattr(os, "O_DIRECT", 0)
ALIGN = 64 << 10
"""Whole blocks of any file system that shares them; Btrfs has blocks of a page, which is as big as this on some machines."""

FICLONERANGE = 0x4020940D
"""From linux/fs.h; other on a few processors, where blocks are copied then."""


def make_folders(base, path):
    """Make the folders of ``path`` below ``base``; no link is followed. Gives those in which one was made, to be flushed."""
    at, changed = base, []
    for name in [p for p in path.split("/") if p]:
        inside, at = at, os.path.join(at, name)
        try:
            os.mkdir(at, 0o755)
            changed.append(inside)
        except OSError as problem:
            if problem.errno != errno.EEXIST:
                raise
            if os.path.islink(at) or not os.path.isdir(at):
                raise Failed("unsafe-store", path=at) from None
    return changed


def open_part(path):
    """A file that is being written, made where there is none. The last push may have ended after it took the right to write away."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | NOFOLLOW, 0o600)
    except OSError as problem:
        if problem.errno != errno.EACCES:
            raise
    handle = os.open(path, os.O_RDONLY | NOFOLLOW)
    try:
        os.fchmod(handle, 0o600)
    finally:
        os.close(handle)
    return os.open(path, os.O_RDWR | NOFOLLOW)


def sync_folder(path):
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:
        pass  # some network file systems cannot flush a folder; the files themselves were flushed
    finally:
        os.close(handle)


def sync_folders(paths, handle):
    """Flush many folders; ``handle`` is any file of theirs."""
    if len(paths) <= FEW or not sync_file_system(handle):
        for path in paths:
            sync_folder(path)


def sync_file_system(handle):
    """Start and await everything that is unwritten, at once; flushing many files one by one is then quick. Whether it was done."""
    try:
        import ctypes

        return ctypes.CDLL(None).syncfs(handle) == 0
    except (ImportError, OSError, AttributeError):
        return False  # only the quick way is missing; each is flushed by itself afterwards


def written_out(handle):
    """Whether all of a file was written without fault; asked after its file system was flushed. A flush of its own would say it
    too, but empties the disk's write cache once more for each file."""
    try:
        import ctypes

        whole = 1 | 2 | 4  # SYNC_FILE_RANGE_WAIT_BEFORE, _WRITE and _WAIT_AFTER; no length means to the end
        zero = ctypes.c_int64(0)
        return ctypes.sizeof(ctypes.c_void_p) == 8 and ctypes.CDLL(None).sync_file_range(handle, zero, zero, whole) == 0
    except (ImportError, OSError, AttributeError):
        return False


def read_digest(handle, offset, length, buffer):
    """SHA-256 of a range as it reads back from the file; empty when the file ends before it does."""
    digest = hashlib.sha256()
    return digest.digest() if hash_range(digest, handle, offset, length, buffer) else b""


def hash_range(digest, handle, offset, length, buffer):
    """Go on hashing with a range as it reads back from the file; False when the file ends before it does."""
    os.lseek(handle, offset, os.SEEK_SET)
    while length:
        count = os.readv(handle, [buffer[: min(length, BLOCK)]])
        if not count:
            return False
        digest.update(buffer[:count])
        length -= count
    return True


def in_threads(act, items, size):
    """(item, result) of each, in order; in threads where there is much to do, for hashing and copying run beside each other.

    Args:
        act: called with an item and a buffer of its own.
        size: bytes in all.
    """
    if size < THREADS_BYTES or (os.cpu_count() or 1) < 2:
        buffer = memoryview(mmap.mmap(-1, BLOCK))
        for item in items:
            yield item, act(item, buffer)
        return
    import concurrent.futures
    import queue

    buffers, pending = queue.Queue(), collections.deque()
    count = min(4, os.cpu_count())
    for _ in range(count):
        buffers.put(memoryview(mmap.mmap(-1, BLOCK)))

    def acted(item):
        buffer = buffers.get()
        try:
            return act(item, buffer)
        finally:
            buffers.put(buffer)

    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        for item in items:
            pending.append((item, pool.submit(acted, item)))
            if len(pending) > 2 * count:
                item, future = pending.popleft()
                yield item, future.result()
        for item, future in pending:
            yield item, future.result()


def range_digest(path, offset, length, buffer):
    """:func:`read_digest` of a file by its name."""
    handle = os.open(path, os.O_RDONLY | NOFOLLOW)
    try:
        return read_digest(handle, offset, length, buffer)
    finally:
        os.close(handle)


def cached(handle):
    """Whether any of a file may still be in the system's cache, and so would be read from there and not from the medium."""
    size, at = os.fstat(handle).st_size, 0
    try:
        import ctypes

        while at < size:
            count = min(WINDOW, size - at)
            window = mmap.mmap(handle, count, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE, offset=at)
            first = ctypes.c_char.from_buffer(window)
            pages = ctypes.create_string_buffer(-(-count // mmap.PAGESIZE))
            failed = ctypes.CDLL(None).mincore(ctypes.byref(first), ctypes.c_size_t(count), pages)
            del first
            window.close()
            if failed or any(page & 1 for page in set(pages.raw)):
                return True
            at += count
    except (ImportError, OSError, ValueError, AttributeError):
        return True  # nobody here can tell
    return False


def medium_digests(path, lengths, buffer):
    """SHA-256 of each of the consecutive ranges, read from the medium and not from the cache."""
    handle, direct = os.open(path, os.O_RDONLY | NOFOLLOW), None
    try:
        os.fsync(handle)
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        try:
            direct = os.open(path, os.O_RDONLY | NOFOLLOW | DIRECT)
            os.readv(direct, [buffer])
            os.lseek(direct, 0, os.SEEK_SET)
        except OSError:
            if direct is not None:
                os.close(direct)
            direct = None  # a file system without direct reading
            if cached(handle):
                raise Failed("no-medium", path=path) from None
        source, low, high = handle if direct is None else direct, 0, 0
        for length in lengths:
            digest = hashlib.sha256()
            while length:
                if low == high:
                    low, high = 0, os.readv(source, [buffer])
                    if not high:
                        break
                count = min(length, high - low)
                digest.update(buffer[low : low + count])
                low += count
                length -= count
            yield digest.digest() if not length else b""
    finally:
        os.close(handle)
        if direct is not None:
            os.close(direct)


def copy_range(source, source_at, target, target_at, length, buffer):
    """Copy on the server. Whole blocks that lie alike in both files are shared where the file system can; what copies ranges in
    the kernel shares nothing as soon as one end of a range is not that of a block."""
    head, middle = shared_part(source_at, target_at, length)
    if middle and share(source, source_at + head, target, target_at + head, middle):
        copy_bytes(source, source_at, target, target_at, head, buffer)
        done = head + middle
        source_at, target_at, length = source_at + done, target_at + done, length - done
    copy_bytes(source, source_at, target, target_at, length, buffer)


def shared_part(source_at, target_at, length):
    """What of a range could share its blocks: the bytes before it, and its own."""
    head = -source_at % ALIGN
    return head, max(0, length - head) // ALIGN * ALIGN if (source_at - target_at) % ALIGN == 0 else 0


def share(source, source_at, target, target_at, length):
    """Have both files hold the same blocks; False where the file system cannot."""
    try:
        fcntl.ioctl(target, FICLONERANGE, struct.pack("=qQQQ", source, source_at, length, target_at))
    except OSError as problem:
        if problem.errno in FULL:
            raise
        return False
    return True


def can_share(folder):
    """Whether the file system of a folder of ours shares blocks, tried out."""
    handles, names = [], [os.path.join(folder, ".share-%d" % n) for n in (0, 1)]
    try:
        for name in names:
            handles.append(os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC | NOFOLLOW, 0o600))
        os.pwrite(handles[0], bytes(ALIGN), 0)
        return share(handles[0], 0, handles[1], 0, ALIGN)
    except OSError:
        return False
    finally:
        for handle in handles:
            os.close(handle)
        for name in names[: len(handles)]:
            os.unlink(name)


def copy_bytes(source, source_at, target, target_at, length, buffer):
    quick = getattr(os, "copy_file_range", None)
    while length:
        count = 0
        if quick is not None:
            try:
                count = quick(source, target, length, source_at, target_at)
            except OSError as problem:
                if problem.errno in FULL:
                    raise
                quick = None
        if not count:
            os.lseek(source, source_at, os.SEEK_SET)
            count = os.readv(source, [buffer[: min(length, BLOCK)]])
            if not count:
                return
            write_at(target, buffer[:count], target_at)
        source_at, target_at, length = source_at + count, target_at + count, length - count


def write_at(handle, view, offset):
    while len(view):
        count = os.pwrite(handle, view, offset)
        view, offset = view[count:], offset + count


def same(one, other):
    try:
        return os.path.samestat(os.lstat(one), os.lstat(other))
    except OSError:
        return False


def stamp(state):
    return [state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns]


def read_note(path):
    try:
        with open(path + ".chunks") as source:
            note = json.load(source)
        return {"stat": note["stat"], "degree": note["degree"], "chunks": note["chunks"]}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def chunks_of(path):
    note = read_note(path)
    try:
        return [(bytes.fromhex(d), int(n)) for d, n in note["chunks"]] if note else []
    except (ValueError, TypeError):
        return []


def remove_tree(path):
    """Remove a folder below the store; links in it are removed, not followed."""
    if os.path.islink(path):
        os.unlink(path)
    if not os.path.isdir(path):
        return
    for base, folders, files in os.walk(path, topdown=False):
        for name in files:
            os.unlink(os.path.join(base, name))
        for name in folders:
            inner = os.path.join(base, name)
            (os.unlink if os.path.islink(inner) else os.rmdir)(inner)
    os.rmdir(path)
