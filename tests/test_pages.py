"""The pages of the results.  Oracles: hand-made rows whose figures are known; the recorded results and the pages."""

import importlib
import json
import math
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MACHINE = dict.fromkeys(("cpu", "cores", "system", "python", "numpy", "numba", "torch", "commit"), "x")


@pytest.fixture
def benchmark(monkeypatch):
    """Imports a module of benchmarks/."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module


# ---- hand-made rows


def curve(*perplexities, seconds=10.0, log_z=0.0):
    """After each epoch of so many seconds; log Z grows by as much."""
    return [
        {"epoch": n, "seconds": n * seconds, "perplexity": value, "mean_log_z": n * log_z}
        for n, value in enumerate(perplexities, start=1)
    ]


def trained(case, test, seed=1, **more):
    """A row of study_objectives.py."""
    objective = case.rpartition("-")[0] if case[-1].isdigit() else case
    row = {"recipe": "ptb-small", "case": case, "seed": seed, "valid_perplexity": test + 1, "test_perplexity": test}
    row |= {"objective": "nce" if objective.startswith("nce") else objective, "seconds": 100.0}
    return row | {"mean_log_z": 0.05, "std_log_z": 0.2, "curve": curve(2 * test, test)} | more


def chunked(kind, chunks, perplexity, groups=None, redraw=None, group_map="contiguous", k=100, seed=1, **more):
    """A row of study_chunks.py."""
    row = {"kind": kind, "chunks": chunks, "perplexity": perplexity, "groups": groups, "redraw": redraw}
    row |= {"group_map": groups and group_map, "num_noise": k, "seed": seed, "updates": 100 * chunks}
    row |= {
        "seconds": 90.0,
        "batch_size": chunks if kind == "matched" else 20,
        "never_covered": 0.25 if redraw == "never" else 0.0,
    }
    return row | {"curve": curve(2 * perplexity, perplexity, log_z=0.0 if redraw != "never" else 1.5)} | more


def gradient(kind, **more):
    """A row of study_gradients.py."""
    row = {"kind": kind, "num_noise": 100, "parameters": "all", "groups": None, "group_map": None, "chunks": 32}
    return row | {"sequences": 4, "unbiased": 1.0, "bias_of_mean": 0.1, "spread": 0.8} | more


def objective_rows():
    return [
        trained(case, test, seed)
        for seed in (1, 2)
        for case, test in {
            "softmax": 100.0, "nce-10": 120.0, "nce-100": 97.0, "nce-500": 95.0, "sampled-softmax-100": 99.0,
            "ranking-100": 96.0, "nce-100-power-0.5": 98.0,
        }.items()
    ]  # fmt: skip


def chunk_rows():
    pools = [("sequence", 110.0), ("epoch", 120.0), ("never", 300.0)]
    return [
        chunked("split", 2, 200.0), chunked("split", 32, 100.0), chunked("matched", 2, 100.0),
        chunked("matched", 32, 104.0),
        *(chunked("pool", 32, value * m / 2, m, redraw) for redraw, value in pools for m in (2, 8)),
        chunked("pool", 32, 111.0, 2, "sequence", "cyclic"),
    ]  # fmt: skip


def gradient_rows():
    cuts = [gradient("truncation", chunks=n, bias=n / 100) for n in (2, 8)]
    shared = [
        gradient("reuse", groups=m, group_map=name, growth=16.0 / m, predicted=15.0 / m)
        for m in (2, 8)
        for name in ("contiguous", "cyclic")
    ]
    return [*cuts, gradient("reuse", growth=1.0, predicted=1.0), *shared]


STUDIES = {
    "study_objectives": objective_rows(), "study_chunks": chunk_rows(), "study_gradients": gradient_rows(),
}  # fmt: skip


@pytest.fixture
def results(benchmark, monkeypatch, tmp_path):
    """A folder of the recorded results' like, which the scripts read, with the hand-made rows of the studies."""
    for name, rows in STUDIES.items():
        text = json.dumps({"machine": MACHINE, "rows": rows})
        (tmp_path / f"{name}.json").write_text(text, encoding="utf-8")
    monkeypatch.setattr(benchmark("_record"), "RESULTS", tmp_path)
    return tmp_path


# ---- derived columns


def test_best_at(benchmark):
    """By hand: half-way from 400 to 100 on a logarithmic scale is 200; the best is kept; nothing before an epoch."""
    rows = benchmark("study_objectives")
    line = curve(400.0, 100.0, 110.0)
    assert rows.best_at(line, 9.0) is None
    assert rows.best_at(line, 10.0) == pytest.approx(400)
    assert rows.best_at(line, 15.0) == pytest.approx(200)
    assert rows.best_at(line, 25.0) == rows.best_at(line, 99.0) == 100


