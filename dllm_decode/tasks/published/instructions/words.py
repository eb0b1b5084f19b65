"""IFEval's instructions about words, letters, lengths, language and case.

Each check takes the answer and the instruction's own arguments. Sentences and capital words are counted by nltk, languages
guessed by langdetect; both are imported when such an instruction is met. The detector is seeded, so that its guess is
the same each time; the released checks leave it to chance.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from dllm_decode.errors import ConfigError
from dllm_decode.tasks.published.needs import need


def _meets(count: int, relation: str, wanted: int) -> bool:
    return count < wanted if relation == "less than" else count >= wanted


def existence(text: str, keywords: Sequence[str]) -> bool:
    """Every keyword, a pattern, is found anywhere, case aside."""
    return all(re.search(keyword, text, re.IGNORECASE) for keyword in keywords)


def frequency(text: str, keyword: str, frequency: int, relation: str) -> bool:
    """The keyword is found so often."""
    return _meets(len(re.findall(keyword, text, re.IGNORECASE)), relation, frequency)


def forbidden_words(text: str, forbidden_words: Sequence[str]) -> bool:
    """None of these is found as a whole word."""
    return not any(re.search(rf"\b{word}\b", text, re.IGNORECASE) for word in forbidden_words)


def letter_frequency(text: str, letter: str, let_frequency: int, let_relation: str) -> bool:
    """The letter is found so often, case aside."""
    return _meets(text.lower().count(letter.lower()), let_relation, let_frequency)


def number_words(text: str, num_words: int, relation: str) -> bool:
    """There are so many runs of word characters."""
    return _meets(len(re.findall(r"\w+", text)), relation, num_words)


def _tokens(kind: str, text: str) -> list[str]:
    nltk: Any = need("nltk", "counting sentences or words as IFEval does")
    try:
        return list(getattr(nltk, kind)(text))
    except LookupError as error:
        raise ConfigError(
            "IFEval counts sentences and capital words with nltk's punkt data, which is not installed: "
            "python -m nltk.downloader punkt_tab"
        ) from error


def number_sentences(text: str, num_sentences: int, relation: str) -> bool:
    """There are so many sentences."""
    return _meets(len(_tokens("sent_tokenize", text)), relation, num_sentences)


def capital_word_frequency(text: str, capital_frequency: int, capital_relation: str) -> bool:
    """There are so many words in capitals."""
    capitals = [word for word in _tokens("word_tokenize", text) if word.isupper()]
    return _meets(len(capitals), capital_relation, capital_frequency)


def response_language(text: str, language: str) -> bool:
    """The answer is in this language; one without letters is in any."""
    detector: Any = need("langdetect", "telling an answer's language")
    detector.DetectorFactory.seed = 0
    try:
        return bool(detector.detect(text) == language)
    except detector.LangDetectException:
        return True


def english_capital(text: str) -> bool:
    """The answer is English and has no small letter."""
    return text.isupper() and response_language(text, "en")


def english_lowercase(text: str) -> bool:
    """The answer is English and has no capital."""
    return text.islower() and response_language(text, "en")


CHECKS: dict[str, Callable[..., bool]] = {
    "keywords:existence": existence,
    "keywords:frequency": frequency,
    "keywords:forbidden_words": forbidden_words,
    "keywords:letter_frequency": letter_frequency,
    "language:response_language": response_language,
    "length_constraints:number_sentences": number_sentences,
    "length_constraints:number_words": number_words,
    "change_case:capital_word_frequency": capital_word_frequency,
    "change_case:english_capital": english_capital,
    "change_case:english_lowercase": english_lowercase,
}
