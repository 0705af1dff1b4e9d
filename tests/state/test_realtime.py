"""What Supabase Realtime is told of deletions, and that the guide's page loses what was erased.

Realtime reads the publication `supabase_realtime` from the write-ahead log, by the plugin pgoutput
say: so does this, on a server of its own. Of an insertion and an update it asks row security and
the subscription's filter; of a deletion neither, and it passes on what the log has of the old row.
"""

import struct
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import pytest

from router.embedded.postgres import EmbeddedPostgres
from router.people.requests import erase_contact
from router.state.direct import DirectDatabase
from tests.postgres import FLEETING, Databases, fleeting_folder, migrated
from tests.state.conversation import Conversation
from tests.state.test_people import HASHES, person

pytestmark = pytest.mark.apart

REALTIME = Path(__file__).parents[2] / "database" / "supabase" / "optional" / "realtime.sql"
CHANGES = """
    select data from pg_logical_slot_get_binary_changes(
        'realtime', null, null, 'proto_version', '1', 'publication_names', 'supabase_realtime'
    )
"""


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedPostgres]:
    # Committed is flushed here: a slot reads no further than that.
    logical = {"wal_level": "logical", "max_wal_senders": "2", "max_replication_slots": "2"}
    settings = FLEETING | logical | {"synchronous_commit": "on"}
    with (
        fleeting_folder() as folder,
        EmbeddedPostgres(folder / "postgres", settings=settings) as server,
    ):
        yield server


@pytest.fixture(scope="module")
def own_databases(server: EmbeddedPostgres) -> Iterator[Databases]:
    with Databases(server.dsn) as databases:
        yield databases


@pytest.fixture
async def talk(own_databases: Databases) -> AsyncIterator[Conversation]:
    database = await DirectDatabase.connect(migrated(own_databases), size=1)
    talk = Conversation(database)
    await talk.open_shop()
    yield talk
    await database.close()


@dataclass
class Log:
    """What the write-ahead log has of published changes: (table, kind, columns)."""

    tables: dict[int, tuple[str, list[str]]] = field(default_factory=dict)
    changes: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)

    def reads(self, data: bytes) -> None:
        kind = chr(data[0])
        if kind == "R":
            (oid,) = struct.unpack_from(">I", data, 1)
            schema_end = data.index(b"\0", 5)
            name_end = data.index(b"\0", schema_end + 1)
            place, names = name_end + 4, []
            for _ in range(struct.unpack_from(">H", data, name_end + 2)[0]):
                end = data.index(b"\0", place + 1)
                names.append(data[place + 1 : end].decode())
                place = end + 9
            self.tables[oid] = (data[schema_end + 1 : name_end].decode(), names)
        elif kind in "IUD":
            table, names = self.tables[struct.unpack_from(">I", data, 1)[0]]
            self.changes.append((table, kind, dict(zip(names, self._values(data, 6), strict=True))))

    def _values(self, data: bytes, place: int) -> list[str]:
        (number,) = struct.unpack_from(">H", data, place)
        values, place = [], place + 2
        for _ in range(number):
            kind, place = chr(data[place]), place + 1
            if kind == "t":
                (size,) = struct.unpack_from(">I", data, place)
                values.append(data[place + 4 : place + 4 + size].decode())
                place += 4 + size
            else:
                values.append("")  # null, or not told
        return values


async def test_what_was_erased_leaves_the_screen_and_a_stranger_hears_ids_alone(
    talk: Conversation,
):
    await talk.database._pool.execute(REALTIME.read_text())
    await talk.sql("select pg_create_logical_replication_slot('realtime', 'pgoutput')")
    await talk.maria_writes("tem bolo?")
    await talk.maria_writes("de morango?")
    ids = {str(row["id"]) for row in await talk.sql("select id from messages")}
    session_id = str(await talk.value("select id from sessions"))
    await erase_contact(talk.database, HASHES, person())

    log = Log()
    for row in await talk.sql(CHANGES):
        log.reads(row["data"])
    shown, sessions = set[str](), set[str]()
    for table, kind, columns in log.changes:  # as the page of the guide does
        screen = shown if table == "messages" else sessions
        if kind != "D" and columns["tenant_id"] == "1":
            screen.add(columns["id"])
        elif kind == "D":
            screen.discard(columns["id"])
    seen = {
        columns["id"] for table, kind, columns in log.changes if (table, kind) == ("messages", "I")
    }
    assert seen == ids
    assert (shown, sessions) == (set(), set())

    told = [(table, columns) for table, kind, columns in log.changes if kind == "D"]
    assert {(table, columns.pop("id")) for table, columns in told} == {
        *(("messages", i) for i in ids),
        ("sessions", session_id),
    }
    assert {value for _, columns in told for value in columns.values()} == {""}
    await talk.sql("select pg_drop_replication_slot('realtime')")


async def test_a_table_whose_deletions_would_tell_its_rows_is_not_published(talk: Conversation):
    await talk.sql("alter table messages replica identity full")
    with pytest.raises(asyncpg.RaiseError, match="a deletion in messages would tell more"):
        await talk.database._pool.execute(REALTIME.read_text())
