"""The pages of the results.  Oracles: hand-made rows whose sentences are known; the recorded results and the pages."""

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
    row = {
        "recipe": "ptb-small",
        "case": case,
        "seed": seed,
        "valid_perplexity": test + 1,
        "test_perplexity": test,
    }
    row |= {"objective": "nce" if objective.startswith("nce") else objective, "seconds": 100.0}
    return row | {"mean_log_z": 0.05, "std_log_z": 0.2, "curve": curve(2 * test, test)} | more


def chunked(kind, chunks, perplexity, groups=None, redraw=None, group_map="contiguous", k=100, seed=1, **more):
    """A row of study_chunks.py."""
    row = {"kind": kind, "chunks": chunks, "perplexity": perplexity, "groups": groups, "redraw": redraw}
    row |= {"group_map": groups and group_map, "num_noise": k, "seed": seed, "updates": 100 * chunks}
    row |= {
        "batch_size": chunks if kind == "matched" else 20,
        "never_covered": 0.25 if redraw == "never" else 0.0,
    }
    return row | {"curve": curve(2 * perplexity, perplexity, log_z=0.0 if redraw != "never" else 1.5)} | more


def gradient(kind, **more):
    """A row of study_gradients.py."""
    row = {
        "kind": kind,
        "num_noise": 100,
        "parameters": "all",
        "groups": None,
        "group_map": None,
        "chunks": 32,
    }
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


# ---- phrases and curves


def test_versus(benchmark):
    """By hand, on both sides of each bound."""
    versus = benchmark("_phrases").versus
    assert versus(97, 100) == "3.0 % below" and versus(103, 100) == "3.0 % above"
    assert versus(100.04, 100) == versus(99.96, 100) == "equal to"
    assert versus(199, 100) == "99.0 % above" and versus(250, 100) == "2.5 times"
    assert versus(123_456, 100) == "1,235 times"
    assert versus(99.9, 100) == "0.1 % below"


def test_phrases(benchmark):
    """By hand."""
    phrases = benchmark("_phrases")
    assert phrases.listed("abc") == "a, b and c" and phrases.listed("a") == "a"
    assert phrases.seeds([1], [2]) == "1 seed" and phrases.seeds([1, 2], [1, 2]) == "means of 2 seeds"
    assert phrases.seeds([1], [1, 2, 3]) == "means of 1 to 3 seeds"
    assert phrases.percent(0.0) == "0.0 %" and phrases.percent(1e-5) == "less than 0.1 %"
    assert phrases.figure(999.94) == "999.9" and phrases.figure(54321.0) == "54,321"


def test_best_at(benchmark):
    """By hand: half-way from 400 to 100 on a logarithmic scale is 200; the best is kept; nothing before an epoch."""
    rows = benchmark("_rows")
    line = curve(400.0, 100.0, 110.0)
    assert rows.best_at(line, 9.0) is None
    assert rows.best_at(line, 10.0) == 400
    assert rows.best_at(line, 15.0) == pytest.approx(200)
    assert rows.best_at(line, 25.0) == rows.best_at(line, 99.0) == 100
    assert rows.seconds_to(line, 100.0) == 20 and rows.seconds_to(line, 99.0) is None


def test_settings(benchmark):
    """K and power as the command lines of the cases have them, and the command's own default."""
    settings = benchmark("_rows").settings
    config = importlib.import_module("nplm.config").ModelConfig
    assert settings("softmax") == {"num_noise": None, "power": None}
    assert settings("nce-25") == {"num_noise": 25, "power": config(10).noise_power}
    assert settings("nce-100-power-0.5") == {"num_noise": 100, "power": 0.5}
    assert settings("sampled-softmax-500")["num_noise"] == 500


def test_means_over_seeds(benchmark):
    """By hand: 90 and 110 against the softmax's 80; no table if no case has two seeds."""
    over_seeds = benchmark("_rows").over_seeds
    rows = [trained("softmax", 80.0), trained("nce-100", 90.0), trained("nce-100", 110.0, seed=2)]
    nce = over_seeds(rows)[1]
    assert (nce["case"], nce["seeds"], nce["test_perplexity"]) == ("nce-100", 2, 100)
    assert nce["relative"] == pytest.approx(0.25) and nce["spread"] == pytest.approx(math.sqrt(200))
    assert over_seeds(rows[:2]) == []


# ---- findings: the same sentence with the numbers the other way round


def check(sentences, *parts):
    """All parts are in the sentences."""
    text = " ".join(sentences)
    for part in parts:
        assert part in text, (part, text)


