"""Definitions proposed by a model behind an OpenAI-compatible address (``POST ADDRESS/chat/completions``).

It is shown a few training examples and the best candidates so far with their losses, as in OPRO (Yang et al. 2023, arXiv
2309.03409). Small models fail at that (Zhang et al. 2024, arXiv 2405.10276), so it is another model's work. Training examples
leave the machine for that address; dev and test instances do not.
"""

from __future__ import annotations

import http.client
import json
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any

import regex

from xeric.data.tasks import Example
from xeric.data.text_form import one_form
from xeric.errors import RunError, UserError
from xeric.instructing.writing import pairs_text

__all__ = ["KEY_VARIABLE", "Proposer"]

KEY_VARIABLE = "XERIC_PROPOSER_KEY"
"""Environment variable that holds the API key, where the server wants one."""

_LOOPBACK = {"127.0.0.1", "::1", "localhost"}
_MAX_BYTES = 4 * 1024 * 1024
_BULLET = regex.compile(r"^\s*(?:[-*•]|\(?\p{N}+[.):])\s*")
_ASKED = (
    "You improve the instruction of a task for a small language model. Here are examples of the task, and instructions that were "
    "tried, each with its loss (lower is better). Write {count} new instructions that differ from these and from each other and "
    "say exactly what to do. Answer with a JSON list of strings and nothing else.\n\n"
)


class Proposer:
    """A model that is asked for definitions.

    Args:
        address: of the server's API, as far as ``/v1``.
        model: its name there; None is the first that the server lists.
        environment: where the API key is read from; the process's own where None.
        timeout: seconds without an answer.

    Raises:
        UserError: the address is not one of http or https, or the key would travel unencrypted to another machine.
    """

    def __init__(
        self, address: str, model: str | None = None, *, environment: Mapping[str, str] | None = None, timeout: float = 120.0
    ) -> None:
        self._address, self._model, self._timeout = address.rstrip("/"), model, timeout
        self._key = (os.environ if environment is None else environment).get(KEY_VARIABLE, "").strip()
        parts = _parts(address)
        if self._key and parts.scheme == "http" and parts.hostname not in _LOOPBACK:
            what = "the API key would be sent without encryption"
            raise UserError(what, where=address, hint=f"give an https address, or unset {KEY_VARIABLE}")
        if self._key and not (self._key.isascii() and self._key.isprintable()):
            raise UserError(f"{KEY_VARIABLE} holds characters that no API key has", hint="set it to the key alone")

    @property
    def model(self) -> str:
        """The model's name at the server.

        Raises:
            RunError: the server lists none.
        """
        if self._model is None:
            listed = self._answer("models", None)
            try:
                self._model = str(listed["data"][0]["id"])
            except (KeyError, IndexError, TypeError):
                raise RunError("the proposer lists no model", where=self._address, hint="name it by --proposer-model") from None
        return self._model

    def proposals(self, examples: Sequence[Example], tried: Sequence[tuple[str, float]], count: int, seed: int) -> list[str]:
        """Return definitions that differ from each other; none where the answer holds none.

        Args:
            examples: of the task, for training.
            tried: definitions with their losses in nats per token, the best first.
            count: how many are asked for; more are ignored.
            seed: of the server's sampling, where it heeds one.

        Raises:
            RunError: there is no connection, the server refuses, or what it answers is not a chat completion.
        """
        losses = "".join(f"- {json.dumps(text, ensure_ascii=False)} (loss {loss:.3f})\n" for text, loss in tried)
        content = f"{_ASKED.format(count=count)}{pairs_text(examples)}\nInstructions tried:\n{losses}"
        request = {
            "model": self.model,
            "messages": [{"role": "user", "content": content}],
            "temperature": 1.0,
            "seed": seed % 2**31,
        }
        answer = self._answer("chat/completions", request)
        try:
            text = answer["choices"][0]["message"]["content"]
        except (KeyError, IndexError, TypeError):
            text = None
        if not isinstance(text, str):
            raise self._failed("the proposer's answer is not a chat completion")
        return list(dict.fromkeys(_definitions(text)))[:count]

    def _answer(self, path: str, body: Mapping[str, Any] | None) -> Any:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        data = None if body is None else json.dumps(body).encode("utf-8")
        request = urllib.request.Request(f"{self._address}/{path}", data=data, headers=headers)
        try:
            with urllib.request.build_opener(_NoRedirects).open(request, timeout=self._timeout) as response:
                content = response.read(_MAX_BYTES + 1)
        except urllib.error.HTTPError as error:
            hint = f"set {KEY_VARIABLE} to its key" if error.code in (401, 403) else "check the address and the model's name"
            raise self._failed(f"the proposer answers {error.code} {error.reason}", hint) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise self._failed(f"the proposer cannot be reached: {getattr(error, 'reason', None) or error}") from None
        if len(content) > _MAX_BYTES:
            raise self._failed(f"the proposer's answer has more than {_MAX_BYTES} bytes")
        try:
            return json.loads(content)
        except (ValueError, RecursionError):
            raise self._failed("the proposer's answer is not JSON") from None

    def _failed(
        self, what: str, hint: str = "check that an OpenAI-compatible server listens there; the address ends in /v1"
    ) -> RunError:
        return RunError(what, where=self._address, hint=hint)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect would take the examples, and the key, to an address that the user did not name."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _parts(address: str) -> urllib.parse.SplitResult:
    try:
        parts = urllib.parse.urlsplit(address)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port is not False
    except ValueError:
        usable = False
    if usable and "@" in parts.netloc:
        raise UserError("holds a user's name", where=parts.hostname, hint=f"give a key in the variable {KEY_VARIABLE}")
    if not usable or not address.isascii() or regex.search(r"\s", address):
        raise UserError("is not an http or https address", where=address, hint="write it as http://localhost:8080/v1")
    return parts


def _definitions(text: str) -> list[str]:
    """Return the definitions of an answer: a JSON list of strings in it or, where there is none, one in each line."""
    opening, closing = text.find("["), text.rfind("]")
    if 0 <= opening < closing:
        try:
            listed = json.loads(text[opening : closing + 1])
        except (ValueError, RecursionError):
            listed = None
        if isinstance(listed, list):
            return [formed for entry in listed if isinstance(entry, str) and (formed := one_form(entry))]
    lines = (one_form(_BULLET.sub("", line)).strip("\"'“”") for line in text.splitlines() if _BULLET.match(line))
    return [line for line in lines if line]
