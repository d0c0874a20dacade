"""The layering of the design, section 3.  Oracle: the import statements themselves, and the words of the docs."""

import ast
import re
import sys
from pathlib import Path

import pytest

import nplm

PACKAGE = Path(nplm.__file__).parent
DERIVATIONS = PACKAGE.parent / "docs" / "learn"
FILES = sorted(PACKAGE.rglob("*.py"))
LABEL = re.compile(r"\[(d?[A-Z]\d+)\]")


def module_name(path):
    """nplm.layers.nce for .../nplm/layers/nce.py; a package's __init__ has the package's name."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(source, *, everywhere):
    """Dotted names that a source imports: at module level, or inside functions too."""
    tree = ast.parse(source)
    inside = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef))
        for node in ast.walk(function)
    }
    names = set()
    for node in ast.walk(tree):
        if id(node) in inside and not everywhere:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def imports_of(path, *, everywhere=True):
    return imports(path.read_text(encoding="utf-8"), everywhere=everywhere)


def starts_with(name, *packages):
    """Whether a dotted name is one of the packages or lies in one."""
    return any(name == package or name.startswith(package + ".") for package in packages)


def third_party(names):
    """Names that are neither ours nor the standard library's."""
    return {name for name in names if name.split(".")[0] not in {*sys.stdlib_module_names, "nplm"}}


def ours(names):
    return {name for name in names if starts_with(name, "nplm")}


def files_in(*folders):
    return [path for path in FILES if starts_with(module_name(path), *folders)]


def test_the_reader_of_imports():
    """A source written for it: what is found at module level, and what only inside a function."""
    source = "import a.b\nfrom c import d as e\nif True:\n    import f\ndef g():\n    from h import i\n"
    assert imports(source, everywhere=False) == {"a.b", "c.d", "f"}
    assert imports(source, everywhere=True) == {"a.b", "c.d", "f", "h.i"}
    assert len(FILES) > 20


@pytest.mark.parametrize("path", [p for p in FILES if p not in files_in("nplm.reference")], ids=module_name)
def test_nothing_imports_the_reference(path):
    """Design: the reference is an oracle; the code cannot lean on its own oracle.  The self-check may."""
    allowed = module_name(path) == "nplm.testing.selfcheck"
    assert allowed or not any(starts_with(name, "nplm.reference") for name in imports_of(path))


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_only_one_file_names_the_options_of_numba(path):
    """Design: kernels/_jit.py is the one home of njit's options; outside kernels/ nobody imports Numba's njit."""
    if module_name(path) == "nplm.kernels._jit":
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    forbidden = {"jit", "njit", "prange", "vectorize", "guvectorize"}
    assert not attributes & forbidden
    assert not {f"numba.{name}" for name in forbidden} & imports_of(path)
    options = {"nogil", "fastmath", "error_model", "parallel"}
    keywords = {node.arg for node in ast.walk(tree) if isinstance(node, ast.keyword)}
    assert not keywords & options


# ---- the house: a file imports only what stands above it

ORDER = (  # files and folders at the package's root, in the order of the data's way; docs/contributing.md draws it
    *("_version", "errors", "arrays", "logs", "config", "atomic", "threads", "optional"),
    *("kernels", "data", "reference", "gradcheck", "noise", "layers", "network", "model", "testing"),
    *("ranks", "storage", "scoring", "training", "toolkits", "export", "views", "cli", "__main__"),
)
SEALED = {  # what these import of third parties, and of the package besides themselves
    "reference": ({"numpy"}, set()),
    "gradcheck": ({"numpy"}, set()),
    "kernels": ({"numpy", "numba", "llvmlite"}, set()),
    "layers": ({"numpy"}, {"arrays", "kernels", "errors"}),
    "noise": ({"numpy"}, {"arrays", "kernels", "config", "errors"}),
    "network": ({"numpy"}, {"arrays", "layers"}),
    "model": ({"numpy"}, {"arrays", "config", "errors", "data", "noise", "layers", "network"}),
}


def root_of(name):
    """The file or folder at the root that a dotted name lies in: `layers` for nplm.layers.nce.forward."""
    return name.split(".")[1] if "." in name else ""


