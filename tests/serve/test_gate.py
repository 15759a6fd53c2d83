"""Who may ask: by key, by page, by the name that the server is called."""

import html
import json

import pytest
from fastapi.testclient import TestClient

from normxlogit import Explainer
from normxlogit.serve.application import create_app
from normxlogit.serve.gate import Access
from normxlogit.serve.limits import Limits
from normxlogit.serve.models import Models, ServedModel

KEY = "a-key-that-nobody-guesses"
ALLOWED = "https://example.org"
HERE = "http://127.0.0.1:8000"


def open_client(explainer: Explainer, access: Access, limits: Limits | None = None) -> TestClient:
    app = create_app(Models({"demo": ServedModel("demo", explainer)}), access=access, limits=limits)
    return TestClient(app, base_url=HERE)


def test_a_key_is_asked_for(demo: Explainer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)
    with open_client(demo, Access(key=KEY)) as client:
        for headers in ({}, {"Authorization": "Bearer no"}, {"Authorization": f"Basic {KEY}"}):
            for page in ("/v1/models", "/metrics"):
                answer = client.get(page, headers=headers)
                assert answer.status_code == 401
                assert answer.headers["www-authenticate"] == "Bearer"
                assert KEY not in answer.text
        right = {"Authorization": f"Bearer {KEY}"}
        assert client.get("/v1/models", headers=right).status_code == 200
        assert client.post("/v1/explain", json={"text": "good"}, headers=right).is_success
        assert client.get("/healthz").status_code == 200
    assert KEY not in caplog.text


def test_other_pages_are_refused(demo: Explainer) -> None:
    asked = {"text": "good"}
    with open_client(demo, Access(origins=(ALLOWED,))) as client:
        for origin in ("https://evil.example", "null", "http://127.0.0.1:9000"):
            answer = client.post("/v1/explain", json=asked, headers={"Origin": origin})
            assert answer.status_code == 403, origin
            assert "access-control-allow-origin" not in answer.headers
        assert client.post("/v1/explain", json=asked, headers={"Origin": HERE}).is_success
        answer = client.post("/v1/explain", json=asked, headers={"Origin": ALLOWED})
        assert answer.is_success
        assert answer.headers["access-control-allow-origin"] == ALLOWED
        preflight = {
            "Origin": ALLOWED,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "content-type,authorization",
        }
        assert client.options("/v1/explain", headers=preflight).is_success
        preflight["Origin"] = "https://evil.example"
        assert client.options("/v1/explain", headers=preflight).status_code == 400


def test_names_that_lead_here_are_refused(demo: Explainer) -> None:
    """A page that calls itself by a name of its own, which leads to this machine, is not let in."""
    with open_client(demo, Access(origins=(ALLOWED,))) as client:
        for host in ("evil.example:8000", "127.0.0.1.evil.example", "", "[x"):
            headers = {"Host": host, "Origin": f"http://{host}"}
            assert client.get("/v1/models", headers=headers).status_code == 421, host
        for host in ("localhost:8000", "[::1]:8000", "example.org"):
            assert client.get("/v1/models", headers={"Host": host}).is_success, host
    with open_client(demo, Access(is_local=False)) as client:
        assert client.get("/v1/models", headers={"Host": "server.example"}).is_success


def test_answers_run_and_load_nothing(demo: Explainer) -> None:
    script = "<script>alert(1)</script>"
    with open_client(demo, Access()) as client:
        answer = client.post("/v1/explain", json={"text": script})
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
        assert json.loads(answer.text)["texts"] == [script]
        for path in ("/../../etc/passwd", "/v1/..%2f..%2fetc/passwd", "/static/../x", "/%00"):
            assert client.get(path).status_code == 404


def test_the_page_about_the_api_needs_nothing_else(demo: Explainer) -> None:
    with open_client(demo, Access()) as client:
        page = client.get("/docs")
        paths = client.get("/openapi.json").json()["paths"]
    assert page.headers["content-security-policy"] == "frame-ancestors 'none'"
    assert "default-src 'none'" in html.unescape(page.text)
    assert "http://" not in page.text
    assert "https://" not in page.text
    assert "<script" not in page.text
    for path in ("/v1/explain", "/v1/compare", "/v1/verify", "/v1/generate", "/v1/sources"):
        fields = paths[path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        assert f"POST {path}<" in page.text
        assert fields
    for field in ("threshold", "max_new_tokens", "documents", "methods"):
        assert f"<code>{field}</code>" in page.text


def test_what_is_no_json_or_too_large(demo: Explainer) -> None:
    with open_client(demo, Access(), Limits(body=1000)) as client:
        answer = client.post("/v1/explain", content=b'{"text": "good"}')
        assert answer.status_code == 415
        assert "Content-Type: application/json" in answer.json()["error"]["message"]
        answer = client.post("/v1/explain", json={"text": "x" * 1000})
        assert answer.status_code == 413
        assert "1000 bytes" in answer.json()["error"]["message"]
