"""Which rows of a task of lm-evaluation-harness are tuned and tested on, and the prompts it makes of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from dllm_decode.data.prompt import Prompt
from dllm_decode.errors import DataError
from dllm_decode.fingerprints import fingerprint
from dllm_decode.tasks.harness.loading import SEED
from dllm_decode.tasks.sources import half

Doc = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Docs:
    """The rows of a split."""

    rows: list[Doc]
    part: str
    """The data set's own split that they are of."""
    halved: bool
    """Whether they are a seeded half of it."""

    def origin(self, task: Any) -> str:
        """Return what names them exactly: data set, split and content."""
        content = fingerprint("\n".join(f"{question(task, row)}\t{target(task, row)}" for row in self.rows).encode())
        named = (task.config.dataset_path, task.config.dataset_name, self.part, content)
        return " ".join(str(one) for one in named if one) + (", a seeded half" if self.halved else "")


def docs(task: Any, split: str) -> Docs:
    """Return a split's rows: tested are lm-evaluation-harness's own, tuned are the training rows or else the validation.

    A task without either is cut into seeded halves. A question that is tested is not tuned on.
    """
    tested = list(task.eval_docs)
    test_part = task.config.test_split if task.has_test_docs() else task.config.validation_split
    if task.has_training_docs():
        tune, tune_part = list(task.training_docs()), task.config.training_split
    elif task.has_validation_docs() and task.has_test_docs():
        tune, tune_part = list(task.validation_docs()), task.config.validation_split
    else:
        return Docs(half(tested, split), test_part, halved=True)
    if split == "test":
        return Docs(tested, test_part, halved=False)
    asked = {question(task, row) for row in tested}
    return Docs([row for row in tune if question(task, row) not in asked], tune_part, halved=False)


def prompts(task: Any, found: Docs, limit: int | None, *, turns: bool) -> Iterator[Prompt]:
    """Yield what the harness asks, worked examples included; those are drawn anew from its own seed, row after row."""
    task.set_fewshot_seed(seed=SEED)
    options: dict[str, Any] = {}
    if turns:
        options = {
            "apply_chat_template": True,
            "fewshot_as_multiturn": True,
            "chat_template": lambda messages, add_generation_prompt: messages,
        }
    with _not_its_own_example(task, found.part):
        for row in found.rows[:limit]:
            prompt = task.fewshot_context(
                row, num_fewshot=task.config.num_fewshot, gen_prefix=task.doc_to_prefix(row), **options
            )
            yield prompt


def question(task: Any, row: Doc) -> str:
    """Return the question of a row, without worked examples."""
    return str(task.doc_to_text(row))


def target(task: Any, row: Doc) -> str:
    """Return the right answer of a row, the first of several."""
    found = task.doc_to_target(row)
    if isinstance(found, Sequence) and not isinstance(found, str):
        found = found[0] if found else ""
    if isinstance(found, int) and task.config.doc_to_choice is not None:
        found = task.doc_to_choice(row)[found]
    return str(found)


@contextmanager
def _not_its_own_example(task: Any, part: str) -> Iterator[None]:
    """Have the harness leave a row out of its own worked examples, as it does where it tests on what it shows."""
    if task.config.num_fewshot and task.fewshot_cfg.split == part:
        tested = task.config.test_split
        task.set_config(key="test_split", value=part)
        try:
            yield
        finally:
            task.set_config(key="test_split", value=tested)
    else:
        yield


def score(task: Any, row: Doc, text: str, wanted_filter: str | None, wanted_metric: str | None) -> float:
    """Judge an answer by a filter and a metric of the task, the first ones if not given.

    Raises:
        DataError: There is no such filter or metric, or it gives no number from 0 to 1 for one answer.
    """
    name = task.config.task
    request = task.construct_requests(doc=row, ctx="", metadata=(name, 0, task.config.repeats))
    request.resps = [text] * task.config.repeats
    filters = {one.name: one for one in task._filters}
    chosen = filters.get(wanted_filter or next(iter(filters)))
    if chosen is None:
        raise DataError(f"lm-eval: task {name!r} has no filter {wanted_filter!r}; it has {', '.join(filters)}")
    chosen.apply([request])
    metrics = task.process_results(row, [request.filtered_resps[chosen.name]])
    metric = wanted_metric or next((one for one in task._metric_fn_list if one in metrics), next(iter(metrics)))
    if metric not in metrics:
        raise DataError(f"lm-eval: task {name!r} has no metric {metric!r}; it has {', '.join(metrics)}")
    value = metrics[metric]
    if hasattr(value, "item"):
        value = value.item()
    better = task.higher_is_better().get(metric, True)
    if not isinstance(value, (bool, int, float)) or not 0 <= value <= 1 or not better:
        raise DataError(
            f"lm-eval: task {name!r}: metric {metric!r} gives {str(value)[:60]!r} for one answer, where more is "
            f"{'better' if better else 'worse'}; a score is a number from 0 to 1: choose another with ,metric=..."
        )
    return float(value)
