"""The benchmarks of a model's shape and of scaling: rooflines against hand-worked numbers, both at a small shape."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from benchmarks.lib import bare, shape_decodes
from benchmarks.lib.clock import Budget, Samples, repeated
from benchmarks.lib.roofline import (
    Floor,
    Rates,
    Sizes,
    Work,
    body_weights,
    head_weights,
    kv_bytes,
    model_bytes,
    step_bytes,
    step_floor,
    step_flops,
)
from benchmarks.lib.shape_model import SHAPES, Subject, build, compiled
from benchmarks.lib.shape_record import Record
from benchmarks.speed import llada_shape, scaling
from dllm_decode.errors import ModelError

CPU = torch.device("cpu")
SMALL = SHAPES["small"]
FEW = Sizes(hidden=4, layers=2, heads=2, kv_heads=1, mlp=8, vocabulary=10, itemsize=2)
STEP = Work(rows=3, columns=5, attended=7, read=2)


@pytest.fixture(scope="module")
def subject() -> Subject:
    """The small shape with random weights."""
    return build(SMALL, CPU)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a run of every part at the small shape writes."""
    path = tmp_path_factory.mktemp("shape") / "llada_shape.json"
    arguments = ["--shape", "small", "--device", "cpu", "--seconds", "300", "--json", str(path)]
    assert llada_shape.main(arguments) == 0
    return json.loads(path.read_text())  # type: ignore[no-any-return]


def test_weights_are_counted_as_by_hand() -> None:
    # Per layer: query and output 4 x 4, key and value 4 x 2, gate, up and down 4 x 8.
    assert body_weights(FEW) == 2 * (16 + 16 + 8 + 8 + 3 * 32) == 288
    assert head_weights(FEW) == 40
    # Body, embedding, head, and five norms of 4, two bytes each.
    assert model_bytes(FEW) == 2 * (288 + 40 + 40 + 20) == 776


def test_llada_8b_has_as_many_weights_as_published() -> None:
    sizes = SHAPES["llada-8b"].sizes
    assert model_bytes(sizes) == 2 * 8_015_581_184
    assert kv_bytes(sizes, 64, 1024) == 2**35


def test_keys_and_values_of_a_column_are_two_in_every_layer() -> None:
    assert kv_bytes(FEW, rows=3, columns=5) == 3 * 5 * 2 * 2 * 2 * 2 == 240


def test_operations_of_a_step_are_body_attention_and_head() -> None:
    body, attention, head = 2 * 5 * 288, 4 * 2 * 5 * 7 * 4, 2 * 2 * 40
    assert step_flops(FEW, STEP) == 3 * (body + attention + head) == 12_480


def test_bytes_of_a_step_are_weights_once_and_each_rows_cache_embedding_and_logits() -> None:
    weights, cache, embedding, logits = 2 * (288 + 40), 336 + 240, 3 * 5 * 4 * 2, 2 * 3 * 2 * 10 * 2
    assert step_bytes(FEW, STEP) == weights + cache + embedding + logits == 1592


def test_the_roofline_is_the_larger_of_both_times() -> None:
    slow_memory = step_floor(FEW, STEP, Rates(bandwidth=100.0, matmul=1000.0))
    assert slow_memory == Floor(compute=12.48, memory=15.92)
    assert (slow_memory.seconds, slow_memory.bound) == (15.92, "memory")
    slow_compute = step_floor(FEW, STEP, Rates(bandwidth=200.0, matmul=1000.0))
    assert (slow_compute.seconds, slow_compute.bound) == (12.48, "compute")


def test_a_model_of_a_shape_has_its_bytes_finite_logits_and_looks_both_ways(subject: Subject) -> None:
    assert subject.weight_bytes == model_bytes(SMALL.sizes)
    tokens = subject.canvas(2, 12, 20)
    logits = subject.bare(False)(tokens, None, slice(0, 32))
    assert 0.5 < float(logits.std()) < 2
    changed = tokens.clone()
    changed[:, -1] = 0
    assert bool((subject.bare(False)(changed, None, slice(0, 1)) != logits[:, :1]).any())


def test_positions_open_at_each_step_go_down_by_llada_s_counts() -> None:
    assert bare.open_counts(10, 4) == [10, 7, 4, 2]
    assert bare.open_counts(3, 3) == [3, 2, 1]


def test_bare_forwards_are_as_many_as_a_decode_makes_and_give_the_denoiser_s_logits(subject: Subject) -> None:
    seen: list[tuple[slice | None, slice]] = []

    def forward_of(keeps: bool) -> bare.Forward:
        stock = bare.StockForward(subject.model, keeps)
        own = bare.DenoiserForward(subject.lm.denoiser, keeps)

        def forward(tokens: torch.Tensor, computed: slice | None, window: slice) -> torch.Tensor:
            seen.append((computed, window))
            expected = stock(tokens, computed, window)
            torch.testing.assert_close(own(tokens, computed, window), expected, rtol=1e-4, atol=1e-4)
            return expected

        return forward

    canvas = subject.canvas(2, 8, 16)
    bare.uncached(forward_of, canvas, 16, 4)
    assert seen == [(None, slice(start, 24)) for start in (8, 12, 16, 20)]
    seen.clear()
    bare.dual_cached(forward_of, canvas, 16, 8, 6)
    first, second = slice(8, 16), slice(16, 24)
    assert [computed for computed, _ in seen] == [None, first, first, None, second, second]
    assert [window for _, window in seen[:3]] == [slice(8, 16), slice(8, 13), slice(8, 10)]


