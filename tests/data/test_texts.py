"""Plain text: documents in one form, drawn by content, without what gives a test output away."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from xeric.data.leaks import find_leaks
from xeric.data.tasks import Instance
from xeric.data.texts import TextOptions, prepare_texts, texts_digest
from xeric.errors import DataError, UserError


def document(number: int, length: int = 12) -> str:
    return " ".join(f"w{number}x{position}" for position in range(length))


def write(path: Path, *documents: str, between: str = "\n\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(between.join(documents), encoding="utf-8")
    return path


def texts(folder: Path, **options: object) -> tuple[list[str], list[str]]:
    data = prepare_texts([folder], TextOptions.model_validate(options))
    return sorted(d.text for d in data.train), sorted(d.text for d in data.dev)


def test_documents_are_parted_by_blank_lines_and_in_the_form_of_tasks(tmp_path: Path) -> None:
    raw = "\ufeffEl  año\r\nnuevo \r\n \t \r\n\r\n\r\n" + unicodedata.normalize("NFD", "La niña") + "\u00ad\r\n\r\n"
    (tmp_path / "a.txt").write_bytes(raw.encode())
    assert texts(tmp_path, dev_fraction=0) == (["El año\nnuevo", "La niña"], [])
    write(tmp_path / "a.txt", "def f():\n    return  1")
    assert texts(tmp_path, dev_fraction=0)[0] == ["def f():\nreturn 1"]
    assert texts(tmp_path, dev_fraction=0, keep_indentation=True)[0] == ["def f():\n    return 1"]


def test_a_folder_is_its_txt_files_at_any_depth(tmp_path: Path) -> None:
    write(tmp_path / "b" / "deep" / "one.txt", "one")
    write(tmp_path / "two.txt", "two")
    for name in ("README.md", ".hidden.txt", ".git/three.txt"):
        write(tmp_path / name, "not this")
    data = prepare_texts([tmp_path, tmp_path / "two.txt"], TextOptions(dev_fraction=0))
    assert {(d.id, d.text) for d in data.train} == {("one.txt:1", "one"), ("two.txt:1", "two")}
    assert (data.counts["files"], data.counts["documents"]) == (2, 2)
    assert [d.text for d in prepare_texts([write(tmp_path / "plain", "any name")]).train] == ["any name"]


def test_what_is_used_goes_by_content_not_by_files(tmp_path: Path) -> None:
    documents = [document(n) for n in range(40)]
    write(tmp_path / "a" / "all.txt", *documents)
    write(tmp_path / "b" / "late.txt", *documents[20:], between="\r\n \r\n\r\n")
    write(tmp_path / "b" / "more" / "early.txt", *reversed(documents[:20]), documents[3])
    options = TextOptions(max_characters=2000)
    one, other = (prepare_texts([tmp_path / name], options) for name in ("a", "b"))
    assert [d.text for d in one.train] == [d.text for d in other.train]
    assert one.fingerprint == other.fingerprint
    assert texts_digest([tmp_path / "a"], options) == texts_digest([tmp_path / "b"], options)
    assert (one.counts["drops"], other.counts["drops"]) == ({}, {"exact_duplicate": 1})
    assert prepare_texts([tmp_path / "a"], TextOptions(max_characters=2000, split_seed=1)).fingerprint != one.fingerprint
    write(tmp_path / "b" / "late.txt", *documents[21:])
    assert texts_digest([tmp_path / "a"], options) != texts_digest([tmp_path / "b"], options)


def test_whole_documents_up_to_the_cap_and_a_share_of_them_for_dev(tmp_path: Path) -> None:
    documents = [document(n) for n in range(100)]
    write(tmp_path / "a.txt", *documents)
    data = prepare_texts([tmp_path], TextOptions(max_characters=3000, dev_fraction=0.1))
    sizes = data.counts["characters"]
    assert 2900 < sizes["train"] + sizes["dev"] <= 3000
    share = (sizes["train"] + sizes["dev"]) * 0.1
    assert share - 1 < sizes["dev"] < share + max(map(len, documents))
    used = [d.text for d in (*data.train, *data.dev)]
    assert len(set(used)) == len(used) == 100 - data.counts["not_drawn"]
    assert set(used) < set(documents)
    assert not data.notes


def test_no_dev_where_the_documents_are_too_long(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", document(1, 100), document(2, 90))
    train, dev = texts(tmp_path)
    assert (len(train), dev) == (2, [])
    assert "nothing is selected by" in prepare_texts([tmp_path]).notes[0]
    write(tmp_path / "a.txt", document(1, 100), document(2, 9))
    assert texts(tmp_path) == ([document(1, 100)], [document(2, 9)])
    write(tmp_path / "a.txt", document(1, 10), document(2, 30))
    assert texts(tmp_path, dev_fraction=0.5) == ([document(2, 30)], [document(1, 10)]), "something is left to train on"


def test_dev_is_not_made_of_the_shortest_documents(tmp_path: Path) -> None:
    """Documents just over the share asked for are as likely to be drawn as the few crumbs under it."""
    write(tmp_path / "a.txt", *(document(n, 200) for n in range(12)), document(20, 3), document(21, 4))
    dev = [prepare_texts([tmp_path], TextOptions(split_seed=seed)).counts["characters"]["dev"] for seed in range(5)]
    assert all(size > len(document(1, 200)) // 2 for size in dev)


def test_documents_that_give_a_test_output_away_are_left_out_and_counted(tmp_path: Path) -> None:
    secret = document(7, 13)
    test = {"t": [Instance("i", "a question", (secret,)), Instance("j", "another", (document(8, 13),))]}
    leaking = f"Before it. {secret.upper()}, and behind it."
    write(tmp_path / "a.txt", *(document(n) for n in range(20, 40)), leaking, document(7, 12))
    data = prepare_texts([tmp_path], protect=test)
    assert leaking not in {d.text for d in (*data.train, *data.dev)}
    assert document(7, 12) in {d.text for d in (*data.train, *data.dev)}, "twelve words are no leak"
    assert data.counts["leaks_removed"] == 1
    assert data.notes == ("1 document gives away test outputs and is not used",)
    (row,) = data.leaks["between"]
    assert (row["test_task"], row["test_instances"], row["examples"][0]["training_id"]) == ("t", 1, "a.txt:21")
    assert row["examples"][0]["shared"] == secret
    kept = prepare_texts([tmp_path], TextOptions(leak_check=False), protect=test)
    assert kept.counts["leaks_removed"] == 0
    assert kept.leaks == {"checked": False}


def test_a_short_output_leaks_where_its_input_stands_beside_it() -> None:
    """The headline of an article, in a text that holds both; not the article alone, and not an answer taken out of it."""
    article = " ".join(f"noun{n} did verb{n} slowly" for n in range(20))
    test = {"t": [Instance("headline", article, ("Ferry late",)), Instance("span", article, ("verb3",))]}

    def leaks(text: str) -> set[str]:
        return {leak.test_id for leak in find_leaks(test, {"text": [Instance("d", text, ())]}).leaks}

    assert leaks(f"FERRY LATE\n{article}") == {"headline"}
    assert leaks(article) == set()
    assert leaks("The ferry is late. Ferry late!") == set()
    assert leaks(article[: len(article) // 4] + " Ferry late") == set()


def test_text_in_another_script_gets_a_note(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", *(document(n) for n in range(40)))
    assert not prepare_texts([tmp_path], languages=["Spanish"]).notes
    assert not prepare_texts([tmp_path], languages=["Hindi", "Spanish"]).notes
    assert not prepare_texts([tmp_path], languages=["Nowherish"]).notes
    (note,) = prepare_texts([tmp_path], languages=["Hindi", "Marathi"]).notes
    assert note == "0% of the letters are in the script of Hindi and Marathi (Devanagari)"


def test_files_in_every_encoding_of_unicode_and_the_one_that_is_given(tmp_path: Path) -> None:
    for encoding in ("utf-8-sig", "utf-16", "utf-16-le"):
        (tmp_path / "a.TXT").write_bytes("El año nuevo\r\n\r\nLa niña".encode(encoding))
        assert texts(tmp_path, dev_fraction=0)[0] == ["El año nuevo", "La niña"]
    (tmp_path / "a.TXT").write_bytes("El año nuevo".encode("cp850"))
    assert texts(tmp_path, dev_fraction=0, encoding="cp850")[0] == ["El año nuevo"]
    with pytest.raises(UserError, match="there is no encoding 'klingon'"):
        texts(tmp_path, encoding="klingon")


def test_a_document_with_bytes_that_are_no_text_is_left_out_and_counted(tmp_path: Path) -> None:
    good = [f"año nuevo {document(n)}" for n in range(20)]
    (tmp_path / "a.txt").write_bytes("\n\n".join(good).encode() + "\n\notro año".encode("latin-1"))
    data = prepare_texts([tmp_path], TextOptions(dev_fraction=0))
    assert sorted(d.text for d in data.train) == sorted(good)
    assert (data.counts["documents"], data.counts["drops"]) == (21, {"broken_encoding": 1})
    digest = texts_digest([tmp_path], TextOptions())
    (tmp_path / "a.txt").write_text("\n\n".join(good), encoding="utf-8")
    assert texts_digest([tmp_path], TextOptions()) == digest


def test_what_cannot_be_used_is_said_in_one_sentence(tmp_path: Path) -> None:
    latin = tmp_path / "latin" / "a.txt"
    latin.parent.mkdir()
    latin.write_bytes("El año".encode("latin-1"))
    write(tmp_path / "blank" / "a.txt", " \n\n\u200b\n")
    write(tmp_path / "none" / "a.md", "text")
    secret = document(1, 20)
    write(tmp_path / "leak" / "a.txt", secret)
    cases: list[tuple[str, TextOptions, str, str]] = [
        ("nowhere", TextOptions(), "no such file or folder", "*.txt"),
        ("none", TextOptions(), "holds no *.txt file", "*.txt"),
        ("latin", TextOptions(), "not UTF-8 text: byte 0xf1", "corpus.encoding=cp1252"),
        ("latin", TextOptions(encoding="utf-8"), "is not utf-8 text", "corpus.encoding"),
        ("blank", TextOptions(), "holds no text", ""),
        ("leak", TextOptions(), "nothing is left beside documents that give test outputs away", "shorter documents"),
        ("leak", TextOptions(max_characters=5, leak_check=False), "longer than corpus.max_characters", "raise"),
    ]
    for name, options, what, hint in cases:
        with pytest.raises(DataError) as caught:
            prepare_texts([tmp_path / name], options, protect={"t": [Instance("i", "x", (secret,))]})
        assert what in caught.value.what
        assert hint in (caught.value.hint or "")
        assert name in (caught.value.where or "")
