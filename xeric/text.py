r"""Unicode normal form, words, scripts, languages and stemmers: what every layer means by "a word of this language".

This module knows nothing about tasks, models or metrics. Two choices here move scores and are therefore named in every metric's
signature:

* **Word tokens** are maximal runs of ``[\p{L}\p{M}\p{N}\u200c\u200d]``. Python's own ``\w`` leaves out combining vowel signs
  and cuts Devanagari words into pieces. Scripts written without spaces (Thai, Lao, Khmer, Burmese, Han, Kana) go by grapheme
  cluster.
* **Stemmers** are the Snowball algorithms of :mod:`snowballstemmer`. A language without one has none; nothing falls back to
  English.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import regex

from xeric.errors import UnknownNameError

__all__ = [
    "Language",
    "NormalForm",
    "dominant_script",
    "graphemes",
    "known_languages",
    "language",
    "normalize",
    "script_shares",
    "stemmer",
    "words",
]

NormalForm = Literal["nfc", "none"]

_WORD = regex.compile(r"[\p{L}\p{M}\p{N}\u200c\u200d]+")
_UNSPACED = (
    r"[\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}\p{Script=Myanmar}\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\u30fc]"
)
_UNSPACED_CHAR = regex.compile(_UNSPACED)
# Inside a word run: a stretch of an unspaced script is cut into grapheme clusters, anything else stays whole.
_PIECE = regex.compile(rf"(?={_UNSPACED})\X|(?:(?!{_UNSPACED})\X)+")
_SCRIPTS = (
    "Latin",
    "Devanagari",
    "Arabic",
    "Cyrillic",
    "Greek",
    "Hebrew",
    "Han",
    "Hiragana",
    "Katakana",
    "Hangul",
    "Thai",
    "Lao",
    "Khmer",
    "Myanmar",
    "Bengali",
    "Gurmukhi",
    "Gujarati",
    "Oriya",
    "Tamil",
    "Telugu",
    "Kannada",
    "Malayalam",
    "Sinhala",
    "Georgian",
    "Armenian",
    "Ethiopic",
    "Tibetan",
)
# The long-vowel mark belongs to no single script in Unicode; as "Other" it would be half of コーヒー.
_SCRIPT = regex.compile(
    "|".join(rf"(?P<{s}>\p{{Script={s}}})" for s in _SCRIPTS) + r"|(?P<Katakana>[\u30fc\uff70])|(?P<Other>\p{L})"
)


@dataclass(frozen=True)
class Language:
    """A language as Xeric scores it.

    Attributes:
        name: English name, as Natural Instructions writes it ("Spanish").
        code: ISO 639 code ("es").
        scripts: Unicode scripts that its text may use; empty where unknown.
        stemmer: name of its Snowball algorithm, or None.
    """

    name: str
    code: str
    scripts: tuple[str, ...] = ()
    stemmer: str | None = None

    @property
    def latin(self) -> bool:
        """Whether the language is written in Latin script only."""
        return self.scripts == ("Latin",)


# name code scripts [snowball algorithm]
_LANGUAGES = """
Afrikaans af Latin
Albanian sq Latin
Amharic am Ethiopic
Arabic ar Arabic arabic
Armenian hy Armenian armenian
Assamese as Bengali
Azerbaijani az Latin
Basque eu Latin basque
Belarusian be Cyrillic
Bengali bn Bengali
Bosnian bs Latin
Bulgarian bg Cyrillic
Burmese my Myanmar
Catalan ca Latin catalan
Chinese zh Han
Croatian hr Latin
Czech cs Latin czech
Danish da Latin danish
Dutch nl Latin dutch
English en Latin english
Esperanto eo Latin esperanto
Estonian et Latin estonian
Filipino fil Latin
Finnish fi Latin finnish
French fr Latin french
Galician gl Latin
Georgian ka Georgian
German de Latin german
Greek el Greek greek
Gujarati gu Gujarati
Haitian ht Latin
Hausa ha Latin
Hebrew he Hebrew
Hindi hi Devanagari hindi
Hungarian hu Latin hungarian
Icelandic is Latin
Igbo ig Latin
Indonesian id Latin indonesian
Irish ga Latin irish
Italian it Latin italian
Japanese ja Han+Hiragana+Katakana
Javanese jv Latin
Kannada kn Kannada
Kazakh kk Cyrillic
Khmer km Khmer
Korean ko Hangul+Han
Kurdish ku Latin+Arabic
Kyrgyz ky Cyrillic
Lao lo Lao
Latin la Latin
Latvian lv Latin
Lithuanian lt Latin lithuanian
Macedonian mk Cyrillic
Malagasy mg Latin
Malay ms Latin
Malayalam ml Malayalam
Maltese mt Latin
Marathi mr Devanagari
Mongolian mn Cyrillic
Nepali ne Devanagari nepali
Norwegian no Latin norwegian
Oriya or Oriya
Panjabi pa Gurmukhi
Pashto ps Arabic
Persian fa Arabic persian
Polish pl Latin polish
Portuguese pt Latin portuguese
Quechua qu Latin
Romanian ro Latin romanian
Russian ru Cyrillic russian
Serbian sr Cyrillic+Latin serbian
Sesotho st Latin sesotho
Sindhi sd Arabic+Devanagari
Sinhala si Sinhala
Slovak sk Latin
Slovenian sl Latin
Somali so Latin
Spanish es Latin spanish
Sundanese su Latin
Swahili sw Latin
Swedish sv Latin swedish
Tagalog tl Latin
Tajik tg Cyrillic
Tamil ta Tamil tamil
Tatar tt Cyrillic
Telugu te Telugu
Thai th Thai
Tibetan bo Tibetan
Tigrinya ti Ethiopic
Turkish tr Latin turkish
Turkmen tk Latin
Ukrainian uk Cyrillic
Urdu ur Arabic
Uzbek uz Latin+Cyrillic
Vietnamese vi Latin
Welsh cy Latin
Xhosa xh Latin
Yiddish yi Hebrew yiddish
Yoruba yo Latin
Zulu zu Latin
"""
_ALIASES = {
    "Castilian": "Spanish",
    "Central Khmer": "Khmer",
    "Chinese Simplified": "Chinese",
    "Chinese Traditional": "Chinese",
    "Farsi": "Persian",
    "Haitian Creole": "Haitian",
    "Mandarin": "Chinese",
    "Odia": "Oriya",
    "Punjabi": "Panjabi",
}


def _table() -> dict[str, Language]:
    table: dict[str, Language] = {}
    for line in _LANGUAGES.strip().splitlines():
        name, code, scripts, *stem = line.split()
        entry = Language(name, code, tuple(scripts.split("+")), stem[0] if stem else None)
        table[name.lower()] = table[code] = entry
    for alias, name in _ALIASES.items():
        table[alias.lower()] = table[name.lower()]
    return table


_TABLE = _table()


def language(name: str) -> Language:
    """Return the language of an English name, an alias or an ISO code, whatever its case ("Hindi", "hi", "Farsi").

    Raises:
        UnknownNameError: the language is not in the table; the hint names the nearest.
    """
    found = _TABLE.get(name.strip().lower())
    if found is None:
        raise UnknownNameError("language", name, {entry.name for entry in _TABLE.values()})
    return found


def known_languages() -> list[Language]:
    """Return every known language, by name."""
    return sorted(set(_TABLE.values()), key=lambda entry: entry.name)


def normalize(text: str, form: NormalForm = "nfc") -> str:
    """Return ``text`` in Unicode NFC, or unchanged for ``form="none"``."""
    return unicodedata.normalize("NFC", text) if form == "nfc" else text


def graphemes(text: str) -> list[str]:
    """Return the extended grapheme clusters of ``text``, white space included."""
    found: list[str] = regex.findall(r"\X", text)
    return found


def words(text: str) -> list[str]:
    """Return the word tokens of ``text`` in order, case kept; see the module's definition.

    >>> words("¿Qué año?  क्षमा कीजिए।")
    ['Qué', 'año', 'क्षमा', 'कीजिए']
    """
    runs: list[str] = _WORD.findall(text)
    if not _UNSPACED_CHAR.search(text):  # one look at the text costs a fraction of one at each word
        return runs
    found: list[str] = []
    for run in runs:
        if _UNSPACED_CHAR.search(run):
            found.extend(_PIECE.findall(run))
        else:
            found.append(run)
    return found


def script_shares(text: str) -> dict[str, float]:
    """Return the share of each Unicode script among the letters of ``text``, largest first; empty where there are no letters.

    Shares sum to 1. Scripts outside the table count as ``Other``.
    """
    counts = Counter(match.lastgroup or "Other" for match in _SCRIPT.finditer(text))
    total = sum(counts.values())
    return {script: count / total for script, count in counts.most_common()}


def dominant_script(text: str) -> str | None:
    """Return the script that most letters of ``text`` belong to, or None where there are no letters."""
    return next(iter(script_shares(text)), None)


@functools.cache
def stemmer(algorithm: str) -> Callable[[str], str]:
    """Return the stemming function of a Snowball algorithm; it expects lower-case NFC words, since Snowball does not fold case.

    Raises:
        UnknownNameError: snowballstemmer has no such algorithm.
    """
    # snowballstemmer.stemmer() hands over to PyStemmer where that is installed: another release of the algorithms, unseen.
    known = [name.removesuffix("_stemmer") for name in _modules("snowballstemmer") if name.endswith("_stemmer")]
    if algorithm not in known:
        raise UnknownNameError("stemmer", algorithm, known)
    module = importlib.import_module(f"snowballstemmer.{algorithm}_stemmer")
    made = getattr(module, algorithm.title().replace("_", "") + "Stemmer")()
    return functools.lru_cache(maxsize=100_000)(made.stemWord)


def _modules(package: str) -> list[str]:
    return [module.name for module in pkgutil.iter_modules(importlib.import_module(package).__path__)]
