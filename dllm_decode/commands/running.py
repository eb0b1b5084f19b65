"""What commands that evaluate share: where the model runs, and a line of progress."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from dllm_decode.commands import options
from dllm_decode.commands.output import messages, note
from dllm_decode.errors import ConfigError

if TYPE_CHECKING:
    from dllm_decode.evaluate.executors import Executor

Report = Callable[[int, int, float], None]


@contextmanager
def held_executor(
    model: str,
    workers: int | None,
    address: str | None,
    device: str | None,
    dtype: str | None,
    compile: bool,
) -> Iterator[Executor]:
    """Hold the model here, or in workers that end with the command.

    Raises:
        ConfigError: An address is given and no number of workers.
    """
    if address is not None and workers is None:
        raise ConfigError("--ray-address says where workers run; say how many: --workers N")
    if workers is not None:
        from dllm_decode.evaluate.ray_executor import RayExecutor

        with RayExecutor(
            model, workers, address=address, device=device, dtype=dtype, compile=compile
        ) as executor:
            yield executor
        return
    from dllm_decode.evaluate.executors import InProcess

    lm = options.load_model(model, device, dtype, compile=compile)
    yield InProcess(lm)
    options.tell_warm_up(lm)


@contextmanager
def progress(title: str, cache: bool) -> Iterator[Report]:
    """Show how far an evaluation is, and say what is kept of it when it is interrupted."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[accuracy]}"),
        TimeRemainingColumn(),
    )
    last = (0, 0)
    with Progress(*columns, console=messages(), transient=True) as bar:
        line = bar.add_task(title, accuracy="", total=None)

        def report(done: int, total: int, correct: float) -> None:
            nonlocal last
            last = (done, total)
            bar.update(line, completed=done, total=total, accuracy=f"{correct / done:.1%}" if done else "")

        try:
            yield report
        except KeyboardInterrupt:
            bar.stop()
            kept = "; the same command goes on from there" if cache else ""
            note(f"interrupted after {last[0]} of {last[1]} examples{kept}")
            raise
