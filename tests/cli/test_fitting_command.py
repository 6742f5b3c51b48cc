"""`pdekit fit`: what is printed and what is left on disk."""

import csv
import json
import os
import re
import signal

import numpy as np
import pytest

from pdekit.cli import main
from pdekit.fitting import Fit, fit
from pdekit.fitting.display import reporting as reporting_module

OWN = ("--drift", "theta*(mu - x)", "--diffusion", "sigma", "--positive", "theta,sigma")


def exact_estimates(x: np.ndarray, dt: float) -> dict[str, float]:
    """The maximum of the Gaussian likelihood in closed form: a regression of each value on the one before."""
    slope, intercept = np.polyfit(x[:-1], x[1:], 1)
    variance = np.mean((x[1:] - slope * x[:-1] - intercept) ** 2)
    theta = -np.log(slope) / dt
    return {"theta": theta, "mu": intercept / (1 - slope), "sigma": np.sqrt(2 * theta * variance / (1 - slope**2))}


def test_json_alone_on_stdout_with_the_exact_maximum(cli, series):
    outcome = cli("fit", series, "--model", "ou", "--json", "--seed", 3)
    assert (outcome.code, outcome.err) == (0, "")
    document = json.loads(outcome.out)
    x = np.loadtxt(series, delimiter=",", skiprows=1)[:, 1]
    for name, value in exact_estimates(x, 0.1).items():
        # the optimiser stops at a Newton decrement of 1e-8, some 1e-4 standard errors
        assert document["params"][name]["estimate"] == pytest.approx(value, rel=1e-4)
    assert document["status"] == "converged"
    assert (document["n"], document["seed"], document["convention"]) == (300, 3, "ito")
    assert document["bic"] - document["aic"] == pytest.approx(3 * (np.log(300) - 2))
    assert {"python", "pdekit", "torch"} <= set(document["versions"])
    assert {flag["severity"] for flag in document["flags"]} <= {"ok", "note", "warning", "serious"}
    assert document["params"]["theta"]["bounds"] == [0.0, None]
    assert document["out"] is None


def test_the_folder_holds_everything_and_reads_back(cli, tmp_path, series):
    outcome = cli("fit", series, "--model", "ou", "--out", "out/", "--profile")
    assert (outcome.code, outcome.err) == (0, "")
    folder = tmp_path / "out"
    files = {"model.json", "arrays.safetensors", "params.csv", "report.html"}
    assert {path.name for path in folder.iterdir()} == files
    assert {path.name for path in tmp_path.iterdir()} == {"out", "series.csv"}  # no drafts are left
    rows = {row["parameter"]: row for row in csv.DictReader((folder / "params.csv").read_text().splitlines())}
    again = Fit.load(folder)
    for name, parameter in again.params.items():
        assert float(rows[name]["estimate"]) == pytest.approx(parameter.estimate, rel=1e-12)
        assert float(rows[name]["profile_lower_95"]) < parameter.estimate < float(rows[name]["profile_upper_95"])
    assert f"pdekit fit {series} --model ou --out out/ --profile" in (folder / "report.html").read_text()
    for part in ("301 observations of x", "Log-likelihood", "profile intervals", "Flags", "Open out/report.html."):
        assert part in outcome.out


def test_replacing_is_asked_for_and_a_report_can_be_left_out(cli, tmp_path, series):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "model.json").write_text('{"kind": "fit", "format": 1}')
    outcome = cli("fit", series, "--model", "ou", "--out", "out", "--overwrite", "--no-report")
    assert outcome.code == 0
    assert "The fit is in out/." in outcome.out
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"model.json", "arrays.safetensors", "params.csv"}


def test_quiet_says_nothing(cli, series):
    outcome = cli("fit", series, "--model", "ou", "--quiet")
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")


def test_formulas_of_one_s_own_give_what_the_catalogue_gives(cli, series):
    named = json.loads(cli("fit", series, "--model", "ou", "--json").out)
    own = json.loads(cli("fit", series, *OWN, "--json").out)
    assert own["loglik"] == pytest.approx(named["loglik"], abs=1e-6)
    assert own["notes"] == []
    assert own["model"]["domain"] == [[None, None]]


def test_held_parameters_and_starts(cli, series):
    outcome = cli("fit", series, *OWN, "--fix", "mu=2", "--start", "theta=0.5,sigma=1", "--json")
    document = json.loads(outcome.out)
    assert (document["params"]["mu"]["estimate"], document["params"]["mu"]["status"]) == (2.0, "held")
    assert document["params"]["mu"]["stderr"] is None


