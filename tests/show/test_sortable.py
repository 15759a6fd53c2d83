"""Tables that are sorted by pressing a heading, as a browser does it."""

import json
import re
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from normxlogit.show.html import document
from normxlogit.show.templating import asset
from tests.helpers.pages import find_browser
from tests.helpers.policy import with_script

BROWSER = find_browser()

ROWS = [
    {"name": "beta", "shown": "−2.5", "exact": "10"},
    {"name": "<b>", "shown": "–", "exact": ""},
    {"name": "alpha", "shown": "+12", "exact": "9"},
    {"name": "gamma", "shown": "0.5", "exact": "100"},
    {"name": "delta", "shown": "0.5", "exact": "1e-3"},
]
TABLE = """
{%- for row in rows -%}
<tr><th scope="row">{{ row.name }}</th><td>{{ row.shown }}</td>
<td data-sort="{{ row.exact }}">{{ loop.index }} things</td></tr>
{%- endfor -%}
"""
HEAD = """<table class="nx-sortable"><thead><tr><th scope="col">name</th>
<th scope="col" data-first="descending">shown</th>
<th scope="col" data-first="ascending" aria-sort="ascending">exact</th><td></td></tr></thead><tbody>
"""
STEPS = """
var buttons = Array.from(document.querySelectorAll(".nx-sortable thead button"));
function state() {
  return {
    rows: Array.from(document.querySelectorAll("tbody th")).map(function (th) {
      return th.textContent;
    }),
    sorted: Array.from(document.querySelectorAll("thead [aria-sort]")).map(function (th) {
      return [th.textContent, th.getAttribute("aria-sort")];
    })
  };
}
var states = [state()];
[0, 0, 1, 1, 2, 2].forEach(function (number) {
  buttons[number].focus();
  document.activeElement.click();
  states.push(state());
});
var made = document.createElement("pre");
made.textContent = JSON.stringify([buttons.length, document.querySelectorAll("b").length, states]);
document.body.append(made);
"""


def pressed(folder: Path) -> Any:
    """The numbers of buttons and of bold elements, and the table after each press of a heading."""
    if BROWSER is None:
        pytest.fail("these tests need Chromium or Chrome: install it, or use -m 'not browser'.")
    from jinja2 import Environment
    from markupsafe import Markup

    body = Environment(autoescape=True).from_string(TABLE).render(rows=ROWS)
    main = Markup(HEAD + body + "</tbody></table>")
    html = document("a table", main, asset("sortable.css"), asset("sortable.js"))
    path = folder / "page.html"
    path.write_text(with_script(html, STEPS), "utf-8")
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000"]
    command += [f"--user-data-dir={folder / 'profile'}", "--no-first-run"]
    command += ["--disable-background-networking", "--dump-dom", path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    states = re.search("<pre>(.*?)</pre>", done.stdout, re.DOTALL)
    assert states, "the script of the page or of the test has failed"
    return json.loads(unescape(states[1]))


@pytest.mark.browser
def test_a_heading_sorts_its_column_and_says_how(tmp_path: Path) -> None:
    buttons, bold, states = pressed(tmp_path)
    assert (buttons, bold) == (3, 0)
    orders = [
        (["beta", "<b>", "alpha", "gamma", "delta"], ["exact", "ascending"]),
        (["<b>", "alpha", "beta", "delta", "gamma"], ["name", "ascending"]),
        (["gamma", "delta", "beta", "alpha", "<b>"], ["name", "descending"]),
        (["alpha", "gamma", "delta", "beta", "<b>"], ["shown", "descending"]),
        (["beta", "gamma", "delta", "alpha", "<b>"], ["shown", "ascending"]),
        (["delta", "alpha", "beta", "gamma", "<b>"], ["exact", "ascending"]),
        (["gamma", "beta", "alpha", "delta", "<b>"], ["exact", "descending"]),
    ]
    assert states == [{"rows": rows, "sorted": [order]} for rows, order in orders]
