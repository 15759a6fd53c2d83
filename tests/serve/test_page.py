"""The examples of docs/serve.md, against a server."""

import shutil
import subprocess
from typing import Any

import pytest

from normxlogit import Attribution, Explainer
from normxlogit.data.plain import parse_json
from tests.helpers.documents import code_blocks
from tests.helpers.serving import serving


def test_the_examples_of_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = code_blocks("docs/serve.md", "python")
    (curl,) = (block for block in code_blocks("docs/serve.md", "sh") if block.startswith("curl"))
    names: dict[str, Any] = {}
    with serving(Explainer.from_pretrained("demo")) as (_, port):
        exec(compile(example.replace(":8000", f":{port}"), "docs/serve.md", "exec"), names)
        assert "poor" in capsys.readouterr().out
        if shutil.which("curl"):
            command = curl.replace(":8000", f":{port}")
            done = subprocess.run(command, shell=True, capture_output=True, check=True, timeout=60)
            answer = Attribution.from_dict(parse_json(done.stdout, "curl"))
            assert answer.unit == "word"
