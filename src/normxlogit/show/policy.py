"""The content security policy of a page: nothing runs or loads but what the page was made with.

Texts, labels and file names on a page come from anywhere. Templates escape them; should that ever
fail, a browser still refuses scripts, styles and requests that this policy does not name. See
https://www.w3.org/TR/CSP3/.
"""

import base64
import hashlib
from collections.abc import Sequence


def content_policy(styles: Sequence[str], script: str | None, *, has_images: bool) -> str:
    """Return the policy of a page, as the content of its meta element.

    Args:
        styles: the contents of its style elements, to the letter.
        script: the content of its script element; None if it has none. A script element that holds
            JSON is data, which no policy concerns.
        has_images: whether it embeds images as data.
    """
    directives = [
        "default-src 'none'",
        f"style-src {_sources(styles)}",
        # Bars, colours and figures have their numbers in style attributes, as many as there are
        # scores. Hashes do not allow these, but a style attribute can load nothing: all that it
        # might name, an image or a font, is subject to the other directives.
        "style-src-attr 'unsafe-inline'",
    ]
    if script is not None:
        directives.append(f"script-src {_sources([script])}")
    if has_images:
        directives.append("img-src data:")
    # These two do not fall back to default-src.
    directives += ["base-uri 'none'", "form-action 'none'"]
    return "; ".join(directives)


def _sources(contents: Sequence[str]) -> str:
    """Return the hashes of the elements with these contents."""
    return " ".join(dict.fromkeys(map(_hash, contents)))


def _hash(content: str) -> str:
    digest = hashlib.sha256(content.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"
