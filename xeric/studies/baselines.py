"""The trivial baselines of a study, in its folder; what they are stands in :mod:`xeric.data.baselines`."""

from __future__ import annotations

from collections.abc import Iterable

from xeric.data.baselines import BASELINES, SEEDED, baseline_predictions
from xeric.data.preparing import Prepared
from xeric.records import PREDICTION_FILES, write_jsonl
from xeric.studies.folder import StudyFolder

__all__ = ["write_baselines"]


def write_baselines(folder: StudyFolder, data: Prepared, seeds: Iterable[int]) -> None:
    """Write the predictions of every baseline; what stands there already stays.

    Args:
        folder: of the study.
        data: the study's tasks, prepared as its runs have them.
        seeds: the study's, for the baselines that are drawn.
    """
    for name in BASELINES:
        for seed in seeds if name in SEEDED else (0,):
            place = folder.baseline(name, seed)
            if not (place / PREDICTION_FILES["test"]).is_file():
                # Written last: its presence means that both are there.
                write_jsonl(place / PREDICTION_FILES["dev"], baseline_predictions(name, data, "dev", seed))
                write_jsonl(place / PREDICTION_FILES["test"], baseline_predictions(name, data, "test", seed))