def test_settings(benchmark):
    """K and power as the command lines of the cases have them, and the command's own default."""
    settings = benchmark("study_objectives").settings
    config = importlib.import_module("nplm.config").ModelConfig
    assert settings("softmax") == {"num_noise": None, "power": None}
    assert settings("nce-25") == {"num_noise": 25, "power": config(10).noise_power}
    assert settings("nce-100-power-0.5") == {"num_noise": 100, "power": 0.5}
    assert settings("sampled-softmax-500")["num_noise"] == 500


def test_means_over_seeds(benchmark):
    """By hand: 90 and 110 against the softmax's 80; no table if no case has two seeds."""
    over_seeds = benchmark("study_objectives").over_seeds
    rows = [trained("softmax", 80.0), trained("nce-100", 90.0), trained("nce-100", 110.0, seed=2)]
    nce = over_seeds(rows)[1]
    assert (nce["case"], nce["seeds"], nce["test_perplexity"]) == ("nce-100", 2, 100)
    assert nce["relative"] == pytest.approx(0.25) and nce["spread"] == pytest.approx(math.sqrt(200))
    assert over_seeds(rows[:2]) == []


# ---- figures in the text


@pytest.mark.parametrize(
    "text",
    [
        "97<!-- study_objectives case=nce-100 test_perplexity .0f -->",
        "97.0<!-- study_objectives case=nce-100\ntest_perplexity .1f -->",
        "97<!-- study_objectives case='nce-100' test_perplexity .0f -->",
        "2<!-- study_objectives case=nce-100 seeds d -->",
        "3.0%<!-- study_objectives case=nce-100 test_perplexity below case=softmax test_perplexity .1% -->",
        "-1.0%<!-- study_objectives case=nce-100 test_perplexity above valid_perplexity .1% -->",
        "20.0%<!-- study_objectives case=nce-10 test_perplexity above 100 .1% -->",
        "0.5<!-- study_objectives case=nce-100 seeds times study_gradients kind=truncation chunks=2 sequences .1f -->",
        "+194.0<!-- study_objectives case=nce-100 curve.0.perplexity +.1f -->",
        "<!-- begin findings -->\nK = 100, 2 x 200 units, at most 3%<!-- aim -->\n<!-- end findings -->",
    ],
)
def test_right_figures(benchmark, results, text):
    """By hand, from the hand-made rows: means over seeds, curves, comparisons of all kinds."""
    assert list(benchmark("_figures").faults(text)) == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("98<!-- study_objectives case=nce-100 test_perplexity .0f -->", "98 is to be 97"),
        ("3.0%<!-- study_objectives case=nce-100 test_perplexity above case=softmax test_perplexity .1% -->", "-3.0%"),
        ("<!-- begin findings -->It is 97.0 now.<!-- end findings -->", "97.0 names no result"),
        ("<!-- begin findings -->It is 1,274 now.<!-- end findings -->", "1,274 names no result"),
        ("<!-- begin findings -->97 <!-- study_objectives a b --><!-- end findings -->", "no figure before"),
    ],
)
def test_wrong_figures(benchmark, results, text, says):
    """A wrong digit, a wrong direction, a figure that names no result, and a comment that belongs to no figure."""
    (fault,) = benchmark("_figures").faults(text)
    assert says in fault and "\n" not in fault


@pytest.mark.parametrize("source", ["study_objectives test_perplexity .0f", "study_objectives case=nce-7 seeds d"])
def test_figures_of_no_row_or_of_several(benchmark, results, source):
    """The conditions must leave one row for every seed."""
    with pytest.raises(SystemExit, match="name conditions that one row of every seed meets"):
        list(benchmark("_figures").faults(f"97<!-- {source} -->"))


@pytest.mark.parametrize("page", ["quality.md", "patent.md", "learn/reuse.md"])
def test_a_wrong_digit_on_a_page_is_found(benchmark, page):
    """The recorded results: each figure of the page with one digit changed is the only fault."""
    figures = benchmark("_figures")
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    assert list(figures.faults(text)) == []
    places = [match.start(1) for match in figures.FIGURE.finditer(text) if match[2] not in figures.FOREIGN]
    assert len(places) > 20
    for place in places:
        k = next(k for k in range(place, len(text)) if text[k].isdigit())
        assert len(list(figures.faults(text[:k] + str((int(text[k]) + 1) % 10) + text[k + 1 :]))) == 1


@pytest.mark.parametrize("page", ["README.md", "docs/index.md"])
def test_figures_of_the_first_pages(benchmark, page):
    """The recorded results; and a changed digit is found."""
    figures = benchmark("_figures")
    text = (ROOT / page).read_text(encoding="utf-8")
    assert len(figures.FIGURE.findall(text)) >= 4 and list(figures.faults(text)) == []
    assert len(list(figures.faults(text.replace("74.63<!--", "74.64<!--")))) == 1


