"""`dllm-decode generate`: decode prompts and print the answers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dllm_decode.commands import options
from dllm_decode.commands.output import messages, note, print_json, read_stdin
from dllm_decode.commands.progress import bar
from dllm_decode.errors import ConfigError

if TYPE_CHECKING:
    from dllm_decode.generation.answers import Generation
    from dllm_decode.generation.chat import Chat
    from dllm_decode.model import DiffusionLM


def generate(
    prompts: Annotated[list[str], typer.Argument(help="Prompts; - reads one a line from stdin.")],
    model: options.Model = "tiny",
    strategy: options.StrategySource = "llada",
    steps: options.Steps = None,
    gen_length: options.GenLength = None,
    temperature: options.Temperature = None,
    seed: options.Seed = 0,
    overrides: options.Overrides = None,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Prompts of a forward, at most.")] = 16,
    chat: options.ChatOption = "auto",
    device: options.Device = None,
    dtype: options.Dtype = None,
    compile: options.Compile = False,
    trace: Annotated[
        Path | None, typer.Option("--trace", help="Write what each step committed, as JSONL.")
    ] = None,
    page: Annotated[
        Path | None, typer.Option("--page", help="Write a page on which the decode is watched, one HTML file.")
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show the answer fill in, on a terminal; of more prompts, a batch's first.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Decode prompts with a strategy and print the answers, one a line."""
    changed = options.changes(overrides, steps, gen_length, temperature)
    resolved = options.known_strategy(strategy, changed)
    if resolved is not None:
        resolved.check()
    options.writable(trace)
    options.writable(page)
    chosen = options.chat(chat)
    texts = _read_prompts(prompts)
    from dllm_decode.files import write_atomically
    from dllm_decode.generation.chat import what_is_done

    lm = options.load_model(model, device, dtype, compile=compile)
    if resolved is None:
        length = changed.get("gen_length")
        resolved = options.fitting_strategy(lm, strategy, changed, gen_length=length, prompts=texts)
    traced = trace is not None or page is not None
    run = partial(lm.generate, texts, resolved, seed=seed, batch_size=batch_size, chat=chosen, trace=traced)
    if watch:
        out = _watched(lm, texts, resolved.gen_length, chosen, run)
    else:
        with bar(f"generate · {resolved.name}", len(texts)) as report:
            out = run(progress=report)
    options.tell_warm_up(lm)
    if out.trace is not None:
        if trace is not None:
            out.trace.to_jsonl(trace)
        if page is not None:
            write_atomically(page, out.trace.to_html())
    passes = out.forward_passes.tolist()
    if as_json:
        # Loads statistics that a decode has no use for.
        from dllm_decode.evaluate.record import versions

        results: list[dict[str, Any]] = [
            {"prompt": prompt, "text": text, "tokens": tokens, "forward_passes": forwards}
            for prompt, text, tokens, forwards in zip(
                texts, out.texts, out.tokens.tolist(), passes, strict=True
            )
        ]
        print_json(
            {
                "results": results,
                "model_calls": out.model_calls,
                "seconds": out.seconds,
                "model": model,
                "chat": what_is_done(chosen, lm.has_chat_template, texts),
                "seed": seed,
                "strategy_name": out.strategy.name,
                "strategy_digest": out.strategy.digest(),
                "strategy": out.strategy.to_dict(),
                "device": str(lm.device),
                "dtype": str(lm.dtype).removeprefix("torch."),
                "versions": versions(),
            }
        )
        return
    for text in out.texts:
        typer.echo(text)
    note(
        f"{out.strategy.name} ({out.strategy.digest()}): {', '.join(map(str, passes))} forward passes "
        f"for {out.tokens.shape[1]} positions, {out.model_calls} model calls, {out.seconds:.2f} s"
    )


def _watched(
    lm: DiffusionLM, texts: list[str], length: int, chat: Chat, run: Callable[..., Generation]
) -> Generation:
    """Run while the answer is shown on stderr, if that is a terminal."""
    from dllm_decode.generation.prompts import read_prompts
    from dllm_decode.view.watch import Watch

    console = messages()
    if not console.is_terminal or lm.tokenizer is None:
        return run()
    decode, ends = lm.tokenizer.decode, lm.special.ends
    rows = read_prompts(texts, None, lm.tokenizer, lm.denoiser, infill=False, chat=chat)
    watch = Watch(
        first=rows.tokens.shape[1],
        length=length,
        text_of=lambda token: "▫" if token in ends else str(decode([token])),
        mask=lm.special.mask,
    )
    with watch.live(console):
        return run(on_step=watch.see)


def _read_prompts(given: list[str]) -> list[str]:
    prompts: list[str] = []
    for prompt in given:
        if prompt != "-":
            prompts.append(prompt)
            continue
        # A prompt may hold any separator of Unicode; a line of a stream ends where a shell's does.
        prompts.extend(line for line in read_stdin().replace("\r\n", "\n").split("\n") if line.strip())
    if not prompts:
        raise ConfigError("there are no prompts: stdin held no line that is not blank")
    return prompts
