"""Errors: what is wrong, where, what to do, and with which exit code."""

from __future__ import annotations

from multiprocessing.reduction import ForkingPickler

import pytest

from xeric.errors import ConfigError, DataError, RunError, UnknownNameError, UserError, XericError, suggest


def test_the_place_goes_before_the_sentence_and_the_hint_stays_apart() -> None:
    error = DataError("not valid JSON", where="a.jsonl, line 3", hint="save it again")
    assert str(error) == "a.jsonl, line 3: not valid JSON"
    assert (error.what, error.where, error.hint) == ("not valid JSON", "a.jsonl, line 3", "save it again")
    assert str(RunError("the disk is full")) == "the disk is full"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (XericError("x"), 1),
        (RunError("x"), 1),
        (UserError("x"), 2),
        (ConfigError("x"), 2),
        (DataError("x"), 2),
        (UnknownNameError("method", "x", []), 2),
    ],
)
def test_a_script_can_tell_a_failed_run_from_its_own_mistake(error: XericError, code: int) -> None:
    assert error.exit_code == code


@pytest.mark.parametrize(
    ("name", "names", "expected"),
    [
        ("lroa", ["full", "lora", "none"], "did you mean 'lora'?"),
        ("LORA", ["full", "lora"], "did you mean 'lora'?"),  # no letter in common with it, as difflib sees it
        ("rouge", ["bleu", "rouge_l"], "did you mean 'rouge_l'?"),
        ("poem", ["mail_en", "poem_generation_en", "poem_generation_hi"], "'poem_generation_en' or 'poem_generation_hi'?"),
        ("zzz", ["full", "lora"], "known: full, lora"),
        ("zzz", [], "there is no method here at all"),
    ],
)
def test_a_wrong_name_is_answered_with_the_right_one(name: str, names: list[str], expected: str) -> None:
    assert suggest(name, names, "method").endswith(expected)


def test_a_long_list_of_names_is_not_poured_out_whole() -> None:
    hint = suggest("???", [f"task{n:03}" for n in range(200)], "task")
    assert hint.startswith("known: task000, task001")
    assert hint.endswith("and 188 more")
    assert hint.count(",") == 11


def test_at_most_three_names_are_suggested() -> None:
    assert suggest("run", [f"run{n}" for n in range(9)], "run").count("run") == 3


def test_an_own_hint_takes_the_place_of_the_suggestion() -> None:
    assert UnknownNameError("base", "lora", ["lora2"], hint="fetch it").hint == "fetch it"
    assert UnknownNameError("base", "lora", ["b", "a"]).known == ["a", "b"]


class _WithSignature(UserError):
    """A child as somebody may add it: what it is called with says nothing about what it says."""

    def __init__(self, *, position: int) -> None:
        self.position = position
        super().__init__("is occupied", where=f"place {position}")


@pytest.mark.parametrize(
    "error",
    [
        UnknownNameError("method", "lroa", ["lora", "full"]),
        UnknownNameError("base", "x", [], hint="fetch it"),
        DataError("not valid JSON", where="a.jsonl, line 3", hint="save it again"),
        RunError("the disk is full"),
        _WithSignature(position=3),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_crosses_to_another_process_as_it_is(error: XericError) -> None:
    arrived = ForkingPickler.loads(ForkingPickler.dumps(error))
    assert type(arrived) is type(error)
    assert (str(arrived), arrived.args, vars(arrived)) == (str(error), error.args, vars(error))


def test_a_message_does_not_repeat_megabytes_of_its_input() -> None:
    error = UserError(f"unknown name {'x' * 10**6} there", hint="h" * 10**6)
    assert error.what == f"unknown name {'x' * 987} [...] {'x' * 994} there"
    assert error.hint == f"{'h' * 1000} [...] {'h' * 1000}"


def test_a_place_with_line_separators_leaves_the_message_one_line() -> None:
    error = ConfigError("unknown setting", where="decode.max_new\u2028tokens\n32")
    assert str(error) == "decode.max_new tokens 32: unknown setting"
    assert error.where == "decode.max_new\u2028tokens\n32"
