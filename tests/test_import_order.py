"""Imports point one way between packages: a package may use those above it in this list, and itself."""

import ast
from pathlib import Path

SOURCE = Path(__file__).parent.parent / "src" / "cavga"
PACKAGES = [
    "_version", "printable", "errors", "regular_files", "structured_files", "atomic_files", "output_lock", "threads",
    "progress", "arrays", "shapes", "config", "images", "data", "synthetic", "attention", "losses", "model", "runs",
    "calibration", "metrics", "rendering", "inference", "exporting", "training", "prediction", "evaluation",
    "monitoring", "marking", "projects", "service", "scale", "demo", "benchmark", "cli", "library", "__main__", "child",
]  # fmt: skip
MODULES = [path for path in sorted(SOURCE.rglob("*.py")) if path != SOURCE / "__init__.py"]


def package_of(module: str) -> str:
    return module.partition(".")[0]


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(SOURCE).with_suffix("").parts)


def imported(path: Path) -> set[str]:
    """The modules and packages of cavga that a file imports, below `cavga.`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name.removeprefix("cavga.") for name in node.names if name.name.startswith("cavga.")}
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("cavga."):
            module = node.module.removeprefix("cavga.")
            is_package = (SOURCE / module.replace(".", "/")).is_dir()
            found |= {f"{module}.{name.name}" for name in node.names} if is_package else {module}
        elif isinstance(node, ast.ImportFrom) and node.module == "cavga":
            found |= {name.name for name in node.names if name.name in PACKAGES}
    return found


def test_every_package_is_listed():
    there = {path.stem for path in SOURCE.iterdir() if path.name not in ("__init__.py", "py.typed", "__pycache__")}
    assert there == set(PACKAGES)


def test_imports_point_one_way():
    for path in MODULES:
        own = package_of(module_of(path))
        for other in imported(path):
            assert PACKAGES.index(package_of(other)) <= PACKAGES.index(own), f"{path} imports {other}"


def test_no_module_imports_itself_by_way_of_others():
    imports = {module_of(path): imported(path) for path in MODULES}
    done: set[str] = set()

    def visit(module: str, above: tuple[str, ...]) -> None:
        assert module not in above, " -> ".join([*above, module])
        if module not in done:
            for other in imports.get(module, ()):
                visit(other, (*above, module))
            done.add(module)

    for module in imports:
        visit(module, ())


def test_no_two_modules_of_the_product_have_one_name():
    """A command and the module that it calls may."""
    product = [path.relative_to(SOURCE) for path in MODULES if path.name != "__init__.py"]
    names = [path.name for path in product if path.parts[0] != "benchmark" and path.parts[:2] != ("cli", "commands")]
    assert len(names) == len(set(names)), sorted(name for name in set(names) if names.count(name) > 1)


def test_files_and_functions_are_small():
    for path in SOURCE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 400, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                length = (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
                assert length <= 40, f"{path}: {node.name} has {length} lines"
