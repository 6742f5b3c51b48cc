"""Bad input: exit code 2, one line on stderr that says what and where, no results on stdout, nothing left on disk."""

import os

import pytest

ROWS = "0,1\n0.5,1.5\n1,1.2\n1.5,1.4\n"
OU = ("--model", "ou")


def refused(cli, tmp_path, *arguments) -> str:
    """The line that a command is refused with, after a look at the disk."""
    before = sorted(tmp_path.rglob("*"))
    outcome = cli(*arguments)
    assert outcome.code == 2
    assert outcome.out == "" or outcome.out.startswith("4 observations of x")  # what was read, at most
    assert "=" not in outcome.out
    assert sorted(tmp_path.rglob("*")) == before
    assert outcome.line.startswith("pdekit: error: ")
    return outcome.line


def fit_refused(cli, tmp_path, text: str, *arguments, name: str = "data.csv") -> str:
    (tmp_path / name).write_text(text)
    return refused(cli, tmp_path, "fit", name, *(arguments or OU), "--out", "result")


def test_missing_file(cli, tmp_path):
    assert "There is no file 'nowhere.csv'" in refused(cli, tmp_path, "fit", "nowhere.csv", *OU)


def test_missing_column_names_those_there_are(cli, tmp_path):
    line = fit_refused(cli, tmp_path, "t,x\n" + ROWS, *OU, "--column", "y")
    assert "no column 'y'; its columns are 't', 'x'" in line


def test_missing_time_column(cli, tmp_path):
    assert "no column 'date'" in fit_refused(cli, tmp_path, "t,x\n" + ROWS, *OU, "--time", "date")


@pytest.mark.parametrize(("text", "said"), [("", "is empty"), ("t,x\n", "has 0 rows"), ("t,x\n0,1\n", "has 1 row of")])
def test_empty_file_and_one_row(cli, tmp_path, text, said):
    assert said in fit_refused(cli, tmp_path, text)


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("high", "line 4, column 'x': 'high' is not a number"),
        ("inf", "line 4, column 'x': the value is inf, and a finite number was expected"),
        ("-1e999", "line 4, column 'x': the value is -1e999, and a finite number"),
        ("1,7", "line 4: 3 cells where the header has 2"),
    ],
)
def test_bad_cell_is_named_by_row_and_column(cli, tmp_path, cell, said):
    assert said in fit_refused(cli, tmp_path, f"t,x\n0,1\n1,1.5\n2,{cell}\n3,1.4\n")


def test_time_that_is_not_a_number(cli, tmp_path):
    line = fit_refused(cli, tmp_path, "t,x\n0,1\n1,1.5\nsoon,1.2\n3,1.4\n")
    assert "line 4, column 't': 'soon' is neither a number nor a date" in line


def test_missing_time(cli, tmp_path):
    assert "line 3, column 't': the time is missing" in fit_refused(cli, tmp_path, "t,x\n0,1\nNaN,1.5\n2,1.2\n3,1\n")


def test_nothing_but_nan(cli, tmp_path):
    line = fit_refused(cli, tmp_path, "t,x\n0,nan\n1,nan\n2,nan\n3,nan\n")
    assert "0 rows of observations (4 more have a missing value)" in line


def test_unsorted_times_offer_sort(cli, tmp_path):
    line = fit_refused(cli, tmp_path, "t,x\n0,1\n2,1.5\n1,1.2\n3,1.4\n")
    assert "line 4, column 't': time 1 comes after 2 on line 3" in line
    assert "--sort" in line


def test_duplicate_times(cli, tmp_path):
    line = fit_refused(cli, tmp_path, "t,x\n0,1\n1,1.5\n1,1.2\n3,1.4\n")
    assert "line 4, column 't': time 1 repeats that of line 3" in line
    assert "--id" in line


def test_reversed_times_offer_both_remedies(cli, tmp_path):
    line = fit_refused(cli, tmp_path, "t,x\n3,1\n2,1.5\n1,1.2\n0,1.4\n")
    assert "times run backwards" in line
    assert "--reverse-time" in line
    assert "--sort" in line


