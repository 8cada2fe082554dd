from __future__ import annotations

import random
import unicodedata
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.samples import bad_instance as bad
from tests.data.samples import pairs, sentence, task, unlike, varied
from xeric.config import build
from xeric.data.cleaning import FORM_RULES, Cleaned, CleaningOptions, clean
from xeric.data.tasks import Example, Instance, Task
from xeric.errors import ConfigError

OFF = dict.fromkeys((name for name, field in CleaningOptions.model_fields.items() if field.annotation is bool), False)


def with_noise(*noise: Instance, language: str = "English") -> Task:
    """Forty good instances and the noise."""
    return task([*unlike(40), *noise], language=language)


def dropped(cleaned: Cleaned) -> dict[str, str]:
    return {drop.id: drop.reason for drop in cleaned.dropped}


def test_indentation_stays_where_asked() -> None:
    code = "def f(x):\n    if x:\t# why  not\n\treturn  1   \n"
    kept = clean(pairs((code, "  yes")), CleaningOptions(keep_indentation=True)).instances[0]
    assert kept.input.startswith("def f(x):\n    if")


def test_every_text_of_a_task_gets_the_form() -> None:
    raw = replace(
        task([Instance("a", "x\u00a0 y", ("z\r\nz", "z\nz ", "w"))], [Example("p  q", "r ", "s\t")]), definition="Do  it.\n"
    )
    formed = clean(raw).task
    assert formed.definition == "Do it."
    assert formed.positive_examples == (Example("p q", "r", "s"),)
    assert formed.instances == (Instance("a", "x y", ("z\nz", "w")),)


NOISE = {
    "empty_input": bad("An answer without any question.", text=" \n"),
    "empty_output": bad(" \u200b"),
    "replacement character": bad("It was Mom\ufffds house."),
    "C1 control": bad("an e\x82ective method"),
    "mojibake": bad("we met in a cafÃ© at nine"),
    "mojibake quotes": bad("Hello. Iâ€™d like to go"),
    "mojibake capital": bad("Ã‰tÃ© was warm"),
    "mojibake in capitals": bad("VIVA ESPAÃ‘A"),
    "mojibake Hindi": bad("à¤®à¥ˆà¤‚ à¤¯à¤¹à¤¾à¤‚"),
    "mojibake Russian": bad("ÐŸÑ€Ð¸Ð²ÐµÑ‚"),
    "mojibake Chinese": bad("这是一个好主意".encode().decode("cp1252", "ignore")),
    "mojibake emoji": bad("so happy ðŸ˜€"),
    "mojibake with soft hyphen": bad("¿dÃ³nde estÃ¡ mi madre?".replace("Ã³", "Ã\u00ad")),
    "mojibake with no-break space": bad("voilÃ\u00a0 ce que je veux"),
    "tag": bad("first line<br />second line"),
    "closing tag": bad("that is <i>very</I> good"),
    "link": bad('see <a href="http://x.example">here</a>'),
    "comment": bad("text <!-- note"),
    "entity": bad("John Wiley &amp; Sons"),
    "numeric entity": bad("&#34;shake&#34; and &#xe9;"),
    "output_equals_input": bad("what is it that you would like to SAY here?"),
    "wrong_script": bad("यह उत्तर हिन्दी में लिखा है"),
    "long": bad("too long " * 400),
    "short": bad("Ok"),
}
REASONS = {
    **dict.fromkeys((k for k in NOISE if "mojibake" in k), "broken_encoding"),
    "replacement character": "broken_encoding",
    "C1 control": "broken_encoding",
    **dict.fromkeys(("tag", "closing tag", "link", "comment", "entity", "numeric entity"), "markup"),
    "long": "length_outlier",
    "short": "length_outlier",
}


