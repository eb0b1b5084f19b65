"""lm-evaluation-harness's shapes, under that harness's own task names."""

from dllm_decode.tasks.published.lm_eval.arc_challenge import ARC_CHALLENGE
from dllm_decode.tasks.published.lm_eval.gpqa import GPQA
from dllm_decode.tasks.published.lm_eval.gsm8k import GSM8K, GSM8K_COT, GSM8K_COT_ZEROSHOT
from dllm_decode.tasks.published.lm_eval.humaneval import HUMANEVAL, HUMANEVAL_INSTRUCT
from dllm_decode.tasks.published.lm_eval.ifeval import IFEVAL
from dllm_decode.tasks.published.lm_eval.math import MINERVA_MATH
from dllm_decode.tasks.published.lm_eval.mbpp import MBPP, MBPP_INSTRUCT
from dllm_decode.tasks.published.lm_eval.mmlu_pro import MMLU_PRO

LM_EVAL = (
    GSM8K,
    GSM8K_COT,
    GSM8K_COT_ZEROSHOT,
    MINERVA_MATH,
    HUMANEVAL,
    HUMANEVAL_INSTRUCT,
    MBPP,
    MBPP_INSTRUCT,
    ARC_CHALLENGE,
    GPQA,
    MMLU_PRO,
    IFEVAL,
)

__all__ = ["LM_EVAL"]
