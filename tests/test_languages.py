"""Languages by name and by every usual kind of code, and what is known of them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from xeric import languages, text
from xeric.errors import UnknownNameError
from xeric.languages import language, language_or_unknown


@pytest.mark.parametrize("name", ["Hindi", "hi", " HINDI ", "hin", "hi-IN", "hin_Deva", "hi_IN", "hi-Deva-IN", "हिन्दी"])
def test_one_language_by_every_name_and_code(name: str) -> None:
    entry = language(name)
    assert (entry.name, entry.code, entry.scripts, entry.stemmer) == ("Hindi", "hi", ("Devanagari",), "hindi")
    assert not entry.latin


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # BCP 47 with regions and scripts, ISO 639-3, codes of FLORES-200, deprecated codes, members of macrolanguages
        *{"en-US": "English", "pt-BR": "Portuguese", "spa": "Spanish", "zho_Hans": "Chinese", "zho_Hant": "Chinese"}.items(),
        *{"arb_Arab": "Arabic", "npi_Deva": "Nepali", "swh_Latn": "Swahili", "iw": "Hebrew", "jpn_Jpan": "Japanese"}.items(),
        *{"kor_Hang": "Korean", "nob": "Norwegian", "nno_Latn": "Norwegian", "pes": "Persian", "ekk": "Estonian"}.items(),
        *{"ory_Orya": "Oriya", "yue": "Cantonese", "plt": "Malagasy", "ydd_Hebr": "Yiddish"}.items(),
        *{"Farsi": "Persian", "Punjabi": "Panjabi", "Bangla": "Bengali", "español": "Spanish", "Flemish": "Dutch"}.items(),
        *{"Brazilian Portuguese": "Portuguese", "Castilian": "Spanish", "Bokmål": "Norwegian"}.items(),
    ],
)
def test_codes_mean_their_language(name: str, expected: str) -> None:
    assert language(name) == language(expected)
    assert language(name).name == expected


@pytest.mark.parametrize(
    ("name", "english", "code", "scripts"),
    [
        ("Guarani", "Guarani", "gn", ("Latin",)),  # as the registry of BCP 47 has it
        ("grn", "Guarani", "gn", ("Latin",)),
        ("Mon", "Mon", "mnw", ()),
        ("kas", "Kashmiri", "ks", ()),
        ("Ancient Greek", "Ancient Greek", "grc", ()),
    ],
)
def test_a_language_outside_the_table_is_known_as_far_as_the_registry_goes(
    name: str, english: str, code: str, scripts: tuple[str, ...]
) -> None:
    entry = language(name)
    assert (entry.name, entry.code, entry.scripts, entry.stemmer) == (english, code, scripts, None)
    assert language(entry.code) == entry


def test_a_code_that_names_its_script_says_it() -> None:
    assert language("grn_Latn").scripts == ("Latin",)
    assert language("kas_Deva").scripts == ("Devanagari",)
    assert language("sat_Olck").scripts == ("Other",)
    serbian = language("srp_Latn")
    assert (serbian.code, serbian.scripts, serbian.stemmer) == ("sr-Latn", ("Latin",), "serbian")
    assert language("hi-Latn").stemmer is None, "the stemmer reads Devanagari"
    assert {language(entry.code) for entry in (serbian, language("grn_Latn"))} == {serbian, language("grn_Latn")}


@pytest.mark.parametrize("name", ["Hindu", "Spansh", "xx", "zzz_Latn", "English, Spanish", "Code", "", "?", "1", "x-own"])
def test_what_is_no_language_is_unknown(name: str) -> None:
    with pytest.raises(UnknownNameError, match="unknown language") as caught:
        language(name)
    if name == "Hindu":
        assert "Hindi" in str(caught.value.hint)
    entry = language_or_unknown(f" {name} ")
    assert (entry.name, entry.code, entry.scripts, entry.stemmer) == (name, name, (), None)


def test_the_table_is_sound() -> None:
    table = languages.known_languages()
    assert len(table) == len({entry.code for entry in table}) == len({entry.name for entry in table}) > 80
    stems = 0
    for entry in table:
        assert entry.scripts
        assert set(entry.scripts) <= set(text._SCRIPTS)
        if entry.stemmer:
            assert text.stemmer(entry.stemmer)("a") is not None
            stems += 1
    assert stems > 25
    assert {script for scripts in languages._SCRIPT_CODES.values() for script in scripts.split("+")} <= set(text._SCRIPTS)


def test_the_table_agrees_with_another_library() -> None:
    """Names and codes are those of langcodes, and so are the scripts that it takes for likely."""
    import langcodes

    renamed = {
        "Bengali": "Bangla",
        "Haitian": "Haitian Creole",
        "Oriya": "Odia",
        "Panjabi": "Punjabi",
        "Sesotho": "Southern Sotho",
    }
    for entry in languages.known_languages():
        tag = langcodes.Language.get(entry.code)
        assert tag.is_valid()
        assert entry.name == "Tagalog" or tag.display_name("en") == renamed.get(entry.name, entry.name)
        likely = languages._SCRIPT_CODES.get(tag.maximize().script or "", "")
        assert set(likely.split("+")) & set(entry.scripts), entry


def test_languages_of_the_table_need_no_further_library() -> None:
    code = "import sys; from xeric.languages import language; language('Hindi'); sys.exit('langcodes' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
