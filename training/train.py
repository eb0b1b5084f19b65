"""Trains the embedded model by a plan: ``python -m training.train --out DIR [--plan FILE] [--export DIR]``.

Knows the loop, the schedule, checkpoints and the log. A step depends on (plan, step) alone, so that a run that
is stopped and started again ends in the same weights. The plan is read again at every checkpoint.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from dataclasses import asdict
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

HERE = Path(__file__).parent


class Trainer:
    """One run: what is learned, how far it is, and where it is kept."""

    def __init__(self, plan_path: Path, out: Path, *, compiled: bool = True) -> None:
        self.plan_path, self.out = plan_path, out
        self.plan: dict[str, Any] = json.loads(plan_path.read_text())
        out.mkdir(parents=True, exist_ok=True)
        self.tokenizer = self._tokenizer()
        self.mask = self.tokenizer.token_to_id(tokenizers_.MASK)
        self.end = self.tokenizer.token_to_id(tokenizers_.END)
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
        self._resume()

    def run(self, until: int | None = None) -> None:
        """Trains to the plan's last step, or to step `until`."""
        marked = evaluated = time.monotonic()
        cpu_marked = time.process_time()
        losses: dict[str, list[float]] = {}
        while self.step < min(self.plan["total_steps"], until or self.plan["total_steps"]):
            name, loss = self.one_step()
            losses.setdefault(name, []).append(loss)
            if self.step % self.plan.get("log_every", 200) == 0:
                now, cpu = time.monotonic(), time.process_time()
                self.seconds, self.cpu_seconds = self.seconds + now - marked, self.cpu_seconds + cpu - cpu_marked
                marked, cpu_marked = now, cpu
                self._log(kind="loss", rate=round(self.rate(), 4),
                          losses={key: round(sum(of) / len(of), 4) for key, of in sorted(losses.items())})  # fmt: skip
                losses = {}
            if time.monotonic() - evaluated > self.plan["evaluate_seconds"]:
                self.evaluate()
                self.save()
                self.plan = json.loads(self.plan_path.read_text())
                evaluated = time.monotonic()
        self.save()

    def one_step(self) -> tuple[str, float]:
        """Takes one optimiser step on one task; returns the task and its loss in nats a masked token."""
        rng = np.random.default_rng([self.plan["seed"], self.step])
        phase = [phase for phase in self.plan["phases"] if phase["from_step"] <= self.step][-1]
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
        loss = self.loss(*_tensors(batch))
        loss.backward()
        self.optimizer.step(self.rate())
        self.step += 1
        horizon = min(self.plan["average_horizon"], self.step / (self.step + 10))
        with torch.no_grad():
            pairs = zip(self.average.parameters(), self.model.parameters(), strict=True)
            for average, value in pairs:
                average.lerp_(value, 1 - horizon)
        return name, loss.item()

    def rate(self) -> float:
        """Returns the learning rate's factor at the present step: warm up, hold, then fall in a line to zero."""
        total, decay_share = self.plan["total_steps"], self.plan["decay_share"]
        warm = (self.step + 1) / self.plan["warmup_steps"]
        cold = (total - self.step) / max(1.0, total * decay_share)
        return float(min(1.0, warm, max(cold, 0.0)))

    def pool(self, name: str) -> Pool:
        """Returns a task's examples, made on first use and kept on disk."""
        if name not in self.pools:
            task, folder = self.tasks[name], self.out / "pools"
            self.pools[name] = cached_pool(
                folder, task, self.tokenizer, self.plan["pool_size"], self.plan["seed"], self.end
            )
        return self.pools[name]

    def evaluate(self) -> None:
        """Logs every task's accuracy on its first tune examples, at one step a token and in a quarter."""
        accuracy = {}
        for name, task in self.tasks.items():
            examples = task.examples("tune", self.plan["evaluate_examples"])
            for label, steps in (("", task.gen_length), ("/4", task.gen_length // 4)):
                results = outcomes(self.average, self.tokenizer, task, examples, steps=steps)
                accuracy[name + label] = round(sum(right for *_, right in results) / len(results), 3)
        self._log(kind="accuracy", accuracy=accuracy)
        export(self.average, self.out / "export", mask=self.mask, end=self.end)

    def save(self) -> None:
        """Writes the checkpoint that a later run goes on from."""
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
        if path.exists():
            stored = torch.load(path, weights_only=True)
            self.model.load_state_dict(stored["model"])
            self.average.load_state_dict(stored["average"])
            self.optimizer.load_state_dict(stored["optimizer"])
            self.step, self.seconds, self.cpu_seconds = stored["step"], stored["seconds"], stored["cpu_seconds"]
        self._log(
            kind="start",
            hardware=f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads",
            torch=torch.__version__,
            parameters=sum(value.numel() for value in self.model.parameters()),
            shape=asdict(self.model.shape),
            plan=self.plan,
        )

    def _log(self, **record: Any) -> None:
        stamp = {"step": self.step, "hours": round(self.seconds / 3600, 4),
                 "cpu_hours": round(self.cpu_seconds / 3600, 4)}  # fmt: skip
        with (self.out / "log.jsonl").open("a") as log:
            log.write(json.dumps(stamp | record) + "\n")


def _tensors(batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return (
        torch.from_numpy(batch.tokens),
        torch.from_numpy(batch.valid),
        torch.from_numpy(batch.targets),
        torch.from_numpy(batch.weights),
    )


def main() -> None:
    """Trains by the plan, evaluates, and exports where asked."""
    parser = argparse.ArgumentParser(description="Train the embedded model.")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run: pools, checkpoint, log")
    parser.add_argument("--plan", type=Path, default=HERE / "plan.json")
    parser.add_argument("--export", type=Path, help="also write the finished checkpoint and tokenizer here")
    parser.add_argument("--eager", action="store_true", help="do not compile")
    arguments = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)))
    trainer = Trainer(arguments.plan, arguments.out, compiled=not arguments.eager)
    trainer.run()
    trainer.evaluate()
    if arguments.export:
        export(trainer.average, arguments.export, mask=trainer.mask, end=trainer.end)
        tokenizers_.save(trainer.tokenizer, arguments.export)


if __name__ == "__main__":
    main()
