"""Text from before Unicode: read in the code page that programs of the declared language use.

A single byte says nothing about its code page, so every guess is weighed: each page that is usual for the language is tried, in
the order of how usual it is, and what the language does not write speaks against it (a letter outside its alphabet, a capital in
the middle of a word, a sign between two letters). The alphabets are those of the languages' own orthographies. The user is shown
three words as they came out, because only a reader can see whether the guess is right.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import regex

from xeric.encodings import REPLACEMENT, Text, decode, decode_as, not_unicode, read_bytes
from xeric.errors import DataError, UnknownNameError
from xeric.languages import Language, language

__all__ = ["guess", "read_user_text", "telling_words"]

_WESTERN = ("cp1252", "iso8859_15", "mac_roman", "cp850", "cp437")
_CENTRAL = ("cp1250", "iso8859_2", "cp852", "mac_latin2")
_SOUTHERN = (*_CENTRAL, "mac_croatian")
_CYRILLIC = ("cp1251", "koi8_r", "cp866", "iso8859_5", "mac_cyrillic", "cp855")
_ARABIC = ("cp1256", "iso8859_6", "cp720")

_PAGES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("cs", "hu", "pl", "sk", "tk"), _CENTRAL),
    **dict.fromkeys(("bs", "hr", "sl"), _SOUTHERN),
    "ro": ("cp1250", "iso8859_16", "iso8859_2", "cp852", "mac_romanian"),
    **dict.fromkeys(("lt", "lv"), ("cp1257", "iso8859_13", "cp775", "iso8859_4")),
    "et": ("cp1257", "cp1252", "iso8859_15", "cp775"),
    **dict.fromkeys(("az", "ku", "tr"), ("cp1254", "iso8859_9", "cp857", "mac_turkish")),
    **dict.fromkeys(("eo", "mt"), ("iso8859_3", "cp1252")),
    "cy": ("cp1252", "iso8859_14", *_WESTERN[1:]),
    "is": (*_WESTERN, "cp861", "mac_iceland"),
    **dict.fromkeys(("da", "no"), (*_WESTERN, "cp865")),
    "vi": ("cp1258",),
    "sr": ("cp1251", "cp1250", "iso8859_5", "iso8859_2", "cp855", "cp852"),
    "uk": ("cp1251", "koi8_u", *_CYRILLIC[2:], "cp1125"),
    "kk": ("kz1048", "ptcp154", "cp1251"),
    **dict.fromkeys(("ky", "tt", "mn"), ("ptcp154", *_CYRILLIC)),
    "tg": ("koi8_t", "ptcp154", "cp1251"),
    "el": ("cp1253", "iso8859_7", "cp737", "mac_greek", "cp869"),
    **dict.fromkeys(("he", "yi"), ("cp1255", "iso8859_8", "cp862")),
    "th": ("cp874",),
    "ja": ("cp932", "euc_jp"),
    "zh": ("gb18030", "cp950", "big5hkscs"),
    "ko": ("cp949", "johab"),
}
"""Code pages by language code, the most usual first; other languages go by their scripts."""

_PAGES_OF_SCRIPT = {"Latin": _WESTERN, "Cyrillic": _CYRILLIC, "Arabic": _ARABIC, "Hebrew": _PAGES["he"], "Greek": _PAGES["el"]}

_RUSSIAN = "абвгдежзийклмнопрстуфхцчшщъыьэюяё"
_ALPHABETS = {
    "af": "áèéêëîïôöúûý", "az": "əçğıöşü", "be": "абвгдежзйклмнопрстуфхцчшыьэюяёіў", "bg": "абвгдежзийклмнопрстуфхцчшщъьюя",
    "bs": "čćđšž", "ca": "àçèéíïòóúü", "cs": "áčďéěíňóřšťúůýž", "cy": "àáâäèéêëìíîïòóôöùúûüẁẃẅŵỳýÿŷ", "da": "æøåéèêü",
    "de": "äöüßéèàêç", "en": "éèêëàâçñöüïôœæáíóú", "eo": "ĉĝĥĵŝŭ", "es": "áéíñóúü", "et": "äõöüšž", "eu": "ñçü",
    "fi": "äöåšž", "fr": "àâæçèéêëîïôœùûüÿ", "ga": "áéíóú", "gl": "áéíïñóúü", "hr": "čćđšž", "ht": "àèéòô", "hu": "áéíóöőúüű",
    "is": "áðéíóúýþæö", "it": "àèéìíîòóùú", "kk": _RUSSIAN + "әғқңөұүһі", "ku": "çêîşû", "ky": _RUSSIAN + "ңөү",
    "la": "āēīōūæœ", "lt": "ąčęėįšųūž", "lv": "āčēģīķļņšūž", "mk": "абвгдѓежзѕијклљмнњопрстќуфхцчџшѐѝ", "mn": _RUSSIAN + "өү",
    "mt": "àċèġħìòùż", "nl": "áàâäçéèêëíïîóôöúüû", "no": "æøåéèêòôóü", "pl": "ąćęłńóśźż", "pt": "àáâãçéêíóôõúü",
    "qu": "áéíñóú", "ro": "ăâîşșţț", "ru": _RUSSIAN, "sk": "áäčďéíĺľňóôŕšťúýž", "sl": "čšž",
    "sq": "çë", "sr": "абвгдђежзијклљмнњопрстћуфхцчџшčćđšž", "sv": "åäöéàü", "tg": _RUSSIAN + "ғӣқӯҳҷ", "tk": "äçňöşüýž",
    "tl": "áàâéèêíìîñóòôúùû", "tr": "çğıöşüâîû", "tt": _RUSSIAN + "әөүҗңһ", "uk": "абвгґдеєжзиіїйклмнопрстуфхцчшщьюя",
}  # fmt: skip
# In the other Cyrillic pages, all bytes of a Russian text are Russian letters too, but not its frequent ones.
_FREQUENT = frozenset("оеаинтсрвліјәө")
_SIGNS = frozenset("“”‘’«»„‚‹›–—…¿¡€£§°·•№ªº´ʻʼ²³½¼×±™®©†\u00a0\u00ad")
_INSIDE_WORDS = frozenset("’‘ʻʼ·–—…\u00ad\u00a0")
_OTHER_SIGNS = regex.compile(r"[\p{Script=Common}--[\p{Latin1}\u2000-\u2fff\uff61-\uff9f\p{C}]]", regex.VERSION1)
_BEYOND_ASCII = regex.compile(r"[^\x00-\x7f]")
_WORD = regex.compile(r"[\p{L}\p{M}]+")
_SAMPLE = 20_000
_WEST = ("da", "de", "es", "fr", "it", "pt")


def read_user_text(path: Path, languages: Sequence[str], encoding: str | None, say: Callable[[str], None]) -> str:
    """Return the text of a user's file, whatever its encoding.

    Args:
        path: of the file.
        languages: that its text is in, by name or code; those unknown are passed over.
        encoding: as the user gives it; None to find it.
        say: called with a sentence about everything that is not certain.

    Raises:
        UserError: there is no such encoding.
        DataError: the file cannot be read, or is not text in the encoding given or in any.
    """
    content = read_bytes(path)
    decoded: Text | None
    if encoding:
        decoded = decode_as(content, encoding)
        if not decoded.is_mostly_sound:
            hint = "leave the encoding out to have it detected"
            raise DataError(f"is not {encoding} text", where=f"{path}, line {decoded.odd[0]}", hint=hint)
    else:
        unicode = _iso_2022(content) or decode(content)
        decoded = unicode or guess(content, languages)
        if decoded is None:
            raise not_unicode(path, content, "give its encoding, or save it as UTF-8")
        if unicode is None:
            words = ", ".join(telling_words(decoded.text))
            examples = f", with words such as {words}" if words else ""
            say(f"{path.name} is not UTF-8 and was read as {decoded.encoding}{examples}; if that looks wrong, give --encoding")
    if decoded.odd:
        say(decoded.note(path.name))
    return decoded.text


def guess(content: bytes, languages: Sequence[str]) -> Text | None:
    """Return text that is in no encoding of Unicode as the languages' usual code pages have it, or None where nothing fits."""
    written = [entry for entry in map(_with_spelling, languages) if entry]
    candidates = list(dict.fromkeys(page for entry in written for page in _pages(entry)))
    readings = [decode_as(content, page) for page in candidates]
    # A page further down the list has to be better, not only as good; much better where there are few characters to go by.
    doubt = 0.002 + 0.1 / max(1, sum(byte > 127 for byte in content))
    costs = [_cost(reading.text, written) + doubt * rank for rank, reading in enumerate(readings)]
    if costs and min(costs) <= 0.5:
        return readings[costs.index(min(costs))]
    return _foreign(content)


