"""Numbers without end, nesting without end, names that no file has: exit code 2, one line with the way out, at once."""

from __future__ import annotations

import os
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dllm_decode.cli import main
from dllm_decode.errors import DecodeError
from dllm_decode.parts.base import LARGEST
from dllm_decode.plugins.registry import load_registry
from dllm_decode.strategy.strategy import LONGEST, Strategy, parse_override
from dllm_decode.testing.random_checkpoint import write_checkpoint

NINES = "9" * 30
LONG = "x" * 300
DEEP = "{name: grid, detail: " * 200 + "single" + "}" * 200
CHAIN = "a0: &a0 [1]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 100))


@pytest.fixture(autouse=True, scope="module")
def loaded() -> None:
    """Load torch and the plugins, which are not what is timed here."""
    from dllm_decode import DiffusionLM

    DiffusionLM.from_pretrained("tiny")


@pytest.fixture
def refused(capfd: pytest.CaptureFixture[str]):
    """Run a command line that must be refused in one line within two seconds, and return the line."""

    def run(*arguments: str) -> str:
        started = time.process_time()  # what a busy machine does besides is not counted
        code = main(arguments)
        took = time.process_time() - started
        out, err = capfd.readouterr()
        assert (code, out) == (2, ""), err
        (line,) = err.strip().split("\n")
        assert line.startswith("error: ") and took < 2
        return line

    return run


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ([f"steps={NINES}"], f"steps: input should be <= {LONGEST}, got 9999"),
        (["steps=1000000000"], f"steps: input should be <= {LONGEST}, got 1000000000"),
        ([f"gen_length={NINES}"], "gen_length: input should be <= "),
        (["temperature=1e39"], "temperature: input should be <= 1e+06"),
        (["scheduler={name: factor, factor: 1e39}"], "scheduler.factor: should be no larger"),
        (["temperature=2e6"], "temperature: input should be <= 1e+06"),
        (["temperature=.nan"], "temperature: input should be a finite number"),
        (["scheduler=top-k", f"scheduler.k={NINES}"], f"scheduler.k: should be no larger than {LARGEST:,} in size"),
        (["scheduler=top-k", f"scheduler.k=-{NINES}"], "scheduler.k: input should be >= 1"),
        (["scheduler=top-k", f"scheduler.k={'9' * 5000}"], "the value is not YAML"),
        (["block={name: fixed, length: '" + NINES + "'}"], "block.length: should be no larger"),
        ([f"block={{name: adaptive, delimiters: [1, {NINES}]}}"], "block.delimiters: should be no larger"),
        (["logits=guidance", "logits.²=x"], "unknown field '²'. Known: 0"),
        (["logits=guidance", f"logits.{'9' * 5000}=x"], "unknown field '999"),
        ([f"layering={DEEP}"], "nested more than 40 levels deep"),
        ([f"layering{'.detail' * 200}=single"], "layering.detail.detail"),
        (["layering={name: grid, detail: &a [*a]}"], "an alias that contains itself"),
        (["name=!!int ''"], "the value is not YAML"),
        (["name=!!python/object:os.system x"], "the value is not YAML"),
        ([f"scheduler={LONG}"], "unknown scheduler 'xxx"),
        ([LONG], "should look like path=value"),
        ([f"{LONG}=1"], "unknown field 'xxx"),
    ],
)
def test_a_value_that_cannot_be_meant_is_refused_by_its_field(refused, overrides: list[str], said: str) -> None:
    line = refused("show", "llada", *(word for one in overrides for word in ("--set", one)))
    assert said in line and len(line) < 600


@pytest.mark.parametrize("name", ["~nouser/x.yaml", f"{LONG}.yaml", "a\0b.yaml", "/", "/dev/zero.yaml", "./x\n.yaml"])
def test_a_path_that_no_file_has_is_refused(refused, name: str) -> None:
    assert "cannot be read" in (line := refused("show", name)) or "is no path" in line or "no user" in line


