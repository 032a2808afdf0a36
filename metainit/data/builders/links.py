"""Whether the addresses of the catalog still work, without downloading anything."""

import urllib.error
import urllib.request
from collections.abc import Iterator
from http.client import HTTPException
from typing import NamedTuple

from metainit.data.builders import catalog
from metainit.data.builders.fetch import HEADERS

_TIMEOUT = 30.0


class Link(NamedTuple):
    """What became of an address.

    Attributes:
      file: name of the file that should be there.
      url: the address.
      problem: "" where it answers with the right size.
      note: what there is to know otherwise, or "".
    """

    file: str
    url: str
    problem: str
    note: str


def check(entry: catalog.Entry, timeout: float = _TIMEOUT) -> Iterator[Link]:
    """Asks every address of a data set for its size (HEAD), one after the other.

    Args:
      entry: of the catalog.
      timeout: seconds without an answer after which an address is dead.
    """
    for file in entry.files:
        for url in file.urls:
            yield _ask(file, url, timeout)


def _ask(file: catalog.File, url: str, timeout: float) -> Link:
    request = urllib.request.Request(url, headers=HEADERS, method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            length = answer.headers["Content-Length"]
    except urllib.error.HTTPError as error:
        return Link(file.name, url, f"dead: the server says {error}", "")
    except (OSError, HTTPException) as error:
        cause = getattr(error, "reason", error)
        return Link(file.name, url, f"dead: {cause or type(cause).__name__}", "")
    if length is None:
        return Link(file.name, url, "", "the server does not say how big it is")
    if int(length) != file.bytes:
        problem = f"another file: {int(length):,} bytes, not {file.bytes:,}"
        return Link(file.name, url, problem, "")
    return Link(file.name, url, "", f"{file.bytes:,} bytes")
