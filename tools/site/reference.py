"""The pages that describe every public name, from its docstring (mkdocstrings)."""

from dataclasses import dataclass

import normxlogit
from normxlogit import methods


@dataclass(frozen=True)
class Group:
    """Names that share a page.

    Attributes:
        title: the title of the page.
        about: what they are for.
        names: their full names.
    """

    title: str
    about: str
    names: tuple[str, ...]


def _public(*names: str) -> tuple[str, ...]:
    return tuple(f"normxlogit.{name}" for name in names)


GROUPS = {
    "explainer": Group(
        "Explainer",
        "A model and its tokenizer; everything else starts here.",
        (
            *_public("Explainer"),
            "normxlogit.methods.attribution_head.AttributionHead",
            "normxlogit.corpus.Explained",
            "normxlogit.corpus.Summary",
            "normxlogit.corpus.summary",
            "normxlogit.evaluation.run.Evaluation",
        ),
    ),
    "results": Group(
        "Results",
        "What `explain`, `generate`, `sources`, `compare` and `verify` return.",
        _public(
            *("Attribution", "GenerationAttribution", "SourceAttribution", "ImageAttribution"),
            *("AudioAttribution", "Comparison", "Verification", "Prediction", "Target"),
            *("Failure", "Result", "to_pandas", "to_shap"),
        ),
    ),
    "tensors": Group(
        "Tensors",
        "For programs that have tensors and no text.",
        _public("attribute", "TensorAttribution", "with_explanations"),
    ),
    "export": Group(
        "Exported models",
        "A model as a graph that returns its explanation, and what reads it without torch.",
        _public("export", "load_exported", "ExportedModel"),
    ),
    "methods": Group(
        "Methods of your own",
        "The registry of methods, and what a method is given.",
        tuple(f"normxlogit.methods.{name}" for name in methods.__all__),
    ),
    "errors": Group(
        "Errors",
        "Every failure is one of these, and says in one line what to do.",
        _public(
            *("NormXLogitError", "InputError", "OptionError", "ModelError"),
            *("UnsupportedHeadError", "MissingExtraError"),
        ),
    ),
}
"""The pages by their names, and what each describes."""


def pages() -> dict[str, str]:
    """Return the pages in Markdown, by their places on the site.

    Raises:
        LookupError: a public name is on none of them.
    """
    described = {name for group in GROUPS.values() for name in group.names}
    missing = set(_public(*normxlogit.__all__)) - described
    if missing:
        raise LookupError(f"tools/site/reference.py describes no {', '.join(sorted(missing))}.")
    overview = ["# Python", "`import normxlogit as nxl`. Importing it is cheap."]
    written = {}
    for place, group in GROUPS.items():
        overview.append(f"## [{group.title}]({place}.md)\n\n{group.about}")
        overview.append("\n".join(f"- [`{n.rpartition('.')[2]}`][{n}]" for n in group.names))
        blocks = [f"::: {name}" for name in group.names]
        written[f"reference/{place}.md"] = "\n\n".join([f"# {group.title}", group.about, *blocks])
    return {"reference/index.md": "\n\n".join(overview) + "\n", **written}
