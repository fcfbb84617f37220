"""Loads a small ONNX language model and decodes with it. The server and the console both use this one file.

A model folder holds ``model.onnx`` (input ``input_ids`` int64 (batch, sequence), output ``logits`` float (batch,
sequence, vocabulary)), ``config.json`` (``max_position_embeddings``) and ``tokenizer.json`` in this form::

    {"format": "sealift-byte-tokenizer", "version": 1, "bytes": 256, "special": {"<bos>": 256, ...},
     "prompt": ["<bos>", "<user>", "{last user message}", "<assistant>"], "stop": ["<end>"]}

Token n below ``bytes`` is the byte n of the UTF-8 text; the special tokens come after. ``prompt`` is how a chat turn
is laid out. Nothing else is read from the folder and nothing is fetched from anywhere.
"""

from __future__ import annotations

import codecs
import json
import random
from pathlib import Path
from typing import Any, Iterable, Iterator

import numpy as np

MAX_JSON_BYTES = 1 << 20
MAX_MODEL_BYTES = 2 << 30
TEXT_SLOT = "{last user message}"


class ModelError(Exception):
    """The folder does not hold a model that this runtime can serve. The message names no path."""


class PromptTooLong(Exception):
    """The prompt and the tokens asked for do not fit into the model's context."""

    def __init__(self, tokens: int, context: int):
        self.tokens, self.context = tokens, context
        super().__init__("the prompt has %d tokens and the model's context is %d" % (tokens, context))


def _load(folder: Path, name: str) -> Any:
    path = folder / name
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise ModelError("%s is too large" % name)
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError("%s cannot be read: %s" % (name, error.strerror or "unknown reason")) from None
    except (ValueError, RecursionError):
        raise ModelError("%s is not valid JSON" % name) from None
    if not isinstance(loaded, dict):
        raise ModelError("%s is not a JSON object" % name)
    return loaded


class Tokenizer:
    """Bytes to tokens and back, as ``tokenizer.json`` says."""

    def __init__(self, described: "dict[str, Any]"):
        try:
            if (described["format"], described["version"], described["bytes"]) != ("sealift-byte-tokenizer", 1, 256):
                raise ModelError("tokenizer.json is of a kind that this runtime does not know")
            special = {str(name): int(token) for name, token in described["special"].items()}
            self._prompt = [part if part == TEXT_SLOT else special[part] for part in described["prompt"]]
            self.stop = frozenset(special[name] for name in described["stop"])
            self.start = special["<bos>"]
        except (KeyError, TypeError, ValueError, AttributeError):
            raise ModelError("tokenizer.json is incomplete") from None

    def chat(self, text: str) -> "list[int]":
        """Tokens that ask the model to answer ``text``."""
        ids: "list[int]" = []
        for part in self._prompt:
            ids.extend(text.encode("utf-8", "replace") if part == TEXT_SLOT else [part])
        return ids

    def plain(self, text: str) -> "list[int]":
        """Tokens of a text to be continued."""
        return [self.start, *text.encode("utf-8", "replace")]

    def text(self, tokens: "Iterable[int]") -> "Iterator[str]":
        """Text as it becomes whole: a character of several bytes comes out once, when its last byte is there."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        for token in tokens:
            piece = decoder.decode(bytes([token])) if token < 256 else ""
            if piece:
                yield piece
        rest = decoder.decode(b"", final=True)
        if rest:
            yield rest


class SmallModel:
    """A loaded model. Safe to use from several threads."""

    def __init__(self, folder: "str | Path", threads: int = 1):
        """Load ``folder`` on the CPU with ``threads`` threads.

        Raises:
            ModelError: the folder does not hold a model that fits this runtime.
        """
        import onnxruntime

        folder = Path(folder)
        config = _load(folder, "config.json")
        self.tokenizer = Tokenizer(_load(folder, "tokenizer.json"))
        self.context = config.get("max_position_embeddings")
        if not isinstance(self.context, int) or isinstance(self.context, bool) or not 0 < self.context <= 1 << 20:
            raise ModelError("config.json does not say the model's context length")
        try:
            if (folder / "model.onnx").stat().st_size > MAX_MODEL_BYTES:
                raise ModelError("model.onnx is too large for this runtime")
        except OSError:
            raise ModelError("model.onnx cannot be read") from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 4
        try:
            self._session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options,
                                                         providers=["CPUExecutionProvider"])
        # onnxruntime's own exception classes have no common base below Exception, and their texts hold paths.
        except Exception:
            raise ModelError("model.onnx cannot be loaded by onnxruntime") from None
        inputs, outputs = ([x.name for x in side] for side in (self._session.get_inputs(), self._session.get_outputs()))
        if inputs != ["input_ids"] or "logits" not in outputs:
            raise ModelError("model.onnx does not have the one input input_ids and the output logits")

    def logits(self, ids: "list[int]") -> "np.ndarray":
        """Logits of the token after ``ids``."""
        return self._session.run(["logits"], {"input_ids": np.array([ids], dtype=np.int64)})[0][0, -1]

    def generate(self, prompt: "list[int]", max_tokens: int, temperature: float = 0.0, seed: "int | None" = None,
                 ) -> "Iterator[int]":
        """Tokens after ``prompt``, the stop token excluded; greedy at temperature 0.

        Raises:
            PromptTooLong: no room for a single token.
        """
        if len(prompt) >= self.context:
            raise PromptTooLong(len(prompt), self.context)
        return self._tokens(list(prompt), min(max_tokens, self.context - len(prompt)), temperature, random.Random(seed))

    def _tokens(self, ids: "list[int]", count: int, temperature: float, rng: "random.Random") -> "Iterator[int]":
        for _ in range(count):
            token = _pick(self.logits(ids), temperature, rng)
            if token in self.tokenizer.stop:
                return
            ids.append(token)
            yield token

    def answer(self, question: str, max_tokens: int = 64) -> str:
        """The greedy answer to one question, as one text."""
        return "".join(self.tokenizer.text(self.generate(self.tokenizer.chat(question), max_tokens)))


def _pick(logits: "np.ndarray", temperature: float, rng: "random.Random") -> int:
    if temperature <= 0:
        return int(logits.argmax())
    odds = np.exp((logits - logits.max()) / temperature)
    point = rng.random() * float(odds.sum())
    return int(min(np.searchsorted(np.cumsum(odds), point), len(odds) - 1))
