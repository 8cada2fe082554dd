"""Languages by their English names and by codes (BCP 47, ISO 639, FLORES): scripts and stemmers, as far as they are known.

The table below says what Xeric knows of a language beside its name. Names and codes that are not in it are read by
:mod:`langcodes`, with the names of ``language_data``: ``en-US``, ``spa``, ``hin_Deva`` and ``Castilian`` mean a language of the
table, ``Guarani`` and ``grn`` one beside it. Such a language has no stemmer. It has a script where its code names one
(``kas_Deva``), or where the registry of BCP 47 says that nearly all its texts are in it (Suppress-Script); a merely likely script
is not assumed, since Kashmiri is written in two.

The file is long because half of it is the table.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Any

from xeric.errors import UnknownNameError

__all__ = ["Language", "known_languages", "language", "language_or_unknown"]


@dataclass(frozen=True)
class Language:
    """A language as Xeric scores it.

    Attributes:
        name: English name, as Natural Instructions writes it ("Spanish").
        code: BCP 47 code ("es"); with its script where that narrows the language's own ("sr-Latn").
        scripts: Unicode scripts that its text may use; empty where unknown.
        stemmer: name of its Snowball algorithm, or None.
    """

    name: str
    code: str
    scripts: tuple[str, ...] = ()
    stemmer: str | None = None

    @property
    def dotted(self) -> bool:
        """Whether i and ı are two letters, with İ and I for capitals."""
        return self.code.partition("-")[0] in ("az", "crh", "gag", "tr", "tt")

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
Cantonese yue Han
Catalan ca Latin catalan
Chinese zh Han
Croatian hr Latin
Czech cs Latin czech
Danish da Latin danish
Dutch nl Latin dutch
Dzongkha dz Tibetan
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
Shan shn Myanmar
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
    "nb": "Norwegian",
    "nn": "Norwegian",
    "pbt": "Pashto",
    "quy": "Quechua",
    "tgl": "Tagalog",
}
# ISO 15924 codes to the scripts of the table and of :mod:`xeric.text`, where the code is not the beginning of the name.
_SCRIPT_CODES = {
    "Hans": "Han",
    "Hant": "Han",
    "Hani": "Han",
    "Jpan": "Han+Hiragana+Katakana",
    "Hrkt": "Hiragana+Katakana",
    "Hira": "Hiragana",
    "Kana": "Katakana",
    "Kore": "Hangul+Han",
    "Hang": "Hangul+Han",
    "Latn": "Latin",
    "Cyrl": "Cyrillic",
    "Grek": "Greek",
    "Hebr": "Hebrew",
    "Laoo": "Lao",
    "Khmr": "Khmer",
    "Mymr": "Myanmar",
    "Guru": "Gurmukhi",
    "Gujr": "Gujarati",
    "Orya": "Oriya",
    "Taml": "Tamil",
    "Telu": "Telugu",
    "Knda": "Kannada",
    "Mlym": "Malayalam",
    "Sinh": "Sinhala",
    "Geor": "Georgian",
    "Armn": "Armenian",
    "Ethi": "Ethiopic",
    "Tibt": "Tibetan",
    "Deva": "Devanagari",
    "Arab": "Arabic",
    "Beng": "Bengali",
    "Thai": "Thai",
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
    """Return the language of an English name, of its own name, or of a code, whatever the case.

    >>> [language(name).name for name in ("Hindi", "hi", "Farsi")]
    ['Hindi', 'Hindi', 'Persian']

    Args:
        name: such as ``Hindi``, ``hi``, ``hin``, ``hi-IN`` or ``hin_Deva``.

    Raises:
        UnknownNameError: no such language; the hint names the nearest of the table.
    """
    match = _TABLE.get(name.strip().lower()) or _read(name.strip())
    if match is None:
        raise UnknownNameError("language", name, {entry.name for entry in _TABLE.values()})
    return match


def language_or_unknown(name: str) -> Language:
    """Return the language of a name or code; an unknown one keeps its name and has no scripts and no stemmer."""
    try:
        return language(name)
    except UnknownNameError:
        return Language(name.strip(), name.strip())


def known_languages() -> list[Language]:
    """Return every language of the table, by name."""
    return sorted(set(_TABLE.values()), key=lambda entry: entry.name)


@functools.lru_cache(maxsize=1024)
def _read(name: str) -> Language | None:
    """Return a language whose name or code is not in the table."""
    # "Mon" is a language; "mon" is the code of Mongolian.
    readers = (_by_name, _by_code) if name.istitle() else (_by_code, _by_name)
    return next((match for reader in readers if (match := reader(name)) is not None), None)


def _by_code(code: str) -> Language | None:
    import langcodes
    from langcodes.tag_parser import LanguageTagError

    try:
        tag = langcodes.Language.get(langcodes.standardize_tag(code.replace("_", "-"), macro=True))
    except LanguageTagError:
        return None
    return _of_tag(tag) if tag.is_valid() and tag.language and not tag.language.startswith("x-") else None


def _by_name(name: str) -> Language | None:
    import langcodes

    if not any(character.isalpha() for character in name) or any(mark in name for mark in ",;/+&") or " and " in name:
        return None  # several languages, of which the library would take one
    try:
        return _of_tag(langcodes.find(name, "en"))
    except LookupError:
        pass
    try:
        tag = langcodes.find(name)
    except LookupError:
        return None
    # The name of a language in some third language may be a typing error in English.
    return _of_tag(tag) if name.casefold() == tag.autonym().casefold() else None


def _of_tag(tag: Any) -> Language:
    """Return the language of a tag of :mod:`langcodes`; what the table says of it goes first, and a script that the tag names."""
    own = _TABLE.get(tag.language)
    if own is None:
        usual = type(tag).make(language=tag.language).assume_script().script
        own = Language(tag.language_name("en"), tag.language, _scripts(usual) if usual else ())
    if tag.script is None:
        return own
    scripts = _scripts(tag.script)
    if set(scripts) == set(own.scripts):
        return own
    stemmer = own.stemmer if set(scripts) <= set(own.scripts) else None
    name = f"{own.name} ({tag.script_name('en')})"
    return replace(own, name=name, code=f"{tag.language}-{tag.script}", scripts=scripts, stemmer=stemmer)


def _scripts(code: str) -> tuple[str, ...]:
    """Return the Unicode scripts of an ISO 15924 code, as :mod:`xeric.text` counts them."""
    return tuple(_SCRIPT_CODES.get(code, "Other").split("+"))
