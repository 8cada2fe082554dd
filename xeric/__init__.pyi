from .api import adapt as adapt
from .api import export as export
from .api import generate as generate
from .api import load_task as load_task
from .api import prepare as prepare
from .api import run_study as run_study
from .api import score as score
from .api import stream as stream
from .api import train as train
from .bases.loading import load_base as load_base
from .bases.trimmed_folder import trim_base as trim_base
from .instructing.interface import instruct as instruct
from .run.adapted import open_adapted as open_adapted

__version__: str
