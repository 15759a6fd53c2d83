"""The methods that are evaluated, with the options that they are given."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from normxlogit.data.option_values import parse_option
from normxlogit.errors import OptionError
from normxlogit.methods import find_method

RANDOM = "random"
_OWN = ("layer", "readout")


@dataclass(frozen=True)
class MethodSpec:
    """A method with options.

    Attributes:
        name: what it is called in results.
        method: the method's name.
        layer, readout, options: as in `Explainer.explain`.
    """

    name: str
    method: str
    layer: int | None = None
    readout: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def arguments(self, preset: Mapping[str, Any]) -> dict[str, Any]:
        """What `Explainer.explain` takes, with options of a preset where none are given."""
        own = {"method": self.method, "layer": self.layer, "readout": self.readout}
        return {**preset, **own, **self.options}

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def parse_method_specs(given: Sequence[str | Mapping[str, Any]]) -> list[MethodSpec]:
    """The candidates that names or mappings mean.

    Args:
        given: "NAME" or "NAME:OPTION=VALUE:..." of a method; or a mapping with "method" and any of
            "name", "layer", "readout" and "options".

    Raises:
        OptionError: there is none; or no such method or option; or a name stands for two.
    """
    if isinstance(given, (str, Mapping)) or not isinstance(given, Iterable) or not given:
        raise OptionError(f"methods must be a list with one name or more, got {given!r}.")
    found = [_parsed(one) if isinstance(one, str) else _mapped(one) for one in given]
    names = [spec.name for spec in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise OptionError(f"method {twice!r} is given twice. Give one of them another name.")
    for spec in found:
        find_method(spec.method).check(spec.options, spec.layer)
        if not (spec.layer is None or type(spec.layer) is int):
            raise OptionError(
                f"{spec.name!r}: layer must be one number, got {spec.layer!r}. Give a "
                "method for each."
            )
        own = (spec.options, spec.layer, spec.readout)
        if spec.method == RANDOM and any(own):
            raise OptionError(
                "random takes no options here: it is drawn as often as `draws` says, by `seed`."
            )
        if (spec.method == RANDOM) != (spec.name == RANDOM):
            raise OptionError(
                f"{spec.name!r} is another name for {spec.method!r}: random, which the "
                "others are held against, is called so, and no other method is."
            )
    return found


def _parsed(given: str) -> MethodSpec:
    method, *parts = given.split(":")
    options = {}
    for part in parts:
        name, equals, text = part.partition("=")
        if not equals:
            raise OptionError(
                f"{given!r} is no method with options; write NAME:OPTION=VALUE, such as "
                "integrated_gradients:n_steps=100."
            )
        options[name] = parse_option(text)
    own = {name: options.pop(name) for name in _OWN if name in options}
    return MethodSpec(given, method, **own, options=options)


def _mapped(given: Mapping[str, Any]) -> MethodSpec:
    try:
        found = MethodSpec(**{"name": given["method"], **given})
        json.dumps(dict(found.options))
    except (KeyError, TypeError, ValueError) as error:
        raise OptionError(
            "a method is a name, or has 'method' and any of name, layer, readout, and options, "
            f"which are plain data by name; got {given!r}."
        ) from error
    if not isinstance(found.name, str):
        raise OptionError(f"the name of a method must be text, got {found.name!r}.")
    return found
