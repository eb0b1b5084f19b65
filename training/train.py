"""Trains the embedded model by a plan: ``python -m training.train --out DIR [--plan FILE] [--export DIR]``.

Knows the loop, the schedule, checkpoints and the log. A step depends on (plan, step) alone, so that a run that
is stopped and started again ends in the same weights. The plan is read again at every checkpoint.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import time
from dataclasses import asdict, replace
from multiprocessing import get_context
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional
from tokenizers import Tokenizer
from torch import Tensor

from dllm_decode.tasks import TASKS, Task
from training import tokenizer as tokenizers_
from training.data import Batch, Pool, cached_pool, draw_batch
from training.evaluate import outcomes
from training.export import export
from training.model import BidirectionalLlama, Shape
from training.optimizer import MuonAdam
from training.team import EVALUATE, GO, STOP, Team, shared_team

HERE = Path(__file__).parent


class Trainer:
    """One run: what is learned, how far it is, and where it is kept."""

    def __init__(
        self, plan_path: Path, out: Path, *, compiled: bool = True, team: Team | None = None
    ) -> None:
        self.plan_path, self.out = plan_path, out
        self.team = team or Team()
        self.plan: dict[str, Any] = json.loads(plan_path.read_text())
        out.mkdir(parents=True, exist_ok=True)
        self.tokenizer = self._tokenizer()
        self.mask = tokenizers_.token_number(self.tokenizer, tokenizers_.MASK)
        self.end = tokenizers_.token_number(self.tokenizer, tokenizers_.END)
        torch.manual_seed(self.plan["seed"])
        shape = Shape(vocabulary=self.tokenizer.get_vocab_size(), **self.plan["shape"])
        self.model = BidirectionalLlama(shape)
        self.average = BidirectionalLlama(shape)
        self.average.load_state_dict(self.model.state_dict())
        self.optimizer = MuonAdam(
            self.model,
            matrix_rate=self.plan["matrix_rate"],
            vector_rate=self.plan["vector_rate"],
            decay=self.plan["decay"],
        )
        self.step = 0
        self.seconds = 0.0
        self.cpu_seconds = 0.0
        self.tasks: dict[str, Task] = {task.name: task() for task in TASKS}
        self.pools: dict[str, Pool] = {}
        self.loss = torch.compile(self._loss, dynamic=False) if compiled else self._loss
        self.stopped = False
        self.marked, self.cpu_marked = time.monotonic(), 0.0
        self._resume()

    def run(self, until: int | None = None) -> None:
        """Trains to the plan's last step, or to step `until`."""
        evaluated = time.monotonic()
        names = list(self.tasks)
        losses: dict[str, list[float]] = {}
        while self.step < min(self.plan["total_steps"], until or self.plan["total_steps"]):
            if self.team.rank == 0:
                due = time.monotonic() - evaluated > self.plan["evaluate_seconds"]
                self.team.control[0] = STOP if self.stopped else EVALUATE if due else GO
            decision = self.one_step()
            for task, loss, _ in self.team.reports.tolist():
                losses.setdefault(names[int(task)], []).append(loss)
            if self.step % self.plan.get("log_every", 200) == 0:
                self._log(kind="loss", rate=round(self.rate(), 4),
                          losses={key: round(sum(of) / len(of), 4) for key, of in sorted(losses.items())})  # fmt: skip
                losses = {}
            self.team.meet()
            if decision == EVALUATE:
                self.evaluate()
                self.save()
                self.team.meet()
                self.plan = json.loads(self.plan_path.read_text())
                evaluated = time.monotonic()
            if decision == STOP:
                break
        self.save()

    def one_step(self) -> int:
        """Takes one optimiser step, on one task in each process; returns what rank 0 decided for after it."""
        rng = np.random.default_rng([self.plan["seed"], self.step, self.team.rank])
        phase = self.phase()
        if phase.get("from_average") and phase["from_step"] == self.step:
            self._start_from_average()
        names = sorted(phase["mix"])
        weights = np.array([phase["mix"][name] for name in names], dtype=float)
        name = names[int(rng.choice(len(names), p=weights / weights.sum()))]
        batch = draw_batch(
            self.pool(name),
            rng,
            tokens_per_batch=self.plan["tokens_per_batch"],
            mask=self.mask,
            inverse_ratio=phase["inverse_ratio"],
            revealed_tail=self.plan["revealed_tail"],
            tail_weight=self.plan["tail_weight"],
        )
        loss: Tensor = self.loss(*_tensors(batch))
        loss.backward()  # type: ignore[no-untyped-call]
        report = [list(self.tasks).index(name), loss.item(), time.process_time()]
        self.team.reports[self.team.rank] = torch.tensor(report, dtype=torch.float64)
        gradients = self._own_gradients()
        decision = int(self.team.control[0])
        self.optimizer.step(self.rate(), gradients, self.team.own)
        self.step += 1
        horizon = min(self.plan["average_horizon"], self.step / (self.step + 10))
        with torch.no_grad():
            for average, value in zip(self.average.parameters(), self.model.parameters(), strict=True):
                self.team.own(average.data).lerp_(self.team.own(value.data), 1 - horizon)
        return decision

    def _own_gradients(self) -> dict[str, Tensor]:
        """Averages the processes' gradients over this process's share of every parameter and clears them."""
        named = dict(self.model.named_parameters())
        if self.team.size == 1:
            own = {name: value.grad for name, value in named.items() if value.grad is not None}
        else:
            for name, value in named.items():
                assert value.grad is not None
                self.team.gradients[name][self.team.rank].copy_(value.grad)
            self.team.meet()
            own = {
                name: torch.stack([self.team.own(each) for each in self.team.gradients[name]]).mean(0)
                for name in named
            }
        self.model.zero_grad(set_to_none=True)
        return own

    def finished(self) -> bool:
        """Says whether the plan's last step is taken."""
        return bool(self.step >= self.plan["total_steps"])

    def phase(self) -> dict[str, Any]:
        """Returns the plan's phase for the next step."""
        phases: list[dict[str, Any]] = self.plan["phases"]
        return [phase for phase in phases if phase["from_step"] <= self.step][-1]

    def rate(self) -> float:
        """Returns the learning rates' factor: a warm up at first, then a line over each phase."""
        phase = self.phase()
        ends = [later["from_step"] for later in self.plan["phases"] if later["from_step"] > self.step]
        share = (self.step - phase["from_step"]) / (
            min([*ends, self.plan["total_steps"]]) - phase["from_step"]
        )
        first, last = phase["rate"]
        return float(min(1.0, (self.step + 1) / self.plan["warmup_steps"]) * (first + (last - first) * share))

    def _start_from_average(self) -> None:
        """Puts the averaged weights in the place of the current ones, which a high rate has kept noisy."""
        with torch.no_grad():
            for average, value in zip(self.average.parameters(), self.model.parameters(), strict=True):
                self.team.own(value.data).copy_(self.team.own(average.data))
        self.team.meet()

    def pool(self, name: str) -> Pool:
        """Returns a task's examples, made on first use and kept on disk."""
        if name not in self.pools:
            task, folder = self.tasks[name], self.out / "pools"
            self.pools[name] = cached_pool(
                folder, task, self.tokenizer, self.plan["pool_size"], self.plan["seed"], self.end
            )
        return self.pools[name]

    def evaluate(self, *, quarter: bool = False) -> None:
        """Logs every task's accuracy on its first tune examples, at one step a token and, if asked, in a quarter."""
        for number, task in enumerate(self.tasks.values()):
            if number % self.team.size != self.team.rank:
                continue
            examples = task.examples("tune", self.plan["evaluate_examples"])
            for column, steps in enumerate((task.gen_length, task.gen_length // 4)[: 1 + quarter]):
                results = outcomes(self.average, self.tokenizer, task, examples, steps=steps)
                self.team.scores[number, column] = sum(right for *_, right in results) / len(results)
        self.team.meet()
        scores = dict(zip(self.tasks, self.team.scores.round(decimals=3).tolist(), strict=False))
        self._log(kind="accuracy", accuracy={name: both[: 1 + quarter] for name, both in scores.items()})
        if self.team.rank == 0:
            export(self.average, self.out / "export", mask=self.mask, end=self.end)

    def save(self) -> None:
        """Writes the checkpoint that a later run goes on from."""
        if self.team.rank != 0:
            return
        stored = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "cpu_seconds": self.cpu_seconds,
        }
        partial = self.out / "checkpoint.pt.partial"
        torch.save(stored, partial)
        partial.replace(self.out / "checkpoint.pt")

    def _loss(self, tokens: Tensor, valid: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = self.model(tokens, valid, targets.shape[1])
        each = functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction="none")
        return (each * weights.flatten()).sum()

    def _tokenizer(self) -> Tokenizer:
        path = self.out / "tokenizer.json"
        if not path.exists():
            tokenizers_.save(tokenizers_.build(tokenizers_.corpus(15_000, self.plan["seed"])), self.out)
        return Tokenizer.from_file(str(path))

    def _resume(self) -> None:
        path = self.out / "checkpoint.pt"
        for name, value in self.team.tensors.items():
            self.shareable()[name].data = value
        if path.exists():
            stored = torch.load(path, weights_only=True)
            self.model.load_state_dict(stored["model"])
            self.average.load_state_dict(stored["average"])
            self.optimizer.load_state_dict(stored["optimizer"])
            self.step, self.seconds, self.cpu_seconds = (
                stored["step"],
                stored["seconds"],
                stored["cpu_seconds"],
            )
        self._log(
            kind="start",
            hardware=f"{_processor()}, {os.cpu_count()} cores",
            torch=torch.__version__,
            parameters=sum(value.numel() for value in self.model.parameters()),
            shape=asdict(self.model.shape),
            plan=self.plan,
        )

    def shareable(self) -> dict[str, Tensor]:
        """Returns all that a step changes, by name."""
        tensors: dict[str, Tensor] = {f"model/{name}": value for name, value in self.model.named_parameters()}
        tensors |= {f"average/{name}": value for name, value in self.average.named_parameters()}
        return tensors | {f"state/{name}": value for name, value in self.optimizer.state.items()}

    def _log(self, **record: Any) -> None:
        if self.team.rank != 0:
            return
        now, cpu = time.monotonic(), float(self.team.reports[:, 2].sum())
        self.seconds, self.cpu_seconds = (
            self.seconds + now - self.marked,
            self.cpu_seconds + cpu - self.cpu_marked,
        )
        self.marked, self.cpu_marked = now, cpu
        stamp = {"step": self.step, "hours": round(self.seconds / 3600, 4),
                 "cpu_hours": round(self.cpu_seconds / 3600, 4)}  # fmt: skip
        with (self.out / "log.jsonl").open("a") as log:
            log.write(json.dumps(stamp | record) + "\n")


def _processor() -> str:
    """Returns the processor's name as Linux tells it, else what Python knows."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _tensors(batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return (
        torch.from_numpy(batch.tokens),
        torch.from_numpy(batch.valid),
        torch.from_numpy(batch.targets),
        torch.from_numpy(batch.weights),
    )


def _peer(plan: Path, out: Path, compiled: bool, team: Team) -> None:
    """Runs one process beside rank 0."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    torch.set_num_threads(1)
    trainer = Trainer(plan, out, compiled=compiled, team=team)
    team.meet()
    trainer.run()
    if not trainer.finished():
        return
    trainer.evaluate(quarter=True)


def main() -> None:
    """Trains by the plan, evaluates, and exports where asked."""
    parser = argparse.ArgumentParser(description="Train the embedded model.")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run: pools, checkpoint, log")
    parser.add_argument("--plan", type=Path, default=HERE / "plan.json")
    parser.add_argument("--export", type=Path, help="also write the finished checkpoint and tokenizer here")
    parser.add_argument("--processes", type=int, default=2, help="one thread each; the batch grows with them")
    parser.add_argument("--eager", action="store_true", help="do not compile")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    trainer = Trainer(arguments.plan, arguments.out, compiled=not arguments.eager)
    peers = _with_peers(trainer, arguments.processes, compiled=not arguments.eager)
    signal.signal(signal.SIGTERM, lambda *_: setattr(trainer, "stopped", True))
    trainer.team.meet()
    trainer.run()
    if trainer.finished():
        trainer.evaluate(quarter=True)
        if arguments.export:
            export(trainer.average, arguments.export, mask=trainer.mask, end=trainer.end)
            tokenizers_.save(trainer.tokenizer, arguments.export)
    for peer in peers:
        peer.join()


def _with_peers(trainer: Trainer, size: int, *, compiled: bool) -> list[SpawnProcess]:
    """Starts the other processes on the trainer's tensors, which become shared memory."""
    if size == 1:
        return []
    context = get_context("spawn")
    parameters = {name: value.data for name, value in trainer.model.named_parameters()}
    tensors = {name: value.data for name, value in trainer.shareable().items()}
    trainer.team = shared_team(size, context.Barrier(size), tensors, parameters)
    peers = []
    for rank in range(1, size):
        team = replace(trainer.team, rank=rank)
        peer = context.Process(
            target=_peer, args=(trainer.plan_path, trainer.out, compiled, team), daemon=True
        )
        peer.start()
        peers.append(peer)
    return peers


if __name__ == "__main__":
    main()
