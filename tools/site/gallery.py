"""The gallery: a few texts, each by every method that serves the demo."""

from functools import cache

from tools.samples import COMPLAINT
from tools.site.drawings import demo, drawing_of, mark

TEXTS = {
    "Two sides": "Great acting, dull plot.",
    "A negation": "The food was not bad at all, and the waiters were never rude.",
    "A name and a rare word": "Ms. Abernathy's unputdownable novel made me laugh and cry.",
    "A complaint": COMPLAINT,
}

METHODS = {
    "": ("attribution_head", "normxlogit", "late_lrp", "occlusion", "integrated_gradients"),
    "others": ("logat", "decompx", "gradient_x_input", "gradient_norm", "attention", "alti"),
}
"""Those to choose from, and others for comparison; as many side by side as a page is wide."""

_ABOUT = """\
# Gallery

A few texts, each by the methods to choose from and then by some others, on the small sentiment
model inside the package. Colours are shares of each method's own largest score; grey are methods
that do not tell for from against. [How to read the table](compare.md), and [which method to
take](choose.md).
"""


@cache
def pages() -> dict[str, str]:
    """Return the page in Markdown, by its place on the site."""
    parts = [_ABOUT.strip()]
    for number, (title, text) in enumerate(TEXTS.items()):
        parts.append(f"## {title}")
        for name, methods in METHODS.items():
            drawing = drawing_of(demo().compare(text, methods=methods))
            assert drawing is not None
            parts.append(mark(f"gallery-{number}{name}", drawing))
    return {"gallery.md": "\n\n".join(parts) + "\n"}
