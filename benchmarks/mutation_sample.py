"""Would the tests notice a mistake? A sample of small defects put into the pooling package.

    python benchmarks/mutation_sample.py

copies the package and its tests to a temporary folder, draws defects with a fixed seed (modules by
the number of places where one can be put), puts in one at a time, runs the tests of that module
until the first failure and writes ``benchmarks/mutation.json``: the score and every defect that no
test noticed. A reason written beside a survivor in that file is kept on the next run. Nothing in
the working tree is changed. With ``--modules`` the rows of the other modules stay as they are.

Defects: another operator, comparison, number, boundary, sign, connective or returned value.
Texts, annotations and docstrings are left alone. A run past its limit of processor time counts as
noticed: it does not end.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
PACKAGE = Path("analysis/pooling")
SEED = 20240229

# tests that say most about a module first
TESTS = {
    "_design": ["small_parts", "moderators"],
    "_glmm_regression": ["moderators", "moderator_details"],
    "_regression": ["moderators"],
    "_stats": ["small_parts", "interface"],
    "_validate": ["interface", "edges"],
    "api": ["arguments", "interface"],
    "batch": ["arguments", "interface", "engine", "edges", "properties"],
    "bayes": ["bayes"],
    "bayes_many": ["bayes_many"],
    "betabinomial": ["betabinomial"],
    "effects": ["interface", "reference_normal", "edges"],
    "engine": ["engine", "lattice", "reference_glmm", "edges", "properties"],
    "fit": ["interface", "edges"],
    "glmm": ["small_parts", "reference_glmm", "edges", "engine", "interface"],
    "lattice": ["lattice", "engine", "reference_glmm"],
    "moderators": ["moderators", "moderator_details"],
    "nested": ["nested"],
    "normal": ["reference_normal", "edges", "interface", "properties"],
    "proportion": ["small_parts", "interface"],
    "quadrature": ["quadrature", "lattice", "engine", "reference_glmm"],
}

_BINARY: dict[type, type] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.MatMult: ast.Mult,
}
_COMPARE: dict[type, list[type]] = {
    ast.Lt: [ast.LtE, ast.Gt],
    ast.LtE: [ast.Lt, ast.Gt],
    ast.Gt: [ast.GtE, ast.Lt],
    ast.GtE: [ast.Gt, ast.Lt],
    ast.Eq: [ast.NotEq],
    ast.NotEq: [ast.Eq],
    ast.Is: [ast.IsNot],
    ast.IsNot: [ast.Is],
    ast.In: [ast.NotIn],
    ast.NotIn: [ast.In],
}


def changed(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """Every defect this node can be given: its kind and the node that replaces it."""
    if isinstance(node, ast.BinOp | ast.AugAssign) and type(node.op) in _BINARY:
        new = copy.deepcopy(node)
        new.op = _BINARY[type(node.op)]()
        yield "operator", new
    elif isinstance(node, ast.Compare) and len(node.ops) == 1:
        for other in _COMPARE[type(node.ops[0])]:
            new = copy.deepcopy(node)
            new.ops = [other()]
            boundary = {type(node.ops[0]), other} in ({ast.Lt, ast.LtE}, {ast.Gt, ast.GtE})
            yield "boundary" if boundary else "comparison", new
    elif isinstance(node, ast.Constant):
        if isinstance(node.value, bool):
            yield "constant", ast.Constant(not node.value)
        elif isinstance(node.value, int):
            yield "constant", ast.Constant(node.value + 1)
        elif isinstance(node.value, float):
            yield "constant", ast.Constant(1.5 * node.value if node.value else 1.0)
    elif isinstance(node, ast.BoolOp):
        new = copy.deepcopy(node)
        new.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        yield "connective", new
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Not | ast.Invert):
        yield "sign", copy.deepcopy(node.operand)
    elif isinstance(node, ast.Return) and node.value is not None:
        new = copy.deepcopy(node)
        new.value = ast.Constant(None)
        yield "return", new


_SKIPPED = {"annotation", "returns", "decorator_list", "type_comment"}


def places(tree: ast.Module) -> Iterator[tuple[ast.AST, str, int | None, ast.AST, str, ast.stmt]]:
    """``(parent, field, position, node, function, statement)`` of every node that may change."""

    def walk(parent: ast.AST, function: str, statement: Any):
        for name, value in ast.iter_fields(parent):
            if name in _SKIPPED:
                continue
            items = enumerate(value) if isinstance(value, list) else [(None, value)]
            for position, node in items:
                if not isinstance(node, ast.AST):
                    continue
                if isinstance(node, ast.Raise | ast.Import | ast.ImportFrom):
                    continue
                if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                    continue
                inside = function
                if isinstance(node, ast.FunctionDef | ast.ClassDef):
                    inside = f"{function}.{node.name}" if function else node.name
                here = node if isinstance(node, ast.stmt) else statement
                yield parent, name, position, node, inside, here
                yield from walk(node, inside, here)

    yield from walk(tree, "", None)


def line_of(statement: ast.stmt) -> str:
    """The statement in one line; of a compound one its head."""
    head = copy.copy(statement)
    for name in ("body", "orelse", "finalbody", "handlers"):
        if hasattr(head, name) and not isinstance(getattr(head, name), ast.AST):
            setattr(head, name, [ast.Pass()] if name == "body" else [])
    return " ".join(ast.unparse(head).split())


def mutants(module: str, source: str) -> list[dict[str, Any]]:
    """All defects of a module, each with its whole source."""
    tree = ast.parse(source)
    out = []
    for parent, name, position, node, function, statement in places(tree):
        if statement is None:
            continue
        for kind, new in changed(node):
            ast.copy_location(new, node)
            before = line_of(statement)
            target = getattr(parent, name)
            if position is None:
                setattr(parent, name, new)
            else:
                target[position] = new
            shown = new if new.__class__ is ast.Return else statement
            after = line_of(shown if isinstance(shown, ast.stmt) else statement)
            text = ast.unparse(ast.fix_missing_locations(tree))
            if position is None:
                setattr(parent, name, node)
            else:
                target[position] = node
            if isinstance(node, ast.AugAssign):
                after = line_of(new)  # type: ignore[arg-type]
            out.append(
                {
                    "module": module,
                    "function": function,
                    "line": getattr(node, "lineno", statement.lineno),
                    "kind": kind,
                    "before": before,
                    "after": after,
                    "text": text,
                }
            )
    return out


def run(folder: Path, mutant: dict[str, Any], limit: int) -> str:
    """``killed``, ``timeout`` or ``survived``."""
    path = folder / PACKAGE / f"{mutant['module']}.py"
    original = path.read_text(encoding="utf-8")
    path.write_text(mutant["text"], encoding="utf-8")
    try:
        return tested(folder, TESTS[mutant["module"]], limit)
    finally:
        path.write_text(original, encoding="utf-8")


def tested(folder: Path, names: list[str], limit: int) -> str:
    """Run the test files in a fork of this process, which has the heavy imports done."""
    child = os.fork()
    if child == 0:
        code = 70
        with suppress(BaseException):
            resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 5))
            quiet = os.open(os.devnull, os.O_WRONLY)
            os.dup2(quiet, 1)
            os.dup2(quiet, 2)
            os.chdir(folder)
            sys.path.insert(0, str(folder))
            import pytest

            files = [f"tests/pooling/test_{name}.py" for name in names]
            code = int(pytest.main(["-x", "-q", "-p", "no:randomly", *_QUIET, *files]))
        os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code in (-signal.SIGXCPU, -signal.SIGKILL):
        return "timeout"
    return "killed" if code else "survived"


_QUIET = ["-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning"]


def identity(mutant: dict[str, Any]) -> str:
    """A name that outlives moved lines."""
    return f"{mutant['module']}.{mutant['function']}: {mutant['before']} -> {mutant['after']}"


def sample(count: int, seed: int, modules: list[str]) -> list[dict[str, Any]]:
    """``count`` defects, shared among all modules by their lengths; those of ``modules``."""
    sources = {name: (ROOT / PACKAGE / f"{name}.py").read_text(encoding="utf-8") for name in TESTS}
    total = sum(len(source) for source in sources.values())
    chosen = []
    for name in modules:
        found = mutants(name, sources[name])
        share = max(2, round(count * len(sources[name]) / total))
        chosen += random.Random(f"{seed} {name}").sample(found, min(share, len(found)))
    return chosen


def prepare(folder: Path) -> None:
    """Copy what the tests need, and import once what every test run would import."""
    shutil.copytree(ROOT / "analysis", folder / "analysis", ignore=_NO_CACHE)
    for part in ("pooling", "reference"):
        shutil.copytree(ROOT / "tests" / part, folder / "tests" / part, ignore=_NO_CACHE)
    shutil.copy(ROOT / "pyproject.toml", folder)
    sys.dont_write_bytecode = True
    for name in ("pytest", "pandas", "scipy.special", "scipy.optimize", "scipy.stats"):
        importlib.import_module(name)
    hypothesis = importlib.import_module("hypothesis")
    importlib.import_module("hypothesis.strategies")
    for name in ("mpmath", "statsmodels.stats.proportion", "pymare"):
        with suppress(ImportError):
            importlib.import_module(name)
    hypothesis.settings.register_profile(
        "mutation",
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=[hypothesis.HealthCheck.too_slow],
    )
    hypothesis.settings.load_profile("mutation")


_NO_CACHE = shutil.ignore_patterns("__pycache__", "*.pyc")


def main() -> int:
    """Draw, run, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=200, help="defects to draw")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--limit", type=int, default=100, help="processor seconds per defect")
    parser.add_argument("--modules", nargs="*", default=sorted(TESTS), choices=sorted(TESTS))
    parser.add_argument("--output", type=Path, default=HERE / "mutation.json")
    args = parser.parse_args()

    old: dict[str, Any] = {"survivors": [], "modules": {}}
    if args.output.exists():
        old = json.loads(args.output.read_text(encoding="utf-8"))
    reasons = {identity(entry): entry.get("reason", "") for entry in old["survivors"]}
    chosen = sample(args.count, args.seed, args.modules)
    results = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        for i, mutant in enumerate(chosen):
            start = time.monotonic()
            outcome = run(folder, mutant, args.limit)
            results.append({**mutant, "outcome": outcome})
            seconds = time.monotonic() - start
            print(f"{i + 1}/{len(chosen)} {outcome} {seconds:.1f} s {identity(mutant)}", flush=True)
        for name in args.modules:
            # survivors show that the tests pass without a defect; where there is none, look
            if all(r["outcome"] != "survived" for r in results if r["module"] == name):
                clean = tested(folder, TESTS[name], args.limit)
                if clean != "survived":
                    raise SystemExit(f"the tests of {name} do not pass as they are: {clean}")

    modules = {name: row for name, row in old["modules"].items() if name not in args.modules}
    survivors = [entry for entry in old["survivors"] if entry["module"] not in args.modules]
    for name in args.modules:
        mine = [r for r in results if r["module"] == name]
        outcomes = [r["outcome"] for r in mine]
        modules[name] = {
            "defects": len(mine),
            "noticed": len(mine) - outcomes.count("survived"),
            "by_time_limit": outcomes.count("timeout"),
        }
        survivors += [
            {key: r[key] for key in ("module", "function", "line", "kind", "before", "after")}
            | {"reason": reasons.get(identity(r), "")}
            for r in mine
            if r["outcome"] == "survived"
        ]
    defects = sum(row["defects"] for row in modules.values())
    noticed = sum(row["noticed"] for row in modules.values())
    harmless = sum(s["reason"].startswith(("equivalent", "speed")) for s in survivors)
    report = {
        "seed": args.seed,
        "defects": defects,
        "noticed": noticed,
        "score": round(noticed / defects, 4),
        "score_without_harmless": round(noticed / (defects - harmless), 4),
        "modules": dict(sorted(modules.items())),
        "survivors": sorted(survivors, key=lambda s: (s["module"], s["line"])),
    }
    args.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"{noticed} of {defects} defects noticed, {len(survivors)} survive")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
