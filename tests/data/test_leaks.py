from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.data.samples import sentence, unlike
from xeric.data.leaks import LeakIndex, LeakReport, find_leaks
from xeric.data.shingles import fold
from xeric.data.tasks import Example, Instance


def found(report: LeakReport) -> set[tuple[str, str | None]]:
    return {(leak.test_id, leak.training_id) for leak in report.leaks}


def test_a_planted_output_is_found_in_every_part_of_training() -> None:
    test, training = unlike(20, seed=1, words=40), unlike(60, seed=2, words=40)
    middle = " ".join(test[3].outputs[0].split()[4:18])
    training[5] = replace(training[5], input=f"{training[5].input} {middle} {training[5].input}")
    training[6] = replace(training[6], outputs=("x", test[4].outputs[0].upper().replace(" ", ",  ")))
    shown = [Example("a", "b"), Example(f"see: {test[7].outputs[0]}", "c")]
    report = find_leaks({"target": test}, {"source": training, "target": []}, {"source": shown})
    assert found(report) == {("i3", "i5"), ("i4", "i6"), ("i7", None)}
    assert report.instances("source") == {"i5", "i6"}
    assert report.instances("target") == report.demonstrations("target") == frozenset()
    assert report.demonstrations("source") == {1}
    assert {leak.kind for leak in report.leaks} == {"text"}
    summary = report.summary(examples=1)
    assert summary["leaks"] == 3
    assert summary["between"][0]["test_instances"] == summary["between"][0]["training_texts"] == 3
    assert summary["between"][0]["examples"][0]["shared"] == " ".join(middle.split()[:13])


def test_twelve_words_are_no_leak_and_thirteen_are() -> None:
    test = unlike(1, seed=1, words=40)
    for n, leaks in ((12, 0), (13, 1)):
        text = " ".join(test[0].outputs[0].split()[:n])
        report = find_leaks({"t": test}, {"s": [Instance("s", f"before {text} after", ("y",))]})
        assert len(report.leaks) == leaks


def test_every_reference_is_looked_for() -> None:
    test = [Instance("t", "q", ("short", sentence(random.Random(1), 20)))]
    report = find_leaks({"t": test}, {"s": [Instance("s", test[0].outputs[1], ("y",))]})
    assert found(report) == {("t", "s")}


@pytest.mark.parametrize(
    ("output", "leaks"),
    [
        ("Police have denied fears that response times will rise", True),
        ("बरसात के ठीक पहले ही तुमने मेरी शादी की थी और", True),
        ("我们昨天在公园里看见了一只非常漂亮的小猫和它的妈妈", True),
        ("the United States of America", False),
        ("Paris", False),
    ],
)
def test_short_outputs_go_by_characters_and_tiny_ones_prove_nothing(output: str, leaks: bool) -> None:
    test = [Instance("t", "What do the papers say today about it?", (output,))]
    inside = Instance("s", f"Yesterday we read: {output}, and much else.", ("z",))
    assert bool(find_leaks({"t": test}, {"s": [inside]}).leaks) == leaks


def test_a_tiny_output_leaks_with_its_input() -> None:
    rng = random.Random(3)
    passage = sentence(rng, 60)
    test = [Instance("t", f"{passage} Who came?", ("Ana",)), Instance("u", "Capital of France?", ("Paris",))]
    training = [
        Instance("same", f"Text: {passage} Who went?", ("ana.",)),
        Instance("other answer", f"{passage} Who came?", ("Luis",)),
        Instance("other passage", f"{sentence(rng, 60)} Who came?", ("Ana",)),
        Instance("question again", "capital of FRANCE", ("x", "Paris")),
        Instance("answer elsewhere", "Largest city of France?", ("Paris",)),
    ]
    report = find_leaks({"t": test}, {"s": training})
    assert found(report) == {("t", "same"), ("u", "question again")}
    assert {leak.kind for leak in report.leaks} == {"pair"}


def test_boilerplate_does_not_remove_the_world() -> None:
    rng = random.Random(4)
    closing = sentence(rng, 30)

    def with_closing(instances: Sequence[Instance]) -> list[Instance]:
        return [replace(i, outputs=(f"{i.outputs[0]} {closing}",)) for i in instances]

    # In many test outputs; in one test output and many training texts; and a real leak beside it.
    test = with_closing(unlike(10, seed=1, words=60))
    training = with_closing(unlike(50, seed=2, words=60))
    report = find_leaks({"t": test}, {"s": training})
    assert report.leaks == ()
    assert report.boilerplate > 0
    once = [*with_closing(unlike(1, seed=1, words=120)), *unlike(9, seed=3, words=60)]
    assert find_leaks({"t": once}, {"s": training}).leaks == ()
    training[7] = replace(training[7], input=test[2].outputs[0])
    assert found(find_leaks({"t": test}, {"s": training})) == {("i2", "i7")}


