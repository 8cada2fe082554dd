"""Proposals over an OpenAI-compatible address: what is sent, what is taken, and a sentence for every bad answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.instructing.serving import serving
from xeric.data.tasks import Example
from xeric.errors import RunError, UserError
from xeric.instructing.proposer import KEY_VARIABLE, Proposer

EXAMPLES = [Example("a long text", "a title"), Example("x" * 1000, "another")]
TRIED = [("Write a title.", 2.5)]


def test_what_is_sent_and_what_is_taken() -> None:
    with serving('Sure!\n["Name the text.", "Name the text.", 3, " Give it a title. "]') as server:
        proposer = Proposer(server.address + "/", environment={KEY_VARIABLE: "secret"})
        assert proposer.proposals(EXAMPLES, TRIED, 4, seed=7) == ["Name the text.", "Give it a title."]
        assert len(proposer.proposals(EXAMPLES, TRIED, 1, seed=7)) == 1
    assert [path for path, _, _ in server.asked] == ["/v1/models", "/v1/chat/completions", "/v1/chat/completions"]
    _, headers, body = server.asked[1]
    assert headers["Authorization"] == "Bearer secret"
    assert (body["model"], body["seed"]) == ("large-model", 7)
    content = body["messages"][0]["content"]
    assert "a long text" in content
    assert "Write a title." in content
    assert "2.500" in content
    assert "x" * 301 not in content


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("1. Name the text.\n2) Title it.\n\nThat is all.", ["Name the text.", "Title it."]),
        ('- "Name the text."\n* Title it [briefly].', ["Name the text.", "Title it [briefly]."]),
        ("I cannot help with that.", []),
        ("[]", []),
        ("[1, 2", []),
    ],
)
def test_lists_of_other_forms_are_read(content: str, expected: list[str]) -> None:
    with serving(content) as server:
        assert Proposer(server.address, "m", environment={}).proposals(EXAMPLES, TRIED, 8, seed=0) == expected
    assert "Authorization" not in server.asked[0][1]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"status": 500}, "answers 500"),
        ({"status": 401}, "answers 401"),
        ({"status": 302, "headers": {"Location": "http://127.0.0.1:9/elsewhere"}}, "answers 302"),
        ({"raw": b"<html>"}, "not JSON"),
        ({"raw": b"\xff\xfe"}, "not JSON"),
        ({"raw": b"[" * 100_000}, "not JSON"),
        ({"raw": b"{}"}, "not a chat completion"),
        ({"raw": b'{"choices": [{"message": {"content": null}}]}'}, "not a chat completion"),
        ({"raw": b'{"choices": []}'}, "not a chat completion"),
        ({"raw": b" " * (4 * 1024 * 1024 + 1)}, "has more than"),
    ],
)
def test_a_bad_answer_is_one_sentence(answer: dict[str, Any], message: str) -> None:
    with serving(**answer) as server:
        proposer = Proposer(server.address, "m", environment={})
        with pytest.raises(RunError, match=message) as error:
            proposer.proposals(EXAMPLES, TRIED, 4, seed=0)
    assert error.value.hint
    assert error.value.where == server.address


def test_no_server_and_no_model() -> None:
    with serving() as server:
        address = server.address
    with pytest.raises(RunError, match="cannot be reached"):
        Proposer(address, "m", environment={}).proposals(EXAMPLES, TRIED, 4, seed=0)
    with serving(raw=json.dumps({"data": []}).encode()) as server, pytest.raises(RunError, match="lists no model"):
        Proposer(server.address, environment={}).proposals(EXAMPLES, TRIED, 4, seed=0)


@pytest.mark.parametrize(
    "address",
    ["localhost:8080", "ftp://host/v1", "http://", "http://ho st/v1", "http://host:port/v1", "https://hö.st/v1", "http://[/v1"],
)
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(UserError, match="is not an http or https address"):
        Proposer(address, environment={})


def test_a_key_is_not_sent_unencrypted_nor_shown() -> None:
    with pytest.raises(UserError, match="without encryption"):
        Proposer("http://example.org/v1", environment={KEY_VARIABLE: "secret"})
    Proposer("http://example.org/v1", environment={})
    Proposer("https://example.org/v1", environment={KEY_VARIABLE: "secret"})
    with pytest.raises(UserError, match="no API key has"):
        Proposer("https://example.org/v1", environment={KEY_VARIABLE: "sec\nret"})
    with pytest.raises(UserError, match="user's name") as error:
        Proposer("https://me:secret@example.org/v1", environment={})
    assert "secret" not in str(error.value)
