"""How processes come to share a search: joining from anywhere with no more than an address, or employed by one run.

Knows addresses, devices and processes; leaves the search itself to `sharing`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna

from dllm_decode.errors import ConfigError, DataError
from dllm_search.search import Search
from dllm_search.settings import Settings
from dllm_search.space.space import Space
from dllm_search.trials.generations import Ledger
from dllm_search.trials.sharing import ASKED, agreed, record, share
from dllm_search.trials.storage import open_storage, shown
from dllm_search.trials.study import open_study, quiet
from dllm_search.trials.worker import Terms, tried_before

if TYPE_CHECKING:
    from dllm_decode.model import DiffusionLM
    from dllm_decode.tasks.base import Task

APPEARS = 10.0
"""Seconds within which whoever makes a study has noted what is asked of it."""


def join(
    storage: str | Path,
    study: str | None = None,
    *,
    task: str | None = None,
    model: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    terms: Terms | None = None,
    say: Callable[[str], None] = lambda line: None,
    **options: Any,
) -> str:
    """Work on a study that others work on too, beginning it if it is not there; return why the work ended.

    Args:
        storage: Where the study is kept: a journal file on a shared disk, a database's URL, or `grpc://host:port`.
        study: Its name; None is the only one there, or `TASK-MODEL`.
        task: The task's name; needed only to begin a study, and refused if the study has another.
        model: What to load; None is what the study was begun with. Its weights have to be the same.
        device: Where the model is loaded.
        dtype: Of the weights; None is the study's.
        terms: How to work with others; width, seed and sampler are the study's.
        say: Told what happens.
        **options: Fields of `Settings`, to begin a study with; `timeout` also holds for one that is there.

    Raises:
        ConfigError: No such study and no task to begin it with, or it was begun with another setup.
        DataError: The storage does not answer.
    """
    from dllm_search.tune import as_task, build_search, load, setup

    timeout = options.pop("timeout", None)
    name, asked = _find(storage, study, task, model, say)
    if asked is None:
        if task is None:
            what = f"study {study!r}" if study else "study"
            raise ConfigError(f"{shown(storage)} holds no {what} yet; give --task to begin one")
        settings = Settings(**options, storage=storage, study=name)
        settings = replace(settings, generation=settings.generation or terms_of(settings).width, timeout=timeout)
    else:
        for key, value in options.items():
            if key in asked and value is not None and value != asked[key] and key != "trials":
                raise ConfigError(
                    f"study {name!r} in {shown(storage)} was begun with {key} {asked[key]!r}, now {value!r}; "
                    "leave it out, or give another --study"
                )
        settings = agreed(asked, storage=storage, study=name, timeout=timeout)
    known: Mapping[str, Any] = asked or {}
    chosen = as_task(task or known["task"])
    say(f"loading {model or known.get('model', 'tiny')}")
    lm = load(model or known.get("model", "tiny"), device, dtype or known.get("dtype"))
    space = Space.load(settings.strategy, chosen.gen_length).limited(settings.fix)
    joined = open_study(storage, name, setup(lm, chosen, settings, space), say)
    search, _ = build_search(lm, chosen, settings, True, say)
    if asked is None:
        note(search, joined, lm, chosen)
    return share(search, joined, space, terms_of(settings, terms))


def note(search: Search, study: optuna.Study, lm: DiffusionLM, task: Task) -> None:
    """Note in a study what its workers need to know."""
    source = lm.name if lm.folder is None or lm.name == "tiny" else str(Path(lm.folder).resolve())
    dtype = str(lm.dtype).removeprefix("torch.")
    with quiet():
        record(study, search.settings, task=task.name, model=source, dtype=dtype, first=search.first())


def take_part(
    search: Search, study: optuna.Study, space: Space, lm: DiffusionLM, task: Task, device: str | None
) -> str:
    """Begin or continue a shared study, alone or with workers of its own on this machine; return why it ended."""
    settings = search.settings
    note(search, study, lm, task)
    if settings.workers == 1:
        return share(search, study, space, terms_of(settings))
    return employ(search, study, device)


def terms_of(settings: Settings, own: Terms | None = None) -> Terms:
    """Return how to work with others: what the study fixes, and this process's own habits."""
    own = own or Terms()
    return replace(own, width=settings.width() or own.width, seed=settings.seed, sampler=settings.sampler)


