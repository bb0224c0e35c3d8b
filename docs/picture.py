"""Makes docs/demo.svg: runs a command in a terminal of its own and draws the last whole frame of its table.

    python3 docs/picture.py                          # ./demo --for 25s
    python3 docs/picture.py --out x.svg -- COMMAND…

A frame begins where the program goes to the top left (ESC [ H); it is whole once the next one begins. Only what such
a table needs is understood: text, line ends, moves, erasing, bold, dim and the 16 colours. Standard library only.
"""

from __future__ import annotations

import argparse
import codecs
import copy
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
import unicodedata
from itertools import groupby
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

ROOT = Path(__file__).resolve().parent.parent
BACKGROUND, FOREGROUND, FRAME = "#14181f", "#c9d1d9", "#2a313c"
COLOURS = (
    *("#5c6773", "#f2777a", "#8fc97a", "#e6c06c", "#6fa8dc", "#c792ea", "#66cccc", "#c9d1d9"),
    *("#7f8b99", "#ff9c9e", "#b1e39b", "#ffdc8f", "#95c6f5", "#ddb3f8", "#8ee6e6", "#ffffff"),
)
CELL_WIDTH, CELL_HEIGHT, FONT_SIZE, MARGIN, BAR = 8.4, 19, 14, 16, 30
FONTS = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"

CONTROL = re.compile(r"\x1b\[([?>=]?[0-9;]*)([@-~])|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[()][0-9A-B]|\x1b[=>78cDEHM]")
UNFINISHED = re.compile(r"\x1b(?:\[[?>=]?[0-9;]*|\][^\x07\x1b]*|[()])?$")


class Style(NamedTuple):
    """How a cell looks."""

    colour: int | None = None
    ground: int | None = None
    bold: bool = False
    dim: bool = False


class Cell(NamedTuple):
    """What stands in a cell."""

    text: str = " "
    style: Style = Style()


