"""IFEval's instructions about paragraphs, lists, marks, the beginning and the end.

Each check takes the answer and the instruction's own arguments.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable

_POSTSCRIPTS = {"P.P.S": r"p\.\s?p\.\s?s", "P.S.": r"p\.\s?s\."}
_CONSTRAINED = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
_ENDS_WORD = frozenset(".,?!'\"")


def number_paragraphs(text: str, num_paragraphs: int) -> bool:
    """There are so many paragraphs between ``***``; only the first and the last may be empty."""
    paragraphs = re.split(r"\s?\*\*\*\s?", text)
    if not all(paragraph.strip() for paragraph in paragraphs[1:-1]):
        return False
    return sum(bool(paragraph.strip()) for paragraph in paragraphs) == num_paragraphs


def nth_paragraph_first_word(text: str, num_paragraphs: int, nth_paragraph: int, first_word: str) -> bool:
    """There are so many paragraphs between blank lines, and one of them begins with this word."""
    paragraphs = text.split("\n\n")
    count = sum(bool(paragraph.strip()) for paragraph in paragraphs)
    if nth_paragraph > count or not (paragraph := paragraphs[nth_paragraph - 1].strip()):
        return False
    word = paragraph.split()[0].lstrip("'").lstrip('"')
    end = next((place for place, letter in enumerate(word) if letter in _ENDS_WORD), len(word))
    return count == num_paragraphs and word[:end].lower() == first_word.lower()


def number_placeholders(text: str, num_placeholders: int) -> bool:
    """There are at least so many ``[placeholders]``."""
    return len(re.findall(r"\[.*?\]", text)) >= num_placeholders


def postscript(text: str, postscript_marker: str) -> bool:
    """The marker is found, case aside and with blanks between its letters."""
    marker = _POSTSCRIPTS.get(postscript_marker, postscript_marker.lower())
    return re.search(marker, text.lower()) is not None


def number_bullet_lists(text: str, num_bullets: int) -> bool:
    """Exactly so many lines begin with one ``*`` or with ``-``."""
    stars = re.findall(r"^\s*\*[^\*].*$", text, re.MULTILINE)
    dashes = re.findall(r"^\s*-.*$", text, re.MULTILINE)
    return len(stars) + len(dashes) == num_bullets


def constrained_response(text: str) -> bool:
    """The answer holds one of three sentences."""
    return any(sentence in text for sentence in _CONSTRAINED)


def number_highlighted_sections(text: str, num_highlights: int) -> bool:
    """There are at least so many pieces between ``*`` or ``**`` that are not empty."""
    single = [piece.strip("*").strip() for piece in re.findall(r"\*[^\n\*]*\*", text)]
    double = [piece[2:-2].strip() for piece in re.findall(r"\*\*[^\n\*]*\*\*", text)]
    return sum(map(bool, single + double)) >= num_highlights


def multiple_sections(text: str, section_spliter: str, num_sections: int) -> bool:
    """The splitter with a number behind it is found at least so often."""
    return len(re.findall(rf"\s?{section_spliter}\s?\d+\s?", text)) >= num_sections


def json_format(text: str) -> bool:
    """The answer, in a fence or not, is JSON."""
    text = text.strip()
    for fence in ("```json", "```Json", "```JSON", "```"):
        text = text.removeprefix(fence)
    try:
        json.loads(text.removesuffix("```").strip())
    except ValueError:
        return False
    return True


def title(text: str) -> bool:
    """There is a ``<<title>>`` on one line that is not empty."""
    return any(found.lstrip("<").rstrip(">").strip() for found in re.findall(r"<<[^\n]+>>", text))


def two_responses(text: str) -> bool:
    """There are two different parts around ``******``; only the first and the last may be empty."""
    parts = [part.strip() for part in text.split("******")]
    if not all(parts[1:-1]):
        return False
    filled = [part for part in parts if part]
    return len(filled) == 2 and filled[0] != filled[1]


def repeat_prompt(text: str, prompt_to_repeat: str) -> bool:
    """The answer begins with the prompt, case aside."""
    return text.strip().lower().startswith(prompt_to_repeat.strip().lower())


def end_checker(text: str, end_phrase: str) -> bool:
    """The answer ends with the phrase, case and closing quotes aside."""
    return text.strip().strip('"').lower().endswith(end_phrase.strip().lower())


def quotation(text: str) -> bool:
    """The whole answer stands in double quotes."""
    text = text.strip()
    return len(text) > 1 and text.startswith('"') and text.endswith('"')


def no_comma(text: str) -> bool:
    """There is no comma."""
    return "," not in text


CHECKS: dict[str, Callable[..., bool]] = {
    "length_constraints:number_paragraphs": number_paragraphs,
    "length_constraints:nth_paragraph_first_word": nth_paragraph_first_word,
    "detectable_content:number_placeholders": number_placeholders,
    "detectable_content:postscript": postscript,
    "detectable_format:number_bullet_lists": number_bullet_lists,
    "detectable_format:constrained_response": constrained_response,
    "detectable_format:number_highlighted_sections": number_highlighted_sections,
    "detectable_format:multiple_sections": multiple_sections,
    "detectable_format:json_format": json_format,
    "detectable_format:title": title,
    "combination:two_responses": two_responses,
    "combination:repeat_prompt": repeat_prompt,
    "startend:end_checker": end_checker,
    "startend:quotation": quotation,
    "punctuation:no_comma": no_comma,
}
