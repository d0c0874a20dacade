"""The layering of the design, section 3.  Oracle: the import statements themselves, and the words of the docs."""

import ast
import re
import sys
from pathlib import Path

import pytest

import nplm

PACKAGE = Path(nplm.__file__).parent
DERIVATIONS = PACKAGE.parent / "docs" / "derivations"
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


@pytest.mark.parametrize("path", files_in("nplm.reference", "nplm.gradcheck"), ids=module_name)
def test_reference_and_gradcheck_import_numpy_only(path):
    """Design: NumPy, and their own files."""
    names = imports_of(path)
    assert {name.split(".")[0] for name in third_party(names)} <= {"numpy"}
    own = ".".join(module_name(path).split(".")[:2])
    assert all(starts_with(name, own) for name in ours(names))


@pytest.mark.parametrize("path", [p for p in FILES if p not in files_in("nplm.reference")], ids=module_name)
def test_nothing_imports_the_reference(path):
    """Design: the slow twins are an oracle; the code cannot lean on its own oracle.  `nplm gradcheck` may."""
    allowed = module_name(path) in ("nplm.cli.gradcheck", "nplm.cli._twin")
    assert allowed or not any(starts_with(name, "nplm.reference") for name in imports_of(path))


@pytest.mark.parametrize("path", files_in("nplm.kernels"), ids=module_name)
def test_kernels_import_numpy_and_numba_only(path):
    """Design: NumPy, Numba with llvmlite, and each other."""
    names = imports_of(path)
    assert {name.split(".")[0] for name in third_party(names)} <= {"numpy", "numba", "llvmlite"}
    assert all(starts_with(name, "nplm.kernels") for name in ours(names))


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


@pytest.mark.parametrize("path", files_in("nplm.layers"), ids=module_name)
def test_layers_import_kernels(path):
    """Design: NumPy, kernels, room to work in, and each other."""
    names = imports_of(path)
    assert {name.split(".")[0] for name in third_party(names)} <= {"numpy"}
    assert all(starts_with(name, "nplm.kernels", "nplm.layers", "nplm.workspace") for name in ours(names))


@pytest.mark.parametrize("path", files_in("nplm.noise"), ids=module_name)
def test_noise_imports_kernels(path):
    """Design: NumPy, kernels, the configuration and the errors; no layer and no model."""
    names = imports_of(path)
    assert {name.split(".")[0] for name in third_party(names)} <= {"numpy"}
    allowed = ("nplm.kernels", "nplm.noise", "nplm.config", "nplm.errors")
    assert all(starts_with(name, *allowed) for name in ours(names))


@pytest.mark.parametrize(
    "path", files_in("nplm.chunk", "nplm.model", "nplm.optim", "nplm.shards"), ids=module_name
)
def test_the_model_knows_no_files_data_or_optimiser(path):
    """Design: what holds at module level; the one exception is save, which imports where it is called."""
    names = imports_of(path, everywhere=False)
    allowed = {"nplm.config", "nplm.errors", "nplm.layers", "nplm.noise", "nplm.vocabulary", "nplm.workspace"}
    allowed |= {"nplm.chunk"}
    if module_name(path) != "nplm.model":
        allowed |= {"nplm.kernels", "nplm.model"}
    if module_name(path) == "nplm.shards":
        allowed |= {"nplm.optim"}  # the update is shared out like the gradient
    assert all(starts_with(name, *allowed) for name in ours(names))
    inside = imports_of(path) - names
    assert ours(inside) <= {"nplm.checkpoint"}


@pytest.mark.parametrize("path", [p for p in FILES if p not in files_in("nplm.cli")], ids=module_name)
def test_nothing_imports_the_command(path):
    """Design: cli is the outermost layer; `python -m nplm` is the command itself."""
    allowed = module_name(path) == "nplm.__main__"
    assert allowed or not any(starts_with(name, "nplm.cli") for name in imports_of(path))


def all_labels(text):
    """Labels in a text; "[dS4] to [dS2]" names those between as well."""
    labels = set(LABEL.findall(text))
    for stem, first, last in re.findall(r"\[(d?[A-Z])(\d+)\] to \[\1(\d+)\]", text):
        low, high = sorted((int(first), int(last)))
        labels |= {f"{stem}{k}" for k in range(low, high + 1)}
    return labels


def defined_labels(docstring):
    """Labels at the start of a docstring's lines: those that it defines."""
    starts = [line.split("  ")[0] for line in docstring.splitlines() if line.startswith("[")]
    return {label for start in starts for label in all_labels(re.match(r"\[\w+\]( to \[\w+\])?", start)[0])}


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
    """docs/derivations/<name>.md has every label of the layer; reference/<name>.py defines no other forward ones."""
    defined = defined_labels(ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "")
    twin = ast.get_docstring(ast.parse((PACKAGE / "reference" / path.name).read_text("utf-8"))) or ""
    assert forward(defined) == forward(LABEL.findall(twin))
    derivation = (DERIVATIONS / f"{path.stem}.md").read_text("utf-8")
    assert defined <= all_labels(derivation)


def test_the_layers_with_equations():
    """The design's list for this stage."""
    assert {"embedding", "lstm", "nce", "softmax"} <= {path.stem for path in LAYERS}
