import collections.abc

import xeric.registry

from .base import Metric as Metric
from .base import Signature as Signature
from .base import Statistics as Statistics
from .comparing import Comparison as Comparison
from .comparing import ComparisonReport as ComparisonReport
from .comparing import compare_measured as compare_measured
from .comparing import compare_predictions as compare_predictions
from .measuring import Measured as Measured
from .measuring import measure as measure
from .scoring import ScoreReport as ScoreReport
from .scoring import score_measured as score_measured
from .scoring import score_predictions as score_predictions

METRICS: xeric.registry.Registry[collections.abc.Callable[..., Metric]]
PRIMARY: str

def comparable_metrics() -> tuple[str, ...]: ...
def incomparable(name: str) -> str | None: ...
def quality_metrics() -> tuple[str, ...]: ...
