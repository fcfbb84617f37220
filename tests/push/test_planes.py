"""Weights packed by planes: the same bytes come back, whatever they are, and never more than were signed."""

from __future__ import annotations

import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from console.push.connection import Connection, Press
from console.push.remote import planes
from console.push.remote.wire import Failed
from tests.push.local import make, noise


def weights(count: int, seed: int = 1) -> bytes:
    """bf16 numbers of the size that trained weights have."""
    dice = random.Random(seed)
    return b"".join(struct.pack("<f", dice.gauss(0, 0.02))[2:] for _ in range(count))


class Bytes:
    """A wire that holds all that will come."""

    def __init__(self, data: bytes):
        self.data = memoryview(data)

    def take(self, count: int) -> bytes:
        if count > len(self.data):
            raise Failed("link-lost")
        data, self.data = bytes(self.data[:count]), self.data[count:]
        return data

    all = take


def opened(data: bytes, length: int) -> bytes:
    return b"".join(bytes(b) for b in planes.unpacked(Bytes(data), length))


@settings(max_examples=80, deadline=None)
@given(st.binary(max_size=3000), st.booleans(), st.booleans())
def test_what_was_packed_comes_back(data, low, high):
    assert opened(planes.pack(data, (low, high)) if data else b"", len(data)) == data


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400), st.integers(1, 300))
def test_whatever_comes_gives_exactly_the_signed_length_or_is_refused(data, length):
    try:
        assert len(opened(data, length)) == length
    except Failed as problem:
        assert problem.answer["error"] in ("bad-frame", "link-lost")


def test_a_bomb_gives_no_more_than_the_signed_length():
    import zlib

    bomb = zlib.compress(bytes(50_000_000), 9)[2:-4]
    wire = Bytes(planes.HEAD.pack(len(bomb), 100_000) + bomb + bytes(100_000))
    (block,) = planes.unpacked(wire, 200_000)
    assert bytes(block) == bytes(200_000)


def test_weights_shrink_and_noise_is_left_alone():
    data = weights(1 << 16)
    chosen = planes.which(data[: planes.SAMPLE_BYTES])
    assert chosen == (False, True)
    assert len(planes.pack(data, chosen)) < 0.72 * len(data)
    assert planes.which(noise(1, planes.SAMPLE_BYTES)) is None


class Slow:
    """A stream that keeps what it is given."""

    def __init__(self):
        self.data = bytearray()

    def write(self, data):
        self.data += data


@pytest.mark.parametrize("length", [1, 2, 65_537, planes.BLOCK, 3 * planes.BLOCK + 7])
def test_a_connection_that_was_measured_slow_packs(length):
    data, stream = (weights(1 << 17) * 20)[:length], Slow()
    connection = Connection(stream, "here", "~/s")
    connection.press.sent(Press.MEASURED_BYTES, 1.0)
    assert connection.press.pays
    # In pieces of another size than that of the blocks.
    count = connection.chunk(3, 4, length, (memoryview(data)[at : at + 100_000] for at in range(0, length, 100_000)))
    kind, sent = stream.data[:1], bytes(stream.data[13:])
    assert struct.unpack(">III", stream.data[1:13]) == (3, 4, length) and count == len(sent)
    assert (opened(sent, length) if kind == b"Z" else sent) == data
    assert length < 65_537 or (kind == b"Z" and count < 0.75 * length)


def test_a_fast_or_unmeasured_link_gets_the_bytes_as_they_are():
    for measured in ((), ((Press.MEASURED_BYTES, 0.01),), ((1000, 9.0),)):
        connection = Connection(stream := Slow(), "here", "~/s")
        for count, seconds in measured:
            connection.press.sent(count, seconds)
        data = weights(5000)
        assert connection.chunk(0, 0, len(data), [memoryview(data)]) == len(data) and stream.data[:1] == b"C"


@pytest.mark.parametrize("degree", ["received", "stored", "media"])
def test_a_packed_push_is_verified_by_the_original_digests(push, tmp_path, home, monkeypatch, degree):
    monkeypatch.setattr(Press, "pays", True)
    files = {"w": weights(1_000_001), "odd": weights(50_000)[:-1], "noise": noise(3, 300_000), "c": b"{}"}
    plan = make(tmp_path / "library", files, 256 << 10).plan("~/store", degree=degree)
    outcome = push(plan)
    folder = home / "store/releases" / plan.release_id
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == files
    assert outcome.bytes_sent == plan.bytes_total
    assert outcome.receiver == "shell" or outcome.bytes_on_link < 0.8 * plan.bytes_total


def test_a_bit_flipped_in_a_packed_chunk_is_noticed_and_sent_again(push, tmp_path, home, link, monkeypatch, python):
    monkeypatch.setattr(Press, "pays", True)
    plan, transport = make(tmp_path / "library", {"w": weights(1_000_001)}, 256 << 10).plan("~/store"), link()
    transport.flip_at = 700_000
    outcome = push(plan, transport)
    assert (home / "store/releases" / plan.release_id / "w").read_bytes() == weights(1_000_001)
    assert outcome.bytes_sent == plan.bytes_total + (256 << 10)
