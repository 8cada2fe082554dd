"""Mutations of valid files: the same seed and number give the same bytes on every machine."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

__all__ = ["mutated"]

_TOKENS = (
    *(b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\xf0\x9f\x98\x80", b"\xe2\x80\xa8", b"\xe2\x80\xae", b"\x1b[2J"),
    *(b"{", b"}", b"[", b"]", b'"', b"'", b",", b":", b"\n", b"\r\n", b"\t", b"\\", b"\\ud800", b"|", b";", b"- ", b"#"),
    *(b"null", b"true", b"NaN", b"Infinity", b"-1", b"0", b"1e999", b"9" * 5000, b"1.0", b"{}", b"[]", b'""', b"!!python/none x"),
    *(b"&a ", b"*a", b"<<: *a", b"? ", b"../../escaped", b"/escaped", b"\\escaped", b"${HOME}", b"~", b"%s%n", b"x" * 20_000),
    *(b"[" * 3000, b"{% for i in range(9999) %}", b"{% endfor %}", b"{{", b"}}", b"{{ x.__class__ }}", b"**", b"*"),
)
_SIZES = (0, 1, 7, 255, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**40, 2**63 - 1, 2**63, 2**64 - 1)
_NUMBER = re.compile(rb"\d+")
_NUMBERS = (b"0", b"-1", b"1", b"1e308", b"0.5", b"4294967296", b"9223372036854775808", b"1" + b"0" * 400, b'"1"', b"[1]")


def mutated(seeds: Sequence[bytes], number: int, seed: int) -> bytes:
    """Return one input: the seeds as they are come first, then one of them with one to eight mutations.

    Args:
        seeds: valid inputs, and hostile ones made by hand.
        number: of the input, from 0.
        seed: of the whole series.
    """
    if number < len(seeds):
        return seeds[number]
    draw = random.Random(f"{seed} {number}")
    content = bytearray(draw.choice(seeds))
    for _ in range(draw.choice((1, 1, 1, 2, 2, 4, 8))):
        draw.choice(_MUTATIONS)(content, draw, seeds)
    return bytes(content[: 1 << 20])


def _slice(content: bytearray, draw: random.Random) -> slice:
    start = draw.randint(0, len(content))
    return slice(start, min(len(content), start + draw.choice((1, 2, 8, 64, 1024))))


def _flip(content: bytearray, draw: random.Random, seeds: Sequence[bytes]) -> None:
    if content:
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)


def _delete(content: bytearray, draw: random.Random, seeds: Sequence[bytes]) -> None:
    del content[_slice(content, draw)]


def _repeat(content: bytearray, draw: random.Random, seeds: Sequence[bytes]) -> None:
    part = _slice(content, draw)
    content[part] = content[part] * draw.choice((2, 3, 50))


def _insert(content: bytearray, draw: random.Random, seeds: Sequence[bytes]) -> None:
    at = draw.randint(0, len(content))
    content[at:at] = draw.choice(_TOKENS)


def _overwrite(content: bytearray, draw: random.Random, seeds: Sequence[bytes]) -> None:
    content[_slice(content, draw)] = draw.choice(_TOKENS)


def _cut(content: bytearray, draw: random.Random, seeds: Sequence[bytes]) -> None:
    del content[draw.randint(0, len(content)) :]


def _splice(content: bytearray, draw: random.Random, seeds: Sequence[bytes]) -> None:
    other = draw.choice(seeds)
    content[_slice(content, draw)] = other[draw.randint(0, len(other)) :]


def _resize(content: bytearray, draw: random.Random, seeds: Sequence[bytes]) -> None:
    """Overwrite a binary number; files of lengths and offsets are made of them."""
    width = draw.choice((1, 2, 4, 8))
    if len(content) > width:
        # Most such numbers stand near the beginning of a file.
        at = draw.randrange(min(len(content) - width, draw.choice((32, 256, 1 << 20))))
        content[at : at + width] = (draw.choice(_SIZES) % 256**width).to_bytes(width, "little")


def _renumber(content: bytearray, draw: random.Random, seeds: Sequence[bytes]) -> None:
    """Replace a number that is written in digits."""
    if numbers := list(_NUMBER.finditer(content)):
        match = draw.choice(numbers)
        content[match.start() : match.end()] = draw.choice(_NUMBERS)


def _swap_values(content: bytearray, draw: random.Random, seeds: Sequence[bytes]) -> None:
    """Put one line in the place of another: keys that stand twice, values of another type."""
    lines = bytes(content).split(b"\n")
    lines[draw.randrange(len(lines))] = draw.choice(lines)
    content[:] = b"\n".join(lines)


_MUTATIONS = (_flip, _delete, _repeat, _insert, _overwrite, _cut, _splice, _resize, _renumber, _swap_values)
