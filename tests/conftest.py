"""
Under pytest, tests make their temporary files in a temporary directory, as they do under trial.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def temporaryDirectory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """
    C{mktemp} of trial's test cases makes its directories in the current one.
    """
    before = os.getcwd()
    os.chdir(tmp_path_factory.mktemp("trial"))
    yield
    os.chdir(before)
