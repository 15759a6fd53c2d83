"""The methods to evaluate, with their options."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from normxlogit.data.option_checks import as_integer
from normxlogit.data.option_values import parse_method
from normxlogit.errors import OptionError
from normxlogit.methods import find_declaration
from normxlogit.results.reductions import check_reduction

RANDOM = "random"
_FIELDS = ("layer", "readout", "reduction")
"""Options that are fields of a `MethodSpec`."""


@dataclass(frozen=True)
class MethodSpec:
    """A method with options.

    Attributes:
        name: its name in the results.
        method: the name of the method.
        layer, readout, options: as in `Explainer.explain`.
        reduction: how the scores of a unit's tokens become the unit's, as `reduce` in
            `Attribution.words`.
    """

    name: str
    method: str
    layer: int | None = None
    readout: str | None = None
    reduction: str = "sum"
    options: Mapping[str, Any] = field(default_factory=dict)

    def arguments(self, preset: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of `Explainer.explain`, with a preset's options as defaults."""
        fields = {"method": self.method, "layer": self.layer, "readout": self.readout}
        return {**preset, **fields, **self.options}

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def parse_method_specs(methods: Sequence[str | Mapping[str, Any]]) -> list[MethodSpec]:
    """Parse methods given by name or as mappings.

    Args:
        methods: "NAME" or "NAME:OPTION=VALUE:..." each; or mappings with "method" and any of
            "name", "layer", "readout", "reduction" and "options".

    Raises:
        OptionError: there are none; a method or an option does not exist; or two have one name.
    """
    if isinstance(methods, (str, Mapping)) or not isinstance(methods, Iterable) or not methods:
        raise OptionError(f"methods must be a list with one name or more, got {methods!r}.")
    specs = [_from_text(m) if isinstance(m, str) else _from_mapping(m) for m in methods]
    names = [spec.name for spec in specs]
    duplicate = next((name for name in names if names.count(name) > 1), None)
    if duplicate is not None:
        raise OptionError(f"method {duplicate!r} is given twice. Give one of them another name.")
    return [_checked(spec) for spec in specs]


def _checked(spec: MethodSpec) -> MethodSpec:
    find_declaration(spec.method).check(spec.options, spec.layer)
    layer = as_integer(spec.layer)
    if layer is None and spec.layer is not None:
        raise OptionError(
            f"{spec.name!r}: layer must be one number, got {spec.layer!r}. Give a method for each."
        )
    check_reduction("reduction", spec.reduction, spec.method, spec.options)
    is_plain = not (spec.options or spec.layer or spec.readout) and spec.reduction == "sum"
    if spec.method == RANDOM and not is_plain:
        raise OptionError(
            "random takes no options here: it is drawn as often as `draws` says, by `seed`."
        )
    if (spec.method == RANDOM) != (spec.name == RANDOM):
        raise OptionError(
            f"{spec.name!r} is another name for {spec.method!r}: random, which the others are "
            "compared with, goes by that name, and no other method does."
        )
    return replace(spec, layer=layer)


def _from_text(text: str) -> MethodSpec:
    method, options = parse_method(text)
    fields = {name: options.pop(name) for name in _FIELDS if name in options}
    return MethodSpec(text, method, **fields, options=options)


def _from_mapping(mapping: Mapping[str, Any]) -> MethodSpec:
    try:
        spec = MethodSpec(**{"name": mapping["method"], **mapping})
        json.dumps(dict(spec.options))
    except (KeyError, TypeError, ValueError) as error:
        raise OptionError(
            "a method is a name, or has 'method' and any of name, layer, readout, reduction, and "
            f"options, which are plain data by name; got {mapping!r}."
        ) from error
    if not isinstance(spec.name, str):
        raise OptionError(f"the name of a method must be text, got {spec.name!r}.")
    return spec
