"""`dllm-decode eval`: run a strategy on a task and say how it did."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dllm_decode.commands import options
from dllm_decode.commands.costs import costs, tell
from dllm_decode.commands.output import note, print_json, results
from dllm_decode.commands.running import held_executor, progress
from dllm_decode.errors import ConfigError
from dllm_decode.strategy.settings import published_length

if TYPE_CHECKING:
    from dllm_decode.evaluate.record import RunRecord


def evaluate(
    task: Annotated[str, typer.Option("--task", "-t", help="The task's name.")],
    model: options.Model = "tiny",
    strategy: options.StrategySource = "llada",
    split: Annotated[
        str | None, typer.Option("--split", help="tune or test; with --data, of a data set's files.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Your own file in a format the task reads, or a folder of them; all is taken."),
    ] = None,
    shape: options.Shape = None,
    shots: options.Shots = None,
    include_path: options.IncludePath = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="The first N examples.")] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Examples of a forward, at most.")] = 64,
    steps: options.Steps = None,
    gen_length: Annotated[
        int | None,
        typer.Option("--gen-length", help="Tokens to generate; the task's own length if not given."),
    ] = None,
    chat: options.ChatOption = "auto",
    skip_long: Annotated[
        bool, typer.Option("--skip-long", help="Leave out prompts over the model's context, and count them.")
    ] = False,
    temperature: options.Temperature = None,
    seed: options.Seed = 0,
    overrides: options.Overrides = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
    compile: options.Compile = False,
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, help="Processes that decode, with Ray: one a GPU, or shares of the CPUs."),
    ] = None,
    ray_address: Annotated[
        str | None,
        typer.Option("--ray-address", help="Of a running Ray cluster, e.g. auto; this machine alone if not given."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write record and outcomes to a JSON file.")
    ] = None,
    keep_traces: Annotated[
        int,
        typer.Option("--keep-traces", min=0, help="Decode the first N examples again, and keep their traces beside --out."),
    ] = 0,
    run_programs: options.RunPrograms = False,
    estimate: options.EstimateOnly = False,
    cache: Annotated[bool, typer.Option(help="Keep outcomes and go on where an earlier run stopped.")] = True,
    as_json: options.Json = False,
) -> None:
    """Run a strategy on a task and print accuracy and cost; an interrupted run goes on where it stopped."""
    from dllm_decode.programs import permitted, require_for

    chosen = options.find_task(task, shape, shots, include_path=include_path)
    with permitted(run_programs):
        require_for(chosen)
    changed = options.changes(overrides, steps, gen_length, temperature)
    resolved = options.known_strategy(strategy, changed)
    options.writable(out)
    if keep_traces and (out is None or workers is not None):
        raise ConfigError("--keep-traces writes OUT.traces.jsonl with the model here: give --out FILE, and no --workers")
    with ExitStack() as stack:
        from dllm_decode.evaluate import evaluate as evaluation
        from dllm_decode.evaluate.executors import InProcess
        from dllm_decode.evaluate.traces import traced
        from dllm_decode.files import write_atomically

        if dtype is None and model == "tiny":
            dtype = evaluation.fast_dtype(device)
        executor = stack.enter_context(held_executor(model, workers, ray_address, device, dtype, compile))
        if resolved is None:
            length = changed.get("gen_length", chosen.gen_length)
            resolved = options.fitting_strategy(
                executor.model, strategy, changed, task=chosen.name, gen_length=length
            )
        length = changed.get("gen_length") or published_length(strategy)
        if estimate:
            found = costs(executor, chosen, [resolved], split, data, limit, batch_size, length, run_programs)
            tell(found, as_json)
            return
        with progress(f"{chosen.name} · {resolved.name}", cache and executor.model.lasting) as report:
            done = evaluation.evaluate(
                None,
                chosen,
                resolved,
                split=split,
                limit=limit,
                batch_size=batch_size,
                seed=seed,
                data=data,
                gen_length=length,
                chat=options.chat(chat),
                skip_long=skip_long,
                cache=cache,
                progress=report,
                executor=executor,
                run_programs=run_programs,
            )
        for line in done.record.notes:
            note(line)
        if out is not None:
            write_atomically(out, json.dumps(done.to_dict(), ensure_ascii=False, indent=1) + "\n")
            if keep_traces and isinstance(executor, InProcess):
                file, how = out.with_suffix(".traces.jsonl"), options.chat(chat)
                first = traced(
                    executor.lm, chosen, done, keep_traces, split=split, data=data, limit=limit, chat=how
                )
                first.to_jsonl(file)
                note(f"traces written to {file}; dllm-decode view {file} -o page.html shows them")
    if as_json:
        print_json(done.record.to_dict())
    else:
        _print(done.record)


def _print(record: RunRecord) -> None:
    low, high = record.accuracy_interval
    where = record.data or record.split
    chat = {"template": "through the model's chat template", "": "texts as they are"}
    resumed = f", {record.resumed} kept from earlier" if record.resumed else ""
    console = results()
    console.print(
        f"{record.task} ({where}) · {record.strategy.name} {record.strategy.digest()} · {record.model}"
    )
    rows = (
        ("accuracy", f"{record.accuracy:.1%}  (95 % {low:.1%} to {high:.1%}; n = {record.n}{resumed})"),
        (
            "forward passes",
            f"{record.forward_passes:.2f} per answer of {record.strategy.gen_length} positions",
        ),
        (
            "tokens per forward",
            f"{record.tokens_per_forward:.2f}  ({record.tokens.up_to_eos} tokens up to EOS)",
        ),
        (
            "seconds",
            f"{record.seconds:.2f} decoding, {record.model_calls} model calls, {record.batch_size} a batch",
        ),
        ("prompts", chat.get(record.chat, record.chat) + _skipped(record)),
        ("on", f"{record.device} {record.dtype}: {record.device_name}"),
    )
    asked = [(name, value) for name, value in record.task_settings.items()]
    for name, value in (*rows, *asked):
        console.print(f"  {name:<18} {value}", markup=False, soft_wrap=True)


def _skipped(record: RunRecord) -> str:
    if not record.skipped:
        return ""
    names = ", ".join(record.skipped[:5]) + (", ..." if len(record.skipped) > 5 else "")
    return f"; {len(record.skipped)} over the model's context left out: {names}"
