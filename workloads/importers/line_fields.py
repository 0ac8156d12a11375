"""The fields of a line of a web server's log, by name."""

import re
from collections.abc import Mapping

# A request line has a target in one of the forms of RFC 9112: a path, or a whole URL.
_REQUEST = re.compile(rb"(?P<method>\S+) (?P<target>\S+)(?: (?P<protocol>\S+))?")
_URL = re.compile(rb"[A-Za-z][\w+.-]*://(?P<host>[^/:?#]*)(?::\d*)?(?P<path>[^?#]*).*")
_PATH = re.compile(rb"[^?#]*")
# name=value, "text", [text], or whatever has no blank in it.
_FIELD = re.compile(
    rb'(?:(?P<name>[A-Za-z_][\w.-]*)=)?(?:"(?P<quoted>(?:[^"\\]|\\.)*)"'
    rb"|\[(?P<listed>[^\]]*)\]|(?P<bare>\S+))(?:\s+|$)"
)
# The first two behind a line of the common format, where they are quoted: the combined format.
_COMBINED = ("referer", "agent")


def unnamed(place: int) -> str:
    """What a field is called that has no name, by its place in the line, from 1."""
    return f"field_{place}"


def fields_of(match: re.Match[bytes], before_rest: int) -> dict[str, bytes]:
    """All fields of a line: the groups of its pattern, and what is in some of them.

    A group `request` gives a method, a path without its query, a protocol and, of a whole URL, a
    host; `who` a client, and a user; `rest` whatever is named in it, and the others by their place.

    Args:
        match: The line.
        before_rest: How many fields come before the group `rest`.
    """
    found = {name: text for name, text in match.groupdict().items() if text is not None}
    who, rest = found.pop("who", None), found.pop("rest", b"")
    more: dict[str, bytes] = _who(who) if who is not None else {}
    more |= _request(found.get("request", b""))
    return more | found | _rest(rest, before_rest)


def _request(text: bytes) -> dict[str, bytes]:
    match = _REQUEST.fullmatch(text)
    if match is None:
        return {}
    url = _URL.fullmatch(match["target"])
    path = _PATH.match(match["target"])
    found = {"method": match["method"]}
    if url is not None:
        found |= {"host": url["host"], "path": url["path"] or b"/"}
    elif path is not None:
        found["path"] = path[0]
    return found if match["protocol"] is None else found | {"protocol": match["protocol"]}


def _who(text: bytes) -> dict[str, bytes]:
    """Client, ident and user, perhaps behind what syslog writes and behind the host's own name."""
    words = text.split()
    tags = [i for i, word in enumerate(words[:-3]) if word.endswith(b":") and b":" not in word[:-1]]
    words = words[tags[-1] + 1 :] if tags else words
    found = {}
    if len(words) > 3 and words[2] == b"-" != words[1]:
        found["host"] = words[0].rpartition(b":")[0] or words[0]
        words = words[1:]
    names = ("client", "ident")
    found |= dict(zip(names, words, strict=False))
    return found | {"user": b" ".join(words[2:])}


def _rest(text: bytes, place: int) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    combined = list(_COMBINED)
    for match in _FIELD.finditer(text):
        place += 1
        parts: Mapping[str, bytes | None] = match.groupdict()
        value = parts["quoted"] or parts["listed"] or parts["bare"] or b""
        if parts["name"] is not None:
            name = parts["name"].decode()
        elif parts["quoted"] is not None and combined:
            name = combined.pop(0)
        else:
            name = unnamed(place)
        if parts["quoted"] is None:
            combined = []
        found.setdefault(name, value)
    return found
