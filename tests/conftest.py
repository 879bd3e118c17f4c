"""What all tests share: where they may skip, and both ways through the code that is there for speed alone.

With FAIL_ON_SKIP set, as in .ci/run, a skip is a failure unless its reason is a missing GPU or the model hub:
everything else that tests need can be installed.
"""

import os
import re

import pytest

EXCUSES = re.compile(r"\b(gpu|cuda|hub)\b", re.IGNORECASE)


def _refuse_skip(report):
    if os.environ.get("FAIL_ON_SKIP") and report.skipped and not hasattr(report, "wasxfail"):
        _, _, reason = report.longrepr
        if not EXCUSES.search(reason):
            report.outcome = "failed"
            report.longrepr = f"{reason} (a skip is a failure here: FAIL_ON_SKIP is set)"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    return _refuse_skip((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    return _refuse_skip((yield))


@pytest.fixture(scope="module", params=["fast", "plain"])
def paths(request):
    """Runs a module's tests twice: as everyone runs, and with every way around the plain code closed."""
    if request.param == "fast":
        yield
        return
    from plain_paths import plain_projection, plain_sum

    from manticore_kit.components import Component
    from manticore_kit.hybrid import modeling
    from manticore_kit.kernels import library_scan

    with pytest.MonkeyPatch.context() as patch, library_scan():
        patch.setattr(Component, "head", Component.replay_head)
        patch.setattr(modeling, "project", plain_projection)
        patch.setattr(modeling, "weighted_sum", plain_sum)
        yield