def test_a_run_says_what_it_was_measured_on_and_that_it_is_complete(report: dict[str, Any]) -> None:
    assert report["complete"] and "failures" not in report
    assert {"torch", "transformers", "triton", "dllm_decode"} <= set(report["versions"])
    assert report["device"].startswith("cpu") and report["date"].endswith("UTC")
    assert report["shape"]["name"] == "small" and report["dtype"] == "float32"
    assert report["model"]["build_seconds"] > 0 and report["model"]["warmup_seconds"] > 0
    assert (report["model"]["compiled"], report["model"]["compile_seconds"]) == (False, None)
    assert report["device_rates"]["bytes_per_second"] > 0
    products = report["device_rates"]["products"]
    assert report["device_rates"]["flops_per_second"] == max(each["flops_per_second"] for each in products)


def test_every_step_stands_beside_its_roofline_and_the_bare_model(report: dict[str, Any]) -> None:
    rows = report["per_step"]
    assert [(row["cache"], row["batch"], row["gen_length"]) for row in rows] == [
        (None, 1, 16), (None, 1, 32), ("dual", 1, 16), ("dual", 2, 16), ("dual", 1, 32)
    ]  # fmt: skip
    # A difference can drown in a busy machine's noise, and then says so; a step without a cache cannot.
    measured = [row for row in rows if "skipped" not in row]
    assert {None} <= {row["cache"] for row in measured}
    for row in measured:
        floor = max(row["roofline"]["compute_milliseconds"], row["roofline"]["memory_milliseconds"])
        assert row["over_roofline"] == pytest.approx(row["step_milliseconds"] / floor, rel=1e-3)
        assert row["bare_model_milliseconds"] > 0 and row["outside_model_share"] < 1
        assert row["step"]["repeats"] == 3 and row["warmup_seconds"] > 0


def test_every_length_and_batch_is_decoded_in_fixed_counts(report: dict[str, Any]) -> None:
    rows = report["end_to_end"]
    assert {(row["batch"], row["gen_length"]) for row in rows} == {(1, 16), (1, 32), (2, 16), (2, 32)}
    for row in rows:
        assert row["model_calls"] == row["steps"] == row["gen_length"] // 2
        expected = row["batch"] * row["gen_length"] / row["seconds"]
        assert row["tokens_per_second"] == pytest.approx(expected, rel=1e-3)
        assert row["peak_bytes"] is None
    memory = report["memory"]
    assert memory["limit_bytes"] == memory["weight_bytes"] + memory["kv_bytes"] + 2**30


def test_schedules_stand_beside_one_token_a_step(report: dict[str, Any]) -> None:
    assert [row["budget"] for row in report["said"]] == ["GSM8K", "ARC-C", "GPQA"]
    for row in report["said"]:
        # All detail is hard on random weights: the split reuses its forward, and three hard steps make three.
        assert row["model_calls"] == row["scaffold_steps"] + 3
        assert row["forward_ratio"] == pytest.approx(row["gen_length"] / row["model_calls"], rel=1e-3)
        assert row["wall_clock_ratio"] == pytest.approx(row["llada_seconds"] / row["seconds"], rel=1e-3)
    (row,) = report["said_block"]
    assert row["model_calls"] == row["steps"] == 16
    assert row["speedup"] > 0 and row["speedup_of_rooflines"] > 1


def test_every_target_has_a_value_and_a_verdict(report: dict[str, Any]) -> None:
    measured = sum("skipped" not in row for row in report["per_step"])
    assert len(report["targets"]) == 2 * measured + 3 + 1
    for each in report["targets"]:
        word, bound = each["target"].rsplit(" ", 1)
        below, above = each["value"] <= float(bound), each["value"] >= float(bound)
        assert each["met"] == (below if word == "at most" else above)


def test_what_does_not_fit_into_the_time_is_named_and_not_guessed(tmp_path: Path) -> None:
    path = tmp_path / "short.json"
    arguments = ["--shape", "small", "--device", "cpu", "--seconds", "0", "--json", str(path)]
    assert llada_shape.main(arguments) == 0
    found = json.loads(path.read_text())
    for section in ("per_step", "said", "said_block", "end_to_end"):
        assert found[section] and all("seconds" in row["skipped"] for row in found[section])
    assert found["targets"] == []


