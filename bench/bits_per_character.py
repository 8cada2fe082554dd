"""How many bits does a base need for a character of any text? Plain files in, a table of bases and files out.

    python bench/bits_per_character.py BASE... --text FILE... [--characters 20000] [--piece 1000]

A file is read as the pieces of up to ``--piece`` characters that stand between its lines of ``%`` (as in files of quotations) or,
where it has none, between its empty lines; shuffled with a fixed seed until ``--characters`` are together. Each piece is read by
itself, as :func:`xeric.bases.bits_per_character.bits_per_character` says.
"""

from __future__ import annotations

import argparse
import random
import re
from pathlib import Path

from xeric.bases.bits_per_character import bits_per_character
from xeric.bases.loading import load_base

SHORTEST = 100


def pieces_of(path: Path, size: int, characters: int) -> list[str]:
    text = path.read_text(encoding="utf-8")
    between = r"^%$" if re.search(r"^%$", text, flags=re.MULTILINE) else r"\n\s*\n"
    pieces = [piece.strip()[:size] for piece in re.split(between, text, flags=re.MULTILINE)]
    pieces = [piece for piece in pieces if len(piece) >= SHORTEST]
    random.Random(0).shuffle(pieces)
    taken: list[str] = []
    while pieces and sum(map(len, taken)) < characters:
        taken.append(pieces.pop())
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bases", nargs="+")
    parser.add_argument("--text", nargs="+", type=Path, required=True)
    parser.add_argument("--characters", type=int, default=20_000)
    parser.add_argument("--piece", type=int, default=1_000)
    options = parser.parse_args()
    texts = {path: pieces_of(path, options.piece, options.characters) for path in options.text}
    for path, pieces in texts.items():
        print(f"{path.name}: {len(pieces)} pieces, {sum(map(len, pieces)):,} characters")
    for name in options.bases:
        base = load_base(name, device="cpu", precision="fp32")
        for path, pieces in texts.items():
            bits = sum(bits_per_character(base.model, base.tokenizer, text) * len(text) for text in pieces)
            print(f"{name:24} {path.name:32} {bits / sum(map(len, pieces)):.3f}", flush=True)


if __name__ == "__main__":
    main()
