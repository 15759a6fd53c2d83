"""The errors of normxlogit. Each says what it got, what it wanted and what to do."""


class NormXLogitError(Exception):
    """Base of every error that normxlogit raises on purpose."""


class InputError(NormXLogitError, ValueError):
    """The text or the tensors cannot be explained as they are (empty, too long, not text, ...)."""


class TooLongError(InputError):
    """The text has more tokens than the model takes."""


class OptionError(NormXLogitError, ValueError):
    """An option has a value that does not exist or does not fit: label, method, readout, layer."""


class ModelError(NormXLogitError):
    """The model cannot be loaded or used: no head, random head, NaN outputs, foreign tokenizer."""


class UnsupportedHeadError(ModelError):
    """The head is not a function of one token's final representation, or could not be replayed."""


class MissingExtraError(NormXLogitError, ImportError):
    """An optional dependency is not installed."""


def without_traceback(error: NormXLogitError) -> NormXLogitError:
    """The error without what led to it, so that keeping it keeps no tensors alive."""
    error.__context__ = error.__cause__ = None
    return error.with_traceback(None)


def first_line(error: BaseException) -> str:
    """What an error says, on one line; its type if it says nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0]