def edges(sources):
    """The modules that each module imports, for sources by module name; a name in a module counts as the module."""
    known = set(sources)
    found = {}
    for module, source in sources.items():
        names = ours(imports(source, everywhere=True))
        prefixes = ({".".join(name.split(".")[:k]) for k in range(2, name.count(".") + 2)} for name in names)
        targets = (max(prefix & known, key=len, default="") for prefix in prefixes)
        found[module] = {target for target in targets if target and target != module}
    return found


def circle(graph):
    """The modules of one circle of imports, or nothing."""
    done, path = set(), []

    def visit(module):
        if module in path:
            return path[path.index(module) :]
        if module in done:
            return []
        path.append(module)
        for target in sorted(graph[module]):
            if target in graph and (found := visit(target)):
                return found
        done.add(path.pop())
        return []

    return next((found for module in sorted(graph) if (found := visit(module))), [])


def from_below(graph):
    """Imports (file, what it imports) that lead downwards in ORDER."""
    rank = {name: place for place, name in enumerate(ORDER)}
    return [
        (module, target)
        for module, targets in graph.items()
        for target in targets
        if rank[root_of(target)] > rank[root_of(module)]
    ]


SOURCES = {
    module_name(path): path.read_text(encoding="utf-8")
    for path in FILES
    if module_name(path) != "nplm"  # the table of public names is looked up lazily
}


def test_no_file_imports_from_below():
    """ORDER: imports in functions and for type checkers count, too."""
    assert {root_of(module) for module in SOURCES} == set(ORDER)
    assert from_below(edges(SOURCES)) == []


def test_the_drawing_of_the_house():
    """docs/contributing.md draws ORDER."""
    page = (PACKAGE.parent / "docs" / "contributing.md").read_text("utf-8")
    drawing = page.partition("nplm/\n")[2].partition("\ntests/")[0]
    assert tuple(re.findall(r"^    (\w+)", drawing, re.MULTILINE)) == ORDER


def test_no_files_import_in_a_circle():
    """The graph of the imports, those in functions and for type checkers included."""
    assert circle(edges(SOURCES)) == []


@pytest.mark.parametrize(
    ("module", "planted"),
    [
        ("nplm.layers.nce", "def late():\n    from nplm.model import LanguageModel\n"),
        ("nplm.model", "if TYPE_CHECKING:\n    from nplm.storage import checkpoint\n"),
        ("nplm.data.text", "import nplm.scoring.score\n"),
    ],
)
def test_a_planted_import_from_below_is_found(module, planted):
    """Planted: an import in a function, one for the type checker, and a plain one."""
    graph = edges(SOURCES | {module: SOURCES[module] + planted})
    assert [where for where, _ in from_below(graph)] == [module]


def test_a_planted_circle_is_found():
    """Planted: two files of one folder that import each other."""
    planted = SOURCES | {"nplm.data.text": "from nplm.data import corpus\n" + SOURCES["nplm.data.text"]}
    assert {"nplm.data.text", "nplm.data.corpus"} <= set(circle(edges(planted)))


def test_the_root_holds_few_files():
    """At most 14, py.typed among them."""
    assert sum(path.is_file() for path in PACKAGE.iterdir()) <= 14


@pytest.mark.parametrize("name", SEALED)
def test_what_the_inner_parts_import(name):
    """SEALED: these can be read, and taken out, without the rest."""
    packages, parts = SEALED[name]
    for path in files_in(f"nplm.{name}"):
        names = imports_of(path)
        assert {found.split(".")[0] for found in third_party(names)} <= packages, path
        assert {root_of(found) for found in ours(names)} <= {name, *parts}, path


