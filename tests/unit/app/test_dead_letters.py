"""Dead letters are counted only where the broker says how many there are."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.ports import free_port

from springtide.app.home import open_home, read_settings
from springtide.app.streams.dead_letters import dead_letters
from springtide.domain.errors import SourceUnavailable

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("scheme", ["kafka", "nats", "amqp", "redis"])
def test_a_broker_that_is_away_is_no_broker_without_dead_letters(tmp_path: Path, scheme: str) -> None:
    config = tmp_path / "springtide.toml"
    config.write_text(f'[streams]\nurl = "{scheme}://127.0.0.1:{free_port()}"\n')
    home = open_home(read_settings(config, environ={}))
    with pytest.raises(SourceUnavailable, match="dead letters cannot be read"):
        asyncio.run(dead_letters(home, again=False))