def test_nce_against_softmax(benchmark):
    """By hand."""
    finding = benchmark("_findings_quality").nce_against_softmax
    for test, says in ((97.0, ("3.0 % below", "reached")), (102.0, ("2.0 % above", "reached")),
                       (104.0, ("4.0 % above", "missed"))):  # fmt: skip
        check(
            finding([trained("softmax", 100.0), trained("nce-100", test)]),
            *says,
            f"{test} against 100.0; 1 seed",
        )
    check(finding([trained("softmax", 100.0), trained("nce-500", 102.0)]), "K = 500", "missed")
    assert not list(finding([trained("softmax", 100.0)])) and not list(finding([trained("nce-100", 100.0)]))


def test_equal_seconds(benchmark):
    """By hand: curves that meet, one that never does, one that has not begun."""
    finding = benchmark("_findings_quality").equal_seconds
    slow = trained("softmax", 0, curve=curve(400.0, 100.0, seconds=20.0))
    fast = trained("nce-100", 0, curve=curve(300.0, 100.0, 90.0, seconds=10.0))
    says = "ends after 30 s of training with a valid perplexity of 90.0, which is 55.0 % below", "(200.0)"
    check(finding([slow, fast]), *says, "needs 40 s to its own best, 100.0, and NCE 20 s to get as far")
    worse = trained("nce-100", 0, curve=curve(300.0, 250.0, 240.0, seconds=10.0))
    check(finding([slow, worse]), "20.0 % above", "and NCE does not get as far")
    early = trained("nce-100", 0, curve=curve(300.0, seconds=5.0))
    check(finding([slow, early]), "before the softmax has finished its first epoch")
    assert not list(finding([slow])) and not list(finding([fast, slow | {"seed": 2}]))


def test_num_noise(benchmark):
    """By hand: larger K better, and worse."""
    finding = benchmark("_findings_quality").num_noise
    rows = [trained("nce-1000", 90.0, seconds=150.0), trained("nce-10", 100.0), trained("nce-100", 95.0)]
    check(finding(rows), "With K = 1,000 the test perplexity is 10.0 % below that with K = 10", "50.0 % above")
    check(
        finding(rows),
        "is 5.3 % below that with K = 100",
        "10, 100 and 1,000, the lowest test perplexity is that of 1,000",
    )
    rows[0] |= {"test_perplexity": 110.0}
    check(finding(rows), "is 10.0 % above", "the lowest test perplexity is that of 100")
    assert not list(finding([*rows[:1], trained("nce-100-power-0.5", 95.0)]))


def test_noise_power(benchmark):
    """By hand, either power best."""
    finding = benchmark("_findings_quality").noise_power
    rows = [trained("nce-100", 100.0), trained("nce-100-power-0.5", 110.0), trained("nce-500", 50.0)]
    check(finding(rows), "1 has the lowest", "at 0.5 it is 10.0 % above that")
    check(finding([trained("nce-100", 121.0), rows[1]]), "0.5 has the lowest", "at 1 it is 10.0 % above that")
    assert not list(finding(rows[:1]))


def test_other_objectives(benchmark):
    """By hand."""
    finding = benchmark("_findings_quality").other_objectives
    rows = [trained("nce-100", 100.0), trained("sampled-softmax-100", 105.0), trained("ranking-100", 95.0)]
    check(
        finding(rows),
        "Sampled softmax, test perplexity: with K = 100 it is 5.0 % above",
        "5.0 % below that by NCE",
    )
    assert not list(finding(rows[1:]))


def test_self_normalisation(benchmark):
    """By hand: each bound broken alone, a second seed that breaks it, and another objective."""
    finding = benchmark("_findings_quality").self_normalisation
    recipe = {"recipe": "demo", "objective": "nce", "mean_log_z": 0.1, "std_log_z": 0.3}
    rows = [
        trained("nce-10", 1.0, mean_log_z=-0.11),
        trained("nce-25", 1.0, std_log_z=0.31),
        trained("nce-100", 1.0),
    ]
    check(finding([recipe], rows), "nothing done after training: 2 of 4, demo (+0.100, sd 0.300) and nce-100")
    check(finding([], rows), "Those that do not: nce-10 (-0.110, sd 0.200) and nce-25 (+0.050, sd 0.310).")
    seeds = [trained("nce-100", 1.0), trained("nce-100", 1.0, seed=2, mean_log_z=0.25)]
    check(
        finding([], [*seeds, trained("softmax", 1.0)]),
        "after training: 0 of 1.",
        "nce-100 (+0.250",
        "other objectives",
        "softmax (+0.050",
    )
    fitted = recipe | {"recipe": "tied", "fit_log_z": True}
    check(finding([recipe, fitted], []), "1 of 1, demo (+0.100, sd 0.300).", "on the test text: tied (+0.100")
    assert not list(finding([], []))


