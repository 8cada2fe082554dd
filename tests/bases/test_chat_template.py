"""Chat templates of foreign models: the sandbox holds, and neither time nor memory runs away."""

from __future__ import annotations

import pytest

from tests import tiny
from xeric.bases.chat_template import render_chat
from xeric.errors import ConfigError

MESSAGES = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]


def rendered(template: str) -> str:
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = template
    return render_chat(tokenizer, MESSAGES, True, date_string="26 Jul 2024")


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}|{{ date_string }}", "<user>a<assistant>b|26 Jul 2024"),
        ("{{ messages[0] | tojson }}{% if add_generation_prompt %}!{% endif %}", '{"role": "user", "content": "a"}!'),
        ("{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}{{ m.content }}{% endfor %}", "b"),
        ("{% generation %}{{ '  ' * (messages | length) }}x{% endgeneration %}", "    x"),
        ("{% for n in range(20000) %}{% endfor %}{{ 7 % 4 }}", "3"),
    ],
)
def test_what_published_templates_do_is_written_as_the_library_writes_it(template: str, text: str) -> None:
    assert rendered(template) == text


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        (
            "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
            "it does not end within 300000 steps",
        ),
        (
            "{% set n = namespace(x='a') %}{% for a in range(99) %}{% set n.x = n.x + n.x %}{% endfor %}",
            "it needs too much memory",
        ),
        ("{{ 'a' * 1000000 * 1000000 }}", "it needs too much memory"),
        ("{{ 9 ** 9 ** 9 }}", "it computes powers"),
        (
            "{% set n = namespace(x=99) %}{% for a in range(99) %}{% set n.x = n.x * n.x %}{% endfor %}",
            "it multiplies values of any size",
        ),
        ("{{ 'a' | center(9999999999) }}", "it holds a number above 1000000"),
        ("{{ 'a' * 1000000 }}b", "it writes 1000001 characters"),
        ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
        ("{{ 1 // 0 }}", "integer division or modulo by zero"),
        ("{{ messages + 1 }}", 'can only concatenate list (not "int") to list'),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "it is nested too deeply"),
        ("{{ messages.append(1) }}", "access to attribute 'append' of 'list' object is unsafe."),
        ("{{ cycler.__init__.__globals__.os }}", "access to attribute '__init__' of 'type' object is unsafe."),
        ("{% include '/etc/passwd' %}", "no loader for this environment specified"),
    ],
)
def test_a_template_that_does_more_is_refused_in_one_sentence(template: str, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        rendered(template)
    assert caught.value.what == f"the base's chat template fails: {reason}"
    assert caught.value.hint == "use prompt.template=plain"
