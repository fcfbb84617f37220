"""Canonical JSON out and strict JSON in."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.errors import VerdictError
from console.trust.canonical import decode, encode

KEYS = st.text("abcxyz019_", min_size=1, max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=20)


@given(VALUES)
def test_what_is_encoded_decodes_to_itself_and_is_canonical(value):
    raw = encode(value)
    assert decode(raw, max_bytes=1 << 20) == value
    assert encode(decode(raw, max_bytes=1 << 20)) == raw


def test_form():
    assert encode({"b": [1, True, None], "a": "é\u2028\n\"\\/"}) == '{"a":"é\u2028\\n\\"\\\\/","b":[1,true,null]}'.encode()


@pytest.mark.parametrize("value", [1.5, 2**53, -(2**53), "\ud800", {"A": 1}, {"a b": 1}, {1: 2}, {"x" * 65: 1}, b"x", {1, 2},
                                   float("nan")])
def test_what_has_no_form_is_refused(value):
    with pytest.raises(ValueError):
        encode(value)


def test_data_keys_only_where_asked():
    assert encode({"sha256:Ab.c-d": 1}, wide_keys=True) == b'{"sha256:Ab.c-d":1}'
    with pytest.raises(ValueError):
        encode({"sha256:Ab": 1})


@pytest.mark.parametrize("raw", [
    b"", b"{", b'{"a":1,"a":2}', b'[{"b":{"a":1,"a":1}}]', b"NaN", b"[Infinity]", b"-Infinity", b"1.5", b"1e3", b"1" * 5000,
    b"9007199254740992", b"-9007199254740992", b'"\xff"', b'"\\ud800"', b'["\\udfff"]', b"\xef\xbb\xbf{}", b"{} {}", b"'a'",
    b'"a\x00b"', b"[1,]", b"[" * 33 + b"]" * 33, b"[" * 100_000, b'{"a":' * 100_000, b'{"\\ud834":1}',
])
def test_loose_json_is_refused(raw):
    with pytest.raises(VerdictError) as caught:
        decode(raw, max_bytes=1 << 20)
    assert caught.value.code == "trust.json"


def test_caps():
    with pytest.raises(VerdictError) as caught:
        decode(b" " * 11, max_bytes=10)
    assert caught.value.code == "trust.size"
    assert decode(b"[" * 32 + b"]" * 32, max_bytes=100)
    assert decode(b'["\\ud834\\udd1e"]', max_bytes=100) == ["\U0001d11e"]


def test_foreign_documents_may_hold_more():
    assert decode(b"[1.5,9007199254740992]", max_bytes=100, floats=True, wide_numbers=True) == [1.5, 2**53]
    with pytest.raises(VerdictError):
        decode(b"[1e999]", max_bytes=100, floats=True)


@given(st.binary(max_size=200))
def test_any_bytes_give_a_value_or_our_error(raw):
    try:
        value = decode(raw, max_bytes=100)
    except VerdictError:
        return
    json.dumps(value)


@pytest.mark.parametrize("raw", [b'"' + b'\\"' * 500_000, b"[" + b'"",' * 300_000, b'{"' + b'\\\\' * 500_000])
def test_hostile_text_is_turned_down_in_linear_time(raw):
    began = time.monotonic()
    with pytest.raises(VerdictError):
        decode(raw, max_bytes=64 << 20)
    assert time.monotonic() - began < 5
