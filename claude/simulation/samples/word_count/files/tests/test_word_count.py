from __future__ import annotations

import contextlib
import io
import unittest

from word_count import count_words, main


class WordCountTest(unittest.TestCase):
    def test_known_answers(self) -> None:
        for given, expected in (
            ("", 0),
            ("a b c", 3),
            ("  two\n words ", 2),
        ):
            with self.subTest(given=given):
                self.assertEqual(count_words(given), expected)

    def test_the_command_line_prints_the_answer(self) -> None:
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            self.assertEqual(main(["a b c"]), 0)
        self.assertEqual(out.getvalue(), "3\n")
