"""The variants that were tried, each with its cost and its options."""

from typing import Any


def _of(method: str, cost: str, **options: Any) -> tuple[str, str, dict[str, Any]]:
    described = [f"{key} {value}" for key, value in options.items()]
    query: dict[str, Any] = {k: options.pop(k) for k in ("layer", "readout") if k in options}
    name = ", ".join([method.removeprefix("sp_"), *described])
    return name, cost, {**query, "method": method, "name": name, "options": options}


FOLDS = ("abs", "l1", "heads", "plus")

VARIANTS = [
    _of("norm", "1"),
    _of("logat", "1"),
    _of("normxlogit", "1", layer=5),
    _of("normxlogit", "1", layer=4),
    _of("normxlogit", "1", layer=3),
    _of("normxlogit", "1", readout="margin"),
    _of("normxlogit", "1", readout="centered"),
    _of("normxlogit", "1", readout="logprob"),
    _of("normxlogit", "1", norm="word"),
    _of("sp_layers", "1", last=1, norm="before"),
    _of("sp_layers", "1", last=1, norm="middle"),
    _of("sp_layers", "1", last=1, norm="final"),
    _of("sp_layers", "1", last=4),
    _of("sp_layers", "1", last=4, norm="none"),
    _of("sp_less", "1", less="mean"),
    _of("sp_less", "2", less="mask"),
    _of("sp_taken", "1", by="attention"),
    _of("sp_taken", "1", by="attention", norm="embedding"),
    _of("sp_taken", "1 + n/L", by="value_zeroing"),
    _of("sp_taken", "1 + n/L", by="value_zeroing", norm="embedding"),
    _of("sp_gradient", "1 + 2/L"),
    _of("sp_gradient", "1 + 2/L", less="mean"),
    _of("sp_gradient", "2 + 2/L", less="mask"),
    _of("sp_gradient", "1 + 2/L", times="norm"),
    _of("sp_gradient", "1 + 2/L", times="value"),
    _of("sp_gradient", "1 + 2/L", times="sum"),
    _of("sp_gradient", "1 + 1/L", at="value"),
    _of("sp_gradient", "1 + 1/L", at="value", less="mean"),
    _of("sp_gradient", "2 + 1/L", at="value", less="mask"),
    _of("sp_gradient", "1 + 4/L", block=2),
    _of("sp_gradient", "1 + 6/L", block=3),
    _of("sp_gradient_of_blocks", "1 + 4/L", last=2),
    _of("sp_gradient_of_blocks", "1 + 6/L", last=3),
    _of("sp_gradient", "2 + 6/L", less="mask", steps=2),
    _of("sp_gradient", "2 + 15/L", less="mask", steps=5),
    _of("sp_gradient", "2 + 30/L", less="mask", steps=10),
    _of("sp_gradient", "2 + 90/L", less="mask", steps=10, block=3),
    _of("sp_gradient", "1 + 3/L", at="value", block=2),
    _of("sp_gradient", "1 + 5/L", at="value", block=3),
    _of("sp_gradient_of_blocks", "1 + 3/L", at="value", last=2),
    _of("sp_gradient_of_blocks", "1 + 5/L", at="value", last=3),
    _of("sp_gradient_of_blocks", "3", at="value", last=6),
    _of("sp_gradient", "1 + 1/L", at="value", times="norm"),
    _of("sp_gradient", "1 + 1/L", at="value", times="value"),
    _of("sp_gradient", "1 + 1/L", at="value", times="sum"),
    _of("sp_gradient", "2 + 4/L", at="value", less="mask", steps=2),
    _of("sp_gradient", "1 + 2/L", frozen="attention"),
    _of("sp_gradient", "1 + 4/L", frozen="attention", block=2),
    _of("sp_gradient", "1 + 6/L", frozen="attention", block=3),
    _of("sp_gradient", "3", frozen="attention", block=6),
    _of("sp_gradient", "1 + 2/L", frozen="both"),
    _of("sp_gradient", "1 + 4/L", frozen="both", block=2),
    _of("sp_gradient", "1 + 6/L", frozen="both", block=3),
    _of("sp_gradient", "3", frozen="both", block=6),
    _of("sp_replaced", "1 + 1/L", by="zero"),
    _of("sp_replaced", "1 + 1/L", by="mean"),
    _of("sp_replaced", "2 + 1/L", by="mask"),
    _of("sp_replaced", "1 + n/L", at="state", by="mean"),
    _of("sp_replaced", "2 + n/L", at="state", by="mask"),
    *(_of("sp_gradient", "1 + 2/L", fold=fold) for fold in ("abs", "l1")),
    *(_of("sp_gradient", "1 + 1/L", at="value", fold=fold) for fold in FOLDS),
    *(_of("sp_gradient", "2 + 6/L", less="mask", steps=2, fold=fold) for fold in ("abs", "l1")),
    *(_of("sp_gradient", "1 + 6/L", frozen="both", block=3, fold=fold) for fold in ("abs", "l1")),
    *(_of("sp_gradient", f"1 + {2 * block}/L", frozen="both", block=block) for block in (4, 5)),
    *(
        _of("sp_gradient", "4", **site, less="mask", steps=1, **frozen)
        for site in ({"at": "word"}, {"block": 0})
        for frozen in ({}, {"frozen": "attention"}, {"frozen": "both"}, {"frozen": "all"})
    ),
    *(_of("sp_gradient", "4", block=0, less="all", steps=1, frozen=f) for f in ("both", "all")),
    *(_of("sp_gradient", "4", block=0, steps=1, frozen=frozen) for frozen in ("both", "all")),
    *(_of("sp_gradient", "7", block=0, less="mask", steps=2, frozen=f) for f in ("both", "all")),
    *(
        _of("sp_gradient", f"1 + {3 * block}/L", block=block, less="mask", steps=1, frozen=frozen)
        for block in (3, 4, 5)
        for frozen in ("both", "all")
    ),
    *(
        _of("sp_gradient", "4", block=0, **less, steps=1, frozen="all", fold=fold)
        for less in ({"less": "mask"}, {"less": "all"}, {})
        for fold in ("abs", "l1")
    ),
    _of("sp_gradient", "4", block=0, less="all", steps=1, frozen="both", fold="abs"),
    _of("sp_gradient", "1 + 9/L", block=3, less="mask", steps=1, frozen="all", fold="abs"),
    _of("late_lrp", "1 + 6/L"),
    _of("late_lrp", "1 + 6/L", reduce="abs"),
    _of("gradient_x_input", "4"),
    _of("integrated_gradients", "2 + 30", n_steps=10, baseline="mask"),
    _of("occlusion", "n"),
]
"""Each by its name, its cost in forward passes of a model of L blocks on n tokens (where what the
first pass computed is kept; a backward pass counts as two) and its settings."""
