"""A process dies at the point it was told to, and nowhere else."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from common.crashpoints import POINTS, arm, crash_point

PASSING = """
from common.crashpoints import arm, crash_point
arm({spec!r})
for number in range(3):
    crash_point({name!r})
    print(number)
"""


def passing(spec: str, name: str) -> subprocess.CompletedProcess[str]:
    program = PASSING.format(spec=spec, name=name)
    return subprocess.run([sys.executable, "-u", "-c", program], capture_output=True, text=True, check=False, process_group=0)


def test_the_process_dies_at_the_pass_it_was_told() -> None:
    """Armed for the second pass, the first goes by and the second is a kill that nothing in the process can catch."""
    done = passing("evaluate.saved:2", "evaluate.saved")
    assert (done.stdout, done.returncode) == ("0\n", -signal.SIGKILL)


@pytest.mark.parametrize("spec", ["", "aggregate.folded"])
def test_other_points_are_passed(spec: str) -> None:
    """A point that is not armed does nothing."""
    assert passing(spec, "evaluate.saved").stdout == "0\n1\n2\n"


@pytest.mark.parametrize("spec", ["evaluate.nowhere", "evaluate.saved:0", "evaluate.saved:x", ":2"])
def test_a_point_that_is_none_is_refused(spec: str) -> None:
    """A misspelt point would never be reached and prove nothing."""
    with pytest.raises(ValueError, match="KNUDGE_CRASH_AT"):
        arm(spec)
    crash_point(POINTS[0])
