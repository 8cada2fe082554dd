"""The settings of a run, and what makes two runs the same run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator, SerializeAsAny

from xeric.bases.names import BaseName
from xeric.bases.precision import PrecisionName, precision_remark, resolve_device, resolve_precision
from xeric.config import Config, FullPath, Name, Seed, build, digest, merge
from xeric.data.preparing import DataOptions
from xeric.data.prompt_options import PromptOptions
from xeric.data.texts import TextOptions
from xeric.decoding import DecodeOptions
from xeric.errors import ConfigError, DataError
from xeric.files import expanded
from xeric.methods import METHODS
from xeric.methods.base import MethodOptions, method_options
from xeric.metrics import METRICS
from xeric.records import RESULT_VERSION, Split
from xeric.run.tracking import TrackerName, check_tracker
from xeric.training.options import TrainOptions, TrainSetup
from xeric.yaml_io import load_yaml

__all__ = ["RunConfig", "Seeds", "Stage", "run_config", "run_id"]


class Seeds(Config):
    """Seeds that are not set are the run's ``seed``; the seed of the split is ``data.split_seed``.

    Attributes:
        init: of new parameters.
        order: of the training instances.
        dropout: of dropout masks.
        reference: of which of several references is trained on.
        decode: of sampled texts.
        bootstrap: of the intervals of the scores; fixed, so that runs with different seeds are resampled alike.
    """

    init: Seed | None = None
    order: Seed | None = None
    dropout: Seed | None = None
    reference: Seed | None = None
    decode: Seed | None = None
    bootstrap: Seed = 0

    def resolve(self, seed: int) -> dict[str, int]:
        """Return every seed, by name."""
        return {name: seed if value is None else value for name, value in self.model_dump().items()}


def _stage_method(data: Any) -> MethodOptions | None:
    return None if data is None else method_options(data, where="stages.N.method")


class Stage(Config):
    """What is trained before a run's own tasks (``stages.N.*``): other tasks, or plain text.

    Attributes:
        tasks: names of its (source) tasks.
        texts: text files, and folders of them, instead of tasks: plain text in the language or domain of the run's tasks.
        method: None is the run's own; any other must be one that can be merged.
        data: as in a run; the stage's own split. Of tasks only.
        prompt: as in a run. Of tasks only.
        corpus: what documents and rows are made of the texts.
        train: as in a run.
        seed: as in a run; None is the run's own.
    """

    tasks: tuple[Name, ...] = ()
    texts: tuple[FullPath, ...] = ()
    method: Annotated[SerializeAsAny[MethodOptions] | None, PlainValidator(_stage_method)] = None
    data: DataOptions = DataOptions()
    prompt: PromptOptions = PromptOptions()
    corpus: TextOptions = TextOptions()
    train: TrainOptions = TrainOptions()
    seed: Seed | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that decide the stage's result: no paths of files, and none that affect time and memory only."""
        unused = ("tasks", "texts", "data", "prompt") if self.texts else ("texts", "corpus")
        settings = {key: value for key, value in self.model_dump(mode="json").items() if key not in unused}
        settings["train"] = self.train.deciding
        return settings if self.texts else settings | {"prompt": self.prompt.deciding}


