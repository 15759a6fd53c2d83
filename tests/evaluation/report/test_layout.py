"""The page of a report as a browser lays it out."""

import json
import re
import subprocess
from html import unescape
from pathlib import Path

import pytest

from tests.helpers.pages import find_browser
from tests.helpers.policy import with_script
from tests.helpers.reports import WrittenReport

BROWSER = find_browser()

FRAME = """<iframe src="{page}" style="border:0;width:{width}px;height:900px"></iframe><pre></pre>
<script>
addEventListener("message", said => document.querySelector("pre").textContent = said.data)
</script>
"""

MEASURE = """
function parts(color) {
  var found = color.match(/[0-9.]+/g).map(Number);
  return found.length > 3 ? found : [...found, 1];
}
function over(front, back) {
  return [0, 1, 2].map(i => front[3] * front[i] + (1 - front[3]) * back[i]);
}
function ground(one) {
  var behind = one.parentElement ? ground(one.parentElement) : [255, 255, 255];
  return over(parts(getComputedStyle(one).backgroundColor), behind);
}
function luminance(color) {
  var [r, g, b] = color.map(c => c > 10 ? ((c / 255 + .055) / 1.055) ** 2.4 : c / 3294.6);
  return .2126 * r + .7152 * g + .0722 * b;
}
function contrast(one) {
  var behind = ground(one), ink = over(parts(getComputedStyle(one).color), behind);
  var both = [luminance(ink), luminance(behind)];
  return (Math.max(...both) + .05) / (Math.min(...both) + .05);
}
addEventListener("load", () => {
  document.querySelectorAll("details").forEach(one => one.open = true);
  var out = [], faint = [], texts = 0, width = document.documentElement.clientWidth;
  document.querySelectorAll("article *").forEach(one => {
    if (one.closest("svg, thead")) return;
    var box = one.getBoundingClientRect();
    if (box.right > width + 1 || box.left < 0) out.push(one.outerHTML.slice(0, 80));
    if (one.clientWidth && one.scrollWidth > one.clientWidth + 1)
      out.push("over " + one.outerHTML.slice(0, 80));
    if (![...one.childNodes].some(node => node.nodeType == 3 && node.data.trim())) return;
    texts++;
    if (contrast(one) < 4.5) faint.push(contrast(one) + " " + one.outerHTML.slice(0, 80));
  });
  parent.postMessage(JSON.stringify({width: width, out: out, faint: faint, texts: texts,
    dark: matchMedia("(prefers-color-scheme: dark)").matches,
    ground: luminance(ground(document.querySelector("article"))),
    scroll: document.documentElement.scrollWidth}), "*");
});
"""


@pytest.mark.browser
@pytest.mark.parametrize(
    ("width", "dark"), [(360, True), (400, False), (760, False), (1060, True), (1280, False)]
)
@pytest.mark.parametrize("case", ["all", "many layers", "hostile"])
def test_nothing_sticks_out_or_is_too_faint(
    reports: dict[str, WrittenReport], case: str, width: int, dark: bool, tmp_path: Path
) -> None:
    if BROWSER is None:
        pytest.fail("these tests need Chromium or Chrome: install it, or use -m 'not browser'.")
    (tmp_path / "page.html").write_text(with_script(reports[case].html, MEASURE), "utf-8")
    frame = tmp_path / "frame.html"
    frame.write_text(FRAME.format(page="page.html", width=width), "utf-8")
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000"]
    command += ["--window-size=1400,1000", f"--user-data-dir={tmp_path / 'profile'}"]
    command += [f"--blink-settings=preferredColorScheme={0 if dark else 1}"]
    command += ["--no-first-run", "--disable-background-networking"]
    command += ["--dump-dom", frame.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    found = re.search("<pre>(.*?)</pre>", done.stdout, re.DOTALL)
    assert found
    measured = json.loads(unescape(found[1]))
    assert width - 20 <= measured["width"] <= width
    assert measured["dark"] == dark
    assert (measured["ground"] < 0.1) == dark
    assert measured["texts"] > 100
    assert measured["out"] == []
    assert measured["faint"] == []
    assert measured["scroll"] == measured["width"]