def telling_words(text: str) -> list[str]:
    """Return up to three words by which a reader sees whether an encoding was guessed right: words with letters beyond ASCII."""
    beyond_ascii: list[str] = []
    spare: list[str] = []
    seen: set[str] = set()
    for match in _WORD.finditer(text):
        word = match.group()[:24]
        letters = set(word) - seen
        if word.isascii() or word in beyond_ascii or word in spare:
            continue
        (spare if all(letter.isascii() for letter in letters) else beyond_ascii).append(word)
        seen |= letters
        if len(beyond_ascii) == 3:
            break
    return [*beyond_ascii, *spare][:3]


def _with_spelling(name: str) -> Language | None:
    """Return the language of a name; None for one in Latin script of which neither letters nor code pages are known."""
    try:
        entry = language(name)
    except UnknownNameError:
        return None
    return entry if entry.code in _ALPHABETS or entry.code in _PAGES or not entry.latin else None


def _pages(entry: Language) -> tuple[str, ...]:
    return _PAGES.get(entry.code) or tuple(page for script in entry.scripts for page in _PAGES_OF_SCRIPT.get(script, ()))


def _iso_2022(content: bytes) -> Text | None:
    """Read ISO-2022-JP and -KR, whose bytes are all ASCII and which an escape sequence announces."""
    for escape, encoding in ((b"\x1b$B", "iso2022_jp_ext"), (b"\x1b$@", "iso2022_jp_ext"), (b"\x1b$)C", "iso2022_kr")):
        if escape in content and content.isascii():
            return decode_as(content, encoding)
    return None


