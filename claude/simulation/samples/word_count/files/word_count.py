"""Count the words of a text."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence


def count_words(text: str) -> int:
    """The number of words, which white space separates."""
    return len(text.split())


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description="Count the words of a text.")
    parser.add_argument("text")
    args = parser.parse_args(arguments)
    print(count_words(args.text))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
