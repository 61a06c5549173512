"""Rules of the repository that no linter knows."""

from __future__ import annotations

import ast
import gc
import os
import re
import subprocess
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = ("bulksend", "producer", "worker", "notifier", "simulator", "ops", "migrations")
LOCKS = ("requirements.lock", "requirements-dev.lock")
#: Put together here, so that this file does not break its own rule.
HOSTS = [
    ".".join(parts)
    for parts in (
        *(("pypi", "org"), ("pythonhosted", "org"), ("registry", "npmjs", "org"), ("crates", "io")),
        *(("proxy", "golang", "org"), ("registry-1", "docker", "io"), ("jfrog", "io"), ("pkg", "dev")),
    )
]
MACHINE_PATHS = [re.compile(rf"(?<![\w.]){'/' + name}/\w") for name in ("root", "work", "home", "Users")]


def tracked() -> list[Path]:
    """Every file of the project; where git cannot say, every file that is not made by tools."""
    told = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if told.returncode == 0 and told.stdout:
        return [path for name in told.stdout.split("\0") if name and (path := ROOT / name).is_file()]
    return [path for path in ROOT.rglob("*") if path.is_file() and not _is_made(path.relative_to(ROOT))]


def _is_made(path: Path) -> bool:
    hidden = [part for part in path.parts if part.startswith(".") and part not in (".ci", ".env.example")]
    return bool(hidden) or "__pycache__" in path.parts


def text_of(path: Path) -> str | None:
    """A file's text; None where it is none."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None


#: Files of other projects, with their licences, as they were published.
OF_OTHERS = (
    ROOT / "ops" / "http" / "static" / "swagger-ui",
    ROOT / "ops" / "web" / "static" / "uplot",
    ROOT / "tests" / "browser" / "axe-core",
)
FILES = [path for path in tracked() if not any(folder in path.parents for folder in OF_OTHERS)]
TEXTS = {path: text for path in FILES if (text := text_of(path)) is not None}


@cache
def modules() -> dict[Path, list[ast.AST]]:
    """Of each module its tree and all that is in it: parsed once, and not before a test runs, as each process of the
    tests collects this file. The garbage collector need not look at these millions, now or later.
    """
    gc.disable()
    found = {path: list(ast.walk(ast.parse(text))) for path, text in TEXTS.items() if path.suffix == ".py"}
    gc.freeze()
    gc.enable()
    return found


def in_rooms(*rooms: str) -> Iterator[tuple[Path, list[ast.AST]]]:
    for path, nodes in modules().items():
        if path.relative_to(ROOT).parts[0] in rooms:
            yield path, nodes


def where(path: Path, line: int) -> str:
    return f"{path.relative_to(ROOT)}:{line}"


def lines_with(pattern: re.Pattern[str], *, besides: tuple[str, ...] = ()) -> list[str]:
    return [
        f"{where(path, number)}: {line.strip()[:80]}"
        for path, text in TEXTS.items()
        if path.name not in besides
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]


def test_the_project_is_found() -> None:
    assert {ROOT / "run", ROOT / "pyproject.toml", Path(__file__).resolve()} <= set(TEXTS)
    assert len(list(in_rooms(*PRODUCT))) > 50


def test_what_waits_waits_in_the_ledger_and_never_in_celery() -> None:
    """Celery holds its delayed jobs in a worker's memory, and delivers twice what outlasts its visibility timeout."""
    delays = {"eta", "countdown", "autoretry_for", "retry_backoff", "max_retries"}
    found = []
    for path, nodes in in_rooms(*PRODUCT):
        for node in nodes:
            if not isinstance(node, ast.Call):
                continue
            found += [where(path, node.lineno) for keyword in node.keywords if keyword.arg in delays]
            # To write a node out takes a hundred times as long as to look at its name.
            is_retry = isinstance(node.func, ast.Attribute) and node.func.attr == "retry"
            if is_retry and ast.unparse(node.func) == "self.retry":
                found.append(where(path, node.lineno))
    assert not found


def test_no_file_names_the_host_of_a_package_registry() -> None:
    assert not lines_with(re.compile("|".join(re.escape(host) for host in HOSTS)))


def test_no_file_names_a_path_of_a_developers_machine() -> None:
    assert not [line for pattern in MACHINE_PATHS for line in lines_with(pattern, besides=("Dockerfile",))]


def test_there_is_one_kind_of_lock() -> None:
    names = {path.name for path in FILES}
    assert names.isdisjoint({"uv.lock", "poetry.lock", "Pipfile.lock", "pdm.lock"})
    assert {name for name in names if name.endswith(".lock")} == set(LOCKS)


def test_no_module_is_a_drawer_for_everything() -> None:
    drawer = re.compile(r"(^|_)(common|utils?|helpers?|misc)$")
    assert not [
        str(path.relative_to(ROOT))
        for path in modules()
        if any(drawer.search(p) for p in path.with_suffix("").parts)
    ]


def test_tests_patch_nothing() -> None:
    """What a test wants different is an argument; a patched seam passes when the real one has moved."""
    found = []
    for path, nodes in in_rooms("tests"):
        for node in nodes:
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            elif (
                isinstance(node, ast.Attribute)
                and node.attr in ("setattr", "delattr", "setitem", "delitem")
                and ast.unparse(node.value) == "monkeypatch"
            ):
                names = [f"mock.{node.attr}"]
            elif isinstance(node, ast.arg) and node.arg == "mocker":
                names = ["mock"]
            else:
                continue
            found += [
                where(path, getattr(node, "lineno", 0))
                for name in names
                if name.split(".")[0] == "mock" or name.startswith("unittest.mock")
            ]
    assert not found


