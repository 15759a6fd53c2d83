"""A network fitted to a model once, whose outputs are the Shapley values of a text's words."""

from normxlogit.methods.attribution_head.head import AttributionHead

__all__ = ["AttributionHead"]
