"""Several processes: what they agree on, and what they refuse."""

import json
import pathlib

import processes
import pytest

from metainit.runtime import hosts
from metainit.runtime.hosts import Others

PROGRAM = """
import json, os, pathlib, sys
from metainit.runtime import hosts, placement

hosts.join(hosts.NO_OTHERS)
import jax, numpy as np
number, told = jax.process_index(), {{}}

def refusal(do):
    try:
        return do() or ""
    except ValueError as error:
        return str(error)

def load():
    if number == 1:
        raise ValueError("no folder images")

told["agreed"] = hosts.agreed([number, "first"])
told["together"] = refusal(lambda: hosts.together(load))
told["same"] = refusal(lambda: hosts.check_same("config", "a"))
told["other"] = refusal(lambda: hosts.check_same("data", str(number)))
told["share"] = placement.own_share(6)
told["uneven"] = refusal(lambda: placement.check_even("meta_batch", 5))
folder = pathlib.Path({folder!r})
print("before")
with hosts.folder(folder / "run") as own:
    told["content"] = (own / "config.json").read_text()
    told["own"] = str(own)
    (own / "more.txt").write_text(str(number))
    print("within")
told["left"] = own.exists()
print("after")
(folder / f"{{number}}.json").write_text(json.dumps(told))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What two processes said, and what they printed."""
    folder = tmp_path_factory.mktemp("hosts")
    (folder / "run").mkdir()
    (folder / "run" / "config.json").write_text("stored")
    ended = processes.side_by_side(PROGRAM.format(folder=str(folder)), 2)
    assert [status for status, *_ in ended] == [0, 0], ended
    values = [json.loads((folder / f"{n}.json").read_text()) for n in range(2)]
    # Gloo, by which processors speak to each other, says that it is connected.
    printed = [
        [line for line in out.splitlines() if "[Gloo]" not in line]
        for _, out, _ in ended
    ]
    return folder / "run", values, printed


def test_what_the_first_measured_is_everybodys(told):
    _, values, _ = told
    assert [value["agreed"] for value in values] == [[0, "first"]] * 2
    assert [value["share"] for value in values] == [[0, 3], [3, 3]]


def test_what_one_host_lacks_stops_all_and_names_it(told):
    _, values, _ = told
    for value in values:
        assert value["together"].startswith("host 1 (")
        assert value["together"].endswith("): no folder images")
        assert value["same"] == ""
        assert (
            value["other"].startswith("data: host 1 (") and "differ" in value["other"]
        )
        assert value["uneven"] == (
            "meta_batch=5 cannot be shared equally by 2 devices; give 4 or 6"
        )


def test_only_the_first_writes_and_speaks(told):
    run, values, printed = told
    assert [value["content"] for value in values] == ["stored"] * 2
    assert values[0]["own"] == str(run) != values[1]["own"]
    assert (run / "more.txt").read_text() == "0"
    assert values[0]["left"] and not values[1]["left"]
    assert printed == [["before", "within", "after"], ["before", "after"]]


@pytest.mark.parametrize(
    "others, words",
    [
        (Others("127.0.0.1:1", 2), "belong together"),
        (Others(processes=2, process=0), "belong together"),
        (Others("127.0.0.1:1", 2, 2), "process=2 must be 0 to 1"),
    ],
)
def test_a_part_of_what_is_needed_is_refused(others, words):
    with pytest.raises(ValueError, match=words):
        hosts.join(others)


def test_a_process_alone_is_as_ever(tmp_path):
    hosts.join(hosts.NO_OTHERS)
    hosts.join(Others("127.0.0.1:1", 1, 0))
    assert not hosts.several()
    assert hosts.agreed([1.5]) == [1.5]
    assert hosts.together(lambda: 3) == 3
    with hosts.folder(tmp_path / "run") as own:
        assert own == tmp_path / "run" and isinstance(own, pathlib.Path)