class Screen:
    """A terminal's screen, as far as a table needs it."""

    def __init__(self, columns: int, rows: int) -> None:
        self.columns, self.rows = columns, rows
        self.row = self.column = 0
        self.style = Style()
        self.cells = [[Cell()] * columns for _ in range(rows)]
        self.whole: list[list[Cell]] | None = None  # the last frame that another one followed
        self.pending = ""

    def feed(self, text: str) -> None:
        text = self.pending + text
        cut = UNFINISHED.search(text)
        text, self.pending = (text[: cut.start()], cut.group()) if cut else (text, "")
        at = 0
        for control in CONTROL.finditer(text):
            self.write(text[at : control.start()])
            if control.group(2):
                self.control(control.group(2), [int(n or 0) for n in control.group(1).lstrip("?>=").split(";")])
            at = control.end()
        self.write(text[at:])

    def write(self, text: str) -> None:
        for char in text:
            if char == "\n":
                self.line_feed()
            elif char == "\r":
                self.column = 0
            elif char == "\t":
                self.column = min(self.column // 8 * 8 + 8, self.columns - 1)
            elif char >= " " and not unicodedata.combining(char):
                self.put(char, 2 if unicodedata.east_asian_width(char) in "WF" else 1)

    def put(self, char: str, width: int) -> None:
        if self.column + width > self.columns:
            self.column = 0
            self.line_feed()
        self.cells[self.row][self.column : self.column + width] = [Cell(char, self.style), Cell("", self.style)][:width]
        self.column += width

    def line_feed(self) -> None:
        if self.row + 1 < self.rows:
            self.row += 1
        else:
            self.cells = [*self.cells[1:], [Cell()] * self.columns]

    def control(self, final: str, numbers: list[int]) -> None:
        count = max(numbers[0], 1)
        if final in "Hf":
            row, column = (*numbers, 0)[:2]
            if row <= 1 and column <= 1 and any(cell.text.strip() for line in self.cells for cell in line):
                self.whole = copy.deepcopy(self.cells)
            self.row, self.column = min(max(row, 1), self.rows) - 1, min(max(column, 1), self.columns) - 1
        elif final in "AB":
            self.row = min(max(self.row + (count if final == "B" else -count), 0), self.rows - 1)
        elif final in "CD":
            self.column = min(max(self.column + (count if final == "C" else -count), 0), self.columns - 1)
        elif final == "G":
            self.column = min(count, self.columns) - 1
        elif final == "J":
            self.erase_line(numbers[0])
            below, above = range(self.row + 1, self.rows), range(self.row)
            for row in {0: below, 1: above}.get(numbers[0], range(self.rows)):
                self.cells[row] = [Cell()] * self.columns
        elif final == "K":
            self.erase_line(numbers[0])
        elif final == "m":
            self.graphics(numbers)

    def erase_line(self, what: int) -> None:
        begin, end = {0: (self.column, self.columns), 1: (0, self.column + 1)}.get(what, (0, self.columns))
        self.cells[self.row][begin:end] = [Cell()] * (min(end, self.columns) - begin)

    def graphics(self, numbers: list[int]) -> None:
        changes = {0: Style()._asdict(), 1: {"bold": True}, 2: {"dim": True}, 22: {"bold": False, "dim": False}}
        changes |= {39: {"colour": None}, 49: {"ground": None}}
        for colour in range(16):
            offset = colour if colour < 8 else colour + 52
            changes |= {30 + offset: {"colour": colour}, 40 + offset: {"ground": colour}}
        for number in numbers:
            self.style = self.style._replace(**changes.get(number, {}))


def run(command: list[str], columns: int, rows: int, timeout: float) -> Screen:
    """Runs a command in a terminal until it ends; its screen."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": str(columns), "LINES": str(rows)}
    environment.pop("NO_COLOR", None)
    child = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=ROOT, env=environment, start_new_session=True
    )
    os.close(theirs)
    screen, decoder = Screen(columns, rows), codecs.getincrementaldecoder("utf-8")("replace")
    deadline = time.monotonic() + timeout
    try:
        while time.monotonic() < deadline:
            if not select.select([ours], [], [], 1.0)[0]:
                continue
            try:
                data = os.read(ours, 65536)
            except OSError:  # the last end of the terminal is closed
                data = b""
            if not data:
                break
            screen.feed(decoder.decode(data))
        else:
            sys.exit(f"{command[0]} did not end within {timeout:.0f} s")
        if child.wait(timeout=30) != 0:
            sys.exit(f"{command[0]} failed; there is no picture of that")
    finally:
        if child.poll() is None:
            child.terminate()
        os.close(ours)
    return screen


def svg(cells: list[list[Cell]], title: str) -> str:
    """A frame as an SVG, without the empty lines at its end."""
    last = max((at for at, line in enumerate(cells) if any(cell.text.strip() for cell in line)), default=0)
    cells = cells[: last + 1]
    width = round(len(cells[0]) * CELL_WIDTH + 2 * MARGIN)
    height = BAR + len(cells) * CELL_HEIGHT + 2 * MARGIN - 6
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img">',
        f"<title>{escape(title)}</title>",
        f'<rect x=".5" y=".5" width="{width - 1}" height="{height - 1}" rx="8" fill="{BACKGROUND}" stroke="{FRAME}"/>',
        *(f'<circle cx="{20 + 18 * at}" cy="18" r="5" fill="{COLOURS[at + 1]}"/>' for at in range(3)),
        f'<text x="{width / 2:g}" y="22" fill="{COLOURS[8]}" font-family="{FONTS}" font-size="12" text-anchor="middle">{escape(title)}</text>',
        f'<g font-family="{FONTS}" font-size="{FONT_SIZE}" fill="{FOREGROUND}" xml:space="preserve">',
    ]
    for row, line in enumerate(cells):
        lines += spans(line, BAR + MARGIN + row * CELL_HEIGHT)
    return "\n".join([*lines, "</g>", "</svg>", ""])


def spans(line: list[Cell], top: float) -> list[str]:
    """One line's texts: each run of one style at its own place, so that no font can shift the columns."""
    drawn = []
    for style, run_ in groupby(enumerate(line), key=lambda cell: cell[1].style):
        run_ = list(run_)
        begin, size = run_[0][0], len(run_)
        if style.ground is not None:
            area = f'x="{MARGIN + begin * CELL_WIDTH:g}" y="{top:g}" width="{size * CELL_WIDTH:g}" height="{CELL_HEIGHT}"'
            drawn.append(f'<rect {area} fill="{COLOURS[style.ground]}"/>')
        for text, at, cells in words(run_):
            look = f' fill="{COLOURS[style.colour]}"' if style.colour is not None else ""
            look += ' font-weight="bold"' if style.bold else ""
            look += ' opacity=".6"' if style.dim else ""
            place = f'x="{MARGIN + at * CELL_WIDTH:g}" y="{top + 14:g}" textLength="{cells * CELL_WIDTH:g}"'
            drawn.append(f'<text {place} lengthAdjust="spacingAndGlyphs"{look}>{escape(text)}</text>')
    return drawn


def words(run_: list[tuple[int, Cell]]) -> list[tuple[str, int, int]]:
    """(text, column, cells) of what lies between gaps of two blanks or more."""
    text = "".join(cell.text or "\0" for _, cell in run_)
    found = []
    for match in re.finditer(r"[^ ]+(?: [^ ]+)*", text):
        found.append((match.group().replace("\0", ""), run_[0][0] + match.start(), match.end() - match.start()))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Draws the last whole frame of a command's table.")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "demo.svg")
    parser.add_argument("--columns", type=int, default=104)
    parser.add_argument("--rows", type=int, default=44)
    parser.add_argument("--title", help="what stands above the picture instead of the command")
    parser.add_argument("--timeout", type=float, default=1800, help="seconds; a first build takes its time")
    parser.add_argument("command", nargs="*", default=["./demo", "--for", "25s"])
    options = parser.parse_args()
    screen = run(options.command, options.columns, options.rows, options.timeout)
    options.out.write_text(svg(screen.whole or screen.cells, options.title or " ".join(options.command)), encoding="utf-8")
    print(f"{options.out}: drawn")


if __name__ == "__main__":
    main()
