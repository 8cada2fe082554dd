"""How many bits does a base need for a character of any text? Plain files in, a table of bases and files out.

    python bench/bits_per_character.py BASE... --text FILE... [--characters 20000] [--piece 1000]

A file is read as the pieces of up to ``--piece`` characters that stand between its lines of ``%`` (as in files of quotations) or,
where it has none, between its empty lines; shuffled with a fixed seed until ``--characters`` are together. Each piece is read by
itself, behind the base's BOS token, or behind its end token where it has none. Characters, not tokens, are what bases with
different tokenizers have in common.
"""

from __future__ import annotations

import argparse
import math
import random
import re
from collections.abc import Iterable
from pathlib import Path

import torch

from xeric.bases.base import Base
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


@torch.no_grad()
def bits_per_character(base: Base, texts: Iterable[str]) -> float:
    """Bits for a character of texts. One longer than the context is read in windows that know nothing of each other."""
    bos = base.tokenizer.bos_token_id
    first = base.eos[0] if bos is None else int(bos)
    size = base.context - 1
    nats, characters = 0.0, 0
    for text in texts:
        ids = base.tokenize(text)
        for start in range(0, len(ids), size):
            row = torch.tensor([[first, *ids[start : start + size]]], device=base.device)
            logits = base.model(input_ids=row, use_cache=False).logits[0, :-1].float()
            nats += float(torch.nn.functional.cross_entropy(logits, row[0, 1:], reduction="sum"))
        characters += len(text)
    return nats / math.log(2) / characters


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
        print(name, {path.name: round(bits_per_character(base, pieces), 3) for path, pieces in texts.items()}, flush=True)


if __name__ == "__main__":
    main()
