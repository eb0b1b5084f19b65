"""The kit for people who write plugins: conformance suites, a scripted model, an isolated registry.

A suite is a class of pytest tests; name what it should test and it is collected like any other:

    from dllm_decode.testing import SchedulerSuite

    class TestMine(SchedulerSuite):
        parts = [MyScheduler(), MyScheduler(power=2)]

There is one for every kind of part, `TaskSuite` (`tasks = [MyTask]`) and `DenoiserSuite` (a fixture `denoiser`). While
a suite runs, its parts are registered and other installed plugins are hidden; for tests of one's own the fixture
`isolated_registry` does the same: put `from dllm_decode.testing.fixtures import isolated_registry` into conftest.py,
or `pytest_plugins = ["dllm_decode.testing.fixtures"]` into the topmost one.

pytest is needed here and nowhere else: `pip install "dllm-decode[testing]"`.
"""

from dllm_decode.testing.denoiser_suite import DenoiserSuite
from dllm_decode.testing.isolation import isolated_registry
from dllm_decode.testing.kinds import (
    BlockSuite,
    CacheSuite,
    ConfidenceSuite,
    LayeringSuite,
    LogitsSuite,
    SchedulerSuite,
    StopSuite,
)
from dllm_decode.testing.revision_kinds import ForwardSuite, ReviseSuite
from dllm_decode.testing.running import PROMPTS, Outcome, canvas_of, infill_canvas, run, selections
from dllm_decode.testing.scripted import SPECIAL, VOCABULARY, HeadedScriptedDenoiser, ScriptedDenoiser
from dllm_decode.testing.task_suite import TaskSuite

SUITES = {
    suite.kind: suite
    for suite in (
        BlockSuite,
        LayeringSuite,
        SchedulerSuite,
        ConfidenceSuite,
        LogitsSuite,
        StopSuite,
        ReviseSuite,
        ForwardSuite,
        CacheSuite,
    )
}
"""Kind of part -> its suite."""

__all__ = [
    "PROMPTS",
    "SPECIAL",
    "SUITES",
    "VOCABULARY",
    "BlockSuite",
    "CacheSuite",
    "ConfidenceSuite",
    "DenoiserSuite",
    "ForwardSuite",
    "HeadedScriptedDenoiser",
    "LayeringSuite",
    "LogitsSuite",
    "Outcome",
    "ReviseSuite",
    "SchedulerSuite",
    "ScriptedDenoiser",
    "StopSuite",
    "TaskSuite",
    "canvas_of",
    "infill_canvas",
    "isolated_registry",
    "run",
    "selections",
]
