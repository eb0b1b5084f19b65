"""IFEval's instructions on answers of our own."""

from __future__ import annotations

from typing import Any

import pytest

from dllm_decode.errors import ConfigError, DataError
from dllm_decode.tasks.published import shape
from dllm_decode.tasks.published.instructions import CHECKS

CASES: list[tuple[str, dict[str, Any], str, str]] = [
    ("keywords:existence", {"keywords": ["oak", "elm"]}, "An Oak, an elm.", "An oak."),
    ("keywords:frequency", {"keyword": "oak", "frequency": 2, "relation": "at least"}, "Oak, oak.", "Oak."),
    ("keywords:forbidden_words", {"forbidden_words": ["oak"]}, "Oaks grow.", "An oak grows."),
    ("keywords:letter_frequency", {"letter": "z", "let_frequency": 2, "let_relation": "less than"}, "Z", "zZ"),
    ("length_constraints:number_words", {"num_words": 3, "relation": "less than"}, "two words", "isn't it"),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "one\n***\ntwo", "one\n***\n***\ntwo"),
    (
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "Then"},
        "First.\n\n'then, more.",
        "Then.\n\nMore.",
    ),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, "[a] and [b]", "[a]"),
    ("detectable_content:postscript", {"postscript_marker": "P.P.S"}, "x\np. p. s: more", "x\nP.S. more"),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "* a\n- b", "* a\n- b\n- c"),
    ("detectable_format:constrained_response", {}, "My answer is no.", "No."),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 2}, "*a* and **b**", "*a* and * *"),
    (
        "detectable_format:multiple_sections",
        {"section_spliter": "Part", "num_sections": 2},
        "Part 1\na\nPart 2\nb",
        "Part 1\na\nPart two",
    ),
    ("detectable_format:json_format", {}, '```json\n{"a": 1}\n```', "{'a': 1}"),
    ("detectable_format:title", {}, "<<Trees>>\nOak.", "<< >>\nOak."),
    ("combination:two_responses", {}, "one******two", "one******one"),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Name trees."}, "name trees. Oak.", "Oak."),
    ("startend:end_checker", {"end_phrase": "The end."}, 'Oak. "the end."', "The end. Oak."),
    ("startend:quotation", {}, '"Oak."', '"Oak." he said'),
    ("punctuation:no_comma", {}, "oak and elm", "oak, elm"),
    ("language:response_language", {"language": "fr"}, "Les arbres sont grands et verts.", "The trees are tall."),
    ("change_case:english_capital", {}, "THE TREES ARE TALL AND GREEN", "The trees are tall and green"),
    ("change_case:english_lowercase", {}, "the trees are tall and green", "The trees are tall and green"),
]
# These count by nltk's tokenizers, whose data no package carries.
BY_NLTK = {"length_constraints:number_sentences", "change_case:capital_word_frequency"}


def _row(name: str, **arguments: Any) -> dict[str, Any]:
    return {"prompt": "Write.", "instruction_id_list": [name], "kwargs": [arguments]}


@pytest.mark.parametrize(("name", "arguments", "follows", "breaks"), CASES, ids=[case[0] for case in CASES])
def test_an_instruction_is_followed_or_not(
    name: str, arguments: dict[str, Any], follows: str, breaks: str
) -> None:
    row = _row(name, **arguments, some_other_instructions_argument=None)
    assert shape("ifeval").grade([(row, follows), (row, breaks), (row, " ")]) == [1.0, 0.0, 0.0]


def test_every_instruction_has_a_case() -> None:
    assert {case[0] for case in CASES} | BY_NLTK == set(CHECKS)


def test_sentences_and_capital_words_are_counted_by_nltk(monkeypatch: pytest.MonkeyPatch) -> None:
    nltk = pytest.importorskip("nltk")
    monkeypatch.setattr(nltk, "sent_tokenize", lambda text: text.split("|"))
    monkeypatch.setattr(nltk, "word_tokenize", str.split)
    three = _row("length_constraints:number_sentences", num_sentences=3, relation="at least")
    one = _row("change_case:capital_word_frequency", capital_frequency=2, capital_relation="less than")
    pairs = [(three, "a|b|c"), (three, "a|b"), (one, "An OAK"), (one, "An OAK GROWS")]
    assert shape("ifeval").grade(pairs) == [1.0, 0.0, 1.0, 0.0]


def test_nltks_missing_data_is_said_with_the_way_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    nltk = pytest.importorskip("nltk")

    def missing(_: str) -> list[str]:
        raise LookupError

    monkeypatch.setattr(nltk, "sent_tokenize", missing)
    with pytest.raises(ConfigError, match="python -m nltk.downloader punkt_tab"):
        shape("ifeval").grade([(_row("length_constraints:number_sentences", num_sentences=1, relation="at least"), "a")])


def test_loose_forgives_a_first_line_and_stars_and_a_share_grades_instructions() -> None:
    ifeval = shape("ifeval")
    row = {
        "prompt": "Write.",
        "instruction_id_list": ["punctuation:no_comma", "detectable_content:number_placeholders"],
        "kwargs": [{}, {"num_placeholders": 1}],
    }
    text = "Sure, here you are:\n[oak]"
    grades = {judge: ifeval.grade([(row, text)], judge=judge)[0] for judge in ifeval.judges}
    assert grades == {
        "prompt-strict": 0.0,
        "prompt-loose": 1.0,
        "instruction-strict": 0.5,
        "instruction-loose": 1.0,
    }
    assert ifeval.judge.extract(row, text) == "loose"


def test_an_unknown_instruction_is_refused_with_the_nearest() -> None:
    with pytest.raises(DataError, match="unknown instruction 'punctuation:no_coma'. Did you mean 'punctuation:no_comma'"):
        shape("ifeval").grade([(_row("punctuation:no_coma"), "x")])
