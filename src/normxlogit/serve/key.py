"""The key that requests have to bring along, which stays in the environment."""

import os
import re

from normxlogit.errors import OptionError

KEY = "NORMXLOGIT_API_KEY"
"""The variable of the environment that holds the key."""


def read_key() -> str | None:
    """Return the key of the environment.

    Raises:
        OptionError: it is empty, or no header could hold it.
    """
    key = os.environ.get(KEY)
    if key is not None and not re.fullmatch(r"[!-~]+", key):
        raise OptionError(
            f"{KEY} must be printable ASCII without spaces. Set it to such a key, or unset it to "
            "let everybody ask."
        )
    return key
