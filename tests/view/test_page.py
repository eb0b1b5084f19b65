"""The page of a decode, without a browser: its data, its parts, and what it refuses."""

from __future__ import annotations

import json
import re

import pytest
import torch

from dllm_decode import DiffusionLM
from dllm_decode.cli import main
from dllm_decode.decoding.trace import Trace
from dllm_decode.errors import DataError

PROMPTS = ["Sort the line: Paul, Anna, Carl, Zoe, Ben, Ida, Hugo.", "Sort the line: Ida, Hugo."]


@pytest.fixture(scope="module")
def lm() -> DiffusionLM:
    return DiffusionLM.from_pretrained("tiny")


@pytest.fixture(scope="module")
def made(lm):
    """A generation of each of these strategies, traced."""
    return {
        name: lm.generate(PROMPTS, strategy=name, gen_length=24, trace=True) for name in ("said", "llada", "wino")
    }


def data_of(html):
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)
    return json.loads(found)


def played(row):
    """The tokens of a row of a story after its last step, and how often each kind of thing happened."""
    tokens, kinds = list(row["start"]), [0] * 4
    for _, _, _, kind, _, written, _ in row["steps"]:
        for position, token in zip(written[::3], written[1::3], strict=True):
            tokens[position] = token
            kinds[kind] += 1
    return tokens, kinds


@pytest.mark.parametrize("name", ["said", "llada", "wino"])
def test_playing_a_pages_steps_to_the_end_gives_the_answer(made, name):
    (decode,) = data_of(made[name].trace.to_html())["decodes"]
    for place, row in enumerate(decode["rows"]):
        tokens, _ = played(row)
        assert tokens == made[name].tokens[place].tolist()
        assert row["prompt"] == PROMPTS[place]
        assert row["forwards"] == int(made[name].forward_passes[place])
    assert {str(token) for token in made[name].tokens.unique().tolist()} <= set(decode["texts"])


def test_a_page_tells_scaffold_from_detail_and_commits_from_what_a_reviser_opens_again(made):
    (said,) = data_of(made["said"].trace.to_html())["decodes"]
    assert said["stages"][0] == "scaffold" and len(said["stages"]) > 1
    (wino,) = data_of(made["wino"].trace.to_html())["decodes"]
    reopened = sum(int(((e.stage == "revise") & e.chosen).sum()) for e in made["wino"].trace.events)
    assert reopened > 0
    assert sum(played(row)[1][wino["kinds"].index("reopened")] for row in wino["rows"]) == reopened


def test_an_overwritten_token_is_told_as_edited(lm):
    options = {"scheduler.threshold": 0.2}
    out = lm.generate(PROMPTS[0], strategy="edit", gen_length=32, trace=True, **options)
    (decode,) = data_of(out.trace.to_html())["decodes"]
    tokens, kinds = played(decode["rows"][0])
    assert tokens == out.tokens[0].tolist()
    assert kinds[decode["kinds"].index("edited")] > 0


def test_a_proposal_is_told_when_it_changes_and_never_of_what_is_written_in_the_same_step(made):
    (decode,) = data_of(made["llada"].trace.to_html())["decodes"]
    for row in decode["rows"]:
        standing = {}
        assert row["steps"][0][6], "the first forward proposes every position"
        for _, _, _, _, _, written, proposed in row["steps"]:
            assert not set(written[::3]) & set(proposed[::3])
            for position, token in zip(proposed[::3], proposed[1::3], strict=True):
                assert standing.get(position) != token
                standing[position] = token


def test_a_trace_read_from_its_file_makes_the_same_page_alone(made, tmp_path):
    trace = made["wino"].trace
    trace.to_jsonl(tmp_path / "trace.jsonl")
    assert Trace.from_jsonl(tmp_path / "trace.jsonl").to_html() == trace.to_html()


def test_a_filled_in_text_shows_whole_rows_and_rows_of_any_order_keep_their_places(lm):
    texts = ["The capital of [MASK] is Paris.", "Sort the line: [MASK], Anna, Ben.", "The [MASK] of Italy is Rome."]
    out = lm.infill(texts, strategy="llada", trace=True, batch_size=2)
    (decode,) = data_of(out.trace.to_html())["decodes"]
    for place, row in enumerate(decode["rows"]):
        assert decode["mask"] in row["start"]
        assert played(row)[0] == out.canvas[place][out.valid[place]].tolist()


def test_a_page_asks_no_network_and_no_text_breaks_out_of_it(lm):
    out = lm.generate("</script><script>alert(1)</script> <!-- & \u2028", gen_length=8, trace=True)
    html = out.trace.to_html()
    assert "alert(1)</script>" not in html and data_of(html)["decodes"][0]["rows"][0]["prompt"].startswith("</script>")
    assert not re.search(r"""(src|href)\s*=|url\(|@import|fetch\(|https?://""", html)


