"""`pdekit density`: numbers against closed forms, files, and refusals in one line."""

import json

import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

OU = ("--drift", "-x", "--diffusion", "sqrt(2)", "--cells", 160)


def document(cli, *arguments):
    outcome = cli("density", *arguments, "--json")
    assert (outcome.code, outcome.err) == (0, "")
    return json.loads(outcome.out)


def test_formulas_from_a_normal_law(cli):
    found = document(cli, *OU, "--initial", "normal(2, 0.5)", "--times", "0.5,1", "--at", "0,-1")
    assert found["times"] == [0.5, 1.0]
    for k, t in enumerate(found["times"]):
        mean, variance = 2 * np.exp(-t), 0.25 * np.exp(-2 * t) + 1 - np.exp(-2 * t)
        assert found["mean"][k][0] == pytest.approx(mean, rel=1e-4)
        assert found["covariance"][k][0][0] == pytest.approx(variance, rel=1e-4)
        exact = norm(mean, np.sqrt(variance)).pdf([0.0, -1.0])
        assert [at["pdf"][k] for at in found["at"]] == pytest.approx(exact, rel=1e-3)
    assert max(found["error_estimate"]) < 1e-2


def test_a_model_of_the_catalogue_with_parameters(cli):
    ou = ("--model", "ou", "--set", "theta=2,mu=1,sigma=0.4")
    found = document(cli, *ou, "--initial", 0, "--times", 1, "--method", "closed-form", "--at", 0.5)
    spread = 0.4 * np.sqrt((1 - np.exp(-4.0)) / 4)
    assert found["at"][0]["pdf"] == pytest.approx([norm(1 - np.exp(-2.0), spread).pdf(0.5)], rel=1e-9)


def test_a_stationary_law_of_two_states(cli):
    model = ("--drift", "v", "--drift", "-v/2 - x", "--diffusion", "0", "--diffusion", "1", "--state", "x,v")
    found = document(cli, *model, "--stationary", "--method", "closed-form", "--at", "0.5,-1")
    assert found["times"] == [None]
    assert found["covariance"][0] == pytest.approx(np.eye(2))
    exact = multivariate_normal(np.zeros(2)).pdf([0.5, -1.0])
    assert found["at"] == [{"state": [0.5, -1.0], "pdf": pytest.approx([exact])}]


def test_a_formula_between_reflecting_sides(cli):
    found = document(
        cli,
        *("--drift", "0", "--diffusion", "sqrt(2)", "--domain", "0:1", "--boundary", "reflecting", "--cells", 64),
        *("--initial", "1 + cos(pi*x)", "--times", 0.1, "--at", "0.25,0.75"),
    )
    exact = 1 + np.cos(np.pi * np.array([0.25, 0.75])) * np.exp(-0.1 * np.pi**2)
    assert [at["pdf"][0] for at in found["at"]] == pytest.approx(exact, rel=1e-3)


def test_absorbing_sides_lose_mass(cli):
    found = document(
        cli,
        *("--drift", "0", "--diffusion", "1", "--domain", "0:", "--boundary", "absorbing:natural"),
        *("--initial", 1, "--times", 1, "--cells", 64),
    )
    assert found["mass"] == pytest.approx([2 * norm.cdf(1) - 1], rel=1e-3)


def test_samples_of_a_file(cli, tmp_path):
    (tmp_path / "s.csv").write_text("other,x\n" + "".join(f"9,{v}\n" for v in (-1, 0, 4)))
    model = ("--drift", "-x", "--diffusion", "sqrt(2)", "--method", "closed-form")
    found = document(cli, *model, "--initial", "s.csv", "--times", 1)
    assert found["mean"][0][0] == pytest.approx(np.exp(-1.0))


def test_paths(cli):
    arguments = ("--model", "ou", "--initial", 0, "--times", 1, "--method", "monte-carlo", "--paths", 2000)
    first, again = (document(cli, *arguments, "--seed", 3) for _ in range(2))
    assert first["mean"] == again["mean"] != document(cli, *arguments, "--seed", 4)["mean"]
    assert "paths=2000" in first["method"]