class RunConfig(Config):
    """Everything that decides a run's result.

    Attributes:
        tasks: names of the tasks.
        tasks_dirs: folders to look for them in, before those of ``XERIC_TASKS`` and the bundled ones.
        base: a name of ``xeric bases list``, a ``.gguf`` file, a folder or a hub id.
        method: its name and its own options.
        from_run: folder of a finished run that this one goes on from; see :mod:`xeric.run.source`.
        stages: what is trained before, in this order, each starting from the previous one's result
            (:mod:`xeric.run.stage_training`).
        predict: which parts are decoded: the test set (and scored), the dev set (for choosing among runs).
        metrics: names of metrics; empty is all of them.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``auto`` (bf16 where the device computes it faster, else fp32), ``fp32``, ``bf16`` or ``4bit`` (CUDA only).
        seed: of everything in ``seeds`` that is not set there.
        before: ``texts``: the base answers the first three test inputs before it is adapted; ``scores``: all of them; no part of
            what the run is. See :mod:`xeric.run.before`.
        track: ``tensorboard``, ``mlflow``, ``wandb`` or ``trackio``: is told losses by step, dev and scores; no part of what the
            run is. See :mod:`xeric.run.tracking`.
    """

    tasks: tuple[Name, ...] = Field(min_length=1)
    tasks_dirs: tuple[FullPath, ...] = ()
    base: BaseName
    method: Annotated[SerializeAsAny[MethodOptions], PlainValidator(method_options)]
    from_run: FullPath | None = None
    stages: tuple[Stage, ...] = ()
    data: DataOptions = DataOptions()
    prompt: PromptOptions = PromptOptions()
    train: TrainOptions = TrainOptions()
    predict: tuple[Split, ...] = Field(default=("test",), min_length=1)
    decode: DecodeOptions = DecodeOptions()
    metrics: tuple[str, ...] = ()
    device: str = "auto"
    precision: PrecisionName = "auto"
    seed: Seed = 0
    seeds: Seeds = Seeds()
    before: Literal["none", "texts", "scores"] = "none"
    track: TrackerName | None = None

    @property
    def learning_rate(self) -> float:
        """The run's learning rate: the user's, or the method's documented default."""
        return METHODS.get(self.method.name).default_lr if self.train.lr is None else self.train.lr

    @property
    def all_seeds(self) -> dict[str, int]:
        """Every seed of the run, by name."""
        return {"split": self.data.split_seed, **self.seeds.resolve(self.seed)}

    @property
    def train_setup(self) -> TrainSetup:
        """How the run trains, the method's defaults filled in."""
        return TrainSetup(self.train, self.learning_rate, self.all_seeds)


def run_config(settings: Mapping[str, Any]) -> tuple[RunConfig, list[str]]:
    """Return a checked config with ``auto`` resolved, and remarks the user should see.

    An untrained setting (``zero-shot``, ``few-shot``) replaces the method: nothing is trained, and the config says so.

    Args:
        settings: plain values, as from YAML and overrides.

    Raises:
        ConfigError: a setting is unknown, ill-typed or out of range; ``where`` is its dotted path.
        UnknownNameError: no such method or metric.
        UserError: no such device, the device cannot do the precision, or the tracker is not installed.
    """
    config = build(RunConfig, _carried(settings))
    for metric in config.metrics:
        METRICS.check(metric)
    if config.track is not None:
        check_tracker(config.track)
    remarks = []
    if config.prompt.untrained and config.method.name != "none":
        remarks.append(
            f"prompt.setting={config.prompt.setting} is an untrained setting: method {config.method.name!r} is not used"
        )
        config = config.model_copy(update={"method": method_options("none")})
    if config.from_run is not None:
        _check_going_on(config)
    config = config.model_copy(update={"stages": _stages(config), "train": _weighted(config.train, config.method)})
    device = resolve_device(config.device)
    precision = resolve_precision(config.precision, device)
    if (remark := precision_remark(config.precision, device)) is not None:
        remarks.append(remark)
    return config.model_copy(update={"device": str(device), "precision": precision}), remarks


_CARRIED = ("tasks", "tasks_dirs", "base", "method", "prompt", "data", "decode", "metrics", "precision")
"""What a run takes over from the one that it goes on from, where it does not say otherwise."""


