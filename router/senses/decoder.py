"""A program that opens one untrusted file and reports its content; it runs with limits.

It is started by its path, with an empty environment, reads the file from its input and writes one
JSON object. Files may be hostile: whatever they make a library do happens here, with limited memory
and time. If it cannot open a file, it says why in a few words.
"""

import json
import resource
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

# The program is started by its path, without the router's import path: it adds its own folder.
sys.path.insert(0, str(Path(__file__).parents[2]))

from router.senses.decoded_pictures import jpeg, picture
from router.senses.decoded_written import Answer, cut, is_locked_office, office, text_of
from router.senses.expendable import be_expendable
from router.senses.refusals import Refused

MOST_MEMORY = 1_500_000_000  # bytes of address space, most of which libraries take
MOST_SECONDS = 12  # of CPU time


def main() -> None:
    """Read the file, open it, write the answer."""
    _limit()
    content = sys.stdin.buffer.read()
    try:
        answer = _WAYS[sys.argv[1]](content)
    except Refused as refused:
        answer = {"refused": str(refused)}
    except MemoryError:
        answer = {"refused": "it takes too much memory"}
    except Exception as error:  # noqa: BLE001 - libraries raise anything for a broken file
        answer = {"refused": f"it cannot be opened ({type(error).__name__})"}
    sys.stdout.write(json.dumps(answer))


def opened(content: bytes) -> Answer:
    """Return a file's content: `pictures` (JPEGs in base64), `text`, or both; and what it is."""
    if content[:1024].lstrip().startswith(b"%PDF-"):
        from router.senses.decoded_pages import pdf

        return pdf(content)
    if content[:4] == b"PK\x03\x04":
        return office(content)
    if is_locked_office(content):
        return {"what": "office document", "is_locked": True}
    if (text := text_of(content)) is not None:
        return {"what": "text", **cut(text)}
    return {"what": "picture", "pictures": [picture(content)]}


def _heard(content: bytes) -> Answer:
    from router.senses.decoded_sound import sound_in

    return {"what": "sound", **sound_in(content)}


def _watched(content: bytes) -> Answer:
    from router.senses.decoded_sound import video_in

    seen = video_in(content)
    pictures = [jpeg(each) for each in seen.pop("frames")]
    return {"what": "video", "pictures": pictures, **seen}


def _to_be_sent(content: bytes) -> Answer:
    from router.senses.decoded_sound import voice_in

    return {"what": "voice", **voice_in(content)}


_WAYS: Mapping[str, Callable[[bytes], Answer]] = {
    "file": opened,
    "sound": _heard,
    "video": _watched,
    "voice": _to_be_sent,
}


def _limit() -> None:
    be_expendable()
    most = {
        resource.RLIMIT_CORE: (0, 0),
        resource.RLIMIT_CPU: (MOST_SECONDS, MOST_SECONDS + 1),  # SIGXCPU comes first: it shows why
        resource.RLIMIT_AS: (MOST_MEMORY, MOST_MEMORY),
        resource.RLIMIT_FSIZE: (0, 0),
    }
    for what, bounds in most.items():
        try:
            resource.setrlimit(what, bounds)
        except (OSError, ValueError):  # some systems have no limit of the address space
            continue


if __name__ == "__main__":
    main()
