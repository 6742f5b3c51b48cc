"""The page is well-formed, self-contained and safe whatever the texts are, and is written whole or not at all."""

import os
import stat
from html.parser import HTMLParser

import pytest

from pdekit.errors import InputError
from pdekit.report import Facts, Figure, Flag, Formula, Page, Section, Table, new_figure

EVIL = "<script>alert('x')</script>\"&\x00\ud800"
VOID = {"meta", "br", "hr", "img", "link", "input"}


class Reader(HTMLParser):
    """Checks nesting, and collects tags, attributes and text."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.attributes, self.text = [], [], [], ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def values(self, name):
        return [value for _, found, value in self.attributes if found == name]


def figure(title="A line"):
    canvas, axes = new_figure()
    axes.plot([0, 1], [0, 1], marker="o")
    return Figure.from_matplotlib(canvas, title, f"Caption {EVIL}")


def page(evil=EVIL):
    drawn = figure(evil)
    return Page(
        title=f"Title {evil}",
        subtitle=evil,
        facts=((evil, evil),),
        sections=(
            Section(f"Summary {evil}", (evil, Formula.from_latex("x = 1"), Formula(rf"\text{{{evil}}}"))),
            Section("Table", (Table(evil, ("", evil), ((evil, "1.5"),), evil), Facts(((evil, evil),), evil))),
            Section("Figures", (drawn, drawn, figure())),
            Section("Flags", (Flag("warning", evil, evil, evil, 1.5), Flag("ok", evil, evil), Flag("serious", "Last"))),
        ),
        footer=evil,
    )


@pytest.fixture(scope="module")
def text():
    return page().html()


@pytest.fixture(scope="module")
def reader(text):
    return Reader(text)


def test_what_users_write_is_escaped(text, reader):
    assert "script" not in reader.tags
    assert "<script" not in text
    assert reader.text.count("<script>alert('x')</script>") >= 20
    assert "\x00" not in text
    text.encode("utf-8")
    assert not [name for _, name, _ in reader.attributes if name.startswith("on")]


def test_nothing_comes_from_outside(text, reader):
    links = [value for name in ("href", "src", "xlink:href", "srcset", "action") for value in reader.values(name)]
    assert links
    assert all(link.startswith(("#", "data:image/")) for link in links)
    assert not {"link", "iframe", "img", "object", "base"} & set(reader.tags)
    assert "@import" not in text
    namespaces = [value for _, name, value in reader.attributes if name.startswith("xmlns")]
    assert text.count("http://") + text.count("https://") == len(namespaces)


def test_ids_are_unique_and_references_resolve(reader):
    ids = reader.values("id")
    assert len(ids) == len(set(ids))
    targets = [v[1:] for name in ("href", "xlink:href") for v in reader.values(name) if v.startswith("#")]
    assert set(targets + reader.values("aria-labelledby")) <= set(ids)


def test_headings_tables_and_figures_are_accessible(reader):
    assert reader.tags.count("h1") == 1
    assert reader.tags.count("h2") == 4
    assert {"row", "col"} <= set(reader.values("scope"))
    assert reader.tags.count("figcaption") == reader.tags.count("figure") == 3
    pictures = [tag for tag, name, value in reader.attributes if tag == "svg" and (name, value) == ("role", "img")]
    assert len(pictures) == reader.tags.count("svg") == 4
    assert reader.values("lang") == ["en"]


def test_flags_come_gravest_first_and_are_counted(text):
    body = text[text.index("<body>") :]
    assert body.index("1 serious") < body.index("1 warning") < body.index("1 ok")
    assert body.index('class="flag serious"') < body.index('class="flag warning"') < body.index('class="flags passed"')
    assert body.count('href="#section-4"') == 4  # three counts and the navigation


def test_numbers_are_set_flush_right():
    html = Page("T", sections=(Section("S", (Table("", ("", "n", "s"), (("a", "[-1, 2e-3]", "b"),)),)),)).html()
    assert '<td class="number">[-1, 2e-3]</td><td>b</td>' in html


def test_page_is_deterministic(text):
    assert page().html() == text


def test_an_empty_page_is_still_a_page():
    assert Reader(Page("Empty").html()).tags.count("section") == 0


@pytest.mark.parametrize("bad", ["text", [1.5], 3])
def test_section_refuses_what_it_cannot_show(bad):
    with pytest.raises(InputError, match="Section 'S'"):
        Section("S", bad)


def test_write_replaces_and_leaves_nothing_else(tmp_path):
    target = tmp_path / "report.html"
    target.write_text("old")
    assert page().write(target) == target
    assert target.read_text(encoding="utf-8") == page().html()
    assert os.listdir(tmp_path) == ["report.html"]
    plain = tmp_path / "plain"
    plain.touch()
    assert stat.S_IMODE(target.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


@pytest.mark.parametrize(
    ("error", "raised"),
    [(OSError(28, "No space left on device"), InputError), (KeyboardInterrupt(), KeyboardInterrupt)],
)
@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failing_write_leaves_the_old_file_whole(tmp_path, monkeypatch, step, error, raised):
    target = tmp_path / "report.html"
    target.write_text("old")

    def fail(*_):
        raise error

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(raised):
        Page("New").write(target)
    monkeypatch.undo()
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["report.html"]


def test_write_says_what_is_wrong_with_the_path(tmp_path):
    with pytest.raises(InputError, match="is a folder"):
        Page("T").write(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        Page("T").write(tmp_path / "missing" / "report.html")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file"):
        Page("T").write(tmp_path / "file" / "report.html")
    with pytest.raises(InputError, match="could not be written"):
        Page("T").write(tmp_path / ("n" * 300))