def _carried(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return settings with those that carry over from the run that ``from_run`` names."""
    source = settings.get("from_run")
    if not isinstance(source, str):
        return settings
    path = expanded(source) / "config.yaml"
    if not path.is_file():
        raise DataError("holds no finished run", where=source, hint="give the folder of a finished run")
    carried = {key: value for key, value in load_yaml(path).items() if key in _CARRIED}
    # More rows than it had are what it is for.
    carried["data"] = {key: value for key, value in carried.get("data", {}).items() if key != "n_train"}
    method, own = settings.get("method"), carried.get("method")
    name = method.get("name") if isinstance(method, Mapping) else method
    if isinstance(own, Mapping) and name is not None and name != own.get("name"):
        del carried["method"]  # its options are none of another method's
    elif isinstance(method, str):
        settings = {key: value for key, value in settings.items() if key != "method"}
    return merge(carried, settings)


def _check_going_on(config: RunConfig) -> None:
    """Check that a run that goes on from another trains, and has no stages."""
    if config.stages:
        what = "stages come before a run's own tasks, and this run goes on from another"
        raise ConfigError(what, where="stages", hint="train the stage's tasks with --from, and go on from that run")
    if config.method.name == "none":
        raise ConfigError("nothing is trained, so nothing goes on", where="from_run", hint="leave --from out, or name a method")


def _stages(config: RunConfig) -> tuple[Stage, ...]:
    """Return the stages with their methods filled in."""
    methods = [config.method if stage.method is None else stage.method for stage in config.stages]
    for number, (method, following) in enumerate(pairwise([*methods, config.method])):
        _check_kind(config.stages[number], method, f"stages.{number}")
        where = f"stages.{number}.method"
        if method.name == "none" or config.stages[number].prompt.untrained:
            raise ConfigError("a stage trains, and this one does not", where=where, hint="name a method, such as lora")
        if method != following and config.precision == "4bit":
            raise ConfigError(
                "another method follows, and four-bit weights take no merged stage",
                where=where,
                hint="use the same method and options for both, or --precision bf16",
            )
        if method != following and not METHODS.get(method.name).mergeable(method):
            raise ConfigError(
                f"{method.name} cannot be merged into the base's weights, and another method follows",
                where=where,
                hint="use full or lora for the stage, or the same method and options for both",
            )
    return tuple(
        stage.model_copy(update={"method": method, "train": _weighted(stage.train, method)})
        for stage, method in zip(config.stages, methods, strict=True)
    )


def _check_kind(stage: Stage, method: MethodOptions, where: str) -> None:
    """Check that a stage is trained on either tasks or texts, and that no setting of the other kind is changed."""
    if bool(stage.tasks) == bool(stage.texts):
        which = "both tasks and texts" if stage.tasks else "neither tasks nor texts"
        raise ConfigError(f"names {which}", where=where, hint="name one of them; a run may have several stages")
    foreign = {"data": DataOptions(), "prompt": PromptOptions()} if stage.texts else {"corpus": TextOptions()}
    for key, default in foreign.items():
        if getattr(stage, key) != default:
            kind, other = ("tasks", "corpus") if stage.texts else ("texts", "data")
            hint = f"leave it out; what is done to the {'texts' if stage.texts else 'tasks'} stands under {other}"
            raise ConfigError(f"belongs to a stage of {kind}", where=f"{where}.{key}", hint=hint)
    if stage.texts and stage.train.select == "chrf":
        raise ConfigError("text has no outputs to score", where=f"{where}.train.select", hint="use last or loss")
    if stage.texts and METHODS.get(method.name).needs_definitions(method):
        raise ConfigError(
            f"{method.name} begins with a prompt prefix made of the definitions of tasks, and text has none",
            where=f"{where}.method",
            hint=f"use another one for this stage ({where}.method.name=lora), or a prefix with scope=shared and a text",
        )


def _weighted(options: TrainOptions, method: MethodOptions) -> TrainOptions:
    """Return the options with the method's own weighting of the tasks, where the user names none."""
    if options.weighting.name != "auto":
        return options
    weighting = options.weighting.model_copy(update={"name": METHODS.get(method.name).default_weighting})
    return options.model_copy(update={"weighting": weighting})


def run_id(
    config: RunConfig,
    fingerprint: str,
    base_sha256: Mapping[str, str],
    stages: Sequence[str] = (),
    source: str | None = None,
) -> str:
    """Return the identity of a run: 16 hex digits over everything that decides its result and nothing else.

    Where files lie (``tasks_dirs``, texts, the folder of the base) is left out: data and weights are
    identified by their contents. So are settings that affect time and memory only, and what tracks the run.

    Args:
        config: a config of :func:`run_config`.
        fingerprint: of the data really used.
        base_sha256: of the base's weights and tokenizer.
        stages: hashes of the stages before it.
        source: hash of the adaptation that it goes on from; None where it starts from the base.
    """
    settings = config.model_dump(mode="json")
    for key in ("tasks_dirs", "base", "before", "track", "from_run"):
        del settings[key]
    settings["train"], settings["prompt"] = config.train.deciding, config.prompt.deciding
    settings["stages"] = [stage.settings for stage in config.stages]
    parts: dict[str, Any] = {"config": settings, "data": fingerprint, "base": dict(base_sha256), "stages": list(stages)}
    if source is not None:
        parts["from"] = source
    return digest({**parts, "result_version": RESULT_VERSION})[:16]
