"""The errors of normxlogit. Each says what it got, what it wanted and what to do.

NormXLogitError
├── InputError (ValueError)
│   └── TooLongError
├── OptionError (ValueError)
├── ModelError
│   └── UnsupportedHeadError
└── MissingExtraError (ImportError)
"""


class NormXLogitError(Exception):
    """Base of every error that normxlogit raises on purpose."""


class InputError(NormXLogitError, ValueError):
    """The text or tensors cannot be explained as they are (empty, too long, not text, ...)."""


class TooLongError(InputError):
    """The text has more tokens than the model takes."""


class OptionError(NormXLogitError, ValueError):
    """An option has an unknown or unsuitable value: label, method, readout, layer."""


class ModelError(NormXLogitError):
    """The model cannot be loaded or used: no head, random head, NaN outputs, foreign tokenizer."""


class UnsupportedHeadError(ModelError):
    """The head is not a function of one token's final representation, or could not be replayed."""


class MissingExtraError(NormXLogitError, ImportError):
    """An optional dependency is not installed."""


def without_traceback(error: NormXLogitError) -> NormXLogitError:
    """Drop an error's traceback, context and cause, so that keeping it keeps no tensors alive."""
    error.__context__ = error.__cause__ = None
    return error.with_traceback(None)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its type if it has none."""
    return (str(error).splitlines() or [type(error).__name__])[0]