def test_the_domain_follows_from_a_square_root(cli, series):
    outcome = cli("fit", series, "--drift", "k*(m - x)", "--diffusion", "s*sqrt(x)", "--positive", "k,m,s")
    assert outcome.code == 0
    assert "The domain is taken to be x > 0, as the formulas suggest; --domain says otherwise." in outcome.out
    assert "closed form" in outcome.out


def test_a_noise_without_stated_sign_comes_out_positive(cli, series):
    document = json.loads(cli("fit", series, "--drift", "k*(m - x)", "--diffusion", "s", "--json").out)
    assert document["notes"] == ["The sign of s makes no difference and is taken to be positive."]
    assert document["params"]["s"]["estimate"] > 0
    document = json.loads(
        cli("fit", series, "--drift", "k*(m - x)", "--diffusion", "s", "--bounds", "s=:0", "--json").out
    )
    assert document["notes"] == []
    assert document["params"]["s"]["estimate"] < 0


def test_several_states_by_repeated_flags(cli, tmp_path):
    paths = np.random.default_rng(0).standard_normal((81, 2)) * 0.1
    rows = "".join(f"{0.1 * k:.6g},{a:.17g},{b:.17g}\n" for k, (a, b) in enumerate(paths))
    (tmp_path / "two.csv").write_text("t,a,b\n" + rows)
    own = ("--drift", "-k*u", "--drift", "-k*v", "--diffusion", "s", "--diffusion", "s", "--positive", "k,s")
    outcome = cli("fit", "two.csv", *own, "--state", "u,v", "--column", "b", "--column", "a", "--json")
    assert (outcome.code, outcome.err) == (0, "")
    document = json.loads(outcome.out)
    assert document["data"]["columns"] == ["b", "a"]
    assert document["model"]["state"] == ["u", "v"]
    assert "exact for this model" in document["route"]


def test_interrupted_writing_leaves_the_previous_result_whole(cli, tmp_path, series, monkeypatch):
    assert cli("fit", series, "--model", "ou", "--out", "out", "--no-report").code == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}

    def interrupted(*arguments, **options):
        signal.raise_signal(signal.SIGINT)  # what Ctrl-C sends

    monkeypatch.setattr(reporting_module, "write_report", interrupted)
    # A shell starts what runs in the background with this signal ignored.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        outcome = cli("fit", series, "--model", "ou", "--fix", "mu=1", "--out", "out", "--overwrite")
    finally:
        signal.signal(signal.SIGINT, handler)
    assert outcome.code == 130
    assert outcome.line == "pdekit: interrupted. Earlier results are as they were."
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    assert {path.name for path in tmp_path.iterdir()} == {"out", "series.csv"}


def test_a_full_disk_is_one_line_and_leaves_nothing(cli, tmp_path, series, monkeypatch):
    def full(*arguments, **options):
        raise OSError(28, "No space left on device", "report.html")

    monkeypatch.setattr(reporting_module, "write_report", full)
    outcome = cli("fit", series, "--model", "ou", "--out", "out")
    assert outcome.code == 1
    assert outcome.line == "pdekit: error: No space left on device (report.html)."
    assert {path.name for path in tmp_path.iterdir()} == {"series.csv"}


def test_a_fault_is_one_line_and_a_traceback_on_request(cli, series, monkeypatch):
    def faulty(*arguments, **options):
        raise ZeroDivisionError("1/0")

    monkeypatch.setattr("pdekit.fitting.fit", faulty)
    outcome = cli("fit", series, "--model", "ou")
    assert outcome.code == 1
    assert "unexpected error: ZeroDivisionError: 1/0" in outcome.line
    assert "report it" in outcome.line
    outcome = cli("fit", series, "--model", "ou", "--debug")
    assert outcome.code == 1
    assert "Traceback" in outcome.err


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a pseudo-terminal")
def test_a_bar_where_a_person_watches(series, tmp_path, monkeypatch):
    shown = []

    class Terminal:
        encoding = "utf-8"

        def write(self, text):
            shown.append(text)

        def flush(self):
            pass

        def isatty(self):
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stderr", Terminal())
    assert main(["fit", str(series), *OWN, "--out", str(tmp_path / "out"), "--no-report"]) == 0
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", "".join(shown))
    assert "Fitting" in text or "Writing the results" in text


def test_the_command_and_python_agree(cli, series):
    from pdekit.data import Trajectories
    from pdekit.symbolic import models

    document = json.loads(cli("fit", series, "--model", "ou", "--json").out)
    direct = fit(models.get("ou"), Trajectories.from_csv(series))
    assert document["loglik"] == direct.loglik