@pytest.mark.parametrize("case", NOISE)
def test_noise_is_dropped_under_its_reason_and_stays_where_the_rule_is_off(case: str) -> None:
    reason = REASONS.get(case, case)
    noisy = with_noise(NOISE[case])
    cleaned = clean(noisy)
    assert dropped(cleaned) == {"bad": reason}
    assert cleaned.drops == {reason: 1}
    assert cleaned.dropped[0].detail
    assert len(cleaned.instances) == 40
    alone = build(CleaningOptions, {**OFF, reason: True})
    assert dropped(clean(noisy, alone)) == {"bad": reason}
    without = build(CleaningOptions, {reason: False})
    assert reason not in clean(noisy, without).drops


FINE = [
    "if a < b and b > c, then a <b",
    "x<y>z, <3 and <sep> and <blank>",
    "AT&T; Q&A; R&D and &UR; &c.",
    "São Paulo, MANHÃ, GARÇON, Ångström, naïve",
    "o CAFÉ” e a MANHÃ» e «MANHÃ»",
    "the letter “Â” is a letter",
    "É… mas não é – É—",
    "Øystein på KØ, 5€, €5",
    "PÂTÉ à la carte, voilà… à»",
    "Привет, Ñandú ÑÑ",
    "print(f'{x}') # [1, 2, 3] -> {4: 5}",
    "∑ x² ≤ 3 ± ½ °C µm §4",
]


@pytest.mark.parametrize("text", FINE)
def test_fine_text_is_no_noise(text: str) -> None:
    assert clean(with_noise(bad(f"{text} and so on and so forth."))).drops == {}


@pytest.mark.parametrize(
    ("language", "output", "kept"),
    [
        ("Hindi", "यह iPhone 15 Pro Max अच्छा फ़ोन है और सस्ता भी", True),
        ("Hindi", "this answer forgot its language, अरे", False),
        ("Hindi", "OK 100%", True),
        ("Hindi", "12345678901234567890", True),
        ("Japanese", "これは日本語の文章です、カタカナも", True),
        ("Serbian", "Ово је реченица на српском", True),
        ("Spanish", "это предложение на русском", False),
    ],
)
def test_script_is_judged_by_the_declared_language(language: str, output: str, kept: bool) -> None:
    options = CleaningOptions(length_outlier=False)
    cleaned = clean(task([bad(output)], language=language), options)
    assert cleaned.drops == ({} if kept else {"wrong_script": 1})
    assert not cleaned.notes or not kept


def test_script_of_an_unknown_language_is_not_judged_and_that_is_said() -> None:
    cleaned = clean(task([bad("это предложение на русском")], language="Nowherish"))
    assert cleaned.drops == {}
    assert cleaned.notes == ("the output language 'Nowherish' is unknown, so wrong_script was not applied",)
    several = replace(task([bad("это предложение на русском")]), output_languages=("English", "Russian"))
    assert (clean(several).drops, clean(several).notes) == ({}, ())
    assert "no script is known" in clean(replace(several, output_languages=())).notes[0]
    for languages in (("Kashmiri",), ("English", "Kashmiri")):  # written in two scripts, so none is taken for granted
        mixed = clean(replace(several, output_languages=languages))
        note = "no script is known for the output language 'Kashmiri', so wrong_script was not applied"
        assert (mixed.drops, mixed.notes) == ({}, (note,))
    assert clean(replace(several, output_languages=("kas_Deva",))).drops == {"wrong_script": 1}


def test_only_the_faulty_reference_goes_while_another_is_left() -> None:
    mixed = Instance("m", "What do you drink in the morning?", ("coffee &amp; milk", "", "tea with milk", "cafÃ©"))
    cleaned = clean(with_noise(mixed))
    assert cleaned.drops == {}
    assert cleaned.instances[-1].outputs == ("tea with milk",)
    assert cleaned.dropped_references == {"broken_encoding": 1, "empty_output": 1, "markup": 1}


