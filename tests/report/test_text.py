"""Terminal text keeps to its width, lines up, and can't steer the terminal."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdekit.errors import InputError
from pdekit.report import Facts, Flag, Table, render_facts, render_flags, render_table
from pdekit.report.text import clean, display_width, wrap

words = st.text(max_size=60)
widths = st.integers(40, 100)

FIT = Table(
    "CKLS",
    ("", "estimate", "std. err.", "95 % interval", "unit"),
    (("kappa", "0.2031", "0.0912", "[0.0243, 0.3819]", "1/year"), ("mu", "5.1", "—", "[3.19, 7.03]", "%")),
    "Standard errors from the observed information, " * 3,
)


def test_columns_line_up():
    lines = render_table(FIT).splitlines()
    head, kappa, mu = lines[3], lines[5], lines[6]
    for row in (kappa, mu):
        assert row.startswith(("kappa", "mu   "))
    end = head.index("estimate") + len("estimate")
    assert kappa[:end].endswith("0.2031")
    assert mu[:end].endswith("5.1")
    assert kappa.index("1/year") == mu.index("%") == head.index("unit")
    rules = [line for line in lines if set(line) <= set("=-")]
    assert len(rules) == 4
    assert {len(rule) for rule in rules} == {78}


@given(words, st.lists(st.lists(words, min_size=4, max_size=4), max_size=4), words, widths)
def test_tables_keep_to_the_width(title, rows, note, width):
    table = Table(title, ("", "a", "b", "c"), tuple(map(tuple, rows)), note)
    keeps_to(render_table(table, width=width), width)


@given(st.lists(st.tuples(words, words), max_size=6), widths)
def test_facts_keep_to_the_width(items, width):
    keeps_to(render_facts(Facts(tuple(items), "Title"), width=width), width)


@given(words, words, words, widths)
def test_flags_keep_to_the_width(title, detail, action, width):
    flags = [Flag("serious", title, detail, action, 1.0), Flag("ok", title, detail, action)]
    keeps_to(render_flags(flags, width=width), width)


def keeps_to(text, width):
    for line in text.split("\n"):
        assert display_width(line) <= width
        assert line == line.rstrip()
        assert line.isprintable()


def test_long_cells_wrap_below_themselves_and_lose_nothing():
    long = "a rather long remark that does not fit " * 4
    text = render_table(Table("", ("", "n", "remark"), (("x", "1", long),)), width=60)
    start = text.splitlines()[1].index("remark")
    shown = [line[start:] for line in text.splitlines()[3:-1]]
    assert " ".join(shown).split() == long.split()
    assert all(not line[:start].strip() for line in text.splitlines()[4:-1])


def test_long_facts_get_a_line_of_their_own():
    facts = Facts((("seed", "0"), ("command", "pdekit fit " + "--option value " * 10), ("torch", "2.13.0")))
    lines = render_facts(facts).splitlines()
    assert lines[1].startswith("seed:")
    assert lines[1].endswith("2.13.0")
    assert len(lines[1]) == 78
    assert lines[2].startswith("command: pdekit fit")
    assert lines[3].startswith(" " * 9 + "value")


def test_escape_sequences_and_line_breaks_are_defused():
    assert clean("a\x1b[31mred\x1b[0m\nb\t\u202ec") == "a?[31mred?[0m b ?c"


def test_wide_characters_take_two_columns():
    assert display_width("日本e\u0301") == 5
    assert wrap("日本語日本語", 5) == ["日本", "語日", "本語"]


def test_widths_out_of_range_and_too_many_columns_are_refused():
    for width in (39, 101):
        with pytest.raises(InputError, match="40 to 100"):
            render_table(FIT, width=width)
    with pytest.raises(InputError, match="30 columns do not fit"):
        render_table(Table("", ("c",) * 30, ()))


def test_no_flags_no_text():
    assert render_flags([]) == ""


def test_numbers_are_not_broken_while_words_can_give_way():
    rows = (("a term of the drift that is long", "-0.0005583", "0.001234567"), ("x", "1.25", "-3.4e-12"))
    text = render_table(Table("", ("what it is called", "coefficient", "standard error"), rows), width=44)
    assert "-0.0005583" in text
    assert "0.001234567" in text
