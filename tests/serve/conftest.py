"""What the tests of the server share."""

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from normxlogit import Explainer
from normxlogit.serve.application import create_app
from normxlogit.serve.limits import Limits
from normxlogit.serve.models import Models, ServedModel
from tests.helpers.answers import answerer


@pytest.fixture(scope="session")
def demo() -> Explainer:
    return Explainer.from_pretrained("demo", head="demo")


@pytest.fixture(scope="session")
def llm() -> Explainer:
    return answerer()


@pytest.fixture(scope="session")
def client(demo: Explainer, llm: Explainer) -> Iterator[TestClient]:
    """A client of a classifier, a language model, and one that did not load."""
    models = Models(
        {"demo": ServedModel("demo", demo), "llm": ServedModel("llm", llm), "broken": None}
    )
    app = create_app(models, limits=Limits(characters=1000, items=8, new_tokens=16))
    with TestClient(app, base_url="http://127.0.0.1") as client:
        yield client