@pytest.mark.parametrize("references", [1, 4, 5, 12])
def test_references_do_not_make_a_text_boilerplate(references: int) -> None:
    rng = random.Random(7)
    passage, asked = sentence(rng, 22), sentence(rng, 30)
    long = Instance("long", "q", tuple(f"{passage} {number}" for number in range(references)))
    short = Instance("short", asked, tuple(f"answer {number}" for number in range(references)))
    quoting = [Instance(f"s{k}", f"{sentence(rng, 80)} {passage} {sentence(rng, 80)}", ("z",)) for k in range(3)]
    again = Instance("again", f"{asked} {sentence(rng, 2)}", ("answer 0",))
    report = find_leaks({"t": [long, short]}, {"s": [*quoting, again]})
    assert found(report) == {("long", "s0"), ("long", "s1"), ("long", "s2"), ("short", "again")}
    assert report.boilerplate == 0


def test_an_answer_of_signs_leaks_with_its_input_of_signs() -> None:
    test = [Instance("t", "🐸🌧️🏠", ("👍",)), Instance("u", "🐸🌧️🚗", ("👍",))]
    training = [Instance("same", "🐸 🌧️ 🏠", ("👍",)), Instance("other", "🐸🌧️🏠", ("👎",))]
    assert found(find_leaks({"t": test}, {"s": training})) == {("t", "same")}


def test_a_text_that_is_in_many_training_texts_as_a_whole_is_a_leak() -> None:
    test = unlike(10, seed=1, words=60)
    asked = [Instance(f"q{k}", f"{test[0].outputs[0]} Question {k}?", (f"answer {k}",)) for k in range(30)]
    assert found(find_leaks({"t": test}, {"s": asked})) == {("i0", f"q{k}") for k in range(30)}


def test_an_index_serves_documents_of_any_length() -> None:
    test = unlike(30, seed=1, words=40)
    index = LeakIndex({i.id: i.outputs[0] for i in test})
    rng = random.Random(5)
    document = f"{sentence(rng, 500)}. {test[3].outputs[0]} {sentence(rng, 500)} {test[9].outputs[0][:110]}"
    hits = index.hits(document)
    assert [hit.key for hit in hits] == ["i3", "i9"]
    assert hits[0].share == 1.0 > hits[1].share > 0
    assert hits[1].shared in " ".join(fold(document))
    assert index.hits("") == index.hits(sentence(rng, 500)) == []
    assert index.hits("x", document) == hits


def test_an_index_sets_aside_what_many_test_texts_have() -> None:
    rng = random.Random(6)
    closing = sentence(rng, 20)
    few, many = ({i.id: f"{i.input} {closing}" for i in unlike(count, seed=1)} for count in (4, 5))
    assert len(LeakIndex(few).hits(closing)) == 4
    assert LeakIndex(few).boilerplate == 0
    assert LeakIndex(many).hits(closing) == []
    assert LeakIndex(many).boilerplate == 8
    assert [hit.key for hit in LeakIndex(many).hits(many["i3"])] == ["i3"]
    assert len(LeakIndex(many, common=5).hits(closing)) == 5


def test_an_index_of_nothing_finds_nothing() -> None:
    assert LeakIndex({}).hits("some text") == []
    tiny = LeakIndex({"a": "yes", "b": ""})
    assert tiny.short == {"a", "b"}
    assert tiny.hits("yes") == []
    assert find_leaks({}, {}).summary() == {
        "test_instances": 0,
        "training_texts": 0,
        "boilerplate": 0,
        "leaks": 0,
        "between": [],
    }


def test_a_short_output_leaks_where_it_stands_beside_its_input_in_a_text_of_another_task() -> None:
    """A mail to be completed shows its subject line, which another task asks for."""
    mail = (
        "Could I borrow your long ladder on Saturday? A football and somebody's shoe have collected in our gutter since spring."
    )
    begun, rest = mail[:98], mail[98:]

    def found(subject: str, given: str = begun) -> list[str]:
        test = {"subject": [Instance("s1", mail, (subject,))]}
        training = {"completion": [Instance("c1", f"Subject: {subject}\n\n{given}", (rest,))]}
        return [leak.shared for leak in find_leaks(test, training).leaks]

    assert found("Football in the gutter") == ["Football in the gutter"]
    assert found("Walter") == ["Walter"], "one word, as a field of its own"
    assert found("Football in the gutter", given="Something else altogether,") == [], "less than half of the mail"
    # Another question about one passage: the answer stands in both, and is not given away.
    passage = "The ferry to Vigo sails at nine from the old pier, and the one to Cangas at ten from the new pier."
    test = {"qa": [Instance("q1", f"{passage} Where does the ferry to Vigo sail from?", ("the old pier",))]}
    other = {"qa": [Instance("q2", f"{passage} When does the ferry to Cangas sail?", ("at ten",))]}
    assert find_leaks(test, other).leaks == ()
    told = {"qa": [Instance("q2", f"{passage} What sails from the old pier?", ("the ferry to Vigo",))]}
    assert [leak.training_id for leak in find_leaks(test, told).leaks] == ["q2"]