@pytest.mark.parametrize("reason", FORM_RULES)
def test_a_rule_that_meets_the_form_of_the_task_is_set_aside(reason: str) -> None:
    case = {"length_outlier": "long"}.get(reason, "tag" if reason == "markup" else reason)
    instances = unlike(40)
    rng = random.Random(5)
    for k in range(8):
        text = sentence(rng)
        changes = {
            "empty_input": Instance(f"n{k}", "", (text,)),
            "tag": Instance(f"n{k}", f"{text}<br>{text}", (sentence(rng),)),
            "output_equals_input": Instance(f"n{k}", text, (text,)),
            "long": Instance(f"n{k}", text, (sentence(rng, 900),)),
        }
        instances.append(changes[case])
    options = build(CleaningOptions, {**OFF, reason: True})
    cleaned = clean(task(instances), options)
    assert cleaned.drops == {}
    assert cleaned.notes == (f"{reason} would drop 8 of 48 instances: taken as the task's own form",)
    assert clean(task(instances), options.model_copy(update={"max_noise_share": 1.0})).drops == {reason: 8}


def test_short_answers_are_no_outliers() -> None:
    rng = random.Random(1)
    rows = [(sentence(rng), rng.choice(["yes", "no"])) for _ in range(60)]
    rows += [(sentence(rng), "it depends on the weather in spring"), (sentence(rng), "7")]
    assert clean(pairs(*rows)).drops == {}
    phrases = [(sentence(rng), sentence(rng, 5)) for _ in range(60)]
    assert clean(pairs(*phrases, (sentence(rng), "7"))).drops == {}


def test_a_missing_input_is_no_outlier_where_it_is_allowed() -> None:
    cleaned = clean(with_noise(bad("An answer without any question.", text="")), CleaningOptions(empty_input=False))
    assert cleaned.drops == {}


def test_poems_keep_their_lines() -> None:
    poem = (
        "In winter I get up at night\nAnd dress by yellow candle-light.\n\nIn summer, quite the other way,\nI go to bed by day."
    )
    cleaned = clean(with_noise(bad(poem.replace("\n", "  \r\n"))))
    assert cleaned.instances[-1].outputs == (poem,)


def test_composed_and_decomposed_text_is_one() -> None:
    text, answer = "¿Qué pasó con el envío número dos?", "Llegará mañana a más tardar, señora Muñoz."
    nfd = Instance("nfd", unicodedata.normalize("NFD", text), (unicodedata.normalize("NFD", answer).upper(),))
    cleaned = clean(with_noise(Instance("nfc", text, (answer,)), nfd, language="Spanish"))
    assert cleaned.drops == {"exact_duplicate": 1}


def test_instances_of_one_input_become_one_with_several_references() -> None:
    text = "Where shall we meet tomorrow?"
    answers = ["At home, where else should we meet?", "Here, as always.", "at home, where else should we meet?"]
    instances = [*unlike(30), *(Instance(f"q{k}", text, (answer,)) for k, answer in enumerate(answers))]
    cleaned = clean(task(instances))
    assert (cleaned.drops, cleaned.merged) == ({"exact_duplicate": 1}, 1)
    merged = next(i for i in cleaned.instances if i.input == text)
    assert len(merged.outputs) == 2
    apart = clean(task(instances), CleaningOptions(same_input=False, exact_duplicate=False, near_duplicate=False))
    assert len(apart.instances) == 33
    assert len({c for i, c in zip(apart.instances, apart.clusters, strict=True) if i.input == text}) == 1


def test_an_input_that_the_task_itself_has_links_nothing() -> None:
    rng = random.Random(2)
    cleaned = clean(task([Instance(f"i{k}", "Write a poem.", (sentence(rng),)) for k in range(30)]))
    assert len(cleaned.instances) == 30
    assert len(set(cleaned.clusters)) == 30