def test_a_model_without_a_tokenizer_is_shown_by_ids(lm):
    bare = DiffusionLM(lm.denoiser)
    out = bare.generate(torch.tensor([[5, 6, 7]]), gen_length=8, trace=True)
    (decode,) = data_of(out.trace.to_html())["decodes"]
    assert decode["rows"][0]["prompt"] == "5 6 7"
    assert all(decode["texts"][token] == token for token in decode["texts"])


def test_the_command_puts_traces_of_the_same_prompts_on_one_page(made, tmp_path, capsys):
    for name, out in made.items():
        out.trace.to_jsonl(tmp_path / f"{name}.jsonl")
    page = tmp_path / "page.html"
    assert main(["view", *(str(tmp_path / f"{name}.jsonl") for name in made), "-o", str(page)]) == 0
    assert [decode["name"] for decode in data_of(page.read_text())["decodes"]] == list(made)


@pytest.mark.parametrize(
    ("count", "expected"), [(5, "1 to 4 traces side by side, got 5"), (0, "1 to 4 traces")]
)
def test_too_many_traces_or_none_are_refused(made, count, expected):
    from dllm_decode.decoding.story import story
    from dllm_decode.view.page import page

    trace = made["said"].trace
    with pytest.raises(DataError, match=expected):
        page([story(trace.batches, trace.about)] * count)


def test_traces_of_other_prompts_or_without_texts_are_refused_in_one_line(lm, made, tmp_path, capsys):
    lm.generate("Add 2 and 3.", gen_length=24, trace=True).trace.to_jsonl(tmp_path / "other.jsonl")
    made["said"].trace.to_jsonl(tmp_path / "said.jsonl")
    (tmp_path / "old.jsonl").write_text('{"format": "dllm-decode-trace", "version": 1, "batches": 0}\n')
    for second, expected in (("other", "of the same prompts; trace 2 has 'Add 2 and 3.'"), ("old", "cannot be shown")):
        command = ["view", str(tmp_path / "said.jsonl"), str(tmp_path / f"{second}.jsonl"), "-o", str(tmp_path / "p.html")]
        assert main(command) == 2
        error = capsys.readouterr().err
        assert expected in error and error.count("\n") == 1
    assert not (tmp_path / "p.html").exists()


def test_a_version_1_file_still_replays(tmp_path):
    line = {"block": 0, "stage": "all", "step": 0, "model_calls": 1, "window": [1, 3], "written": [[[2, 7, 0.5]]]}
    head = {"format": "dllm-decode-trace", "version": 1, "batches": 1}
    lines = [head, {"batch": {"row_ids": [0], "rows": 1}}, line]
    (tmp_path / "old.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    trace = Trace.from_jsonl(tmp_path / "old.jsonl")
    assert trace.replay(torch.tensor([[5, 9, 9]])).tolist() == [[5, 9, 7]]
    assert trace.about is None


def test_generate_writes_a_page_of_what_it_printed(tmp_path, capsys):
    page = tmp_path / "page.html"
    assert main(["generate", PROMPTS[0], "--gen-length", "16", "--page", str(page)]) == 0
    (decode,) = data_of(page.read_text())["decodes"]
    text = "".join(
        decode["texts"][str(token)] for token in played(decode["rows"][0])[0] if token not in decode["ends"]
    )
    assert text.strip() == capsys.readouterr().out.strip()


def test_an_evaluation_keeps_the_traces_of_its_first_examples(tmp_path, capsys):
    command = ["eval", "--task", "square", "--strategy", "said", "--limit", "4", "--no-cache", "--dtype", "float32"]
    assert main([*command, "--keep-traces", "3", "--out", str(tmp_path / "run.json")]) == 0
    outcomes = json.loads((tmp_path / "run.json").read_text())["outcomes"]
    (decode,) = data_of(Trace.from_jsonl(tmp_path / "run.traces.jsonl").to_html())["decodes"]
    assert [row["forwards"] for row in decode["rows"]] == [one["forward_passes"] for one in outcomes[:3]]
    for row, outcome in zip(decode["rows"], outcomes[:3], strict=True):
        tokens = played(row)[0]
        ends = [place for place, token in enumerate(tokens) if token in decode["ends"]]
        answer = tokens[: ends[0]] if ends else tokens
        assert "".join(decode["texts"][str(token)] for token in answer).startswith(outcome["text"])


def test_traces_of_an_evaluation_need_a_file_beside_them(capsys):
    assert main(["eval", "--task", "square", "--limit", "1", "--keep-traces", "1"]) == 2
    assert "give --out FILE" in capsys.readouterr().err
