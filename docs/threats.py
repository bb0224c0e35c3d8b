"""Writes docs/THREATS.md: each row of docs/attacks.md with the tests that cover it and their results, or *open*.

    python3 docs/threats.py RESULTS…    # the output of cargo test, of python -m unittest -v, or both
    python3 docs/threats.py --check     # exits 1 if THREATS.md names other rows or tests than there are

A test covers a row when its name starts with the row: `fn a9_…` in *.rs, `def test_a9_…` in test_*.py. A test
that is run in several places has the worst of its results. Standard library only.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
ATTACKS, THREATS = ROOT / "docs" / "attacks.md", ROOT / "docs" / "THREATS.md"
SKIPPED = {"target", "__pycache__", "node_modules"}

HEADING = re.compile(r"## (.+)")
ROW = re.compile(r"\| ([A-C]\d+) \| (.+?) \| (.+?) \|$")
RUST_TEST = re.compile(r"^\s*(?:async )?fn (([abc]\d+)_\w+)", re.MULTILINE)
PYTHON_TEST = re.compile(r"^\s*(?:async )?def (test_([abc]\d+)_\w+)", re.MULTILINE)
CARGO_RESULT = re.compile(r"^test (?:\S+::)?(\w+)(?: - should panic)? \.\.\. (ok|FAILED|ignored)\b", re.MULTILINE)
UNITTEST_RESULT = re.compile(r"^(test_\w+) \(.*?\).*? \.\.\. (ok|FAIL|ERROR|skipped)\b", re.MULTILINE)
WORST_FIRST = ("failed", "not run", "ok")
WORDS = {"ok": "ok", "FAILED": "failed", "FAIL": "failed", "ERROR": "failed", "ignored": "not run", "skipped": "not run"}

INTRODUCTION = """\
# Threats and the tests that answer them

<!-- Written by docs/threats.py from docs/attacks.md and the names of the tests; do not edit. -->

{covered} of {rows} rows have tests ({tests} tests); the others are *open*. A row with tests may still be covered in part: the tests' names say what they claim.
"""


class Row(NamedTuple):
    """One line of the list."""

    section: str
    name: str
    attack: str
    outcome: str


class Test(NamedTuple):
    """One test that covers a row."""

    path: str
    name: str


def read_rows(text: str) -> list[Row]:
    rows, section = [], ""
    for line in text.splitlines():
        if heading := HEADING.match(line):
            section = heading.group(1)
        elif row := ROW.match(line):
            rows.append(Row(section, *row.groups()))
    return rows


def sources() -> Iterator[tuple[Path, re.Pattern[str]]]:
    for directory in sorted(ROOT.iterdir()):
        if directory.is_dir() and directory.name not in SKIPPED and not directory.name.startswith("."):
            for pattern, test in (("*.rs", RUST_TEST), ("test_*.py", PYTHON_TEST)):
                for path in sorted(directory.rglob(pattern)):
                    if not SKIPPED & set(path.relative_to(ROOT).parts):
                        yield path, test


def find_tests(rows: list[Row]) -> dict[str, list[Test]]:
    tests: dict[str, list[Test]] = {row.name: [] for row in rows}
    for path, pattern in sources():
        for name, row in pattern.findall(path.read_text(encoding="utf-8")):
            test = Test(path.relative_to(ROOT).as_posix(), name)
            if row.upper() not in tests:
                sys.exit(f"{test.path}: {name} covers {row.upper()}, and docs/attacks.md has no such row")
            if test not in tests[row.upper()]:
                tests[row.upper()].append(test)
    return tests


def read_results(paths: list[Path]) -> dict[str, str]:
    results: dict[str, str] = {}
    for path in paths:
        text = path.read_text(encoding="utf-8", errors="replace")
        for name, word in CARGO_RESULT.findall(text) + UNITTEST_RESULT.findall(text):
            result = min(WORDS[word], results.get(name, "ok"), key=WORST_FIRST.index)
            results[name] = result
    return results


def page(rows: list[Row], tests: dict[str, list[Test]], results: dict[str, str]) -> str:
    covered = sum(bool(found) for found in tests.values())
    count = sum(len(found) for found in tests.values())
    lines = [INTRODUCTION.format(covered=covered, rows=len(rows), tests=count)]
    section = ""
    for row in rows:
        if row.section != section:
            section = row.section
            lines += ["" if lines[-1].startswith("|") else None, f"## {section}", ""]
            lines += ["| row | attack, fault or claim | must happen, or how it is shown | tests |", "| --- | --- | --- | --- |"]
        lines.append(f"| {row.name} | {row.attack} | {row.outcome} | {cell(tests[row.name], results)} |")
    return "\n".join(line for line in lines if line is not None) + "\n"


def cell(tests: list[Test], results: dict[str, str]) -> str:
    named = (f"`{test.path}::{test.name}` {results.get(test.name, 'not run')}" for test in tests)
    return "<br>".join(named) or "*open*"


def without_results(text: str) -> str:
    return re.sub(r"` (?:ok|failed|not run)(?=<br>| \|$)", "`", text, flags=re.MULTILINE)


def main() -> None:
    parser = argparse.ArgumentParser(description="Writes docs/THREATS.md.")
    parser.add_argument("results", nargs="*", type=Path, help="output of test runs")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the page is stale")
    options = parser.parse_args()
    rows = read_rows(ATTACKS.read_text(encoding="utf-8"))
    tests = find_tests(rows)
    if not options.check:
        results = read_results(options.results)
        THREATS.write_text(page(rows, tests, results), encoding="utf-8")
        bad = sorted(test.name for found in tests.values() for test in found if results.get(test.name) == "failed")
        sys.exit(f"failed: {', '.join(bad)}" if bad else 0)
    kept = THREATS.read_text(encoding="utf-8") if THREATS.exists() else ""
    if without_results(kept) != without_results(page(rows, tests, {})):
        sys.exit("docs/THREATS.md is stale: run the tests and `python3 docs/threats.py RESULTS…`")


if __name__ == "__main__":
    main()
