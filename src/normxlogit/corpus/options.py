"""Options of a corpus run that are checked without torch."""

from normxlogit.data.option_checks import one_of, real_number, whole_number
from normxlogit.errors import OptionError

FROM_COLUMN = "column:"
"""What a target begins with that names the column of each row's target."""


def check_target(target: object) -> None:
    """Raise `OptionError` if a target is a column and one of several."""
    if isinstance(target, (list, tuple)) and any(str(t).startswith(FROM_COLUMN) for t in target):
        raise OptionError("a column of targets stands alone: it cannot be one of several targets.")


def check_engine(engine: object, count: object, gpus: object) -> None:
    """Raise `OptionError` for no engine, or for workers of one that has none to be counted."""
    one_of("engine", engine, ("local", "ray"))
    if count is not None:
        whole_number("workers", count)
    share = real_number("gpus_per_worker", gpus, least=0)
    if engine == "local" and (count is not None or share):
        raise OptionError("workers and gpus_per_worker are for engine='ray'.")
