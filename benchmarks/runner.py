"""Running many independent tasks: worker processes, progress, and a store from which an interrupted run resumes."""

import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.environment import one_thread

Task = dict[str, Any]
Outcome = dict[str, Any]


@dataclass(frozen=True)
class Context:
    """The settings of one run.

    Args:
        full: Whether runs of over an hour are allowed.
        resume: Whether outcomes stored by the same code are reused.
        seeds: Overrides the number of seeds of every section (for a quick trial); None keeps their own.
        processes: Number of worker processes, each with one thread.
        threads: Threads of this process, in which timings are taken.
        data: Folder of the real series.
        cache: Folder of simulated series and stored outcomes; can be deleted at any time.
        peers_python: The interpreter in which the peers are installed.
        stamp: Digest of the code that decides an outcome.
        quick: Whether sizes and repetitions are cut down until everything runs in seconds, to see that it does.
    """

    full: bool
    resume: bool
    seeds: int | None
    processes: int
    threads: int
    data: Path
    cache: Path
    peers_python: str
    stamp: str
    quick: bool = False

    def count(self, default: int, full: int | None = None) -> int:
        """How many seeds to run where a section asks for `default`, or for `full` under --full."""
        return self.seeds or (full if self.full and full else default)

    def store(self, name: str) -> "Store":
        """The outcomes of one section."""
        return Store(self.cache / f"{name}.jsonl", self.stamp, self.resume)


class Store:
    """Outcomes by task in a file of JSON lines, one appended (and flushed) as soon as it is there.

    Args:
        path: The file.
        stamp: Digest of the code; outcomes with another stamp are ignored.
        resume: False starts an empty file.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "runs.jsonl"
        >>> Store(path, "v1", resume=False).put({"seed": 0}, {"a": 1.0})
        >>> Store(path, "v1", resume=True).get({"seed": 0})
        {'a': 1.0}
        >>> Store(path, "v2", resume=True).get({"seed": 0}) is None
        True
    """

    def __init__(self, path: Path, stamp: str, resume: bool) -> None:
        self.path, self.stamp = path, stamp
        self._outcomes: dict[str, Outcome] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        if not resume:
            path.unlink(missing_ok=True)
        elif path.is_file():
            self._read()

    def get(self, task: Task) -> Outcome | None:
        """The stored outcome of a task, None if there is none."""
        return self._outcomes.get(_key(task))

    def put(self, task: Task, outcome: Outcome) -> None:
        """Store an outcome."""
        self._outcomes[_key(task)] = outcome
        with self.path.open("a") as file:
            file.write(json.dumps({"stamp": self.stamp, "task": task, "outcome": outcome}) + "\n")

    def _read(self) -> None:
        text = self.path.read_text()
        if not text.endswith("\n"):  # a line cut off when the run was killed: drop it, or the next one is glued to it
            text = text[: text.rfind("\n") + 1]
            self.path.write_text(text)
        for line in text.splitlines():
            entry = json.loads(line)
            if entry["stamp"] == self.stamp:
                self._outcomes[_key(entry["task"])] = entry["outcome"]


def run_tasks(context: Context, name: str, function: Callable[[Task], Outcome], tasks: Sequence[Task]) -> list[Outcome]:
    """Run `function` on every task in worker processes and return the outcomes in the order of the tasks.

    Args:
        context: Settings; how many processes and where outcomes are stored.
        name: Section name, for the store and the progress line.
        function: A module-level function. An exception becomes the outcome {"error": text}: a failure is counted,
            never dropped.
        tasks: JSON-able descriptions, each with everything its outcome depends on.
    """
    store = context.store(name)
    pending = [task for task in tasks if store.get(task) is None]
    progress = Progress(name, len(tasks), done=len(tasks) - len(pending))
    spawn = multiprocessing.get_context("spawn")
    with _environment(one_thread()), ProcessPoolExecutor(context.processes, mp_context=spawn) as pool:
        futures = {pool.submit(_guarded, function, task): task for task in pending}
        try:
            for future in as_completed(futures):
                store.put(futures[future], future.result())
                progress.step()
        except BaseException:  # Ctrl-C too: what has not begun is given up, what is stored stays
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    progress.end()
    return [store.get(task) or {} for task in tasks]


class Progress:
    """A line on stderr: rewritten in a terminal, otherwise printed now and then."""

    def __init__(self, label: str, total: int, done: int = 0) -> None:
        self.label, self.total, self.done = label, total, done
        self._begun, self._fresh, self._shown = time.monotonic(), 0, 0.0
        self._terminal = sys.stderr.isatty()
        if done:
            self._print(f"{label}: {done}/{total} resumed", final=True)

    def step(self) -> None:
        """One more is done."""
        self.done, self._fresh = self.done + 1, self._fresh + 1
        now = time.monotonic()
        if now - self._shown > (0.2 if self._terminal else 15.0):
            self._shown = now
            left = (now - self._begun) / self._fresh * (self.total - self.done)
            self._print(f"{self.label}: {self.done}/{self.total}, about {left:.0f} s left")

    def end(self) -> None:
        """Leave the final count standing."""
        self._print(f"{self.label}: {self.done}/{self.total} in {time.monotonic() - self._begun:.0f} s", final=True)

    def _print(self, text: str, final: bool = False) -> None:
        end = "\n" if final or not self._terminal else ""
        start = "\r\x1b[K" if self._terminal else ""
        print(start + text, end=end, file=sys.stderr, flush=True)


def _guarded(function: Callable[[Task], Outcome], task: Task) -> Outcome:
    try:
        return function(task)
    except Exception as error:  # every failure of the package under test is a result
        return {"error": f"{type(error).__name__}: {error}"}


def _key(task: Task) -> str:
    return json.dumps(task, sort_keys=True)


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Environment variables that spawned processes inherit, restored afterwards."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
