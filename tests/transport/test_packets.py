"""Bulk data in many packets at once is, byte for byte, what a peer reads as paramiko's own packets."""

from __future__ import annotations

import os
import struct

import paramiko
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from console.transport.packets import BATCH_BYTES, Bulk, Packets

KEY, FIRST_NONCE = bytes(range(16)), b"\1\2\3\4" + bytes(6) + b"\xff\xfe"


class Sink:
    """Keeps what is sent; takes at most ``most`` bytes a call, as a socket may."""

    def __init__(self, most: int = 1 << 30):
        self.got, self.most = bytearray(), most

    def send(self, data: bytes | memoryview) -> int:
        part = bytes(data[: self.most])
        self.got += part
        return len(part)

    def close(self) -> None:
        pass


def packets_over(sink: Sink, cipher: str = "gcm") -> Packets:
    made = Packets(sink)
    if cipher == "gcm":
        made.set_outbound_cipher(AESGCM(KEY), 16, None, 16, None, aead=True, iv_out=FIRST_NONCE)
    else:
        engine = Cipher(algorithms.AES(KEY), modes.CTR(KEY)).encryptor()
        made.set_outbound_cipher(engine, 16, paramiko.transport.sha256, 32, b"k" * 32, sdctr=True, etm=True)
    return made


def opened(raw: bytes) -> tuple[list[tuple[int, int, bytes]], bytes]:
    """What a peer finds: (kind, channel, data) of each packet, and the nonce it expects next."""
    found, nonce, at = [], FIRST_NONCE, 0
    while at < len(raw):
        length = raw[at : at + 4]
        (size,) = struct.unpack(">I", length)
        assert size % 16 == 0
        clear = AESGCM(KEY).decrypt(nonce, raw[at + 4 : at + 4 + size + 16], length)
        padding, kind, channel, count = struct.unpack_from(">BBII", clear)
        assert 4 <= padding <= 19 and len(clear) == 10 + count + padding
        found.append((kind, channel, clear[10 : 10 + count]))
        nonce = nonce[:4] + struct.pack(">Q", (struct.unpack(">Q", nonce[4:])[0] + 1) % (1 << 64))
        at += 4 + size + 16
    return found, nonce


def accounts(packets: Packets) -> dict[str, object]:
    names = ("iv_out", "sequence_number_out", "sent_bytes", "sent_packets", "need_rekey")
    return {name: packets.__dict__[f"_Packetizer__{name}"] for name in names}


@given(size=st.one_of(st.integers(1, 5_000), st.sampled_from([BATCH_BYTES, BATCH_BYTES + 1, 3 * BATCH_BYTES - 7])),
       packet=st.integers(1 << 10, 64 << 10), most=st.sampled_from([1 << 30, 7_001]))  # fmt: skip
def test_a_peer_reads_the_same_and_the_counters_stand_where_single_packets_leave_them(size, packet, most):
    data = os.urandom(size)
    sink = Sink(most)
    packets = packets_over(sink)
    assert packets.takes_bulk
    packets.send_message(Bulk(7, memoryview(data), packet))
    found, nonce = opened(bytes(sink.got))
    assert b"".join(part for _, _, part in found) == data
    assert all(kind == 94 and channel == 7 and len(part) <= packet for kind, channel, part in found)

    single = packets_over(Sink())
    for at in range(0, size, packet):
        message = paramiko.Message()
        message.add_byte(b"\x5e")
        message.add_int(7)
        message.add_string(data[at : at + packet])
        single.send_message(message)
    assert accounts(packets) == accounts(single) and accounts(packets)["iv_out"] == nonce


def test_single_messages_and_bulk_follow_each_other_under_one_counter():
    sink = Sink()
    packets = packets_over(sink)
    message = paramiko.Message()
    message.add_byte(b"\x5e")
    message.add_int(1)
    message.add_string(b"alone")
    packets.send_message(message)
    packets.send_message(Bulk(2, memoryview(b"x" * 100_000), 32_704))
    packets.send_message(message)
    found, _ = opened(bytes(sink.got))
    assert [channel for _, channel, _ in found] == [1, 2, 2, 2, 2, 1]


def test_new_keys_are_asked_for_once_the_limit_is_passed():
    packets = packets_over(Sink())
    packets.REKEY_BYTES = 200_000
    packets.send_message(Bulk(1, memoryview(bytes(100_000)), 32_704))
    assert not packets.need_rekey()
    packets.send_message(Bulk(1, memoryview(bytes(100_000)), 32_704))
    assert packets.need_rekey()


def test_where_another_cipher_was_agreed_on_the_packets_go_one_by_one():
    sink = Sink()
    packets = packets_over(sink, "ctr")
    assert not packets.takes_bulk
    packets.send_message(Bulk(1, memoryview(bytes(100_000)), 32_704))
    assert accounts(packets)["sent_packets"] == 4 and len(sink.got) > 100_000


@pytest.mark.parametrize("name", ["iv_out", "write_lock", "sent_bytes"])
def test_a_packet_layer_that_looks_different_is_left_alone(name):
    packets = packets_over(Sink())
    kept = packets.__dict__.pop(f"_Packetizer__{name}")
    assert not packets.takes_bulk
    packets.__dict__[f"_Packetizer__{name}"] = kept


def test_a_connection_that_broke_is_the_end_of_bulk_too():
    class Broken(Sink):
        def send(self, data):
            raise BrokenPipeError

    with pytest.raises(EOFError):
        packets_over(Broken()).send_message(Bulk(1, memoryview(b"x" * 100_000), 32_704))
