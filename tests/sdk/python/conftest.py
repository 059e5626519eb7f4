import asyncio

import pytest

from meeting import Site


@pytest.fixture(scope="session")
def site() -> Site:
    return Site.from_environment()


@pytest.fixture
def run():
    """Runs a coroutine to its end, at most two minutes."""

    def run(coroutine):
        return asyncio.run(asyncio.wait_for(coroutine, 120))

    return run


@pytest.fixture(params=[True, False], ids=["single", "dual"])
def single(request) -> bool:
    """One peer connection (`/rtc/v1`) or two (`/rtc`)."""
    return request.param