def test_a_chunk_is_trained_on_in_one_place():
    """Names that only a training step needs: outside step.py and optim.py they are called in trainer.py alone."""
    steps = {"prepare", "gradient", "update", "update_one", "begin"}
    found = set()
    for path in [*FILES, *(PACKAGE.parent / "benchmarks").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr in steps:
                owner = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", "")
                if owner in ("shards", "optimizer"):
                    found.add(path.relative_to(PACKAGE.parent).as_posix())
    assert found == {"nplm/training/step.py", "nplm/training/trainer.py"}


def all_labels(text):
    """Labels in a text; "[dS4] to [dS2]" names those between as well."""
    labels = set(LABEL.findall(text))
    for stem, first, last in re.findall(r"\[(d?[A-Z])(\d+)\] to \[\1(\d+)\]", text):
        low, high = sorted((int(first), int(last)))
        labels |= {f"{stem}{k}" for k in range(low, high + 1)}
    return labels


def defined_labels(docstring):
    """Labels at the start of a docstring's lines: those that it defines."""
    starts = (re.match(r" *\[d?[A-Z]\d+\]( to \[d?[A-Z]\d+\])?", line) for line in docstring.splitlines())
    return {label for start in starts if start for label in all_labels(start[0])}


def definitions(path):
    """Labels that a file defines: at the start of a line of its own docstring, or of a page."""
    text = path.read_text("utf-8")
    return defined_labels(text if path.suffix == ".md" else ast.get_docstring(ast.parse(text)) or "")


def concept(path):
    """What a file is about: its name, or for a package's __init__ and the files of gradcheck/ the package's."""
    return path.parent.name if path.stem == "__init__" or path.parent.name == "gradcheck" else path.stem


def defined_twice(found):
    """Labels that two concepts define, for the labels of each file; files of one name are one concept."""
    concepts = {}
    for path, labels in found.items():
        for label in labels:
            concepts.setdefault(label.removeprefix("d"), set()).add(concept(path))
    return {label: names for label, names in concepts.items() if len(names) > 1}


def forward(labels):
    """Labels of the forward pass."""
    return {label for label in labels if label[0] != "d"}


LAYERS = sorted(path for path in (PACKAGE / "layers").glob("*.py") if LABEL.search(path.read_text("utf-8")))


@pytest.mark.parametrize("path", LAYERS, ids=module_name)
def test_labels_are_defined_in_the_docstring(path):
    """The layer's own docstring: every equation that a line of code cites is written at the top, [d..] too."""
    source = path.read_text("utf-8")
    docstring = ast.get_docstring(ast.parse(source)) or ""
    cited = set(LABEL.findall(source.replace(docstring, "")))
    defined = defined_labels(docstring)
    assert cited and cited <= defined


@pytest.mark.parametrize("path", LAYERS, ids=module_name)
def test_labels_stand_in_the_reference_and_the_derivation(path):
    """docs/learn/<name>.md has every label of the layer; reference/<name>.py defines no other forward ones."""
    defined = defined_labels(ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "")
    reference = ast.get_docstring(ast.parse((PACKAGE / "reference" / path.name).read_text("utf-8"))) or ""
    assert forward(defined) == forward(LABEL.findall(reference))
    derivation = (DERIVATIONS / f"{path.stem}.md").read_text("utf-8")
    assert defined <= all_labels(derivation)


LABELLED = {
    path: labels
    for folder, pattern in (("nplm", "*.py"), ("benchmarks", "*.py"), ("docs", "*.md"))
    for path in sorted((PACKAGE.parent / folder).rglob(pattern))
    if (labels := definitions(path))
}


def test_a_label_means_one_equation():
    """Docstrings and pages: reference, layer, kernel and derivation share a concept's labels, nobody else has them."""
    assert {"lstm", "nce", "synthetic", "mix", "kneser_ney", "_exact"} <= set(map(concept, LABELLED))
    assert defined_twice(LABELLED) == {}


def test_a_planted_second_definition_is_found():
    """Planted: a benchmark that labels an equation of its own as the NCE does."""
    planted = LABELLED | {Path("benchmarks/study.py"): defined_labels("[N3] a = b")}
    assert defined_twice(planted) == {"N3": {"nce", "study"}}


def test_the_layers_with_equations():
    """The design's list for this stage."""
    assert {"embedding", "lstm", "nce", "softmax"} <= {path.stem for path in LAYERS}


def test_files_that_docstrings_name_exist():
    """Names of Python files in docstrings and comments of the package: those of the project."""
    root = PACKAGE.parent
    names = {path.name for folder in ("nplm", "tests", "benchmarks") for path in (root / folder).rglob("*.py")}
    for path in FILES:
        for name in re.findall(r"\b(\w+\.py)\b", path.read_text(encoding="utf-8")):
            assert name in names, f"{module_name(path)} names {name}"