def test_near_duplicates_go_unless_a_number_or_a_short_answer_differs() -> None:
    rng = random.Random(3)
    text, answer = sentence(rng, 60), sentence(rng, 30)
    near = Instance("near", text.replace(" ", ", ", 1) + " end", (answer + "!",))
    assert clean(with_noise(Instance("a", text, (answer,)), near)).drops == {"near_duplicate": 1}
    for left, right in (
        (Instance("a", text + " 12", (answer,)), Instance("b", text + " 13", (answer,))),
        (Instance("a", text + " 1 + 2", (answer,)), Instance("b", text + " 1 - 2", (answer,))),
        (Instance("a", text + " map", ("yes",)), Instance("b", text + " taxi", ("yes",))),
        (Instance("a", text, ("yes",)), Instance("b", text + " not", ("no",))),
    ):
        cleaned = clean(task([*unlike(40), left, right]), CleaningOptions(length_outlier=False))
        assert cleaned.drops == {}
        assert cleaned.clusters[-1] == cleaned.clusters[-2]


def test_what_repeats_a_demonstration_goes_and_what_is_like_one_is_pinned() -> None:
    rng = random.Random(4)
    shown = Example(sentence(rng, 40), sentence(rng, 20))
    again = Instance("again", shown.input.upper(), (shown.output, "or this"))
    other = Instance("other", shown.input, (sentence(rng, 6),))
    cleaned = clean(task([*unlike(30), again, other], [shown]))
    assert dropped(cleaned) == {"again": "demonstration"}
    assert [i.id for i, c in zip(cleaned.instances, cleaned.clusters, strict=True) if c in cleaned.pinned] == ["other"]


def test_outputs_that_belong_to_another_input_are_found() -> None:
    rng = random.Random(6)
    right = [Instance(f"r{k}", f"{text} {sentence(rng)}", (text,)) for k, text in enumerate(sentence(rng, 9) for _ in range(40))]
    wrong = [Instance(f"w{k}", sentence(rng), i.outputs) for k, i in enumerate(right[:10])]
    alone = [Instance("alone", sentence(rng), (sentence(rng, 3),))]
    cleaned = clean(task([*right, *wrong, *alone]))
    assert set(dropped(cleaned)) == {f"w{k}" for k in range(10)} | {"alone"}
    assert cleaned.notes == ("mismatched_output drops 11 of 51 instances: look at the source",)
    assert dropped(clean(task([*right, *alone]))) == {}


def test_clusters_hold_groups_outputs_and_families() -> None:
    rng = random.Random(7)
    a, b, *rest = unlike(40)
    family = [varied(rng, a, "a1"), varied(rng, a, "a2")]
    same = Instance("same", sentence(rng), b.outputs)
    grouped = [replace(rest[0], group="g"), replace(rest[1], group="g"), replace(rest[2], group="h")]
    cleaned = clean(task([a, b, *family, same, *grouped, *rest[3:]]), CleaningOptions(near_duplicate=False))
    cluster = {i.id: c for i, c in zip(cleaned.instances, cleaned.clusters, strict=True)}
    assert cluster["i0"] == cluster["a1"] == cluster["a2"]
    assert cluster["i1"] == cluster["same"]
    assert cluster["i2"] == cluster["i3"] != cluster["i4"]
    assert len(set(cleaned.clusters)) == len(cleaned.instances) - 4


def test_groups_are_compared_in_one_form() -> None:
    names = ("Jos\u00e9", "Jose\u0301", " Jos\u00e9\u00a0", "", " ", None)
    cleaned = clean(task([replace(i, group=name) for i, name in zip(unlike(6), names, strict=True)]))
    assert len(set(cleaned.clusters[:3])) == 1
    assert len(set(cleaned.clusters)) == 4


def test_another_form_of_an_input_is_on_the_same_side() -> None:
    wide = sentence(random.Random(1))
    other = "".join(chr(ord(c) + 0xFEE0) if c.isalpha() else c for c in wide)
    cleaned = clean(task([*unlike(10), Instance("a", wide, ("yes",)), Instance("b", other, ("no",))]))
    assert cleaned.clusters[-1] == cleaned.clusters[-2]
    assert len(set(cleaned.clusters)) == 11