def test_a_part_that_fails_leaves_the_others_and_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise ValueError("no such card")

    monkeypatch.setattr(shape_decodes, "said", fail)
    path = tmp_path / "broken.json"
    arguments = ["--shape", "small", "--device", "cpu", "--seconds", "0", "--json", str(path)]
    assert llada_shape.main(arguments) == 1
    found = json.loads(path.read_text())
    assert found["failures"] == ["said: ValueError: no such card"]
    assert not found["complete"] and found["end_to_end"] and "said" not in found


def test_a_baseline_that_takes_too_long_is_scaled_from_fewer_steps_and_says_so(subject: Subject) -> None:
    whole = shape_decodes.one_a_step(subject, Budget(1e9), 1, 8, 32, None)
    scaled = shape_decodes.one_a_step(subject, Budget(1e-3), 1, 8, 32, None)
    assert (whole[1], scaled[1]) == (None, shape_decodes.TRIAL_STEPS)


def test_a_decode_without_enough_memory_is_named(
    subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhaust(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(shape_decodes, "decode", exhaust)
    record = Record(tmp_path / "large.json", {}, Budget(60))
    shape_decodes.memory(subject, record)
    shape_decodes.end_to_end(subject, record, record.budget)
    assert record.content["memory"]["skipped"] == shape_decodes.NO_MEMORY
    assert {row["skipped"] for row in record.content["end_to_end"]} == {shape_decodes.NO_MEMORY}


def test_a_model_that_cannot_be_compiled_is_refused_and_one_that_can_is(subject: Subject) -> None:
    calls: list[str] = []
    able = SimpleNamespace(denoiser=SimpleNamespace(compile=lambda: calls.append("compiled")))
    assert compiled(replace(subject, lm=able)).compiled and calls == ["compiled"]  # type: ignore[arg-type]
    unable = SimpleNamespace(denoiser=SimpleNamespace())
    with pytest.raises(ModelError, match="has no compile"):
        compiled(replace(subject, lm=unable))  # type: ignore[arg-type]


def test_a_compiled_run_measures_the_first_of_every_kind() -> None:
    plan = SHAPES["llada-8b"].plan.one_of_each()
    assert (plan.gen_lengths, plan.batches, plan.cached_batches) == ((256,), (1,), (1,))
    assert (plan.said, plan.said_block_batches) == ((("GSM8K", 512, 256),), (1,))


def test_a_run_can_be_cut_to_some_parts(tmp_path: Path) -> None:
    path = tmp_path / "parts.json"
    arguments = ["--shape", "small", "--device", "cpu", "--parts", "memory", "--json", str(path)]
    assert llada_shape.main(arguments) == 0
    found = json.loads(path.read_text())
    assert found["memory"]["batch"] == 2 and found["device_rates"]
    assert not {"per_step", "said", "said_block", "end_to_end"} & set(found)


def test_a_part_of_a_budget_ends_before_the_whole() -> None:
    budget = Budget(100.0)
    half = budget.share(0.5)
    assert half.total == pytest.approx(50, abs=1)
    assert half.allows(40) and not half.allows(60) and budget.allows(60)


def test_the_large_shape_is_refused_on_a_cpu(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        llada_shape.main(["--device", "cpu"])
    assert "--shape small" in capsys.readouterr().err


def test_a_call_is_repeated_while_another_one_fits_into_its_time() -> None:
    assert len(repeated(CPU, lambda: None, most=3, within=60).values) == 3
    assert len(repeated(CPU, lambda: None, most=3, within=0).values) == 1
    found = Samples([0.004, 0.002, 0.009]).milliseconds(per=2)
    assert found == {"milliseconds": 2.0, "spread": [1.0, 4.5], "repeats": 3}


def test_scaling_varies_one_thing_at_a_time_around_a_base_point(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "scaling.json"
    arguments = ["--model", "small", "--json", str(path), "--base", "2", "8", "32"]
    arguments += ["--batch", "1", "2", "--prompt-length", "8", "240", "--gen-length", "16"]
    assert scaling.main(arguments) == 0
    found = json.loads(path.read_text())
    places = [(p["varied"], p["batch"], p["prompt_length"], p["gen_length"]) for p in found["points"]]
    assert places == [
        ("batch", 1, 8, 32), ("batch", 2, 8, 32),
        ("prompt_length", 2, 8, 32), ("prompt_length", 2, 240, 32),
        ("gen_length", 2, 8, 16), ("gen_length", 2, 8, 32),
    ]  # fmt: skip
    base = [p for p in found["points"] if (p["batch"], p["prompt_length"], p["gen_length"]) == (2, 8, 32)]
    assert len({p["seconds"] for p in base}) == 1  # measured once, shown on every axis
    assert found["points"][3]["skipped"] == "over the model's context of 256 columns"
    for point in found["points"][:3]:
        assert point["forwards"] == 32 and point["peak_bytes"] is None
        assert point["seconds_per_forward"] == pytest.approx(point["seconds"] / 32, rel=1e-3)
    assert (found["model"], found["base"]["batch"], found["repeats"]) == ("small", 2, 3)
    assert "over the model's context" in capsys.readouterr().out