# ---- pages


def test_command_and_machines(benchmark, monkeypatch, tmp_path):
    """By hand: the command with the sum of the runs' seconds; a line for each machine with all of its commits, once."""
    render, tables = benchmark("render"), benchmark("_tables")
    here = MACHINE | {"cpu": "A", "cores": 1}
    there = here | {"cores": 2, "torch": None}
    for name, machine, commits in (("a-1", here, ("f", "c", None)), ("a-2", there, ("d",)), ("a-3", here, ("c",))):
        rows = [{"seconds": 60.0} | ({"commit": commit} if commit else {}) for commit in commits]
        (tmp_path / f"{name}.json").write_text(json.dumps({"machine": machine, "rows": rows}), encoding="utf-8")
    monkeypatch.setattr(benchmark("_record"), "RESULTS", tmp_path)
    section = tables.Section("Title", "Text.", "a-*.json", {"s": "seconds:.0f"}, command="do it", trained=True)
    text = "\n".join(render.render(section))
    assert "Command: `do it`, which trained for 5 minutes\n" in text
    assert [line for line in text.splitlines() if line.startswith("Measured")] == [
        "Measured on: A, 1 core, x, Python x, NumPy x, Numba x, PyTorch x, commits c, f, x.",
        "Measured on: A, 2 cores, x, Python x, NumPy x, Numba x, commit d.",
    ]
    assert "Command: `do it`\n" in "\n".join(render.render(section._replace(trained=False)))


def test_the_pages_are_what_the_results_give(benchmark, monkeypatch):
    """The recorded results; and a figure that was changed by hand is found."""
    render = benchmark("render")
    monkeypatch.setattr(sys, "argv", ["render.py", "--check"])
    render.main()
    page = (render.DOCS / "benchmarks.md").read_text(encoding="utf-8")
    changed = page.replace(" | 1 | ", " | 3 | ", 1)
    assert render.BLOCK.sub(render.filled, changed) == page != changed


def test_check_reads_the_figures(benchmark, monkeypatch, tmp_path):
    """The pages with one digit planted: --check names the page and the figure."""
    render = benchmark("render")
    for page in render.PAGES:
        text = (render.DOCS / page).read_text(encoding="utf-8")
        (tmp_path / page).parent.mkdir(exist_ok=True)
        (tmp_path / page).write_text(text.replace("113.01<!--", "113.02<!--", 1), encoding="utf-8")
    monkeypatch.setattr(render, "DOCS", tmp_path)
    monkeypatch.setattr(sys, "argv", ["render.py", "--check"])
    with pytest.raises(SystemExit, match=r"quality\.md: 113\.02 is to be 113\.01"):
        render.main()


def test_render_writes_what_check_wants(benchmark, monkeypatch, tmp_path, results):
    """Pages with the markers alone: --check fails, render fills them, --check passes; the text by hand stays."""
    render = benchmark("render")
    monkeypatch.setattr(render, "DOCS", tmp_path)
    names = list(render.SECTIONS)
    for n, page in enumerate(render.PAGES):
        marks = "".join(
            f"by hand {name}\n<!-- begin {name} -->\n<!-- end {name} -->\n" for name in names[n :: len(render.PAGES)]
        )
        (tmp_path / page).parent.mkdir(exist_ok=True)
        (tmp_path / page).write_text(marks, encoding="utf-8")
    codes = []
    for flags in (["--check"], [], ["--check"]):
        monkeypatch.setattr(sys, "argv", ["render.py", *flags])
        try:
            codes.append(render.main())
        except SystemExit as done:
            codes.append(done.code)
    assert codes[0].startswith("not what the results give: ") and not any(codes[1:])
    text = "".join((tmp_path / page).read_text(encoding="utf-8") for page in render.PAGES)
    assert text.count("by hand") == len(names)
    for part in ("## Objectives", "| nce-100 |", "(plots/chunks.svg)"):
        assert part in text
    assert "## Recipes" not in text and "## Memory" not in text  # there are no such results
    assert "plots/train-breakdown.svg" not in text