def _foreign(content: bytes) -> Text | None:
    """Read what fits no declared language: in the Western page where that makes words, else as charset-normalizer guesses."""
    from charset_normalizer import from_bytes

    western = decode_as(content, "cp1252")
    if not western.odd and _cost(western.text, [language(code) for code in _WEST]) <= 0.3:
        return western
    best = from_bytes(content).best()
    return None if best is None else replace(decode_as(content, best.encoding), encoding=best.encoding)


@functools.lru_cache(maxsize=8)
def _orthography(languages: tuple[Language, ...]) -> tuple[frozenset[str], regex.Pattern[str] | None, bool]:
    """Return the letters beyond ASCII, the scripts whose letters all count, and whether names may have any letter of Latin-1."""
    letters, scripts = set[str](), set[str]()
    for entry in languages:
        alphabet = _ALPHABETS.get(entry.code)
        if alphabet is not None:
            letters.update(alphabet, alphabet.upper())
        elif entry.latin:
            for page in _pages(entry)[:1]:
                letters.update(c for c in bytes(range(128, 256)).decode(page, "ignore") if c.isalpha())
        else:
            scripts.update(entry.scripts)
        if entry.code == "vi":
            letters.update(_vietnamese())
        if entry.code == "tr":
            letters.add("İ")
    classes = "".join(rf"\p{{Script={script}}}" for script in sorted(scripts))
    of_scripts = regex.compile(f"[{classes}]") if classes else None
    return frozenset(letters), of_scripts, any("Latin" in entry.scripts for entry in languages)


def _vietnamese() -> Iterator[str]:
    for vowel in "aăâeêioôơuưyđ":
        for tone in ("", "\u0300", "\u0301", "\u0303", "\u0309", "\u0323"):
            letter = unicodedata.normalize("NFC", vowel + tone)
            yield from (letter[0], letter[0].upper(), tone or letter[0])


def _cost(text: str, languages: Sequence[Language]) -> float:
    """Return how much the characters beyond ASCII look unlike the languages, from 0 for nothing to 3 for no text at all."""
    letters, scripts, latin = _orthography(tuple(languages))
    text = unicodedata.normalize("NFC", text)
    total, count = 0.0, 0
    for match in _BEYOND_ASCII.finditer(text):
        before, after = text[match.start() - 1 : match.start()], text[match.end() : match.end() + 1]
        total += _one_cost(match.group(), before, after, letters, scripts, latin)
        count += 1
        if count == _SAMPLE:
            break
    return total / count if count else 0.0


def _one_cost(
    char: str, before: str, after: str, letters: frozenset[str], scripts: regex.Pattern[str] | None, latin: bool
) -> float:
    kind = unicodedata.category(char)
    if kind in ("Cc", "Co", "Cn"):
        return 3.0
    if char == REPLACEMENT:
        return 1.0
    if kind[0] in "LM":
        ours = char in letters or bool(scripts and scripts.match(char))
        rare = 0.2 if "\u0400" <= char <= "\u052f" and char.lower() not in _FREQUENT else 0.0
        strange = 0.6 if latin and "\u00c0" <= char <= "\u00ff" else 1.0
        # Words of nothing but accented letters are another script, read as Latin.
        crowded = 0.6 if "\u00c0" <= char <= "\u024f" and _is_accented(before) and _is_accented(after) else 0.0
        return (rare if ours else strange) + crowded + (1.0 if char.isupper() and before.islower() else 0.0)
    if scripts and _OTHER_SIGNS.match(char):
        return 0.0
    if char in _SIGNS:
        return 1.0 if before.isalpha() and after.isalpha() and char not in _INSIDE_WORDS else 0.0
    return 1.0


def _is_accented(char: str) -> bool:
    return char.isalpha() and not char.isascii()
