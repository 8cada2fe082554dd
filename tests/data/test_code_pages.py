"""Text from before Unicode is read in the code page of its language, whatever other page could read it too."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from xeric.data.code_pages import guess, read_user_text, telling_words
from xeric.errors import DataError, UserError

SPANISH = "“El niño comió piñas – mañana, señora Muñoz. ¿Qué año? ¡Él está aquí!"
RUSSIAN = "Привет, как дела? Сегодня хорошая погода. Ещё раз «спасибо» — СССР"

TEXTS: dict[str, tuple[str, str]] = {
    "Spanish": (SPANISH, "cp1252 latin-1 iso8859_15 mac_roman cp850"),
    "French": ("L'élève a reçu à l'école après l'été. Où êtes-vous, François ? Cœur naïf « là ».", "cp1252 iso8859_15 mac_roman"),
    "German": (
        "Die Tür öffnet sich – „schöne Grüße“ aus Köln. Straße, Äpfel, Übung, Maß",
        "cp1252 latin-1 cp850 cp437 mac_roman",
    ),
    "Portuguese": ("Não há ação. São Paulo é ótima, você está aqui às três.", "cp1252 mac_roman cp850"),
    "Swedish": ("Året är långt, ögon och småkakor på bordet.", "cp1252 cp850 mac_roman"),
    "Danish": ("Rødgrød med fløde på åen, æble.", "cp1252 cp865 mac_roman"),
    "Icelandic": ("Það er gott veður í dag. Þór og Ægir öskra á ís.", "cp1252 mac_iceland cp861"),
    "Polish": ("Zażółć gęślą jaźń. Łódź – Świętokrzyskie, źródło. Książka.", "cp1250 iso8859_2 cp852 mac_latin2"),
    "Czech": ("Příliš žluťoučký kůň úpěl ďábelské ódy. Děti šly do školy.", "cp1250 iso8859_2 cp852 mac_latin2"),
    "Hungarian": ("Árvíztűrő tükörfúrógép. Az őszi eső után szép idő lett.", "cp1250 iso8859_2 cp852"),
    "Romanian": (
        "Bună ziua, mulţumesc. Ştiri despre oraşul Iaşi şi ţara noastră, în fiecare săptămână.",
        "cp1250 iso8859_2 cp852",
    ),
    "Croatian": ("Čovjek je došao kući. Žena šalje poruku, đak uči, ćup.", "cp1250 iso8859_2 cp852"),
    "Turkish": ("İstanbul'da güneşli bir gün. Çocuklar bahçede ışık gördü, ağaç şöyle.", "cp1254 iso8859_9 cp857 mac_turkish"),
    "Latvian": ("Labrīt, kā jums klājas? Šodien ir jauks laiks, ēst ģimene ķēve ļoti ņem.", "cp1257 iso8859_13 cp775"),
    "Lithuanian": ("Labas rytas, kaip jūs? Šiandien ąžuolas žydi, ėjo įvairūs.", "cp1257 iso8859_13 cp775"),
    "Estonian": ("Tere, kuidas läheb? Õunad, öö, üks, šokolaad.", "cp1257 cp1252 iso8859_15"),
    "Maltese": ("Il-ġurnata hija sabiħa, għaliex żgħir.", "iso8859_3"),
    "Russian": (RUSSIAN, "cp1251 koi8_r cp866 iso8859_5 mac_cyrillic cp855"),
    "Ukrainian": ("Привіт, як справи? Сьогодні гарна погода. Її об'єкт.", "cp1251 koi8_u iso8859_5 cp1125 mac_cyrillic"),
    "Bulgarian": ("Здравейте, как сте? Днес времето е хубаво. Ъгълът.", "cp1251 koi8_r cp866 iso8859_5"),
    "Serbian": ("Добар дан, како сте? Данас је лепо време. Љубав и живот.", "cp1251 iso8859_5 cp855"),
    "Kazakh": ("Сәлеметсіз бе, қалайсыз? Бүгін күн жақсы, ғылым өнер.", "kz1048 ptcp154"),
    "Greek": ("Καλημέρα, τι κάνετε; Άνθρωπος και Ελλάδα. Σήμερα έχει ήλιο.", "cp1253 iso8859_7 cp737 mac_greek"),
    "Hebrew": ("שלום עולם, מה שלומך היום?", "cp1255 iso8859_8 cp862"),
    "Arabic": ("مرحبا بالعالم، كيف حالك اليوم؟", "cp1256 iso8859_6 cp720"),
    "Thai": ("สวัสดีครับ วันนี้อากาศดี", "cp874 tis_620"),
    "Japanese": ("こんにちは、世界。今日はコーヒーを飲みます。", "cp932 euc_jp"),
    "Chinese": ("你好,世界。今天天气很好,我们去公园。", "gb18030 gbk gb2312"),
    "Korean": ("안녕하세요, 오늘 날씨가 좋습니다.", "cp949 euc_kr"),
}


@pytest.mark.parametrize(("name", "page"), [(name, page) for name, (_, pages) in TEXTS.items() for page in pages.split()])
def test_text_comes_out_as_written(name: str, page: str) -> None:
    content = TEXTS[name][0].encode(page, "ignore")
    guessed = guess(content, [name])
    assert guessed is not None
    assert guessed.text == content.decode(page)


def test_big5_and_vietnamese() -> None:
    guessed = guess("繁體中文測試,今天天氣很好".encode("big5"), ["Chinese"])
    assert guessed is not None
    assert guessed.text == "繁體中文測試,今天天氣很好"
    # cp1258 has tones as characters of their own.
    content = "Xin cha\u0300o ca\u0301c ba\u0323n, tiê\u0301ng Viê\u0323t, trơ\u0300i đe\u0323p".encode("cp1258")
    guessed = guess(content, ["vi"])
    assert guessed is not None
    assert unicodedata.normalize("NFC", guessed.text) == "Xin chào các bạn, tiếng Việt, trời đẹp"


@pytest.mark.parametrize("declared", [["English"], ["Guarani"], ["English", "Russian"]])
def test_text_in_another_language_than_declared_is_read_too(declared: list[str]) -> None:
    text = "Привет как дела, сегодня хорошая погода и солнце"
    guessed = guess(text.encode("cp1251"), declared)
    assert guessed is not None
    assert guessed.text == text


@pytest.mark.parametrize("text", ["niño", "porã paraguái", "schöne Grüße"])
def test_a_language_without_a_table_is_read_as_western_where_that_makes_words(text: str) -> None:
    guessed = guess(text.encode("cp1252"), ["Guarani"])
    assert guessed is not None
    assert (guessed.text, guessed.encoding) == (text, "cp1252")


def put(folder: Path, content: bytes) -> Path:
    path = folder / "a.txt"
    path.write_bytes(content)
    return path


def test_the_guess_is_said_with_words_to_judge_it_by(tmp_path: Path) -> None:
    notes: list[str] = []
    path = put(tmp_path, SPANISH.encode("cp1252"))
    assert read_user_text(path, ["Spanish"], None, notes.append) == SPANISH
    note = "a.txt is not UTF-8 and was read as cp1252, with words such as niño, comió, Qué; if that looks wrong, give --encoding"
    assert notes == [note]
    assert telling_words("nothing — at all") == []


def test_utf8_with_one_line_of_another_program_stays_utf8(tmp_path: Path) -> None:
    lines = [f"línea {n}: año nuevo".encode() for n in range(59)]
    lines.insert(30, "Él comió una piña más: ñandú, café, té".encode("cp1252"))
    notes: list[str] = []
    read = read_user_text(put(tmp_path, b"\n".join(lines) + b"\n"), ["Spanish"], None, notes.append).split("\n")
    assert [line for n, line in enumerate(read) if n != 30][:59] == [f"línea {n}: año nuevo" for n in range(59)]
    assert "\ufffd" in read[30]
    assert notes == ["a.txt is UTF-8, but 1 of its 60 lines holds bytes that are not (line 31); they were read as '\ufffd'"]


@pytest.mark.parametrize("cut", ["कविता कवि".encode()[:-1], "El año pasó".encode()[:-1], b"plain text, caf" + b"\xc3"])
def test_utf8_that_ends_inside_a_letter_is_utf8(tmp_path: Path, cut: bytes) -> None:
    notes: list[str] = []
    assert read_user_text(put(tmp_path, b"one\n" + cut), ["Hindi"], None, notes.append).endswith("\ufffd")
    assert "a.txt is UTF-8, but 1 of its 2 lines" in notes[0]


def test_a_code_page_with_one_byte_that_it_lacks_is_still_that_page(tmp_path: Path) -> None:
    notes: list[str] = []
    content = ("El niño comió piñas\n" * 20).encode("cp1252") + b"s\x81\n"
    assert read_user_text(put(tmp_path, content), ["Spanish"], None, notes.append).startswith("El niño comió piñas")
    assert "(line 21)" in notes[1]


def test_an_encoding_given_is_taken_and_only_an_odd_line_replaced(tmp_path: Path) -> None:
    path = put(tmp_path, RUSSIAN.encode("cp1251"))
    assert read_user_text(path, ["English"], "cp1251", lambda _: None) == RUSSIAN
    with pytest.raises(DataError, match="is not utf-8 text"):
        read_user_text(path, [], "utf-8", lambda _: None)
    for name in ("klingon", "rot13", "a\0b"):
        with pytest.raises(UserError, match="there is no encoding"):
            read_user_text(path, [], name, lambda _: None)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig", "iso2022_jp"])
def test_what_names_itself_by_its_bytes_needs_no_guess(tmp_path: Path, encoding: str) -> None:
    notes: list[str] = []
    text = "input,output\nこんにちは、世界,a\n"
    assert read_user_text(put(tmp_path, text.encode(encoding)), ["English"], None, notes.append) == text
    assert notes == []


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not UTF-8 text"):
        read_user_text(put(tmp_path, bytes(range(256))), ["Spanish"], None, lambda _: None)
