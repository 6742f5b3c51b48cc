"""Measuring: the order of calls, what is never timed, ratios, memory."""

import math
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.operators import measure as measuring
from benchmarks.operators.measure import Measured, Way, duration, measure, relative_error
from benchmarks.operators.rows import faster, over_forward, peer
from benchmarks.runner import Context


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(False, False, None, 1, 1, tmp_path, tmp_path / "cache", "python", "stamp")


def calls_of(names: str, log: list[str]) -> dict[str, Way]:
    return {name: Way(lambda name=name: log.append(name)) for name in names}


def test_rounds_are_interleaved(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[str] = []
    monkeypatch.setattr(measuring, "_block", lambda run, *_: run() or 1.0)
    found = measure("order", calls_of("abc", log), context)
    assert log[-60:] == [*"abc"] * 20
    assert {len(one.seconds) for one in found.values()} == {measuring.ROUNDS}


def test_slow_ways_take_part_in_fewer_rounds(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "_trial", lambda run, _: 3.0 if run() == "slow" else 1e-3)
    monkeypatch.setattr(measuring, "_block", lambda *_: 1.0)
    found = measure("slow", {"slow": Way(lambda: "slow"), "fast": Way(lambda: "fast")}, context)
    assert len(found["slow"].seconds) == measuring.SLOW_ROUNDS >= 5
    assert len(found["fast"].seconds) == measuring.ROUNDS >= 20


@pytest.mark.parametrize("value", [[1.0, 2.1], [1.0, math.nan], [1.0], [[1.0, 2.0]]])
def test_a_wrong_value_is_not_timed(value: list, context: Context) -> None:
    calls = []
    way = Way(lambda: calls.append(1) or torch.tensor(value), torch.tensor([1.0, 2.0]))
    found = measure("wrong", {"way": way}, context)["way"]
    assert found.failure
    assert not found.seconds
    assert len(calls) == 1


def test_what_raises_has_a_failure_and_the_others_go_on(context: Context) -> None:
    def broken() -> None:
        raise ZeroDivisionError("no such thing")

    found = measure("broken", {"broken": Way(broken), "fine": Way(lambda: 1.0, 1.0)}, context)
    assert found["broken"].failure == "ZeroDivisionError: no such thing"
    assert found["fine"].error == 0
    assert found["fine"].median > 0


def test_only_the_first_rows_need_a_truth() -> None:
    assert relative_error(torch.tensor([[1.0], [4.0], [9.0]]), [[1.0], [5.0]]) == pytest.approx(0.2)
    assert relative_error((torch.ones(2), torch.zeros(2)), torch.ones(2, 2)) == 1.0


@pytest.mark.parametrize("value", [[2.0], [[2.0, 2.0]], 2.0])
def test_a_value_of_another_shape_is_not_compared(value: object) -> None:
    with pytest.raises(ValueError, match="can't be compared"):
        relative_error(value, [2.0, 2.0])


def test_ways_out_of_reach_are_not_timed_further(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "_trial", lambda run, _: run())
    monkeypatch.setattr(measuring, "_block", lambda *_: 1.0)
    found = measure("reach", {"near": Way(lambda: 0.1), "far": Way(lambda: 0.4)}, context, out_of_reach=3)
    assert found["near"].seconds
    assert not found["far"].seconds
    assert "trial" in found["far"].failure


def test_ratios_are_taken_within_rounds() -> None:
    # The machine is ten times slower in the last round: the ratio of medians would be 20 / 1.
    one, base = Measured((2.0, 20.0, 20.0)), Measured((1.0, 1.0, 10.0))
    assert one.over(base) == 2.0
    assert Measured((3.0,)).over(base) == 3.0
    assert math.isnan(Measured(failure="wrong").over(base))


def test_a_failure_of_ours_misses_and_one_of_a_peer_does_not() -> None:
    good, bad = Measured((1.0,)), Measured(failure="wrong")
    assert over_forward("a", bad, good).reached is False
    assert over_forward("a", good, bad).reached is False
    assert over_forward("a", good, good, 2.0).reached is True
    assert over_forward("a", good, good).reached is None
    assert faster("a", good, Measured((3.0,)), "x", 2.0).reached is True
    assert faster("a", good, Measured((1.5,)), "x", 2.0).reached is False
    assert peer("a", bad, good, "x").reached is None
    assert peer("a", bad, good, "x").value == "failed"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_peak_memory_counts_what_is_freed_again() -> None:
    mebibytes = 64

    def run() -> float:
        a = torch.ones(mebibytes * 2**20 // 4)
        return float((a + 1)[0])

    found = measuring.peak_memory(run, torch.device("cpu"))
    assert found is not None
    assert found == pytest.approx(2 * mebibytes, rel=0.05)


def test_durations_in_words() -> None:
    assert [duration(s) for s in (2.5, 0.9999, 0.01234, 5e-7)] == ["2.5 s", "1 s", "12.3 ms", "0.5 us"]
