"""What the two makers of documents promise: `python3 -m unittest discover -s docs`, standard library only."""

import tempfile
import unittest
from pathlib import Path
from xml.etree import ElementTree

import picture
import threats

TABLE = "\x1b[H\x1b[J\x1b[1mPulseward\x1b[0m {n} s\r\n  \x1b[31mbed 1\x1b[0m   HR <7{n}>\r\n"


def texts(cells) -> list[str]:
    drawn = ElementTree.fromstring(picture.svg(cells, "a & b"))
    return [text.text for text in drawn.iter("{http://www.w3.org/2000/svg}text")]


class Picture(unittest.TestCase):
    def test_the_last_whole_frame_is_kept_and_what_follows_it_is_not(self):
        screen = picture.Screen(40, 10)
        screen.feed("Compiling\r\n" + TABLE.format(n=1) + TABLE.format(n=2) + TABLE.format(n=3)[:-9])
        self.assertEqual(texts(screen.whole), ["a & b", "Pulseward", "2 s", "bed 1", "HR <72>"])

    def test_output_cut_anywhere_gives_the_same_frame(self):
        whole, pieces = picture.Screen(40, 10), picture.Screen(40, 10)
        text = TABLE.format(n=1) + TABLE.format(n=2)
        whole.feed(text)
        for char in text:
            pieces.feed(char)
        self.assertEqual(whole.cells, pieces.cells)

    def test_bold_and_colours_are_drawn_and_reset(self):
        screen = picture.Screen(40, 2)
        screen.feed("\x1b[1;91mred\x1b[0m  plain\tx")
        red, plain, *_ = picture.spans(screen.cells[0], 0)
        self.assertIn(f'fill="{picture.COLOURS[9]}" font-weight="bold"', red)
        self.assertNotIn("fill", plain)

    def test_a_command_is_run_in_a_terminal_of_the_size_asked_for(self):
        screen = picture.run(["sh", "-c", "test -t 1 && stty size"], 77, 11, 10)
        self.assertEqual(texts(screen.cells)[1:], ["11 77"])


class Threats(unittest.TestCase):
    def test_every_row_of_the_list_is_read(self):
        rows = threats.read_rows(threats.ATTACKS.read_text(encoding="utf-8"))
        expected = [f"{part}{n}" for part, last in (("A", 32), ("B", 25), ("C", 19)) for n in range(1, last + 1)]
        self.assertEqual([row.name for row in rows], expected)

    def test_results_of_both_runners_are_read_and_the_worst_counts(self):
        with tempfile.TemporaryDirectory() as directory:
            output = Path(directory) / "output"
            output.write_text(
                "test one::a1_x ... ok\ntest a1_x ... FAILED\ntest b2_y ... ignored, slow\n"
                "test_a3_z (module.Class.test_a3_z) ... ok\ntest_c4_w (m.C.test_c4_w)\nA sentence. ... ERROR\n"
            )
            expected = {"a1_x": "failed", "b2_y": "not run", "test_a3_z": "ok"}
            self.assertEqual(threats.read_results([output]), expected)

    def test_a_page_shows_open_rows_and_is_compared_without_results(self):
        rows = [threats.Row("A", "A1", "x", "y"), threats.Row("B", "B1", "z", "w")]
        tests = {"A1": [threats.Test("a/t.rs", "a1_x"), threats.Test("b/t.rs", "a1_y")], "B1": []}
        ran, unrun = threats.page(rows, tests, {"a1_x": "ok", "a1_y": "failed"}), threats.page(rows, tests, {})
        self.assertIn("| B1 | z | w | *open* |", ran)
        self.assertIn("`a/t.rs::a1_x` ok<br>`b/t.rs::a1_y` failed", ran)
        self.assertNotEqual(ran, unrun)
        self.assertEqual(threats.without_results(ran), threats.without_results(unrun))


if __name__ == "__main__":
    unittest.main()
