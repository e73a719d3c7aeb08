"""A repository on each database."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from app.store import Repository, make_engine
from tests.store.makers import VAULT


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = make_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def repository(engine: Engine) -> Repository:
    return Repository(engine, VAULT)
