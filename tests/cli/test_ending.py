"""What happens to a command that is told to end."""

import os
import signal

from pdekit.cli.codes import INTERRUPTED, TERMINATED


def test_being_told_to_end_leaves_nothing_behind(cli, series, tmp_path, monkeypatch):
    from pdekit.fitting import result

    def told(self, *arguments, **options):
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(result.Fit, "report", told)
    before, handler = sorted(tmp_path.iterdir()), signal.getsignal(signal.SIGTERM)
    outcome = cli("fit", series, "--model", "ornstein_uhlenbeck", "--out", tmp_path / "fit")
    assert outcome.code == TERMINATED
    assert "interrupted" in outcome.err
    assert sorted(tmp_path.iterdir()) == before
    assert signal.getsignal(signal.SIGTERM) == handler


def test_an_interruption_has_its_own_code(cli, series, monkeypatch):
    def told(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("pdekit.fitting.fit", told)
    assert cli("fit", series, "--model", "ornstein_uhlenbeck").code == INTERRUPTED