def test_no_test_is_skipped_or_expected_to_fail() -> None:
    off = {"skip", "skipif", "xfail", "importorskip"}
    found = [
        where(path, node.lineno)
        for path, nodes in in_rooms("tests")
        for node in nodes
        if isinstance(node, ast.Attribute)
        and node.attr in off
        and ast.unparse(node.value) in ("pytest", "pytest.mark")
    ]
    assert not found


def test_nothing_is_left_for_later() -> None:
    later = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|HA" + r"CK)\b")
    assert not lines_with(later)


def test_test_files_have_names_of_their_own() -> None:
    names = [path.name for path, _ in in_rooms("tests") if path.name.startswith("test_")]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("name", ["run", ".ci/run"])
def test_the_ways_in_can_be_run(name: str) -> None:
    assert os.access(ROOT / name, os.X_OK)


def pins(lock: str) -> dict[str, Requirement]:
    """What a lock pins, by name; markers and all."""
    entries = re.split(r"\n(?=\S)", TEXTS[ROOT / lock])
    found = {}
    for entry in entries:
        requirement = Requirement(entry.split("\\")[0].split("\n")[0].strip())
        found[canonicalize_name(requirement.name)] = requirement
    return found


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_pins_each_package_with_its_hashes_and_names_no_index(lock: str) -> None:
    entries = re.split(r"\n(?=\S)", TEXTS[ROOT / lock].strip())
    assert len(entries) > 20
    for entry in entries:
        assert re.match(r"[a-z0-9._-]+(\[[a-z,]+\])?==\S+ ", entry), entry[:80]
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry[:80]
    assert not re.search(
        r"(?m)^\s*-(-index-url|-extra-index-url|-find-links|i|f)\b|https?://", "\n".join(entries)
    )


def test_what_a_user_runs_is_what_was_tested() -> None:
    used, tested = pins("requirements.lock"), pins("requirements-dev.lock")
    assert set(used) <= set(tested)
    assert {name: pin.specifier for name, pin in used.items()} == {
        name: tested[name].specifier for name in used
    }


@pytest.mark.parametrize(("lock", "groups"), [("requirements.lock", []), ("requirements-dev.lock", ["dev"])])
def test_the_locks_keep_what_pyproject_asks_for(lock: str, groups: list[str]) -> None:
    project = tomllib.loads(TEXTS[ROOT / "pyproject.toml"])
    asked = [
        *project["project"]["dependencies"],
        *(one for g in groups for one in project["dependency-groups"][g]),
    ]
    pinned = pins(lock)
    for text in asked:
        wanted = Requirement(text)
        pin = pinned.get(canonicalize_name(wanted.name))
        assert pin is not None, f"{lock} does not pin {wanted.name}; compile it again"
        version = next(iter(pin.specifier)).version
        assert wanted.specifier.contains(version, prereleases=True), f"{lock}: {pin} is not {wanted}"


def test_no_property_is_judged_by_the_clock() -> None:
    """What a settings() of a test's own leaves out comes from the profile in tests/conftest.py."""
    assert settings.default is not None
    assert settings.default.deadline is None
    assert HealthCheck.too_slow in settings.default.suppress_health_check
    wrong = []
    for path, nodes in in_rooms("tests"):
        for node in nodes:
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "settings":
                own = {word.arg: ast.unparse(word.value) for word in node.keywords}
                timed = own.get("deadline", "None") != "None"
                if timed or "too_slow" not in own.get("suppress_health_check", "too_slow"):
                    wrong.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert wrong == []


#: The docstring of a command is its help text, and a command that raises prints the error; that of an endpoint is its
#: text in the API's documentation, and one that raises answers a problem, as a page of the console does.
FACES = (ROOT / "ops" / "cli", ROOT / "ops" / "http" / "routes", ROOT / "ops" / "web" / "routes")


def test_a_public_function_that_raises_says_so() -> None:
    """In its own docstring, or in that of its class or module where all functions do."""
    silent = []
    for path, nodes in in_rooms(*PRODUCT):
        if any(path.is_relative_to(face) for face in FACES):
            continue
        tree = nodes[0]
        assert isinstance(tree, ast.Module)
        for scope in nodes:
            if not isinstance(scope, ast.Module | ast.ClassDef) or getattr(scope, "name", "").startswith("_"):
                continue
            for function in scope.body:
                if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                    continue
                if function.name.startswith("_") or not any(map(_is_own_raise, ast.walk(function))):
                    continue
                texts = [ast.get_docstring(node) or "" for node in (function, scope, tree)]
                if not any("raise" in text.lower() for text in texts):
                    silent.append(where(path, function.lineno))
    assert silent == []


def _is_own_raise(node: ast.AST) -> bool:
    """Not an error that was caught and is raised again, nor an assertion."""
    return (
        isinstance(node, ast.Raise)
        and isinstance(node.exc, ast.Call)
        and "Assertion" not in ast.unparse(node.exc)
    )


def test_the_migrations_form_one_line_and_their_files_have_its_numbers() -> None:
    """Two branches that add a migration each would make two heads, and no database could be brought up."""
    line = []
    for path in sorted((ROOT / "migrations" / "versions").glob("[0-9]*.py")):
        values = dict(re.findall(r'^(revision|down_revision) = "?(\w+)"?$', path.read_text(), re.M))
        line.append((path.name[:4], values["revision"], values["down_revision"]))
    numbers = [f"{n:04}" for n in range(1, len(line) + 1)]
    assert line == list(zip(numbers, numbers, ["None", *numbers], strict=False))