def test_columns_have_values(benchmark, results):
    """No column of the studies' tables is empty for want of a key."""
    render = benchmark("render")
    for section in benchmark("study_objectives").SECTIONS.values():
        lines = [line for line in render.render(section) if line.startswith("|")]
        cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
        for k, name in enumerate(cells[0]):
            late = name == "50 s" or name.endswith("00 s")  # the curves of these rows are short
            assert late or any(row[k] for row in cells[2:]), name


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("<!-- end memory -->", ""), "without its partner"),
        (("<!-- begin memory -->", ""), "without its partner"),
        (("<!-- end memory -->", "<!-- end recipes -->"), "without its partner"),
        (("begin memory -->\n", "begin memory --><!-- begin memory -->\n"), "without its partner"),
        (("memory -->", "memories -->"), "'memories' is no table"),
        (("<!-- end memory -->", "<!-- end memory -->\n<!-- begin memory -->\n<!-- end memory -->"), "stands 2 times"),
        ((" memory -->", ""), "'memory' stands 0 times"),
    ],
)
def test_faulty_markers(benchmark, change, says):
    """A marker that is unpaired, unknown, missing or there twice is an error, in one line."""
    render = benchmark("render")
    pages = {page: (render.DOCS / page).read_text(encoding="utf-8") for page in render.PAGES}
    render.check(pages)
    assert change[0] in pages["benchmarks.md"]
    pages["benchmarks.md"] = pages["benchmarks.md"].replace(*change)
    with pytest.raises(SystemExit) as done:
        render.check(pages)
    assert says in done.value.code and "\n" not in done.value.code


def test_the_counts_on_the_page_of_faults(benchmark):
    """The recorded rows, judged: how many faults the loss curve hides, of all and of those the gradient check sees."""
    study = benchmark("study_faults")
    rows = json.loads((ROOT / "benchmarks" / "results" / "study_faults.json").read_text(encoding="utf-8"))["rows"]
    found = [row for row in study.judge(rows) if row["fault"] != study.CLEAN]
    seen = [row for row in found if row["by_gradient"]]
    hidden, among = (sum(not row["by_loss"] for row in part) for part in (found, seen))
    text = " ".join((ROOT / "docs" / "faults.md").read_text(encoding="utf-8").split())
    sentence = f"does not show {hidden} of the {len(found)}, and of the {len(seen)} that the gradient check sees"
    assert f"{sentence} it hides {among}." in text
    unseen = {row["fault"] for row in found if not row["seen"]}
    shown = (
        f"The loss curve shows {len(found) - hidden} of the {len(found)}, the gradient check detects {len(seen)}, and"
    )
    assert f"{shown} {len(unseen)} are detected by none of the six instruments." in text
    assert f"here, detects, {len(found)} faults were planted" in text
    assert unseen == {
        "the cell state not carried to the next chunk",
        "the state reset at every sequence",
        "every tensor clipped by its own norm",
        "the state not carried from window to window in evaluation",
    }  # those the page lists


# ---- plots


def test_every_plot(benchmark, monkeypatch, results, tmp_path):
    """Hand-made rows: each plot of a section with rows is drawn, lightly, and again with the same bytes."""
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install nplm-nce[plot]")
    plot, sections = benchmark("plot"), benchmark("render").SECTIONS.values()
    files = {"benchmarks/results": results, "first": tmp_path / "first", "second": tmp_path / "second"}
    for name in ("first", "second"):
        command = ["plot.py", "--results", str(results), "--format", "svg", "--out", str(files[name])]
        monkeypatch.setattr(sys, "argv", command)
        plot.main()
    wanted = {
        name: section.results
        for section in sections
        for name in section.plots
        if section.results.removesuffix(".json") in STUDIES
    }
    drawn = {file.stem: file.read_bytes() for file in files["first"].iterdir()}
    assert set(drawn) == set(wanted)
    for name, content in drawn.items():
        assert content == (files["second"] / f"{name}.svg").read_bytes()
        assert len(content) < 60_000


def test_curves_that_are_plotted(benchmark):
    """The rows themselves: the lines' points and names; the softmax as a line across."""
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install nplm-nce[plot]")
    plots, figures = benchmark("_plot_studies"), importlib.import_module("matplotlib.figure")
    left, right = figures.Figure().subplots(1, 2)
    plots.objectives_epochs(STUDIES["study_objectives"], left)
    lines = {line.get_label(): line.get_xydata().tolist() for line in left.lines}
    assert lines["nce-100"] == [[1, 194], [2, 97]] and "nce-100-power-0.5" not in lines
    plots.objectives_num_noise(STUDIES["study_objectives"], right)
    lines = {line.get_label(): line.get_xydata().tolist() for line in right.lines}
    assert lines["nce"] == [[10, 120], [100, 97], [500, 95]]
    assert {y for _, y in lines["softmax"]} == {100}


def test_no_plot_without_rows(benchmark, monkeypatch, results, tmp_path, capsys):
    """A study that has only begun: what has rows is drawn."""
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install nplm-nce[plot]")
    for name, rows in (
        ("study_objectives", []),
        ("study_chunks", [chunked("split", 2, 100.0)]),
        ("study_gradients", []),
    ):
        (results / f"{name}.json").write_text(json.dumps({"machine": MACHINE, "rows": rows}), encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["plot.py", "--results", str(results), "--out", str(tmp_path / "plots")])
    benchmark("plot").main()
    assert [file.name for file in (tmp_path / "plots").iterdir()] == ["chunks.png"]
