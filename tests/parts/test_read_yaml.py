"""YAML that a stranger wrote is read, or refused in one line and at once."""

from __future__ import annotations

import time

import pytest

from dllm_decode import Strategy
from dllm_decode.errors import ConfigError
from dllm_decode.strategy.read_yaml import read_yaml
from dllm_decode.strategy.strategy import parse_override

WHOLE = "block: whole\nlayering: single\nscheduler: even\nconfidence: top-probability\n"
LAUGHS = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9)
)


def test_anchors_and_aliases_of_a_sane_size_are_read() -> None:
    assert read_yaml("a: &one {b: 1}\nc: *one", "here") == {"a": {"b": 1}, "c": {"b": 1}}


def test_an_empty_document_holds_nothing() -> None:
    assert read_yaml("", "here") is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("steps: 1\nsteps: 2", "key 'steps' stands twice, in lines 1 and 2; remove one"),
        ("a: {b: 1, b: 2}", "key 'b' stands twice"),
        (LAUGHS, "its aliases unfold to more than 100,000 values"),
        ("[" * 200 + "]" * 200, "nested more than 40 levels deep"),
        ("[" * 20_000, "nested more than 40 levels deep"),
        ("a: &a [*a]", "an alias that contains itself"),
        ("a: [1", "is not YAML"),
        ("a: 2001-99-99", "is not YAML"),
        ("\x00", "is not YAML"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line_at_once(text: str, said: str) -> None:
    started = time.process_time()
    with pytest.raises(ConfigError) as refused:
        read_yaml(text, "here")
    assert str(refused.value).startswith("here") and said in str(refused.value)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 200
    assert time.process_time() - started < 2


@pytest.mark.parametrize("line", ["gen_length: true", "steps: false", "temperature: true"])
def test_truth_is_no_number(line: str) -> None:
    field = line.partition(":")[0]
    with pytest.raises(ConfigError, match=f"{field}: should not be true or false"):
        Strategy.from_yaml(WHOLE + line)


def test_truth_is_no_number_in_a_part_either() -> None:
    with pytest.raises(ConfigError, match=r"scheduler.threshold: should not be true or false, got true"):
        Strategy.load("fast-dllm", **{"scheduler.threshold": True})


def _within(times: int) -> dict[str, object]:
    part: dict[str, object] = {"name": "single"}
    for _ in range(times):
        part = {"name": "scaffold", "detail": part}
    return part


def test_a_layering_nested_without_end_is_refused_from_python_as_well() -> None:
    assert Strategy.from_yaml(Strategy.load("llada", layering=_within(30)).to_yaml()).layering.name == "scaffold"
    for layering in (_within(200), _within(5000)):
        with pytest.raises(ConfigError, match="nested more than 40 levels deep"):
            Strategy.load("llada", layering=layering)
    endless = _within(1)
    endless["detail"] = endless
    with pytest.raises(ConfigError, match="nested more than 40 levels deep"):
        Strategy.load("llada", layering=endless)


def test_an_override_is_read_with_the_same_care() -> None:
    assert parse_override("layering.parity=absolute") == ("layering.parity", "absolute")
    with pytest.raises(ConfigError, match="stands twice"):
        parse_override("scheduler={name: even, name: threshold}")
