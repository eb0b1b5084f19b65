"""The page in a real Chromium: narrow and wide, light and dark; playing, sliding, comparing, reading, and its speed."""

from __future__ import annotations

import random

import pytest

from dllm_decode import DiffusionLM
from dllm_decode.decoding.story import KINDS, story
from dllm_decode.view.page import page
from tests.support.browser import axe_core, chromium, faults, opened

pytestmark = pytest.mark.slow

PROMPTS = ["Sort the line: Paul, Anna, Carl, Zoe, Ben, Ida, Hugo.", "Sort the line: Ida, Hugo."]
STRATEGIES = ("said", "llada", "wino")
SHAPES = [(width, scheme) for width in (400, 1440) for scheme in ("light", "dark")]


@pytest.fixture(scope="module")
def browser():
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Traces of each strategy, and a page of all of them."""
    lm = DiffusionLM.from_pretrained("tiny")
    traces = {name: lm.generate(PROMPTS, name, gen_length=24, trace=True) for name in STRATEGIES}
    file = tmp_path_factory.mktemp("page") / "page.html"
    file.write_text(page([story(out.trace.batches, out.trace.about) for out in traces.values()]))
    return traces, file


def decided(tab):
    return [int(text.split()[0]) for text in tab.locator(".summary").all_inner_texts()]


@pytest.mark.parametrize(("width", "scheme"), SHAPES)
def test_it_plays_slides_and_compares_without_a_complaint(browser, made, width, scheme):
    traces, file = made
    calls = [out.model_calls for out in traces.values()]
    with opened(browser, file, width, scheme) as (tab, complaints):
        assert tab.locator(".panel h2").all_inner_texts() == list(STRATEGIES)
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        assert decided(tab) == [24] * 3
        tab.locator("#slider").fill("0")
        assert decided(tab) == [0] * 3
        for colour in ("confidence", "stage", "block", "step"):
            tab.select_option("#colour", colour)
        tab.select_option("#speed", "60")
        tab.click("#play")
        tab.locator("#play", has_text="Play").wait_for()
        assert tab.input_value("#slider") == str(max(calls))
        assert decided(tab) == [24] * 3
        tab.select_option("#row", "1")
        assert "Ida, Hugo" in tab.inner_text("#prompt")
        assert not complaints


@pytest.mark.parametrize("place", [0, 1])
def test_going_back_forward_by_forward_shows_what_going_on_showed(browser, made, place):
    _, file = made
    with opened(browser, file) as (tab, complaints):
        tab.select_option("#row", str(place))
        assert tab.evaluate("""() => {
            const seen = () => document.getElementById('panels').innerHTML.replace(/ aria-label="[^"]*position \\d[^"]*"/g, '');
            const on = [];
            for (let call = 0; call <= page.last; call += 1) { page.go(call); on.push(seen()); }
            const wrong = [];
            for (let call = page.last; call >= 0; call -= 1) { page.go(call); if (seen() !== on[call]) wrong.push(call); }
            page.go(3); if (seen() !== on[3]) wrong.push('jump');
            return wrong; }""") == []
        assert not complaints


def test_the_answer_on_the_page_is_the_answer(browser, made):
    traces, file = made
    lm = DiffusionLM.from_pretrained("tiny")
    with opened(browser, file) as (tab, _):
        for panel, out in zip(tab.locator(".answer").all(), traces.values(), strict=True):
            shown = "".join(panel.locator(".token").all_text_contents()).replace("▫", "")
            assert shown.strip() == lm.tokenizer.decode(out.tokens[0], skip_special_tokens=True).strip()


def test_keys_move_play_and_read_and_the_live_line_follows(browser, made):
    _, file = made
    with opened(browser, file) as (tab, complaints):
        tab.keyboard.press("Home")
        tab.keyboard.press("ArrowRight")
        assert tab.inner_text("#where").startswith("forward 1 of")
        live = tab.text_content("#live")
        assert live.startswith("Forward 1 of") and all(name in live for name in STRATEGIES)
        tab.keyboard.press("End")
        assert tab.input_value("#slider") == tab.get_attribute("#slider", "max")
        tab.keyboard.press("Space")
        assert tab.inner_text("#play") == "Pause"
        tab.keyboard.press("Space")
        assert tab.inner_text("#play") == "Play"
        tab.keyboard.press("End")
        tab.locator(".answer").first.focus()
        tab.keyboard.press("ArrowRight")
        tab.keyboard.press("ArrowRight")
        told = tab.inner_text("#told")
        assert "position 2 of 24" in told and "stage" in told and "score" in told
        active = tab.get_attribute(".answer", "aria-activedescendant")
        assert tab.get_attribute(f"#{active}", "aria-label") == told
        tab.keyboard.press(",")
        assert tab.input_value("#slider") != tab.get_attribute("#slider", "max")
        tab.locator(".token").nth(4).hover()
        assert "position 5 of 24" in tab.inner_text("#told")
        assert not complaints


@pytest.mark.parametrize(("width", "scheme"), SHAPES)
def test_axe_finds_nothing_serious_at_any_forward_or_colour(browser, made, width, scheme, tmp_path_factory):
    axe = axe_core(tmp_path_factory.mktemp("axe"))
    with opened(browser, made[1], width, scheme) as (tab, _):
        tab.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        for colour in ("step", "confidence", "stage", "block"):
            tab.select_option("#colour", colour)
            tab.locator("#slider").fill("2")
            assert faults(tab, axe) == []


def test_a_long_decode_moves_within_a_frame_or_two(browser, tmp_path):
    """2,000 positions by 500 forwards, without a copy of the answer a forward."""
    file = tmp_path / "long.html"
    file.write_text(page([_long(0)]))
    assert file.stat().st_size < 2e6
    with opened(browser, file) as (tab, complaints):
        spent = tab.evaluate("""() => {
            const begun = performance.now();
            for (let call = 0; call <= 500; call += 1) { page.go(call); document.body.offsetHeight; }
            const on = performance.now();
            for (let call = 500; call >= 0; call -= 1) { page.go(call); document.body.offsetHeight; }
            return [(on - begun) / 501, (performance.now() - on) / 501]; }""")
        assert max(spent) < 50, f"{spent} ms a forward"
        assert not complaints


def _long(seed: int, size: int = 2000, forwards: int = 500) -> dict:
    drawn = random.Random(seed)
    order, steps = list(range(size)), []
    drawn.shuffle(order)
    a_step = size // forwards
    for call in range(1, forwards + 1):
        written, open_ = order[:a_step], order[a_step:]
        order = open_
        told = [value for p in written for value in (p, drawn.randrange(1, 400), drawn.random())]
        changed = open_ if call == 1 else drawn.sample(open_, min(40, len(open_)))
        guesses = [value for p in changed for value in (p, drawn.randrange(1, 400), drawn.random())]
        steps.append([call, call * 8 // (forwards + 1), 0, 0, call - 1, told, guesses])
    row = {"prompt": "p", "forwards": forwards, "start": [0] * size, "calls": forwards, "steps": steps}
    texts = {str(token): f" w{token}" for token in range(1, 400)}
    return {
        "name": f"long-{seed}",
        "digest": "0" * 12,
        "yaml": "",
        "model": "none",
        "seed": 0,
        "seconds": 1.0,
        "calls": forwards,
        "stages": ["all"],
        "kinds": list(KINDS),
        "mask": 0,
        "ends": [],
        "texts": texts,
        "rows": [row],
    }
