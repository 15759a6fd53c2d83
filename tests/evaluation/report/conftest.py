"""What the tests of reports share."""

import pytest

from normxlogit.evaluation.report import write_report
from tests.helpers.random_evaluation import method_costs
from tests.helpers.reports import CASES, WrittenReport, with_hostile_names


@pytest.fixture(scope="session")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, WrittenReport]:
    """The report of every case, none of which a test may change."""
    reports = {}
    for name, make in CASES.items():
        folder = tmp_path_factory.mktemp("reports") / name
        results, scores = make()
        costs = None if name == "unlabelled" else method_costs(results)
        if name == "hostile":
            results, scores = with_hostile_names(results, scores)
        reports[name] = WrittenReport(
            folder, results, scores, write_report(folder, results, scores, costs)
        )
    return reports
