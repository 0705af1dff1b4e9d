"""The unions that a front end's types get are the words that the database allows."""

import re
from pathlib import Path

from tests.state.conversation import Conversation

FILE = Path(__file__).parents[2] / "database" / "supabase" / "optional" / "words.ts"
READ_BY_MEMBERS = """
    select c.relname::text as of_table, a.attname::text as name, a.attnotnull as is_set,
        pg_get_constraintdef(k.oid) as allowed
    from pg_attribute as a
    join pg_class as c on c.oid = a.attrelid and c.relkind = 'r'
    join pg_constraint as k on k.contype = 'c' and (
        k.contypid = a.atttypid or (k.conrelid = c.oid and k.conkey = array[a.attnum])
    )
    where c.relnamespace = 'public'::regnamespace and a.attnum > 0 and not a.attisdropped
        and has_column_privilege('authenticated', c.oid, a.attnum, 'select')
    order by c.relname, a.attnum
"""


async def test_the_words_in_the_file_are_those_of_the_database(talk: Conversation):
    allowed: dict[str, list[str]] = {}
    for row in await talk.sql(READ_BY_MEMBERS):
        if "ANY (" not in row["allowed"]:
            continue  # a bound or a pattern: no words
        found = re.findall(r"'\{?([^'{}]*)\}?'::text", row["allowed"])
        words = [word for group in found for word in group.split(",")]
        union = " | ".join(
            [*(f'"{word}"' for word in words), *(() if row["is_set"] else ("null",))]
        )
        allowed.setdefault(row["of_table"], []).append(f"    {row['name']}: {union};\n")
    assert len(allowed["messages"]) == 2  # sender, send_state
    expected = "".join(
        f"  {table}: {{\n{''.join(lines)}  }};\n" for table, lines in allowed.items()
    )
    text = FILE.read_text()
    assert text.split("export type Words = {\n")[1].split("};\n\n")[0] == expected
