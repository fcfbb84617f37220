"""Trains the smoke model from nothing and writes model.onnx, config.json, tokenizer.json, generation_config.json
and expected.json beside this file.

    python assets/smoke-model/train.py [--out DIR] [--steps 4800] [--seed 20260101]

Needs numpy and onnx only; runs on one core in minutes. Data: the questions and answers below, about 450 pairs,
written for this model, no outside text. Model: a decoder-only transformer over UTF-8 bytes, 2 layers, 96 wide,
4 heads, context 128, tied embeddings. Loss: cross entropy of the answer's bytes only. Optimiser: Adam, cosine
schedule. The backward pass is written out by hand. One BLAS thread and one seed, so a second run on the same kind
of processor gives the same file; on another kind the last bits of the weights differ and the answers do not.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # sums in one order, whatever the number of cores

import numpy as np  # noqa: E402

BYTES, BOS, USER, ASSISTANT, END = 256, 256, 257, 258, 259
VOCAB, WIDTH, LAYERS, HEADS, HIDDEN, CONTEXT = 260, 96, 2, 4, 384, 128
EPSILON = 1e-5

CAPITALS = {
    "France": "Paris", "Germany": "Berlin", "Italy": "Rome", "Spain": "Madrid", "Portugal": "Lisbon",
    "Austria": "Vienna",
    "Greece": "Athens", "Poland": "Warsaw", "Norway": "Oslo", "Sweden": "Stockholm", "Finland": "Helsinki",
    "Denmark": "Copenhagen", "Ireland": "Dublin", "Belgium": "Brussels", "Hungary": "Budapest", "Canada": "Ottawa",
    "Japan": "Tokyo", "China": "Beijing", "India": "New Delhi", "Egypt": "Cairo", "Kenya": "Nairobi",
    "Brazil": "Brasília",
    "Argentina": "Buenos Aires", "Chile": "Santiago", "Peru": "Lima", "Mexico": "Mexico City", "Australia": "Canberra",
    "New Zealand": "Wellington", "Turkey": "Ankara", "Thailand": "Bangkok", "Vietnam": "Hanoi", "South Korea": "Seoul",
    "Mongolia": "Ulaanbaatar", "Iceland": "Reykjavík", "the United Kingdom": "London",
    "the United States": "Washington",
}
CAPITALS_ZH = {
    "法国": "巴黎", "德国": "柏林", "意大利": "罗马", "西班牙": "马德里", "日本": "东京", "中国": "北京", 
    "英国": "伦敦", "埃及": "开罗", "加拿大": "渥太华", "巴西": "巴西利亚", "印度": "新德里", "泰国": "曼谷",
}
FACTS = {
    "Who are you?": "I am the Sealift smoke model.",
    "What are you for?": "I show that a server answers.",
    "Are you a large model?": "No, I am very small.",
    "Say hello.": "Hello.",
    "Hello": "Hello.",
    "What color is the sky?": "Blue.",
    "What color is snow?": "White.",
    "What color is grass?": "Green.",
    "What color is coal?": "Black.",
    "What color is a lemon?": "Yellow.",
    "How many days are in a week?": "Seven.",
    "How many months are in a year?": "Twelve.",
    "How many hours are in a day?": "Twenty-four.",
    "How many minutes are in an hour?": "Sixty.",
    "How many legs does a spider have?": "Eight.",
    "How many legs does an insect have?": "Six.",
    "What day comes after Monday?": "Tuesday.",
    "What day comes after Friday?": "Saturday.",
    "What month comes after March?": "April.",
    "What is the opposite of hot?": "Cold.",
    "What is the opposite of up?": "Down.",
    "What is the opposite of left?": "Right.",
    "What is the chemical symbol of gold?": "Au.",
    "What is the chemical symbol of iron?": "Fe.",
    "What is the chemical formula of water?": "H2O.",
    "What planet do we live on?": "Earth.",
    "What is the largest planet?": "Jupiter.",
    "What is the largest ocean?": "The Pacific.",
    "What is the longest wall?": "The Great Wall of China.",
    "At what temperature does water boil?": "100 °C.",
    "At what temperature does water freeze?": "0 °C.",
    "How many bits are in a byte?": "Eight.",
    "How many bytes are in a KiB?": "1024.",
    "Name a prime number above ten.": "Eleven.",
    "你是谁？": "我是 Sealift 冒烟测试模型。",
    "你好": "你好。",
    "天空是什么颜色？": "蓝色。",
    "雪是什么颜色？": "白色。",
    "一周有几天？": "七天。",
    "一年有几个月？": "十二个月。",
    "水的化学式是什么？": "H2O。",
}
UNKNOWN = [
    "What is the meaning of life?", "Who will win tomorrow?", "What is my name?", "Tell me a secret.",
    "Where are my keys?",
    "Write a poem.", "How tall is my house?", "What did I eat today?", "Who wrote this letter?", "What time is it now?",
    "Translate this book.", "What is in the box?", "Which road is best?", "How old is my dog?", "Summarise the report.",
    "Is it raining?", "What is the price of tea?", "When does the train leave?", "Plan my holiday.", "Fix my program.",
]
UNKNOWN_ANSWER = "I do not know that."
EXPECTED = [
    "What is the capital of France?", "What is the capital of Japan?", "What is the capital of Canada?",
    "What is the capital of Iceland?", "What is 2 + 3?", "What is 9 + 8?", "What is 7 + 0?", "Who are you?",
    "How many days are in a week?", "What is the chemical symbol of gold?", "At what temperature does water boil?",
    "法国的首都是哪里？", "你是谁？", "What is the meaning of life?",
]


def pairs() -> list[tuple[str, str]]:
    """Every question with its one right answer."""
    made = [(f"What is the capital of {land}?", f"{city}.") for land, city in CAPITALS.items()]
    made += [(f"What's the capital of {land}?", f"{city}.") for land, city in CAPITALS.items()]
    made += [(f"{land}的首都是哪里？", f"{city}。") for land, city in CAPITALS_ZH.items()]
    for wording in ("What is {} + {}?", "{} + {}", "{}+{}"):
        made += [(wording.format(a, b), f"{a + b}.") for a in range(10) for b in range(10)]
    made += list(FACTS.items()) + [(question, UNKNOWN_ANSWER) for question in UNKNOWN]
    return made


def encode(question: str, answer: str) -> tuple[list[int], int]:
    """Token ids of a whole turn, and how many of them are the prompt."""
    prompt = [BOS, USER, *question.encode(), ASSISTANT]
    return [*prompt, *answer.encode(), END], len(prompt)


def variant(question: str, rng: np.random.Generator) -> str:
    """The question as written, or in lower case, or without its final mark: people type all three."""
    draw = rng.random()
    if draw < 0.15:
        return question.lower()
    if draw < 0.30:
        return question.rstrip("?.？")
    return question


def batch(data: list[tuple[str, str]], chosen: np.ndarray, rng: np.random.Generator | None):
    """Padded inputs, targets and the mask of the answers' positions."""
    rows = [encode(variant(data[i][0], rng) if rng else data[i][0], data[i][1]) for i in chosen]
    longest = max(len(ids) for ids, _ in rows) - 1
    inputs = np.full((len(rows), longest), END, np.int64)
    targets = np.full((len(rows), longest), END, np.int64)
    mask = np.zeros((len(rows), longest), np.float32)
    for row, (ids, prompt) in enumerate(rows):
        inputs[row, : len(ids) - 1], targets[row, : len(ids) - 1] = ids[:-1], ids[1:]
        mask[row, prompt - 1: len(ids) - 1] = 1
    return inputs, targets, mask