def test_ages_must_be_said_to_be_so(cli, tmp_path):
    line = fit_refused(cli, tmp_path, "age_BP,x\n0,1\n1,1.5\n2,1.2\n3,1.4\n")
    assert "--no-reverse-time" in line


def test_ambiguous_dates(cli, tmp_path):
    text = "d,x\n" + "".join(f"{day:02}/{day:02}/2001,{day % 4}\n" for day in (1, 2, 3)) + "01/05/2002,3\n"
    assert "--date-format" in fit_refused(cli, tmp_path, text)


def test_constant_series(cli, tmp_path):
    line = fit_refused(cli, tmp_path, "t,x\n0,2\n1,2\n2,2\n3,2\n")
    assert "x is 2 in all 4 observations: a constant series" in line


def test_a_negative_rate_under_cir(cli, tmp_path):
    line = fit_refused(cli, tmp_path, "t,rate\n0,1\n1,0.5\n2,-0.25\n3,0.5\n", "--model", "cir")
    assert "rate = -0.25 at time 2 (observation 3) is outside the domain (0, inf) of CIR" in line


def test_logarithm_of_what_is_not_positive(cli, tmp_path):
    line = fit_refused(cli, tmp_path, "t,x\n0,1\n1,0\n2,1.2\n3,1.4\n", *OU, "--log", "x")
    assert "line 3, column 'x': the value is 0, and the logarithm needs positive ones" in line


def test_more_columns_than_states(cli, tmp_path):
    line = fit_refused(cli, tmp_path, "t,x,y\n0,1,1\n1,2,1\n2,1,3\n3,4,2\n")
    assert "The model has 1 state(s) (x), the data 2 column(s) (x, y)" in line


def test_unknown_model_is_met_by_a_close_one(cli, tmp_path):
    line = fit_refused(cli, tmp_path, "t,x\n" + ROWS, "--model", "clks")
    assert "Unknown model 'clks'. Did you mean 'ckls'?" in line
    assert "Unknown model 'clks'" in refused(cli, tmp_path, "models", "clks")
    assert "Unknown model 'clks'" in refused(cli, tmp_path, "simulate", "--model", "clks", "--x0", 1, "--horizon", 1)


@pytest.mark.parametrize("flag", ["--fix", "--start"])
def test_unknown_parameter(cli, tmp_path, flag):
    line = fit_refused(cli, tmp_path, "t,x\n" + ROWS, *OU, flag, "sigam=1")
    assert f"{flag}: Unknown parameter 'sigam'; the model has theta, mu, sigma. Did you mean 'sigma'?" in line


@pytest.mark.parametrize("arguments", [("--positive", "sigam"), ("--bounds", "sigam=0:1")])
def test_unknown_parameter_with_bounds(cli, tmp_path, arguments):
    assert "Unknown parameter 'sigam'" in fit_refused(cli, tmp_path, "t,x\n" + ROWS, *OU, *arguments)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--fix", "sigma"), "--fix takes name=value, such as --fix gamma=0.5; got 'sigma'"),
        (("--fix", "sigma=big"), "got 'big'"),
        (("--fix", "sigma=nan"), "got 'nan'"),
        (("--fix", "=1"), "got '=1'"),
        (("--fix", "mu=1", "--fix", "mu=2"), "--fix names 'mu' twice"),
        (("--fix", "sigma=-1"), "outside its bounds"),
        (("--fix", "theta=1,mu=1,sigma=1"), "nothing to estimate"),
        (("--bounds", "mu=1"), "--bounds takes name=low:high"),
        (("--bounds", "mu=2:1"), "lower bound first"),
        (("--method", "magic"), "--method must be one of auto, mle"),
        (("--term", "x"), "--term and --noise-term belong to --method sparse, which takes no model"),
        (("--domain", "0:"), "--domain belongs to a model of your own"),
        (("--convention", "ito"), "--convention belongs to a model of your own"),
        (("--drift", "x"), "--drift belongs to a model of your own"),
        (("--fixed-dt", "1/0"), "fixed_dt must be a positive number"),
        (("--time-unit", ""), "time_unit must be a word"),
        (("--seed", "-1"), "Invalid value for '--seed'"),
        (("--seed", "one"), "Invalid value for '--seed'"),
        (("--colour", "x"), "No such option"),
        (("--decimal", ";"), "decimal must be"),
        (("stray",), "unexpected extra argument"),
    ],
)
def test_flags(cli, tmp_path, arguments, said):
    assert said in fit_refused(cli, tmp_path, "t,x\n" + ROWS, *OU, *arguments)