def test_files(cli, tmp_path):
    outcome = cli(
        *("density", *OU, "--initial", "normal(2, 0.5)", "--times", "0.5,1"),
        *("--out", "d.csv", "--plot", "d.png", "--animate", "d.gif"),
    )
    assert (outcome.code, outcome.err) == (0, "")
    assert "Wrote d.gif." in outcome.out
    assert sorted(p.name for p in tmp_path.iterdir()) == ["d.csv", "d.gif", "d.png"]
    header, *_ = (tmp_path / "d.csv").read_text().splitlines()
    table = np.loadtxt(tmp_path / "d.csv", delimiter=",", skiprows=1)
    assert header == "t,x,density"
    for t in (0.5, 1.0):
        _, x, p = table[table[:, 0] == t].T
        mean, variance = 2 * np.exp(-t), 0.25 * np.exp(-2 * t) + 1 - np.exp(-2 * t)
        assert p == pytest.approx(norm(mean, np.sqrt(variance)).pdf(x), rel=0.01, abs=1e-4)
        assert np.trapezoid(p, x) == pytest.approx(1, abs=2e-3)
    assert (tmp_path / "d.gif").read_bytes()[:4] == b"GIF8"


def test_tables_for_people(cli):
    outcome = cli("density", *OU, "--initial", 2, "--times", 1, "--at", 0)
    assert outcome.code == 0
    assert "x, mean ± sd" in outcome.out
    assert "0.73576 ± " in outcome.out
    assert "p(x)" in outcome.out
    assert cli("density", *OU, "--initial", 2, "--times", 1, "-q").out == ""


TIMED = ("--times", 1, "--initial", 1)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "Give either --times"),
        (("--times", 1, "--stationary"), "Give either --times"),
        (("--times", 1), "--times needs --initial"),
        (TIMED, "A model is needed"),
        (("--model", "nothing", *TIMED), "Unknown model 'nothing'"),
        (("--model", "ou", "--set", "q=1", *TIMED), "--set: Unknown parameter 'q'"),
        (("--drift", "a*x", "--diffusion", "1", *TIMED), "The parameters a have no values: give --set a=1"),
        (("--drift", "open(x)", "--diffusion", "1", *TIMED), "'open' is not a function"),
        (("--model", "ou", "--times", 1, "--initial", "norm(1, 2)"), "--initial: "),
        (("--model", "ou", "--times", 1, "--initial", "normal(1)"), "--initial takes normal(mean, sd)"),
        (("--model", "ou", "--times", 1, "--initial", "normal(1, -1)"), "sd must be positive"),
        (("--model", "ou", "--times", 1, "--initial", "1,2"), "one number for each of x; got 2"),
        (("--model", "hopf", "--times", 1, "--initial", 1, "--initial", "normal(0, 1)"), "once per state (x, y)"),
        (("--model", "ou", "--times", 1, "--initial", "no.csv"), "There is no file 'no.csv'"),
        (("--model", "ou", "--times", 1, "--initial", "bare.csv"), "has no header"),
        (("--model", "ou", "--times", 1, "--initial", "word.csv"), "should hold numbers"),
        (("--model", "ou", "--times", 1, "--initial", "other.csv"), "should have the columns x"),
        (("--model", "ou", "--times", "1,0.5", "--initial", 1), "times must increase"),
        (("--model", "ou", "--times", "soon", "--initial", 1), "--times takes a number"),
        (("--model", "ou", *TIMED, "--boundary", "wall"), "boundary must be one of natural"),
        (("--model", "ou", *TIMED, "--domain", "0"), "--domain takes low:high"),
        (("--model", "ou", *TIMED, "--domain", "0:1", "--domain", "0:1"), "--domain is given once per state"),
        (("--model", "ou", *TIMED, "--domain", "2:3"), "lies outside the domain"),
        (("--model", "ou", *TIMED, "--method", "magic"), "--method must be one of auto"),
        (("--model", "ou", *TIMED, "--paths", 10), "--paths belongs to --method monte-carlo"),
        (("--model", "ou", *TIMED, "--method", "monte-carlo", "--cells", 64), "--cells belongs to --method grid"),
        (("--model", "hopf", "--stationary", "--at", 1), "--at takes one number for each of x, y"),
        (("--model", "ou", *TIMED, "--animate", "a.gif"), "--animate needs two --times"),
        (("--model", "ou", *TIMED, "--out", "a.xls"), "--out names a .csv or .parquet file"),
        (("--model", "heston", "--stationary", "--method", "closed-form"), "Grid()"),
    ],
)
def test_bad_input_takes_one_line(cli, tmp_path, arguments, said):
    (tmp_path / "bare.csv").write_text("1.0\n2.0\n")
    (tmp_path / "word.csv").write_text("x\n1.0\nhigh\n")
    (tmp_path / "other.csv").write_text("y,z\n1.0,2\n3,4\n")
    before = sorted(tmp_path.rglob("*"))
    outcome = cli("density", *arguments)
    assert outcome.code == 2
    assert outcome.out == ""
    assert said in outcome.line
    assert outcome.line.startswith("pdekit: error: ")
    assert sorted(tmp_path.rglob("*")) == before