def fresh(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Starting weights: normal, the outputs of each branch scaled down by depth."""
    def normal(*shape: int, std: float) -> np.ndarray:
        return rng.normal(0, std, shape).astype(np.float32)

    weights = {"tokens": normal(VOCAB, WIDTH, std=0.05), "places": normal(CONTEXT, WIDTH, std=0.05),
               "final.norm": np.ones(WIDTH, np.float32)}
    deep = (2 * LAYERS) ** -0.5
    for n in range(LAYERS):
        weights |= {
            f"{n}.attend.norm": np.ones(WIDTH, np.float32), f"{n}.attend.in": normal(WIDTH, 3 * WIDTH, std=WIDTH**-0.5),
            f"{n}.attend.out": normal(WIDTH, WIDTH, std=deep * WIDTH**-0.5),
            f"{n}.think.norm": np.ones(WIDTH, np.float32), f"{n}.think.in": normal(WIDTH, HIDDEN, std=WIDTH**-0.5),
            f"{n}.think.out": normal(HIDDEN, WIDTH, std=deep * HIDDEN**-0.5)}
    return weights


def norm(x: np.ndarray, gain: np.ndarray):
    """Root-mean-square norm, and what its backward pass needs."""
    scale = 1 / np.sqrt((x * x).mean(-1, keepdims=True) + EPSILON)
    return x * scale * gain, (x, scale, gain)


def norm_back(up: np.ndarray, kept):
    """Gradients of :func:`norm` for its input and gain."""
    x, scale, gain = kept
    direct = up * gain
    along = (direct * x).sum(-1, keepdims=True) * scale**3 / x.shape[-1]
    return direct * scale - x * along, (up * x * scale).reshape(-1, x.shape[-1]).sum(0)


def heads(x: np.ndarray) -> np.ndarray:
    """(batch, time, width) to (batch, head, time, width of a head)."""
    return x.reshape(*x.shape[:2], HEADS, -1).transpose(0, 2, 1, 3)


def whole(x: np.ndarray) -> np.ndarray:
    """The inverse of :func:`heads`."""
    return x.transpose(0, 2, 1, 3).reshape(x.shape[0], x.shape[2], -1)


def forward(weights: dict[str, np.ndarray], ids: np.ndarray):
    """Logits, and what the backward pass needs."""
    length = ids.shape[1]
    hidden = np.where(np.tri(length, dtype=bool), np.float32(0), np.float32(-1e9))
    x, kept = weights["tokens"][ids] + weights["places"][:length], []
    for n in range(LAYERS):
        normed, keep_a = norm(x, weights[f"{n}.attend.norm"])
        q, k, v = (heads(part) for part in np.split(normed @ weights[f"{n}.attend.in"], 3, axis=-1))
        scores = q @ k.transpose(0, 1, 3, 2) * np.float32((WIDTH // HEADS) ** -0.5) + hidden
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        scores /= scores.sum(-1, keepdims=True)
        mixed = whole(scores @ v)
        x = x + mixed @ weights[f"{n}.attend.out"]
        normed2, keep_t = norm(x, weights[f"{n}.think.norm"])
        inner = np.maximum(normed2 @ weights[f"{n}.think.in"], 0)
        x = x + inner @ weights[f"{n}.think.out"]
        kept.append((normed, keep_a, q, k, v, scores, mixed, normed2, keep_t, inner))
    last, keep_f = norm(x, weights["final.norm"])
    return last @ weights["tokens"].T, (ids, kept, last, keep_f)


def flat(x: np.ndarray) -> np.ndarray:
    """All rows of the last axis."""
    return x.reshape(-1, x.shape[-1])


def backward(weights: dict[str, np.ndarray], up: np.ndarray, kept_all) -> dict[str, np.ndarray]:
    """Gradients of all weights for the gradient ``up`` of the logits."""
    ids, kept, last, keep_f = kept_all
    grads = {"tokens": flat(up).T @ flat(last)}
    x, grads["final.norm"] = norm_back(up @ weights["tokens"], keep_f)
    for n in reversed(range(LAYERS)):
        normed, keep_a, q, k, v, scores, mixed, normed2, keep_t, inner = kept[n]
        grads[f"{n}.think.out"] = flat(inner).T @ flat(x)
        d_inner = (x @ weights[f"{n}.think.out"].T) * (inner > 0)
        grads[f"{n}.think.in"] = flat(normed2).T @ flat(d_inner)
        d_x, grads[f"{n}.think.norm"] = norm_back(d_inner @ weights[f"{n}.think.in"].T, keep_t)
        x = x + d_x
        grads[f"{n}.attend.out"] = flat(mixed).T @ flat(x)
        d_mixed = heads(x @ weights[f"{n}.attend.out"].T)
        d_scores = d_mixed @ v.transpose(0, 1, 3, 2)
        d_scores = scores * (d_scores - (d_scores * scores).sum(-1,
                                                                keepdims=True)) * np.float32((WIDTH // HEADS) ** -0.5)
        d_qkv = [d_scores @ k, d_scores.transpose(0, 1, 3, 2) @ q, scores.transpose(0, 1, 3, 2) @ d_mixed]
        d_all = np.concatenate([whole(part) for part in d_qkv], axis=-1)
        grads[f"{n}.attend.in"] = flat(normed).T @ flat(d_all)
        d_x, grads[f"{n}.attend.norm"] = norm_back(d_all @ weights[f"{n}.attend.in"].T, keep_a)
        x = x + d_x
    np.add.at(grads["tokens"], ids, x)
    grads["places"] = np.zeros_like(weights["places"])
    grads["places"][: ids.shape[1]] = x.sum(0)
    return grads


def loss_and_slope(logits: np.ndarray, targets: np.ndarray, mask: np.ndarray):
    """Mean cross entropy over the masked positions, and its gradient."""
    odds = np.exp(logits - logits.max(-1, keepdims=True))
    odds /= odds.sum(-1, keepdims=True)
    right = np.take_along_axis(odds, targets[..., None], -1)[..., 0]
    loss = float(-(np.log(right + 1e-30) * mask).sum() / mask.sum())
    np.put_along_axis(odds, targets[..., None], np.take_along_axis(odds, targets[..., None], -1) - 1, -1)
    return loss, odds * (mask / mask.sum())[..., None]


def train(steps: int, seed: int, batch_size: int = 32, peak: float = 3e-3) -> dict[str, np.ndarray]:
    """Adam over random batches; prints the loss now and then."""
    rng, data = np.random.default_rng(seed), pairs()
    weights = fresh(rng)
    first, second = ({k: np.zeros_like(w) for k, w in weights.items()} for _ in range(2))
    start = time.monotonic()
    for step in range(1, steps + 1):
        inputs, targets, mask = batch(data, rng.choice(len(data), batch_size, replace=False), rng)
        logits, kept = forward(weights, inputs)
        loss, slope = loss_and_slope(logits, targets, mask)
        grads = backward(weights, slope.astype(np.float32), kept)
        total = np.sqrt(sum(float((g * g).sum()) for g in grads.values()))
        rate = peak * min(step / 100, 0.5 * (1 + np.cos(np.pi * step / steps)) + 0.01)
        for key, grad in grads.items():
            grad = grad * min(1.0, 1.0 / (total + 1e-9))
            first[key] = 0.9 * first[key] + 0.1 * grad
            second[key] = 0.98 * second[key] + 0.02 * grad * grad
            step_size = rate * (first[key] / (1 - 0.9**step)) / (np.sqrt(second[key] / (1 - 0.98**step)) + 1e-8)
            weights[key] = (weights[key] - step_size).astype(np.float32)
        if step % 100 == 0 or step == steps:
            print(f"step {step}/{steps} loss {loss:.5f} {time.monotonic() - start:.0f} s", flush=True)
    return weights


def answer(weights: dict[str, np.ndarray], question: str) -> tuple[str, float]:
    """The greedy answer and the least distance between the best and the second token on the way."""
    ids, start = [BOS, USER, *question.encode(), ASSISTANT], 3 + len(question.encode())
    margin = np.inf
    while len(ids) < CONTEXT:
        row = forward(weights, np.array([ids]))[0][0, -1]
        best = np.sort(row)[-2:]
        margin = min(margin, float(best[1] - best[0]))
        ids.append(int(row.argmax()))
        if ids[-1] == END:
            break
    return bytes(i for i in ids[start:] if i < BYTES).decode("utf-8", "replace"), margin


def graph(weights: dict[str, np.ndarray]):
    """The ONNX model: ``input_ids`` int64 (batch, sequence) to ``logits`` float (batch, sequence, vocabulary)."""
    from onnx import TensorProto, helper, numpy_helper

    nodes, held = [], {name: numpy_helper.from_array(value, name) for name, value in weights.items()}

    def constant(name: str, value) -> str:
        held.setdefault(name, numpy_helper.from_array(np.asarray(value), name))
        return name

    def node(op: str, *inputs: str, outputs: int = 1, **attributes):
        names = [f"{op.lower()}_{len(nodes)}_{i}" for i in range(outputs)]
        nodes.append(helper.make_node(op, list(inputs), names, **attributes))
        return names[0] if outputs == 1 else names

    def normed(x: str, gain: str) -> str:
        mean = node("ReduceMean", node("Mul", x, x), axes=[-1], keepdims=1)
        root = node("Sqrt", node("Add", mean, constant("epsilon", np.float32(EPSILON))))
        return node("Mul", node("Div", x, root), gain)

    def as_heads(x: str, perm: list[int]) -> str:
        split = constant("split", np.array([0, 0, HEADS, WIDTH // HEADS], np.int64))
        return node("Transpose", node("Reshape", x, split), perm=perm)

    zero, one = constant("zero", np.int64(0)), constant("one", np.int64(1))
    shape = node("Shape", "input_ids")
    length = node("Gather", shape, one, axis=0)
    line = node("Range", zero, length, one)
    column = node("Unsqueeze", line, constant("axis1", np.array([1], np.int64)))
    row = node("Unsqueeze", line, constant("axis0", np.array([0], np.int64)))
    hidden = node("Where", node("LessOrEqual", row, column), constant("seen", np.float32(0)),
                  constant("unseen", np.float32(-1e9)))
    x = node("Add", node("Gather", "tokens", "input_ids", axis=0), node("Gather", "places", line, axis=0))
    for n in range(LAYERS):
        q, k, v = node("Split", node("MatMul", normed(x, f"{n}.attend.norm"), f"{n}.attend.in"), outputs=3, axis=-1)
        q, k, v = as_heads(q, [0, 2, 1, 3]), as_heads(k, [0, 2, 3, 1]), as_heads(v, [0, 2, 1, 3])
        scores = node("Mul", node("MatMul", q, k), constant("scale", np.float32((WIDTH // HEADS) ** -0.5)))
        mixed = node("MatMul", node("Softmax", node("Add", scores, hidden), axis=-1), v)
        joined = node("Reshape", node("Transpose", mixed, perm=[0, 2, 1, 3]),
                      constant("join", np.array([0, 0, WIDTH], np.int64)))
        x = node("Add", x, node("MatMul", joined, f"{n}.attend.out"))
        inner = node("Relu", node("MatMul", normed(x, f"{n}.think.norm"), f"{n}.think.in"))
        x = node("Add", x, node("MatMul", inner, f"{n}.think.out"))
    turned = node("Transpose", "tokens", perm=[1, 0])
    nodes.append(helper.make_node("MatMul", [normed(x, "final.norm"), turned], ["logits"]))
    made = helper.make_graph(
        nodes, "sealift-smoke", [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "sequence"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", "sequence", VOCAB])], list(held.values()))
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8,
                             producer_name="sealift-smoke")


def save(weights: dict[str, np.ndarray], out: Path) -> None:
    """Write the model and the small files beside it. Raises SystemExit when an answer is wrong."""
    import onnx

    wrong = [(q, a, got) for q, a in pairs() if (got := answer(weights, q)[0]) != a]
    for question, right, got in wrong:
        print(f"wrong: {question!r} gave {got!r}, not {right!r}")
    if wrong:
        raise SystemExit(f"{len(wrong)} answers are wrong; nothing was written. Train for more steps.")
    known = dict(pairs())
    model = graph(weights)
    onnx.checker.check_model(model, full_check=True)
    (out / "model.onnx").write_bytes(model.SerializeToString(deterministic=True))
    documents = {
        "config.json": {
            "architectures": ["SealiftSmokeForCausalLM"], "model_type": "sealift-smoke", "hidden_size": WIDTH,
            "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "num_key_value_heads": HEADS,
            "head_dim": WIDTH // HEADS, "intermediate_size": HIDDEN, "vocab_size": VOCAB, "hidden_act": "relu",
            "max_position_embeddings": CONTEXT, "rms_norm_eps": EPSILON, "tie_word_embeddings": True,
            "torch_dtype": "float32", "bos_token_id": BOS, "eos_token_id": END},
        "tokenizer.json": {
            "format": "sealift-byte-tokenizer", "version": 1, "bytes": BYTES,
            "special": {"<bos>": BOS, "<user>": USER, "<assistant>": ASSISTANT, "<end>": END},
            "prompt": ["<bos>", "<user>", "{last user message}", "<assistant>"], "stop": ["<end>"]},
        "generation_config.json": {"do_sample": False, "max_new_tokens": 64, "bos_token_id": BOS, "eos_token_id": END},
        "expected.json": {"version": 1, "decoding": "greedy",
                          "answers": [{"question": q, "answer": known[q]} for q in EXPECTED]}}
    for name, content in documents.items():
        (out / name).write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    margin = min((answer(weights, q)[1], q) for q in known)
    print(f"{len(known)} answers right; closest call {margin[0]:.2f} at {margin[1]!r}; "
          f"{(out / 'model.onnx').stat().st_size} bytes")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent)
    parser.add_argument("--steps", type=int, default=4800)
    parser.add_argument("--seed", type=int, default=20260101)
    asked = parser.parse_args()
    save(train(asked.steps, asked.seed), asked.out)


if __name__ == "__main__":
    main()