def default_name(task: str, model: str) -> str:
    """Return the name that a study of a task and a model, by their names, has if none is given."""
    return f"{task}-{Path(model).name}"


def employ(search: Search, study: optuna.Study, device: str | None) -> str:
    """Run workers of this machine, one process each, until the study is done; say what they bring.

    Raises:
        ConfigError: There is no storage that several processes could share.
        DataError: All workers have ended before the study was done.
    """
    settings = search.settings
    place = settings.place()
    if place is None:
        raise ConfigError("workers: several processes need a study they can share; give --storage or --out")
    devices = _devices(device, settings.workers)
    command = [sys.executable, "-m", "dllm_decode.cli", "search", "worker", "--quiet"]
    command += ["--storage", str(place), "--study", study.study_name]
    if settings.timeout is not None:
        command += ["--timeout", str(settings.timeout)]
    # Threads of several processes on the same cores would wait for each other.
    threads = max(1, (os.cpu_count() or 1) // settings.workers)
    environment = {"OMP_NUM_THREADS": str(threads), **os.environ}
    workers = [subprocess.Popen([*command, "--device", on], env=environment) for on in devices]
    search.say(f"{len(workers)} workers on {', '.join(dict.fromkeys(devices))}")
    try:
        return _follow(search, study, workers)
    finally:
        for worker in workers:
            if worker.poll() is None:
                worker.terminate()
        for worker in workers:
            try:
                worker.wait(timeout=20)
            except subprocess.TimeoutExpired:
                worker.kill()


def _follow(search: Search, study: optuna.Study, workers: list[subprocess.Popen[bytes]]) -> str:
    """Say what is scored until all workers have ended; return why."""
    progress, seen, ended = search.progress(), set[str](), set[int]()
    while True:
        running = [worker for worker in workers if worker.poll() is None]
        for worker in workers:
            if worker.returncode not in (None, 0) and worker.pid not in ended:
                ended.add(worker.pid)
                search.say(f"worker {worker.pid} has ended with exit code {worker.returncode}; the others go on")
        with quiet():
            ledger = Ledger(study.get_trials(deepcopy=False), Terms().retries)
        for digest, trial in ledger.judged().items():
            if digest not in seen and (tried := tried_before(trial)) is not None:
                progress.tell(tried)
            seen.add(digest)
        if not running:
            break
        time.sleep(0.5)
    if len(ended) == len(workers):
        raise DataError(
            f"all {len(workers)} workers have ended with errors, {len(seen)} of {search.settings.trials} trials done; "
            "what is done is kept: the same command goes on from here"
        )
    following = ledger.next_generation(search.settings.trials, 1)
    if isinstance(following, str):
        return following
    return f"the workers stopped at {len(seen)} of {search.settings.trials} trials"


def _find(
    storage: str | Path, study: str | None, task: str | None, model: str | None, say: Callable[[str], None]
) -> tuple[str | None, dict[str, Any] | None]:
    """Return a study's name and what is asked of it; None if it is yet to begin."""
    with quiet():
        kept = open_storage(storage, create=True, say=say)
        names = optuna.get_all_study_names(kept)
    if study is None:
        if task is not None:
            study = default_name(task, model or "tiny")
        elif len(names) == 1:
            study = names[0]
        elif names:
            raise ConfigError(f"{shown(storage)} holds {len(names)} studies; give --study: {', '.join(names)}")
    if study is None or study not in names:
        return study, None
    deadline = time.monotonic() + APPEARS
    while True:
        with quiet():
            attributes = optuna.load_study(study_name=study, storage=kept).user_attrs
        if ASKED in attributes:
            return study, attributes[ASKED]
        if "setup" in attributes and attributes["setup"].get("generation") is None:
            raise ConfigError(
                f"study {study!r} in {shown(storage)} was begun to try one strategy after another, which cannot be "
                "shared; begin one with `search run --generation 8` or `--workers`, under another --study"
            )
        if time.monotonic() > deadline:
            return study, None
        time.sleep(0.2)


def _devices(device: str | None, workers: int) -> list[str]:
    """Return where each worker puts its model: one GPU each as long as there are any."""
    import torch

    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device != "cuda":
        return [device] * workers
    found = max(1, torch.cuda.device_count())
    return [f"cuda:{number % found}" for number in range(workers)]
