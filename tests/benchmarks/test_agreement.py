"""The benchmark of cached beside uncached runs, on two rows: what it writes, and what it takes up again."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.quality import agreement as benchmark


def test_the_benchmark_writes_every_cell_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    file = tmp_path / "agreement.json"
    common = ["--limit", "2", "--tasks", "facts", "--json", str(file), "--schedules"]
    assert benchmark.main([*common, "fast-dllm", "--caches", "prefix", "delayed 1"]) == 0
    assert benchmark.main([*common, "llada", "--caches", "dual refresh 2"]) == 0
    data = json.loads(file.read_text())
    assert [(cell["schedule"], cell["cache"]) for cell in data["cells"]] == [
        ("fast-dllm", "prefix"),
        ("fast-dllm", "delayed 1"),
        ("llada", "dual refresh 2"),
    ]
    assert {"date", "versions", "device", "dtype", "limit"} <= data.keys()
    for cell in data["cells"]:
        assert cell["rows"] == 2
        assert 0 <= cell["equal_rows"] <= cell["equal_tokens"] <= 1
        assert cell["columns_per_forward"] < cell["columns_per_forward_uncached"]
        assert {"accuracy", "accuracy_uncached"} <= cell.keys()


def test_results_of_another_setting_are_not_kept(tmp_path: Path) -> None:
    file = tmp_path / "agreement.json"
    assert benchmark.kept(file, {"limit": 2}) == {}
    cell = {"task": "line", "schedule": "llada", "cache": "dual"}
    benchmark.save(file, {"limit": 2}, {("line", "llada", "dual"): cell})
    assert benchmark.kept(file, {"limit": 2}) == {("line", "llada", "dual"): cell}
    assert benchmark.kept(file, {"limit": 3}) == {}
