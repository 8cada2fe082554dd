"""Which layout ``prompt.template: auto`` stands for: it depends on the base, so it is decided only once the base is open.

An instruction-tuned base that is used as it is, nothing trained on it, is asked in its own chat template: that is how it was
taught to answer. Everything else has the plain layout, so that methods and bases stay comparable.
"""

from __future__ import annotations

from xeric.bases.base import Base
from xeric.data.preparing import Prepared
from xeric.data.prompt_options import PromptOptions
from xeric.data.prompts import build_prompt
from xeric.errors import ConfigError

__all__ = ["settled_prompt"]


def settled_prompt(options: PromptOptions, base: Base, data: Prepared, *, as_it_is: bool) -> tuple[PromptOptions, str]:
    """Return the options with the template settled, and a remark on the choice; the remark is empty where there was none to make.

    Args:
        options: of the run.
        base: open.
        data: the tasks whose rows are to be laid out.
        as_it_is: whether nothing is trained on the base, neither in the run nor in its stages.
    """
    if options.template != "auto":
        return options, ""
    chat, plain = (options.model_copy(update={"template": template}) for template in ("chat", "plain"))
    if not as_it_is:
        return plain, ""
    reason = _why_not_chat(chat, base, data)
    if reason:
        return plain, f"{base.name}: prompts in the plain layout (prompt.template=auto): {reason}"
    return (
        chat,
        f"{base.name}: prompts in the base's own chat template (prompt.template=auto); prompt.template=plain does without",
    )


def _why_not_chat(options: PromptOptions, base: Base, data: Prepared) -> str:
    """Return why a base is not asked in a chat template; nothing where it is.

    That a base has a template does not say that it is instruction-tuned: families publish one tokenizer for pretrained and tuned
    models alike. But a tuned model ends its turns, so the token that ends them is among those that end its texts.
    """
    if not base.architecture.chats:
        return "a chat template is for causal bases"
    if not base.has_chat_template:
        return "it has no chat template"
    try:
        prompts = [build_prompt(task.task, task.demonstrations, options, render_chat=base.render_chat) for task in data.tasks]
    except ConfigError as error:
        return error.what
    if not set(base.tokenize(prompts[0].closing, special=True)) & set(base.eos):
        return "what ends a turn in its chat template does not end its texts, so it is treated as not instruction-tuned"
    return ""
