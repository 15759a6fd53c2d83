"""The card of an exported model: how to read what its graph gives."""

from normxlogit.exporting.manifest import GRAPH, MANIFEST, TOKENIZER, WORDS, Drift, Manifest
from normxlogit.model.targets import Problem

_OUTPUTS = {
    "logits": ("[batch, labels]", "the model's own output"),
    "scores": (
        "[batch, labels, sequence]",
        "for each token how much it supports a label by NormXLogit: `norms` times `readouts`",
    ),
    "readouts": ("[batch, labels, sequence]", "the head's output for each token alone"),
    "norms": ("[batch, sequence]", "the length of the vector that each token enters the model as"),
    "head_scores": (
        "[batch, labels, sequence]",
        "for each token its part of a word's Shapley value by the attribution head; 0 at special "
        "tokens. With `head_base` they add up to the label's logit, less the mean of all logits "
        "where one label of several holds",
    ),
    "head_base": ("[batch, labels]", "what the model says of such a text with every word hidden"),
    "head_distance": (
        "[batch]",
        "how far the text is from those that the head was fitted on; above 1 it is unlike them, "
        "and the head's scores are not to be trusted",
    ),
}

_MEASURED = {
    "float16": (
        "Measured by ONNX Runtime on a processor, which computes some of a float16 graph in "
        "float32: on a GPU or in a browser it may differ more.",
        "",
    )
}
"""What has to be said of the figures in a precision."""


def card(manifest: Manifest) -> str:
    """Return the card as Markdown."""
    model = manifest.model
    reads_words = "head_scores" in manifest.outputs
    lines = [
        f"# {model['name']}, with its explanation",
        "",
        f"`{GRAPH}` is {model['architecture']} as an ONNX graph (opset {manifest.opset}, "
        f"{manifest.precision}) that returns, beside its logits, how much each token of a text "
        "supports each label. Batch and length are free.",
        "",
        "```python",
        "import normxlogit as nxl",
        "",
        'model = nxl.load_exported("this folder")  # neither torch nor transformers is imported',
        'print(model.explain("A text."))',
        "```",
        "",
        "## Inputs",
        "",
        f"int64 [batch, sequence], from `{TOKENIZER}`:",
        "",
        *(
            f"- `{name}`, padded with {manifest.text.padding[name]}"
            for name in manifest.text.inputs
        ),
    ]
    if reads_words:
        lines.append(
            f"- `{WORDS}`: the number of each token's word, counted from 0; -1 for special tokens "
            "and padding"
        )
    side = manifest.text.side
    lines += [
        "",
        "Only texts of one length may run together."
        if side is None
        else f"Texts of different lengths are padded on the {side}.",
    ]
    if manifest.text.max_length is not None:
        lines.append(f"A text has at most {manifest.text.max_length} tokens.")
    lines += ["", "## Outputs", "", "float32; scores are 0 at padding.", ""]
    lines += ["| output | shape | what it is |", "|---|---|---|"]
    lines += [
        f"| `{name}` | {_OUTPUTS[name][0]} | {_OUTPUTS[name][1]} |" for name in manifest.outputs
    ]
    if manifest.problem is Problem.REGRESSION:
        lines += [
            "",
            "The model rates texts: its readouts say how near the value of a token alone is to "
            "that of the text, as the largest distance in the text less that of the token.",
        ]
    lines += ["", "Labels, in order:", ""]
    lines += [f"{number}. `{label}`" for number, label in enumerate(manifest.labels)]
    lines += [
        "",
        "## How it differs from the model",
        "",
        "| scores by | texts | not explained | largest difference | other prediction | other "
        "strongest token | rank correlation, mean | lowest |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
        *(_row(method, drift) for method, drift in manifest.drift.items()),
        *(_row(f"{method}, texts given", d) for method, d in manifest.given_drift.items()),
        "",
        "The largest difference is a share of the largest number of a text; the rank correlation "
        "is Spearman's, of the scores of a text's tokens for the predicted label. Not explained "
        "are texts that only one of graph and model explains.",
        "",
        *_MEASURED.get(manifest.precision, ()),
        f"Made by {', '.join(f'{name} {version}' for name, version in manifest.versions.items())}. "
        f"`{MANIFEST}` holds all of this for programs.",
        "",
    ]
    return "\n".join(lines)


def _row(method: str, drift: Drift) -> str:
    ranks = [drift.rank_correlation, drift.lowest_rank_correlation]
    shown = " | ".join("–" if rank is None else f"{rank:.4f}" for rank in ranks)
    return (
        f"| {method} | {drift.texts} | {drift.failures} | {drift.largest_difference:.1e} | "
        f"{drift.predictions_changed} | {drift.strongest_changed} | {shown} |"
    )
