"""All that the author of a plugin imports: hooks, config bases, the data that parts see and answer, and helpers.

`from dllm_decode.plugin import SchedulerConfig, StepView, hookimpl`; costs no torch.
"""

from dllm_decode.data.canvas import Block, Canvas, Stage
from dllm_decode.data.inputs import ModelInputs, SpecialTokens
from dllm_decode.data.noise import Noise
from dllm_decode.data.prompt import Message, Prompt, assistant, user
from dllm_decode.data.selection import best_open, even_quota, top_by_quota
from dllm_decode.data.stats import VocabStats
from dllm_decode.data.views import BlockContext, Proposal, Revision, RevisionView, StageContext, StepView
from dllm_decode.errors import ConfigError, DataError, DecodeError, ModelError
from dllm_decode.files import user_path
from dllm_decode.parts.base import Frozen, PartConfig, Tune, as_list, part_of
from dllm_decode.parts.block import BlockConfig, BlockPolicy
from dllm_decode.parts.cache import CacheConfig, CachePolicy
from dllm_decode.parts.confidence import Confidence, ConfidenceConfig
from dllm_decode.parts.forward import ForwardConfig, ForwardPlan
from dllm_decode.parts.layering import Layering, LayeringConfig
from dllm_decode.parts.logits import LogitsConfig, LogitsProcessor
from dllm_decode.parts.revise import ReviseConfig, Reviser
from dllm_decode.parts.scheduler import CountingScheduler, Scheduler, SchedulerConfig
from dllm_decode.parts.stop import StopConfig, StopRule
from dllm_decode.plugins.hookspecs import hookimpl
from dllm_decode.tasks.base import Example, Task
from dllm_decode.tasks.dataset import DatasetTask
from dllm_decode.tasks.generated.base import GeneratedTask
from dllm_decode.tasks.sources import Source

__all__ = [
    "Block",
    "BlockConfig",
    "BlockContext",
    "BlockPolicy",
    "CacheConfig",
    "CachePolicy",
    "Canvas",
    "Confidence",
    "ConfidenceConfig",
    "ConfigError",
    "CountingScheduler",
    "DataError",
    "DatasetTask",
    "DecodeError",
    "Example",
    "ForwardConfig",
    "ForwardPlan",
    "Frozen",
    "GeneratedTask",
    "Layering",
    "LayeringConfig",
    "LogitsConfig",
    "LogitsProcessor",
    "Message",
    "ModelError",
    "ModelInputs",
    "Noise",
    "PartConfig",
    "Prompt",
    "Proposal",
    "ReviseConfig",
    "Reviser",
    "Revision",
    "RevisionView",
    "Scheduler",
    "SchedulerConfig",
    "Source",
    "SpecialTokens",
    "Stage",
    "StageContext",
    "StepView",
    "StopConfig",
    "StopRule",
    "Task",
    "Tune",
    "VocabStats",
    "as_list",
    "assistant",
    "best_open",
    "even_quota",
    "hookimpl",
    "part_of",
    "top_by_quota",
    "user",
    "user_path",
]
