r"""ARC-Challenge as lm-evaluation-harness asks and judges it in chat: one turn, the answer begun, one letter expected.

Source: lm_eval 0.4.13, task ``arc_challenge_chat``.

Known defects, kept: the lines of the prompt are joined by a backslash and an ``n``, not by newlines; an answer in words is
refused ("The answer is C" too); the prompt speaks of four options where a question has three or five.
"""

from __future__ import annotations

from dllm_decode.tasks.published.fields import arc
from dllm_decode.tasks.published.lm_eval.matching import bare
from dllm_decode.tasks.published.lm_eval.prompts import Form
from dllm_decode.tasks.published.shape import Judge, Row, Shape


def _question(row: Row) -> str:
    question, options, _ = arc(row)
    lines = [
        "Given the following question and four candidate answers (A, B, C and D), choose the best answer.",
        f"Question: {question}",
        *(f"{letter}. {option}" for letter, option in zip("ABCD", options, strict=False)),
        'Your response should end with "The best answer is [the_answer_letter]" where the [the_answer_letter] is one of '
        "A, B, C or D.",
    ]
    return "\\n".join(lines)


def extract(text: str) -> str:
    """Returns the text without its outer blanks."""
    return text.strip()


def correct(row: Row, text: str) -> bool:
    """Compares with the right letter, case and ASCII punctuation aside."""
    return bare(extract(text)) == bare(arc(row)[2])


_FORM = Form(_question, begun=lambda _: "The best answer is")

ARC_CHALLENGE = Shape(
    evaluator="lm-eval",
    task="arc_challenge_chat",
    messages=_FORM.messages,
    one_turn=_FORM.one_turn,
    prompt=_FORM.prompt,
    judges={"remove_whitespace": Judge(lambda _, text: extract(text), correct)},
    reference=lambda row: f" {arc(row)[2]}.",
    stops=("\n\n", "."),
    defects=(
        "the prompt's lines are joined by a backslash and an n",
        "a letter with any word beside it is refused",
    ),
)
