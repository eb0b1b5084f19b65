"""`Strategy`: parts and a budget as data, that round-trips through YAML and JSON and has a digest.

Knows nothing of tensors; leaves what a part's config holds to `parts`, and which parts fit together to `misfits`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from html import escape
from pathlib import Path
from traceback import walk_tb
from typing import TYPE_CHECKING, Annotated, Any, Self, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, Field, SerializeAsAny, ValidationError

from dllm_decode.errors import ConfigError, DataError, DecodeError, FailedPartError, readable, shown
from dllm_decode.files import read_text, user_path
from dllm_decode.parts.base import Frozen, PartConfig, as_list, part_of, refuse_unknown_fields
from dllm_decode.parts.block import BlockConfig
from dllm_decode.parts.cache import CacheConfig
from dllm_decode.parts.confidence import ConfidenceConfig
from dllm_decode.parts.forward import ForwardConfig
from dllm_decode.parts.kinds import KINDS
from dllm_decode.parts.layering import LayeringConfig
from dllm_decode.parts.logits import LogitsConfig
from dllm_decode.parts.revise import ReviseConfig
from dllm_decode.parts.scheduler import SchedulerConfig
from dllm_decode.parts.stop import StopConfig
from dllm_decode.plugins.registry import load_registry
from dllm_decode.strategy.misfits import refuse_misfits
from dllm_decode.strategy.overrides import assign
from dllm_decode.strategy.read_yaml import CHARACTERS, read_yaml, refuse_nesting
from dllm_decode.strategy.settings import find_setting, near_settings

Answer = TypeVar("Answer")

if TYPE_CHECKING:
    from dllm_decode.parts.block import BlockPolicy
    from dllm_decode.parts.cache import CachePolicy
    from dllm_decode.parts.confidence import Confidence
    from dllm_decode.parts.forward import ForwardPlan
    from dllm_decode.parts.layering import Layering
    from dllm_decode.parts.logits import LogitsProcessor
    from dllm_decode.parts.revise import Reviser
    from dllm_decode.parts.scheduler import Scheduler
    from dllm_decode.parts.stop import StopRule

TUNED = "tuned"
"""Given as a strategy: the preset that fits model and task; `resolve` finds it."""
LONGEST = 2**18
"""Columns to generate, at most: no model's context is longer, and a budget is shared out before the model is known."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of one decode, as the loop calls them; they may hold state, so every decode has its own."""

    block: BlockPolicy
    layering: Layering
    scheduler: Scheduler
    confidence: Confidence
    logits: list[LogitsProcessor]
    stop: list[StopRule]
    revise: list[Reviser]
    forward: ForwardPlan | None
    cache: CachePolicy | None

    @property
    def needs(self) -> frozenset[str]:
        """The statistics that some part reads; a reviser reads them where positions are decided as well."""
        parts = (self.block, self.layering, self.scheduler, self.confidence, *self.stop, *self.revise)
        named = (frozenset(getattr(part, "needs", ())) for part in parts)
        return frozenset({"decided"} if self.revise else ()).union(*named)


