"""The command line: `pdekit fit`, `pdekit simulate`, `pdekit density`, `pdekit verify`, `pdekit models`.

Exit codes: 0 for success; 2 for bad input, with one line on stderr that says what was expected and what to try; 1
where a computation or a disk failed; 130 after Ctrl-C, and 143 when it was told to end (SIGTERM).
"""

import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pdekit.cli.codes import BAD_INPUT, FAILED, INTERRUPTED, TERMINATED
from pdekit.errors import InputError, PdekitError, UnsupportedError

DEBUG = "--debug"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and turns every error into one line on stderr.

    Args:
        arguments: What follows `pdekit`; by default that of this process. `--debug`, anywhere, adds the traceback of an
            error.

    Returns:
        The exit code.
    """
    ended: list[int] = []
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with warnings.catch_warnings(), _ending_in_order(ended):
            if not sys.warnoptions:
                # What a user should know is in the flags; the warnings of libraries below are for developers.
                warnings.simplefilter("ignore")
            from pdekit.cli.app import run

            code = run([word for word in given if word != DEBUG])
    except KeyboardInterrupt:
        code = INTERRUPTED
    except Exception as error:
        if DEBUG in given:
            traceback.print_exc()
        code = _report(error)
    if code == INTERRUPTED:
        _say("interrupted. Earlier results are as they were.")
        code = TERMINATED if ended else INTERRUPTED
    return code


@contextmanager
def _ending_in_order(ended: list[int]) -> Iterator[None]:
    """SIGTERM is treated as Ctrl-C is, so that drafts are removed and checkpoints kept; `ended` then has an entry."""
    if threading.current_thread() is not threading.main_thread():  # Python lets no other thread handle signals
        yield
        return

    def end(number: int, _: object) -> None:
        ended.append(number)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _report(error: Exception) -> int:
    if isinstance(error, InputError | UnsupportedError):
        _say(f"error: {error}")
        return BAD_INPUT
    if isinstance(error, PdekitError):
        _say(f"error: {error}")
    elif isinstance(error, OSError):
        where = f" ({error.filename})" if error.filename else ""
        _say(f"error: {error.strerror or error}{where}.")
    else:
        what = f"{type(error).__name__}: {error}"
        _say(f"unexpected error: {what}. This is a fault in pdekit: please report it with the output of {DEBUG}.")
    return FAILED


def _say(text: str) -> None:
    """One line on stderr, whatever line breaks and control characters the text has from files and users."""
    from pdekit.report.text import clean

    sys.stderr.write(f"pdekit: {clean(text)}\n")
