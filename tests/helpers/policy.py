"""The content security policy of a page, held against what the page has."""

import base64
import hashlib
from html.parser import HTMLParser


class _Inline(HTMLParser):
    """Collects the policy of a page and the contents of its style and script elements."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.policies: list[str] = []
        self.contents: dict[str, list[str]] = {"style": [], "script": []}
        self.inside: str | None = None
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy":
            assert not any(self.contents.values()), "it does not concern what stands before it"
            self.policies.append(attributes["content"] or "")
        is_data = tag == "script" and attributes.get("type") == "application/json"
        self.inside = tag if tag in self.contents and not is_data else None
        if self.inside is not None:
            self.contents[tag].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == self.inside:
            self.inside = None

    def handle_data(self, data: str) -> None:
        if self.inside is not None:
            self.contents[self.inside][-1] += data


def hash_of(content: str) -> str:
    """Return the source by which a policy allows an element of this content."""
    digest = hashlib.sha256(content.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def assert_policy(html: str, *, images: bool = False) -> None:
    """Assert that a page allows its own style and script elements and nothing else.

    Args:
        html: the page.
        images: whether it must allow images that it embeds.
    """
    read = _Inline(html)
    (policy,) = read.policies
    directives = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert set(directives.pop("style-src").split()) == set(map(hash_of, read.contents["style"]))
    scripts = directives.pop("script-src", "").split()
    assert set(scripts) == set(map(hash_of, read.contents["script"]))
    assert (directives.pop("img-src", None) == "data:") == images
    assert directives == {
        "default-src": "'none'",
        "style-src-attr": "'unsafe-inline'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }


def with_script(html: str, script: str) -> str:
    """Add a script of a test to the end of a page, and let its policy allow it."""
    assert html.count("form-action") == 1
    source = hash_of(script)
    if "script-src " in html:
        html = html.replace("script-src ", f"script-src {source} ", 1)
    else:
        html = html.replace("form-action", f"script-src {source}; form-action", 1)
    return html.replace("</body>", f"<script>{script}</script></body>")