class Strategy(Frozen):
    """A decoding schedule: four parts, optional ones, and its budget. Round-trips through YAML and JSON unchanged."""

    name: str = Field(default="custom", description="What the schedule is called; not part of the digest.")
    description: str = Field(default="", description="One line for listings; not part of the digest.")
    block: Annotated[SerializeAsAny[BlockConfig], part_of("block")] = Field(
        description="Which span of the canvas is worked on."
    )
    layering: Annotated[SerializeAsAny[LayeringConfig], part_of("layering")] = Field(
        description="Which positions are eligible when."
    )
    scheduler: Annotated[SerializeAsAny[SchedulerConfig], part_of("scheduler")] = Field(
        description="Which proposed tokens are committed."
    )
    confidence: Annotated[SerializeAsAny[ConfidenceConfig], part_of("confidence")] = Field(
        description="How a proposed token is scored."
    )
    logits: Annotated[
        tuple[Annotated[SerializeAsAny[LogitsConfig], part_of("logits")], ...], BeforeValidator(as_list)
    ] = Field(default=(), description="Changes to the logits, in order.")
    stop: Annotated[
        tuple[Annotated[SerializeAsAny[StopConfig], part_of("stop")], ...], BeforeValidator(as_list)
    ] = Field(default=(), description="Rules that end a row early.")
    revise: Annotated[
        tuple[Annotated[SerializeAsAny[ReviseConfig], part_of("revise")], ...], BeforeValidator(as_list)
    ] = Field(default=(), description="Rules that change what was decided, in order.")
    forward: Annotated[SerializeAsAny[ForwardConfig], part_of("forward")] | None = Field(
        default=None, description="What the model is given beside the canvas; null is nothing."
    )
    cache: Annotated[SerializeAsAny[CacheConfig], part_of("cache")] | None = Field(
        default=None, description="Which keys and values are recomputed; null recomputes all."
    )
    steps: Annotated[int, Field(ge=1, le=LONGEST)] | None = Field(
        default=None, description="Denoising steps, in the method's own meaning; null is one token a step."
    )
    gen_length: int = Field(default=64, ge=1, le=LONGEST, description="Columns to generate, in tokens.")
    temperature: float = Field(default=0.0, ge=0, le=1e6, description="Gumbel temperature; 0 takes the argmax.")

    @classmethod
    def load(cls, source: str | Path | Mapping[str, Any] | Strategy, **overrides: Any) -> Strategy:
        """Accept the name of a recipe or published setting, a YAML path, a mapping or a strategy.

        `overrides` are dotted paths or fields.
        Paths with a dot are passed as ``**{"scheduler.threshold": 0.8}``.

        Raises:
            ConfigError: The source is unknown or does not validate; the message carries the path of the field. Also
                "tuned", which needs a model to fit: see `resolve`.
        """
        strategy = _find(source)
        return strategy.override(overrides) if overrides else strategy

    @classmethod
    def parse(cls, data: Mapping[str, Any], origin: str = "strategy") -> Self:
        """Validate a mapping; errors read `origin: path: what is wrong`."""
        refuse_nesting(data, origin)
        try:
            refuse_unknown_fields(data, cls)
            return cls.model_validate(dict(data))
        except ValidationError as error:
            raise ConfigError(readable(error, origin)) from None
        except ValueError as error:
            raise ConfigError(f"{origin}: {error}") from None
        except RecursionError:
            raise ConfigError(f"{origin}: parts within parts without end") from None

    @classmethod
    def from_yaml(cls, text: str, origin: str = "YAML") -> Self:
        """Read what `to_yaml` wrote, or JSON."""
        data = read_yaml(text, origin)
        if not isinstance(data, dict):
            *first, last = (name for name, field in cls.model_fields.items() if field.is_required())
            raise ConfigError(f"{origin} should hold a mapping with {', '.join(first)} and {last}.")
        return cls.parse(data, origin)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data with every part's defaults written out."""
        return self.model_dump(mode="json")

    def to_yaml(self) -> str:
        """Return the strategy as YAML that `--strategy FILE` accepts."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True)

    def __repr__(self) -> str:
        """Say the name, the digest and the parts by name; `to_yaml` has their fields."""
        kinds = {kind: getattr(self, kind) for kind in KINDS}
        listed = {k: [part.name for part in v] if isinstance(v, tuple) else v and v.name for k, v in kinds.items()}
        parts = ", ".join(f"{k}: {', '.join(v) if isinstance(v, list) else v}" for k, v in listed.items() if v)
        return f"<Strategy {self.name} {self.digest()}: {parts}; steps {self.steps}, gen_length {self.gen_length}>"

    def _repr_html_(self) -> str:
        """Return the YAML under the name, for notebooks."""
        name, digest = escape(self.name), self.digest()
        return f"<details><summary><b>{name}</b> {digest}</summary><pre>{escape(self.to_yaml())}</pre></details>"

    def override(self, changes: Mapping[str, Any]) -> Self:
        """Return a strategy with fields changed, validated as if written by hand.

        Keys are dotted paths: `steps`, `layering.pattern`, `scheduler` (a name or a mapping), `logits.0.weight`.
        Setting a part's `name` to another one keeps the fields that the new part also has. Whole parts are set before
        names and names before fields, so the order of the changes does not matter.

        Raises:
            ConfigError: No such path, or a value that does not validate.
        """
        data: dict[str, Any] = {field: getattr(self, field) for field in type(self).model_fields}
        for path in sorted(changes, key=lambda path: (path.count("."), not path.endswith(".name"), path)):
            assign(data, path, changes[path])
        return self.parse(data, self.name)

    def parts(self) -> Iterator[tuple[str, PartConfig]]:
        """Yield every part at any depth with its dotted path, such as `layering.detail` or `logits.0`, outer first."""
        yield from _parts(self, "")

    def build(self) -> Parts:
        """Return the parts of one decode; their config's `build` is the last that is asked of plugins.

        Raises:
            FailedPartError: A part's `build` raised an exception.
        """
        built: dict[str, Any] = {}
        for kind in (field.name for field in fields(Parts)):
            given = getattr(self, kind)
            several = isinstance(given, tuple)
            made = [asked(part, part.build) for part in (given if several else (given,)) if part is not None]
            built[kind] = made if several else next(iter(made), None)
        return Parts(**built)

    def digest(self) -> str:
        """Return 12 hex digits that name the resolved parts and budget; names and descriptions do not count."""
        left_out = {"name", "description"}
        left_out |= {kind for kind, base in KINDS.items() if not (getattr(self, kind) or base.digested_empty)}
        data = {k: v for k, v in self.to_dict().items() if k not in left_out}
        canonical = json.dumps(data, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]

    def block_plan(self) -> list[tuple[int, int | None]] | None:
        """Return each block's most columns and its share of the steps; None where that shows only while decoding.

        Raises:
            ConfigError: The block policy cannot serve the budget, or fails.
        """
        return asked(self.block, lambda: self.block.plan(self.steps, self.gen_length))

    def max_forwards(self) -> int:
        """Return the most forwards a row can take.

        Raises:
            ConfigError: The parts cannot serve the budget, e.g. fewer steps than blocks.
        """
        plan = self.block_plan()
        closing = sum(part.closing_steps for part in self.revise)
        if plan is None:
            # Every forward commits at least one token, whatever the blocks turn out to be.
            return self.gen_length + closing
        # An adaptive scheduler keeps to no budget, a layering's own included; one token a forward is the worst case.
        adaptive = self.scheduler.adaptive
        shares = [(size, None if adaptive else steps, size if adaptive else 0) for size, steps in plan]

        def forwards() -> int:
            return sum(max(least, self.layering.forwards(steps, size)) for size, steps, least in shares)

        return closing + asked(self.layering, forwards)

    def check(self) -> Self:
        """Refuse parts that cannot work together, and a budget that they cannot serve; return self.

        Raises:
            ConfigError: What does not fit, and the way out.
        """
        refuse_misfits(self)
        self.max_forwards()
        return self


def asked(part: PartConfig, question: Callable[[], Answer]) -> Answer:
    """Return what a part answers.

    Raises:
        ConfigError: It refuses.
        FailedPartError: It, or a part that it holds, raised an exception.
    """
    try:
        return question()
    except DecodeError:
        raise
    except Exception as error:
        # A part may have asked one that it holds.
        owners = [frame.f_locals.get("self") for frame, _ in walk_tb(error.__traceback__)]
        failed = [one for one in (part, *owners) if isinstance(one, PartConfig)][-1]
        whose = load_registry().origin(failed.kind, failed.name)
        said = f"{failed.kind}: {failed.name!r} ({whose}) failed: {type(error).__name__}: {error}"
        raise FailedPartError(said) from error


def _parts(holder: Any, path: str) -> Iterator[tuple[str, PartConfig]]:
    """Yield the parts below a model, a list or a mapping that stands at a path."""
    below: Iterable[tuple[Any, Any]] = ()
    if isinstance(holder, BaseModel | Mapping):
        below = holder.items() if isinstance(holder, Mapping) else holder
    elif isinstance(holder, list | tuple):
        below = enumerate(holder)
    for key, value in below:
        where = f"{path}.{key}" if path else str(key)
        if isinstance(value, PartConfig):
            yield where, value
        yield from _parts(value, where)


def _find(source: str | Path | Mapping[str, Any] | Strategy) -> Strategy:
    """Return the strategy that a recipe's name, a YAML path, a mapping or a strategy stands for."""
    if isinstance(source, Strategy):
        return source
    if isinstance(source, Mapping):
        return Strategy.parse(source)
    text = str(source)
    if source == TUNED:
        raise ConfigError(
            "strategy: 'tuned' is the preset that fits a model, so it needs one: pass strategy=\"tuned\" to generate(), "
            "stream(), infill() or evaluate(), or --strategy tuned to the command line's generate and eval"
        )
    setting = find_setting(source)
    if setting is not None:
        recipe, changes = setting.composition()
        return _find(recipe).override(changes)
    if isinstance(source, Path) or re.search(r"\.ya?ml$|[/\\]", text):
        return _read(user_path(text))
    registry = load_registry()
    # Reading YAML takes as long as a forward of a small model; recipes do not change while a process runs.
    if text not in registry.recipes:
        registry.recipes[text] = _read(registry.find("recipe", text))
    found: Strategy = registry.recipes[text]
    return found


def _read(path: Path) -> Strategy:
    try:
        text = read_text(path, CHARACTERS)
    except DataError as error:
        near = near_settings(str(path))
        meant = f"; a published setting? {', '.join(near)}" if near else ""
        raise ConfigError(f"strategy file {error}{meant}") from None
    strategy = Strategy.from_yaml(text, origin=str(path))
    return strategy if strategy.name != "custom" else strategy.model_copy(update={"name": path.stem})


def parse_override(text: str) -> tuple[str, Any]:
    """Split `path=value`; the value is read as YAML, so `0.9`, `null`, `true` and `[1, 2]` mean what they say."""
    path, separator, value = text.partition("=")
    if not separator or not path.strip():
        raise ConfigError(f"override {shown(text)} should look like path=value, e.g. scheduler.threshold=0.8")
    return path.strip(), read_yaml(value, f"override {text[:80]!r}: the value")
