"""A catalog that a server of ours serves."""

import hashlib

import archives
import pytest
import seven

from metainit.data.builders import catalog


@pytest.fixture
def known(tmp_path, monkeypatch):
    """The server of a Caltech-256 that the catalog knows, of three classes of four."""
    path = archives.pack(tmp_path / seven.CALTECH_FILE, seven.CALTECH_FILES)
    content = path.read_bytes()
    entry = catalog.CATALOG[seven.CALTECH]
    with archives.serving(content) as server:
        file = entry.files[0]._replace(
            folders=(f"{server.url}/",),
            bytes=len(content),
            checksum=f"sha256:{hashlib.sha256(content).hexdigest()}",
        )
        small = entry._replace(
            classes=3,
            total=len(seven.CALTECH_FILES),
            per_class=(4, 4),
            files=(file,),
            prepared_bytes=len(content),
        )
        monkeypatch.setitem(catalog.CATALOG, seven.CALTECH, small)
        yield server