@pytest.mark.parametrize(
    ("drift", "diffusion", "said"),
    [
        ("__import__('os').system('touch owned')", "sigma", "attributes (the dot in 'a.b') are not allowed"),
        ("__import__('os')", "sigma", "'__import__' is not a function that formulas may call"),
        ("gamma(x)", "sigma", "'gamma'"),
        ("open(x)", "sigma", "'open' is not a function that formulas may call"),
        ("x.__class__", "sigma", "attributes"),
        ("a*x", "sigma*lambda", "column 7: 'lambda' is a reserved word"),
        ("9**9**9", "sigma", "exponent"),
        ("a*(x", "sigma", "column 3: it is not a formula"),
        ("a*x", "1/0", "division by zero"),
    ],
)
def test_formulas_are_read_not_run(cli, tmp_path, drift, diffusion, said):
    line = fit_refused(cli, tmp_path, "t,x\n" + ROWS, "--drift", drift, "--diffusion", diffusion)
    assert said in line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--method", "mle"), "--method mle needs a model: --model NAME"),
        (("--method", "km", "--drift", "a*x"), "--method km finds drift and diffusion itself"),
        (("--method", "km", "--term", "x"), "belong to --method sparse"),
        (("--start", "a=1"), "--start belongs to a model"),
        (("--drift", "a*x"), "A model is needed"),
        (("--model", "ou", "--measurement-noise", "much"), "must be 'estimate' or a number"),
        (("--model", "ou", "--measurement-noise", "1", "--measurement-noise", "x=1"), "not both"),
        (("--drift", "a*x", "--drift", "b", "--diffusion", "s"), "per state are needed; got 2, 1 and 2"),
        (("--drift", "-a*x", "--diffusion", "s", "--domain", "1"), "--domain takes low:high"),
        (("--drift", "-a*x", "--diffusion", "s", "--convention", "anti"), "--convention must be one of ito, strat"),
        (("--drift", "-a*x", "--diffusion", "s", "--domain", "2:", "--fix", "a=1"), "outside the domain (2, inf)"),
    ],
)
def test_models_of_one_s_own(cli, tmp_path, arguments, said):
    (tmp_path / "data.csv").write_text("t,x\n" + ROWS)
    assert said in refused(cli, tmp_path, "fit", "data.csv", *arguments)


def test_unknown_format(cli, tmp_path):
    assert "'.xlsx' is none of .csv" in fit_refused(cli, tmp_path, "x", name="data.xlsx")
    assert "is not a Parquet file" in fit_refused(cli, tmp_path, "x", name="data.parquet")
    assert "not an NPZ file" in fit_refused(cli, tmp_path, "x", name="data.npz")
    assert "--delimiter has no meaning" in fit_refused(cli, tmp_path, "x", *OU, "--delimiter", ";", name="data.npz")


def test_output_folder_that_exists(cli, tmp_path, series):
    (tmp_path / "result").mkdir()
    line = refused(cli, tmp_path, "fit", series, *OU, "--out", "result")
    assert "result exists. Choose another name, or allow to replace it (--overwrite)" in line


def test_overwrite_replaces_results_only(cli, tmp_path, series):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "one.jpg").write_text("dear")
    assert "holds no fit" in refused(cli, tmp_path, "fit", series, *OU, "--out", "photos", "--overwrite")
    assert "is a file" in refused(cli, tmp_path, "fit", series, *OU, "--out", series, "--overwrite")