def test_inputs_of_signs_are_told_apart() -> None:
    signs = [chr(0x1F400 + k) * 3 for k in range(40)]
    cleaned = clean(task([Instance(f"s{k}", text, (f"label {k % 4}",)) for k, text in enumerate(signs)]))
    assert (cleaned.drops, cleaned.merged) == ({}, 0)
    assert len(set(cleaned.clusters)) == 40


def test_merged_instances_keep_the_links_of_their_groups() -> None:
    rng = random.Random(8)
    text = sentence(rng)
    cleaned = clean(
        task(
            [
                *unlike(20),
                Instance("x1", text, (sentence(rng),), "g"),
                Instance("x2", text, (sentence(rng),), "h"),
                Instance("y", sentence(rng), (sentence(rng),), "g"),
                Instance("z", sentence(rng), (sentence(rng),), "h"),
            ]
        )
    )
    cluster = {i.id: c for i, c in zip(cleaned.instances, cleaned.clusters, strict=True)}
    assert (cleaned.drops, cleaned.merged) == ({}, 1)
    assert cluster["y"] == cluster["z"] == next(c for id_, c in cluster.items() if id_ in ("x1", "x2"))


def test_a_chain_through_most_of_a_task_is_taken_apart_and_that_is_said() -> None:
    rng = random.Random(9)
    words = sentence(rng, 30).split()
    instances = []
    for k in range(30):
        words[k % 30] = sentence(rng, 1)
        instances.append(Instance(f"c{k}", " ".join(words), (f"answer {k}",)))
    cleaned = clean(task(instances))
    assert len(set(cleaned.clusters)) > 5
    assert cleaned.notes == ("30 instances hang together at similarity 0.7; they were taken apart at a higher one",)
    assert len(set(clean(task(instances), CleaningOptions(max_cluster_share=1)).clusters)) == 1


def content(cleaned: Cleaned) -> tuple[set[tuple[str, tuple[str, ...]]], set[frozenset[str]]]:
    families: dict[int, set[str]] = {}
    for instance, cluster in zip(cleaned.instances, cleaned.clusters, strict=True):
        families.setdefault(cluster, set()).add(instance.input)
    return {(i.input, i.outputs) for i in cleaned.instances}, {frozenset(f) for f in families.values()}


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), sizes=st.lists(st.integers(1, 4), min_size=3, max_size=8))
def test_every_instance_is_accounted_for_and_order_does_not_matter(seed: int, sizes: list[int]) -> None:
    rng = random.Random(seed)
    instances = []
    for number, size in enumerate(sizes):
        first = Instance(f"f{number}", sentence(rng), (sentence(rng, 8),))
        instances += [first, *(varied(rng, first, f"f{number}-{k}") for k in range(size - 1))]
        if rng.random() < 0.5:
            instances.append(
                rng.choice([replace(first, id=f"d{number}"), bad("<br>", id_=f"m{number}"), bad(" ", id_=f"e{number}")])
            )
    cleaned = clean(task(instances))
    accounted = [*(i.id for i in cleaned.instances), *(d.id for d in cleaned.dropped)]
    assert len(set(accounted)) == len(accounted) == len(instances) - cleaned.merged
    assert {*accounted} <= {i.id for i in instances}
    assert sum(cleaned.drops.values()) == len(cleaned.dropped)
    assert len(cleaned.clusters) == len(cleaned.instances)
    rng.shuffle(instances)
    assert content(clean(task(instances))) == content(cleaned)


def test_nothing_left_is_a_result() -> None:
    cleaned = clean(pairs(("a", ""), ("b", " ")))
    assert (cleaned.instances, cleaned.clusters, cleaned.drops) == ((), (), {"empty_output": 2})


@pytest.mark.parametrize(
    "setting", [{"cluster_similarity": 0.2}, {"near_duplicates": True}, {"max_noise_share": 2.0}, {"markup": 1}]
)
def test_settings_are_checked(setting: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        build(CleaningOptions, setting)