def test_aims(benchmark):
    """By hand: reached, missed, and one of two."""
    finding = benchmark("_findings_quality").aims
    recipe = {"recipe": "ptb-small-regularised", "test_perplexity": 85.0}
    check(finding([recipe], []), "85.00, the aim of 88 reached", "2.5 % below the 87.17")
    check(finding([recipe | {"test_perplexity": 90.0}], []), "missed by 2.00", "3.2 % above")
    check(
        finding([recipe | {"recipe": "ptb-medium", "test_perplexity": 76.5}], [trained("softmax", 118.0)]),
        "the aim of 79 reached and the aim of 75 missed by 1.50", "118.00, the aim of 117 missed by 1.00",
    )  # fmt: skip
    assert not list(finding([], []))


def test_counting(benchmark):
    """By hand, either ahead."""
    finding = benchmark("_findings_quality").counting
    row = {
        "order": 5,
        "test_perplexity": 100.0,
        "neural_test_perplexity": 90.0,
        "mixed_test_perplexity": 81.0,
    }
    check(
        finding([{"order": 4}, row], []),
        "demo's corpus",
        "10.0 % below that of the Kneser-Ney 5-gram",
        "81.0, 10.0",
    )
    check(
        finding([], [row | {"neural_test_perplexity": 110.0}]),
        "Penn Treebank",
        "10.0 % above",
        "19.0 % below",
    )


def test_number_of_chunks(benchmark):
    """By hand: both series both ways, the best in between, and the cut gradient."""
    finding = benchmark("_findings_chunks").number_of_chunks
    rows = [chunked("split", 64, 110.0), chunked("split", 2, 200.0), chunked("split", 8, 100.0)]
    says = (
        "N = 64 gives 32.0 times the updates of N = 2",
        "45.0 % below that with N = 2",
        "of the N tried, 8 has",
    )
    check(finding(rows, []), *says)
    check(finding([chunked("split", 64, 300.0), rows[1]], []), "50.0 % above", "of the N tried, 2 has")
    for perplexity, says in ((104.0, "4.0 % above"), (96.0, "4.0 % below"), (100.0, "equal to")):
        matched = [chunked("matched", 2, 100.0), chunked("matched", 64, perplexity)]
        check(finding(matched, []), f"B = N, and K = 100, the perplexity with N = 64 is {says} that with N = 2")
    check(finding([], gradient_rows()), "cut into 2 chunks is 2.0 % of its length", "cut into 8 8.0 % (10.0 %")
    assert not list(finding([chunked("split", 2, 100.0)], []))


def test_shared_noise(benchmark):
    """By hand, both ways; without the fresh run, or one of another K, nothing to set it against."""
    finding = benchmark("_findings_chunks").shared_noise
    fresh, pool = chunked("split", 32, 100.0), chunked("pool", 32, 130.0, 2, "sequence")
    check(finding([fresh, pool], [], []), "30.0 % above it (130.0) with M = 2", "contiguous")
    check(finding([fresh, pool | {"perplexity": 90.0}], [], []), "10.0 % below it (90.0) with M = 2")
    assert not list(finding([pool, chunked("split", 32, 100.0, k=25), chunked("split", 2, 100.0)], [], []))
    speed = [{"threads": 1, "breakdown": {"noise": 1.0, "total": 50.0}}]
    says = (
        "8.0 times with M = 2 and 2.0 times with M = 8",
        "1.00 to 1.00 of what chance gives",
        "takes 2.0 %",
    )
    check(finding([], gradient_rows(), speed), *says)
    assert not list(finding([], [], speed))


def test_pool_life(benchmark):
    """By hand, both ways."""
    finding = benchmark("_findings_chunks").pool_life
    fresh = chunked("split", 32, 100.0)
    rows = [fresh, chunked("pool", 32, 110.0, 2, "sequence"), chunked("pool", 32, 500.0, 2, "never")]
    says = "10.0 % above it (110.0) redrawn for every sequence and 5.0 times it (500.0) never redrawn"
    check(finding(rows), says, "from +1.50 after the first epoch to +3.00", "25.0 % of the noise law")
    check(
        finding([fresh, chunked("pool", 32, 95.0, 2, "epoch")]),
        "5.0 % below it (95.0) redrawn for every epoch",
    )
    assert not list(finding(rows[:2])) and not list(finding(rows[1:]))