def test_output_folder_in_no_folder(cli, tmp_path, series):
    assert "nowhere for the output does not exist" in refused(cli, tmp_path, "fit", series, *OU, "--out", "nowhere/a")


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
def test_output_folder_that_can_t_be_written(cli, tmp_path, series, monkeypatch):
    # Permissions don't bind a superuser, so the question is answered for the system.
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    assert "no permission to write" in refused(cli, tmp_path, "fit", series, *OU, "--out", "result")
    line = refused(cli, tmp_path, "simulate", "--model", "ou", "--x0", 0, "--horizon", 1, "--out", "a.csv")
    assert "no permission to write" in line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "Give either the folder of a fit, or --model NAME"),
        (("no_fit",), "no_fit holds no saved fit: model.json is missing"),
        (("no_fit", "--model", "ou"), "Give either"),
        (("no_fit", "--x0", "1"), "belong to --model"),
        (("--model", "ou", "--x0", "1"), "needs a positive --horizon, got none"),
        (("--model", "ou", "--x0", "1", "--horizon", "-1"), "needs a positive --horizon, got -1"),
        (("--model", "ou", "--horizon", "1"), "has 1 state(s) (x) and starts at as many numbers; got 0 with --x0"),
        (("--model", "ou", "--horizon", "1", "--x0", "a"), "--x0 takes a number"),
        (("--model", "ou", "--horizon", "1", "--x0", "1", "--step", "2"), "--step must be positive and at most"),
        (("--model", "ou", "--horizon", "1", "--x0", "1", "--dt", "0"), "dt must be a positive number"),
        (("--model", "ou", "--horizon", "1", "--x0", "1", "--set", "q=1"), "--set: Unknown parameter 'q'"),
        (("--model", "cir", "--horizon", "1", "--x0", "-1"), "outside the domain (0, inf)"),
        (("--model", "ou", "--horizon", "1", "--x0", "1", "--paths", "0"), "Invalid value for '--paths'"),
        (("--model", "ou", "--horizon", "1", "--x0", "1", "--out", "a.xls"), "--out names a .csv, .parquet or .npz"),
        (("--model", "ou", "--horizon", "1", "--x0", "1", "--out", "b/a.csv"), "does not exist. Make it first"),
        (("--model", "ou", "--horizon", "1", "--x0", "1", "--plot", "there.svg"), "exists. Choose another name"),
    ],
)
def test_simulate(cli, tmp_path, arguments, said):
    (tmp_path / "there.svg").write_text("kept")
    assert said in refused(cli, tmp_path, "simulate", *arguments)


def test_damaged_fit(cli, tmp_path):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "model.json").write_text('{"format": 1')
    (tmp_path / "broken" / "arrays.safetensors").write_bytes(b"")
    assert "can't be read" in refused(cli, tmp_path, "simulate", "broken")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "Missing command. See pdekit --help."),
        (("fti",), "No such command 'fti'"),
        (("fit",), "Missing argument 'DATA'. See pdekit fit --help."),
        (("--nonsense",), "No such option"),
    ],
)
def test_usage_errors_take_one_line(cli, tmp_path, arguments, said):
    assert said in refused(cli, tmp_path, *arguments)


def test_control_characters_of_a_file_do_not_reach_the_terminal(cli, tmp_path):
    line = fit_refused(cli, tmp_path, "t,x\n0,1\n1,\x1b[31mred\n2,1.2\n3,1.4\n" + "4,1\n" * 99)
    assert "\x1b" not in line


def test_a_formula_that_names_the_column_is_not_a_model_with_one_parameter_more(cli, tmp_path):
    (tmp_path / "s.csv").write_text("t,rate\n" + "".join(f"{i},{(i * 7) % 5}\n" for i in range(30)))
    outcome = cli("fit", "s.csv", "--drift", "theta*(mu - rate)", "--diffusion", "sigma")
    assert outcome.code == 2
    assert "--state rate" in outcome.err
