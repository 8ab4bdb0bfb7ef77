"""One server of commands a test session; every file of this folder damages things and runs commands on them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from command_server import Server


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()
