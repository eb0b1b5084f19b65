"""OpenCompass's shapes: what LLaDA-Instruct, LLaDA-1.5 and SAID report."""

from dllm_decode.tasks.published.opencompass.arc_challenge import ARC_CHALLENGE
from dllm_decode.tasks.published.opencompass.gpqa import GPQA, GPQA_GEN
from dllm_decode.tasks.published.opencompass.gsm8k import GSM8K
from dllm_decode.tasks.published.opencompass.humaneval import HUMANEVAL
from dllm_decode.tasks.published.opencompass.ifeval import IFEVAL
from dllm_decode.tasks.published.opencompass.math import MATH
from dllm_decode.tasks.published.opencompass.mbpp import MBPP
from dllm_decode.tasks.published.opencompass.mmlu_pro import MMLU_PRO

OPENCOMPASS = (GSM8K, MATH, HUMANEVAL, MBPP, ARC_CHALLENGE, GPQA, GPQA_GEN, MMLU_PRO, IFEVAL)

__all__ = ["OPENCOMPASS"]