def test_a_strategy_file_without_end_is_not_read_to_its_end(refused, tmp_path) -> None:
    (tmp_path / "endless.yaml").symlink_to("/dev/zero")
    assert "longer than 65,536 bytes" in refused("show", str(tmp_path / "endless.yaml"))
    (tmp_path / "chain.yaml").write_text(CHAIN)
    assert "its aliases unfold to more than 40 levels" in refused("show", str(tmp_path / "chain.yaml"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--gen-length", "10000000000"], "gen_length: input should be <= 262144"),
        (["--gen-length", NINES], "gen_length: input should be <= "),
        (["--gen-length", "262144"], "is over the model's context of 256 tokens"),
        (["--gen-length", "262144", "--set", "block=fixed", "--set", "block.length=1"], "over the model's context"),
        (["--temperature", "1e39"], "temperature: input should be <= 1e+06"),
        (["--seed", str(2**64)], "seed: should be a whole number from 0 to 2**61 - 1"),
        (["--trace", LONG], "no path: File name too long"),
        (["--trace", "~nouser/x"], "there is no user of that name"),
        (["--model", LONG], "no path: File name too long"),
        (["--model", "~nouser/x"], "there is no user of that name"),
        (["--model", "a\0b"], "it holds a NUL character"),
    ],
)
def test_generate_refuses_before_anything_is_built(refused, arguments: list[str], said: str) -> None:
    assert said in refused("generate", "x", *arguments)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["search", "export", "--storage", LONG], "no path: File name too long"),
        (["search", "export", "--storage", "~nouser/x"], "there is no user of that name"),
        (["search", "run", "--task", "line", "--timeout", "nan"], "timeout: input should be a finite number"),
        (["search", "run", "--task", "line", "--trials", NINES], "trials: should be no larger"),
        (["search", "run", "--task", "line", "--strategy", "~nouser/x.yaml"], "there is no user of that name"),
        (["search", "run", "--task", "line", "--fix", f"scheduler={NINES}"], f"space: unknown scheduler '{NINES}'"),
        (["new-plugin", "x" * 300], "should have at most 60 characters"),
        (["new-plugin", "my-part", "--out", LONG], "no path: File name too long"),
        (["eval", "--task", "line", "--out", LONG], "no path: File name too long"),
    ],
)
def test_other_commands_refuse_alike(refused, arguments: list[str], said: str) -> None:
    assert said in refused(*arguments)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"space: {{scheduler: {NINES}}}", f"space: unknown scheduler '{NINES}'"),
        ("space: {scheduler: [{a: 1}]}", "space: scheduler: give a name"),
        ("space: {1: 2}", "unknown path '1'"),
        ("space: {scheduler: even, scheduler: threshold}", "key 'scheduler' stands twice"),
        (f"space: {DEEP}", "nested more than 40 levels deep"),
        (CHAIN, "its aliases unfold to more than 40 levels"),
    ],
)
def test_a_space_is_read_with_the_same_care(refused, tmp_path, text: str, said: str) -> None:
    (tmp_path / "space.yaml").write_text(text)
    assert said in refused("search", "run", "--task", "line", "--strategy", str(tmp_path / "space.yaml"))


scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20),
    st.sampled_from([*load_registry().names("scheduler"), "grid", "fixed", "scaffold", "single", "whole", "top-k"]),
)  # fmt: skip
keys = st.one_of(st.sampled_from(["name", "steps", "length", "k", "detail", "threshold", "pattern"]), st.text(max_size=8))
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4), max_leaves=12
)
fields = st.sampled_from(list(Strategy.model_fields))
snippets = st.lists(
    st.sampled_from([*"{}[]:,&*!|>-?#%@`'\"\n ", "a", "&a", "*a", "<<: ", "name", "grid", "9" * 30, "!!int ", "\x00", "1e999"]),
    max_size=30,
).map("".join)
# A longer run: FUZZ=5000 pytest tests/cli/test_hostile_input.py -k test_any --hypothesis-show-statistics
quick = settings(max_examples=int(os.environ.get("FUZZ", "100")), deadline=None, suppress_health_check=[HealthCheck.too_slow])


def attempt(call, *arguments: object, **options: object) -> None:
    """Call what may refuse in one line of no great length and within two seconds, and do nothing else."""
    started = time.process_time()
    try:
        call(*arguments, **options)
    except DecodeError as error:
        assert len(str(error)) < 4000
    assert time.process_time() - started < 2


@quick
@given(st.text(max_size=200) | snippets)
def test_any_text_as_yaml_is_read_or_refused(text: str) -> None:
    attempt(Strategy.from_yaml, text)


@quick
@given(st.dictionaries(fields | keys, values, max_size=8))
def test_any_mapping_is_a_strategy_or_refused(data: dict[str, object]) -> None:
    whole = {"block": "whole", "layering": "single", "scheduler": "even", "confidence": "top-probability"}
    attempt(lambda: Strategy.parse({**whole, **data}).check().to_yaml())


@quick
@given(fields | st.sampled_from(["layering.detail", "scheduler.k", "logits.0", "block.length"]), keys, values)
def test_any_change_is_made_or_refused(path: str, key: str, value: object) -> None:
    for recipe in ("said", "klass"):
        attempt(lambda: Strategy.load(recipe, **{path: value}).check().digest())  # noqa: B023
        attempt(lambda: Strategy.load(recipe, **{f"{path}.{key}": value}).check().digest())  # noqa: B023


@quick
@given(st.text(max_size=40) | st.builds("{}={}".format, fields | keys, snippets | st.text(max_size=20)))
def test_any_override_is_taken_or_refused(text: str) -> None:
    attempt(lambda: Strategy.load("llada", **dict([parse_override(text)])).check().max_forwards())


@pytest.fixture(scope="module")
def lm(tmp_path_factory):
    from dllm_decode import DiffusionLM

    return DiffusionLM.from_pretrained(write_checkpoint(tmp_path_factory.mktemp("checkpoint")))


@pytest.mark.parametrize("text", ["a\ud800", "\udfffb", [{"role": "user", "content": "\ud83d"}]])
def test_half_of_a_character_is_no_prompt(text: object) -> None:
    from dllm_decode import DiffusionLM

    with pytest.raises(DecodeError, match=r"prompt 0(, message 0)?( is no text: half a character|: .*chat template)"):
        DiffusionLM.from_pretrained("tiny").generate(["b", text][1:], gen_length=2)


prompts = st.one_of(
    st.text(max_size=30),
    st.text(st.characters(categories=["Cs", "Cc", "Co", "Ll"]), max_size=10),
    st.lists(st.integers(-5, 400) | st.floats() | st.none(), max_size=5),
    st.fixed_dictionaries({"role": st.text(max_size=8), "content": scalars | st.lists(scalars, max_size=2)}),
    scalars,
)


@quick
@given(prompts | st.lists(prompts, max_size=3))
def test_any_prompt_is_decoded_or_refused(lm, given_prompts: object) -> None:
    attempt(lm.generate, given_prompts, gen_length=2)
