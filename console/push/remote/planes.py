"""Weights of two bytes a number, packed without loss: their low and high bytes apart, each Huffman-coded where that pays.

Of a bf16 number only the high byte, sign and exponent, is far from random, and Huffman codes alone get most of it: real
weights shrink to 0.67 at 130 MB/s a core; a search for repeats would find none and cost ten times the time.

A packed chunk is a sequence of blocks of at most 1 MiB of original bytes, each two lengths and two planes. A plane whose
length is its original one is not packed.
"""

import struct
import zlib

from console.push.remote.wire import BLOCK, Failed

SAMPLE_BYTES = 64 << 10
WORTH = 0.9
HEAD = struct.Struct(">II")


def packed_plane(plane):
    packer = zlib.compressobj(1, zlib.DEFLATED, -15, 9, zlib.Z_HUFFMAN_ONLY)
    small = packer.compress(plane) + packer.flush()
    return small if len(small) < len(plane) else plane


def which(sample):
    """Which planes of what the sample was taken from are worth packing; None where the whole is not."""
    planes = sample[0::2], sample[1::2]
    sizes = [len(packed_plane(plane)) for plane in planes]
    if sum(sizes) > WORTH * len(sample):
        return None
    return tuple(size < WORTH * len(plane) for size, plane in zip(sizes, planes))


def pack(block, chosen):
    """One block, ready to send."""
    planes = [packed_plane(p) if wanted else p for p, wanted in zip((block[0::2], block[1::2]), chosen)]
    return HEAD.pack(len(planes[0]), len(planes[1])) + planes[0] + planes[1]


def unpacked_plane(data, size):
    """A plane's original bytes, never more than they may be; something wrong of the same size where it was not packed right."""
    if len(data) == size:
        return data
    try:
        opener = zlib.decompressobj(-15)
        plane = opener.decompress(data, size + 1)
    except zlib.error:
        plane = b""
    return plane if len(plane) == size else bytes(size)


def unpacked(wire, length):
    """The original bytes of a packed chunk of ``length`` bytes, block by block as they arrive."""
    while length:
        count = min(length, BLOCK)
        sizes = (count + 1) // 2, count // 2
        packed = HEAD.unpack(wire.take(HEAD.size))
        if any(have > size for have, size in zip(packed, sizes)):
            raise Failed("bad-frame")
        block = bytearray(count)
        for first, (have, size) in enumerate(zip(packed, sizes)):
            block[first::2] = unpacked_plane(wire.all(have), size)
        yield memoryview(block)
        length -= count
