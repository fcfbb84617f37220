"""``sealift fit``: memory and precision arithmetic; needs no server and no workspace."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from console import units
from console.errors import EXIT_BAD_VERDICT, EXIT_DONE, InputError, UsageError, code
from console.i18n import N_

NO_MODEL = code("fit.no-model", UsageError, N_("Say which model: --model NAME, --config FILE or --bundle DIR, one of them."),
                N_("`sealift catalog show models` lists the names; --config takes the config.json of any model, --bundle a bundle on its drive."))
NOT_IN_BUNDLE = code("fit.not-in-bundle", InputError, N_("The bundle holds no model called {name} with a config.json."),
                     N_("`sealift bundle inspect` lists its components. A model without config.json is named with --model."))
BAD_SIZE = code("fit.bad-size", UsageError, N_("{option} cannot be {value}: a size such as 4GiB, or bytes, is wanted."),
                N_("Correct the value and try again."))
VERDICTS = {"fits": N_("It fits"), "tight": N_("It fits, tightly"), "does-not-fit": N_("It does not fit"),
            "unsupported": N_("Not supported"), "unknown": N_("Not known")}
PARTS = (("memory_bytes", N_("Memory")), ("usable_bytes", N_("Usable")), ("weights_bytes", N_("Weights")),
         ("kv_cache_bytes", N_("KV cache")), ("overhead_bytes", N_("Overhead")), ("free_bytes", N_("Free")))


def register(sub: argparse._SubParsersAction, common: list[argparse.ArgumentParser]) -> None:
    """Add ``fit``."""
    parser = sub.add_parser(
        "fit", parents=common, help="whether a model fits, worked out without any server",
        epilog=N_("Exit code 0: it fits, if only tightly. 1: it does not fit, is not supported, or something needed is not known. "
                  "Bytes are for each device, tokens for the whole deployment, --count and minimum_count for each server."))
    add = parser.add_argument
    add("--model", metavar="NAME", help="a model of the catalog, such as deepseek-ai/DeepSeek-R1; -W8A8, -FP8 … at the end is understood")
    add("--config", metavar="FILE", type=Path, help="the config.json of any model")
    add("--bundle", metavar="DIR", type=Path, help="a bundle on its drive, before anything is copied; --model then names one of its models")
    add("--weights-bytes", metavar="SIZE", help="size of its weight files, such as 688586727753 or 641GiB")
    add("--accelerator", metavar="NAME", required=True, help="a device of the catalog: H200, 910B3, MI325X, or as its tool prints it")
    add("--count", metavar="N", type=int, required=True, help="devices on each server")
    add("--nodes", metavar="N", type=int, default=1, help="servers that work on one model (1)")
    add("--precision", metavar="NAME", help="of the checkpoint: fp8, bf16, int8, w8a8, w4a8, int4, fp4, nvfp4; the published one when left out")
    add("--framework", metavar="NAME", help="vllm, vllm-ascend, sglang, tensorrt-llm, mindie or lmdeploy; any when left out")
    add("--context", metavar="TOKENS", type=int, help="longest request, prompt and answer together")
    add("--concurrency", metavar="N", type=int, default=1, help="requests of that length at the same time (1)")
    add("--memory-fraction", metavar="SHARE", type=float, help="share of device memory that the framework may use (0.9)")
    add("--memory", metavar="SIZE", help="memory of a device as its driver reports it, where it differs from the catalog")
    add("--tp", metavar="N", type=int, help="tensor parallel size; the best one when left out")
    add("--pp", metavar="N", type=int, help="pipeline parallel size; the best one when left out")
    add("--cache-type", metavar="TYPE", default="bf16", help="values of the KV cache: bf16, fp16, fp8 or q8_0 (bf16)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, app: Any) -> int:
    """Print the answer."""
    from console.catalog.catalog import load
    from console.sizing.architecture import parse_config, read_config
    from console.sizing.ask import by_config, by_name

    if (args.model is None and args.bundle is None) == (args.config is None):
        raise NO_MODEL()
    catalog = load(app.workspace / "catalog")
    more = {"nodes": args.nodes, "context": args.context, "concurrency": args.concurrency, "fraction": args.memory_fraction, "tp": args.tp,
            "pp": args.pp, "cache": args.cache_type, "memory_bytes": _size("--memory", args.memory)}
    asked = (args.accelerator, args.count)
    words = {"precision": args.precision, "framework": args.framework}
    if args.bundle is not None:
        text, held_bytes = _of_bundle(args.bundle, args.model)
        found = by_config(catalog, parse_config(text), *asked, weights_bytes=_size("--weights-bytes", args.weights_bytes) or held_bytes,
                          **words, **more)
    elif args.model is not None:
        found = by_name(catalog, args.model, *asked, **words, **more)
    else:
        found = by_config(catalog, read_config(args.config), *asked, weights_bytes=_size("--weights-bytes", args.weights_bytes), **words, **more)
    app.out(found.as_dict(app.lang), lambda: _told(found, app))
    return EXIT_DONE if found.good else EXIT_BAD_VERDICT


def _of_bundle(place: Path, name: str | None) -> tuple[str, int]:
    """(text of config.json, bytes of the weights) of a bundle's model, by what its manifest says; no object is read.

    Raises:
        InputError: ``bundle.not-found``, ``bundle.several``, ``fit.not-in-bundle``.
    """
    from console.bundles.inspection import inspect

    seen = inspect([place], {})
    for component in seen.statement.components if seen.statement is not None else ():
        text, size = component.summary.get("config"), component.summary.get("weights_bytes")
        if component.type == "model" and name in (None, component.id) and isinstance(text, str) and isinstance(size, int) and size > 0:
            return text, size
    raise NOT_IN_BUNDLE(name=name or "*")


def _size(option: str, text: str | None) -> int | None:
    try:
        size = None if text is None else units.parse_size(text)
    except ValueError:
        size = -1
    if size is not None and not 0 < size < 1 << 60:
        raise BAD_SIZE(option=option, value=str(text)[:60])
    return size


def _told(found: Any, app: Any) -> str:
    lines = [app.t(VERDICTS[found.verdict])]
    lines += [f"  {app.t(title)}: {units.size(found.per_device.get(key))}" for key, title in PARTS]
    if found.layout is not None:
        lines.append("  " + app.t(N_("Layout: {layout}"), layout=", ".join(f"{k}={v}" for k, v in found.layout.as_dict().items())))
    for title, value in ((N_("Longest context: {count} tokens"), found.max_context_tokens), (N_("Cache in all: {count} tokens"), found.kv_cache_tokens),
                         (N_("Most requests at the same time: {count}"), found.max_concurrency),
                         (N_("Least devices a server: {count}"), found.minimum_count)):
        lines.append("  " + app.t(title, count="–" if value is None else f"{value:,}"))
    for reason in found.reasons:
        note = f" [{reason.confidence}; {reason.source}]" if reason.source else f" [{reason.confidence}]"
        lines.append(f"- {reason.message(app.lang)}{note}")
    return "\n".join(lines)
