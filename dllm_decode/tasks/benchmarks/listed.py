"""The benchmarks: what each is called, where its rows are published, what is tuned and tested on, how long answers are.

Tuning and test rows share none: a data set's own training split is tuned on where it has one, else seeded halves of the
one split there is (HumanEval, GPQA, IFEval; MMLU-Pro too, whose 70 validation rows are too few to tune on).
"""

from __future__ import annotations

from typing import ClassVar

from dllm_decode.tasks.benchmarks.benchmark import Benchmark
from dllm_decode.tasks.sources import Source

_MATH = "DigitalLearningGmbH/MATH-lighteval"


class Gsm8k(Benchmark):
    """Grade school word problems; 7,473 to tune on and 1,319 to test."""

    name: ClassVar[str] = "gsm8k"
    description: ClassVar[str] = "Grade school word problems, answered with a number."
    gen_length: ClassVar[int] = 256
    source: ClassVar[Source] = Source("openai/gsm8k", "main", tune="train", test="test")


class Math(Benchmark):
    """Competition mathematics; 7,500 to tune on and 5,000 to test."""

    name: ClassVar[str] = "math"
    description: ClassVar[str] = "Competition mathematics, the answer in a box."
    gen_length: ClassVar[int] = 512
    source: ClassVar[Source] = Source(_MATH, tune="train", test="test")


class Math500(Benchmark):
    """The 500 of MATH's test split that are commonly reported; tuned on MATH's training split."""

    name: ClassVar[str] = "math500"
    description: ClassVar[str] = "500 problems of MATH's test split, the answer in a box."
    gen_length: ClassVar[int] = 512
    source: ClassVar[Source] = Source("HuggingFaceH4/MATH-500", test="test", tune="train", tune_hub=_MATH)


class HumanEval(Benchmark):
    """Python functions from their heads and docstrings; two halves of 164."""

    name: ClassVar[str] = "humaneval"
    description: ClassVar[str] = "Python functions from their docstrings; answers are run."
    gen_length: ClassVar[int] = 512
    source: ClassVar[Source] = Source("openai/openai_humaneval", halves="test")


class Mbpp(Benchmark):
    """Small Python programs from a sentence; 374 to tune on and 500 to test."""

    name: ClassVar[str] = "mbpp"
    description: ClassVar[str] = "Small Python programs from a sentence and three assertions; answers are run."
    gen_length: ClassVar[int] = 512
    source: ClassVar[Source] = Source("google-research-datasets/mbpp", "full", tune="train", test="test")


class ArcChallenge(Benchmark):
    """Grade school science with four options; 1,119 to tune on and 1,172 to test."""

    name: ClassVar[str] = "arc-challenge"
    description: ClassVar[str] = "Grade school science, one of four options."
    gen_length: ClassVar[int] = 512
    source: ClassVar[Source] = Source("allenai/ai2_arc", "ARC-Challenge", tune="train", test="test")


class Gpqa(Benchmark):
    """Graduate questions of GPQA's diamond set, which the hub gives after one has agreed to its terms; halves of 198."""

    name: ClassVar[str] = "gpqa"
    description: ClassVar[str] = "Graduate science, one of four options; the diamond set."
    gen_length: ClassVar[int] = 256
    source: ClassVar[Source] = Source("Idavidrein/gpqa", "gpqa_diamond", halves="train")


class MmluPro(Benchmark):
    """Questions of fourteen fields with up to ten options; halves of 12,032, for the validation split has 70 rows."""

    name: ClassVar[str] = "mmlu-pro"
    description: ClassVar[str] = "Fourteen fields of knowledge, one of up to ten options."
    gen_length: ClassVar[int] = 256
    source: ClassVar[Source] = Source("TIGER-Lab/MMLU-Pro", halves="test", shown="validation")


class IfEval(Benchmark):
    """Instructions whose keeping can be checked; halves of 541."""

    name: ClassVar[str] = "ifeval"
    description: ClassVar[str] = "Instructions that a program can check."
    gen_length: ClassVar[int] = 512
    source: ClassVar[Source] = Source("google/IFEval", halves="train")


BENCHMARKS: tuple[type[Benchmark], ...] = (
    Gsm8k,
    Math500,
    Math,
    HumanEval,
    Mbpp,
    ArcChallenge,
    Gpqa,
    MmluPro,
    IfEval,
)