# ---- pages


def test_the_pages_are_what_the_results_give(benchmark, monkeypatch):
    """The recorded results; and a figure that was changed by hand is found."""
    render = benchmark("render")
    monkeypatch.setattr(sys, "argv", ["render.py", "--check"])
    with pytest.raises(SystemExit) as done:
        render.main()
    assert not done.value.code
    page = (render.DOCS / "benchmarks.md").read_text(encoding="utf-8")
    changed = page.replace(" | 1 | ", " | 3 | ", 1)
    assert render.BLOCK.sub(render.filled, changed) == page != changed


def test_render_writes_what_check_wants(benchmark, monkeypatch, tmp_path, results):
    """Pages with the markers alone: --check fails, render fills them, --check passes; the text by hand stays."""
    render = benchmark("render")
    monkeypatch.setattr(render, "DOCS", tmp_path)
    names = list(render.BLOCKS)
    for n, page in enumerate(render.PAGES):
        marks = "".join(f"by hand {name}\n<!-- begin {name} -->\n<!-- end {name} -->\n" for name in names[n::3])
        (tmp_path / page).write_text(marks, encoding="utf-8")
    codes = []
    for flags in (["--check"], [], ["--check"]):
        monkeypatch.setattr(sys, "argv", ["render.py", *flags])
        try:
            codes.append(render.main())
        except SystemExit as done:
            codes.append(done.code)
    assert codes[0].startswith("not what the results give: benchmarks.md") and not any(codes[1:])
    text = "".join((tmp_path / page).read_text(encoding="utf-8") for page in render.PAGES)
    assert text.count("by hand") == len(names)
    for part in (
        "## Objectives",
        "| nce-100 |",
        "**NCE against the softmax**",
        "- By NCE with K = 100",
        "(plots/chunks.svg)",
    ):
        assert part in text
    assert "## Recipes" not in text and "## Memory" not in text  # there are no such results
    assert "plots/train.svg" not in text


def test_columns_have_values(benchmark, results):
    """No column of the studies' tables is empty for want of a key."""
    render, sections = benchmark("render"), benchmark("sections")
    for section in (sections.OBJECTIVES, sections.SEEDS, sections.SECONDS):
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
        (("memory -->", "memories -->"), "'memories' is neither a table nor a finding"),
        (
            ("<!-- end memory -->", "<!-- end memory -->\n<!-- begin memory -->\n<!-- end memory -->"),
            "stands 2 times",
        ),
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


# ---- plots


def test_every_plot(benchmark, monkeypatch, results, tmp_path):
    """Hand-made rows: each plot of a section with rows is drawn, lightly, and again with the same bytes."""
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install nplm-nce[plot]")
    plot, sections = benchmark("plot"), benchmark("sections")
    files = {"benchmarks/results": results, "first": tmp_path / "first", "second": tmp_path / "second"}
    for name in ("first", "second"):
        command = ["plot.py", "--results", str(results), "--format", "svg", "--out", str(files[name])]
        monkeypatch.setattr(sys, "argv", command)
        plot.main()
    wanted = {
        name: section.results
        for section in sections.SECTIONS.values()
        for name in section.plots
        if section.results.removesuffix(".json") in STUDIES
    }
    drawn = {file.stem: file.read_bytes() for file in files["first"].iterdir()}
    assert set(drawn) == set(wanted)
    for name, content in drawn.items():
        assert content == (files["second"] / f"{name}.svg").read_bytes()
        assert len(content) < 60_000
        assert f"{plot.PLOTS[name][0]}.json" == wanted[name]
    for section in sections.SECTIONS.values():
        assert {f"{plot.PLOTS[name][0]}.json" for name in section.plots} <= {section.results}


def test_curves_that_are_plotted(benchmark):
    """The rows themselves: the lines' points and names; the softmax as a line across."""
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install nplm-nce[plot]")
    plots, plt = benchmark("_plot_studies"), benchmark("plot").plt
    figure, (left, right) = plt.subplots(1, 2)
    plots.objectives_seconds(STUDIES["study_objectives"], left)
    lines = {line.get_label(): line.get_xydata().tolist() for line in left.lines}
    assert lines["nce-100"] == [[10, 194], [20, 97]] and "nce-100-power-0.5" not in lines
    plots.objectives_num_noise(STUDIES["study_objectives"], right)
    lines = {line.get_label(): line.get_xydata().tolist() for line in right.lines}
    assert lines["nce"] == [[10, 120], [100, 97], [500, 95]]
    assert {y for _, y in lines["softmax"]} == {100}
    plt.close(figure)


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
