"""Worker processes, failures as outcomes, and resuming."""

import json
from pathlib import Path

import pytest

from benchmarks.results import Row, at_most, merge
from benchmarks.runner import Context, Store, run_tasks


def square(task: dict) -> dict:
    """Fails for 3 and leaves a mark of each call."""
    with (Path(task["marks"]) / str(task["x"])).open("a") as file:
        file.write("called\n")
    if task["x"] == 3:
        raise ValueError("three")
    return {"square": task["x"] ** 2}


def context(folder: Path, resume: bool) -> Context:
    return Context(False, resume, None, 1, 1, folder, folder / "cache", "python", "stamp")


@pytest.fixture
def tasks(tmp_path: Path) -> list[dict]:
    (tmp_path / "marks").mkdir()
    return [{"x": x, "marks": str(tmp_path / "marks")} for x in (5, 3, 2)]


def test_outcomes_keep_the_order_and_failures_are_kept(
    tmp_path: Path, tasks: list[dict], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.runner.ProcessPoolExecutor", _InProcess)
    first = run_tasks(context(tmp_path, False), "squares", square, tasks)
    assert first == [{"square": 25}, {"error": "ValueError: three"}, {"square": 4}]
    again = run_tasks(context(tmp_path, True), "squares", square, tasks)
    assert again == first
    assert (tmp_path / "marks" / "5").read_text() == "called\n"  # resumed, not called again
    run_tasks(context(tmp_path, False), "squares", square, tasks[:1])
    assert (tmp_path / "marks" / "5").read_text() == "called\ncalled\n"


def test_store_survives_a_line_cut_off_and_ignores_other_code(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    store = Store(path, "v1", resume=False)
    store.put({"seed": 0}, {"a": 1})
    store.put({"seed": 1}, {"a": 2})
    path.write_text(path.read_text()[:-5])
    again = Store(path, "v1", resume=True)
    assert again.get({"seed": 0}) == {"a": 1}
    assert again.get({"seed": 1}) is None
    again.put({"seed": 1}, {"a": 3})
    assert Store(path, "v1", resume=True).get({"seed": 1}) == {"a": 3}
    assert Store(path, "v2", resume=True).get({"seed": 0}) is None


def test_results_of_other_sections_stay(tmp_path: Path) -> None:
    machine = {"cpu": "c", "cores": 2, "threads": 2, "load": 0.1, "torch": "2", "numpy": "2", "commit": None}

    def section(title: str, value: float) -> dict:
        return {
            "title": title,
            "rows": [at_most("error", value, 1.0, "%")],
            "seconds": 1.0,
            "full": False,
            "machine": machine,
        }

    path = tmp_path / "fitting.json"
    merge(path, {"a": section("A", 0.5), "b": section("B", float("nan"))})
    merge(path, {"a": section("A", 2.0)})
    stored = json.loads(path.read_text())
    assert [stored[name]["rows"][0]["reached"] for name in "ab"] == [False, False]
    assert stored["b"]["rows"][0]["value"] == "nan"
    assert "| error | 2 % | <= 1 | NO |" in path.with_suffix(".md").read_text()


def test_a_limit_is_missed_by_nan() -> None:
    assert at_most("x", float("nan"), 1.0) == Row("x", pytest.approx(float("nan"), nan_ok=True), "", "<= 1", False)  # pyright: ignore[reportArgumentType]


class _InProcess:
    """Runs tasks at once in this process: what is tested is the bookkeeping, not multiprocessing."""

    def __init__(self, *_: object, **__: object) -> None: ...

    def __enter__(self) -> "_InProcess":
        return self

    def __exit__(self, *_: object) -> None: ...

    def submit(self, function, *arguments):
        from concurrent.futures import Future

        future = Future()
        future.set_result(function(*arguments))
        return future
