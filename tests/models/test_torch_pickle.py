"""Files of PyTorch are read without it, and no code of theirs is run."""

import pathlib
import zipfile

import jax
import numpy as np
import pytest

from metainit.models import torch_pickle
from tests import torch_files
from tests.torch_files import call, mapping, name, plain, tensor

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
FORMATS = {"zip": torch_files.zipped, "stream": torch_files.stream}
SIX = np.arange(6, dtype=np.float32)
REBUILD = name("torch._utils", "_rebuild_tensor_v2")


def of_six(offset=0, shape=(2, 3), strides=(3, 1), kind="Float", key="0", count=6):
    return tensor(f"{kind}Storage", key, count, offset, shape, strides)


A = mapping({"a": of_six()})


@pytest.fixture
def save(tmp_path):
    def write(content):
        path = tmp_path / "weights.pth"
        path.write_bytes(content)
        return path

    return write


@pytest.fixture(params=FORMATS)
def write(request, save):
    """Writes a pickle with `SIX` beside it, in each format."""
    return lambda piece: save(FORMATS[request.param](piece, {"0": SIX}))


def assert_refused(path, words):
    with pytest.raises(ValueError, match=words) as caught:
        torch_pickle.read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("form", FORMATS)
def test_what_torch_saved_is_read_bit_for_bit(form):
    with np.load(GOLDEN / "state.npz") as file:
        names = [key for key in file if key.startswith("state/")]
        expected = {key.removeprefix("state/"): file[key] for key in names}
    state = torch_pickle.read(GOLDEN / f"state_{form}.pth")
    assert list(state) == list(expected)
    assert state["bfloat16"].dtype == jax.dtypes.bfloat16
    for key, want in expected.items():
        got = state[key].view(np.int16) if key == "bfloat16" else state[key]
        assert got.dtype == want.dtype, key
        np.testing.assert_array_equal(got, want, key)


def test_views_are_read_as_the_writer_of_these_tests_makes_them(write):
    views = {"a": of_six(), "b": of_six(1, (2, 2), (1, 2))}
    # A stride along a length of 1 is never taken.
    views["c"] = of_six(0, (1, 6), (1 << 62, 1))
    state = torch_pickle.read(write(mapping(views)))
    np.testing.assert_array_equal(state["a"], SIX.reshape(2, 3))
    np.testing.assert_array_equal(state["b"], [[1, 3], [2, 4]])
    np.testing.assert_array_equal(state["c"], [SIX])


TWO = {"module.a": of_six(), "module.b": of_six()}
PAIRS = b"](](" + plain("a") + of_six() + b"ee"


@pytest.mark.parametrize(
    ("piece", "names"),
    [
        (mapping({"epoch": plain(3), "state_dict": mapping(TWO)}), ["a", "b"]),
        (mapping({"model": mapping(TWO), "other": of_six()}), ["a", "b"]),
        (mapping(TWO | {"c": of_six()}), ["module.a", "module.b", "c"]),
        (call(name("collections", "OrderedDict"), PAIRS), ["a"]),
    ],
)
def test_names_are_bare(write, piece, names):
    assert list(torch_pickle.read(write(piece))) == names


def test_a_stream_with_other_tensors_than_the_wrapped_ones_is_read(save):
    other = tensor("LongStorage", "9", 2, 0, (2,), (1,))
    piece = mapping({"optimizer": other, "model": A})
    path = save(torch_files.stream(piece, {"9": np.arange(2), "0": SIX}))
    np.testing.assert_array_equal(torch_pickle.read(path)["a"], SIX.reshape(2, 3))


@pytest.mark.parametrize(
    "function",
    ["os.system", "posix.system", "builtins.eval", "torch.load", "torch._utils.other"],
)
def test_code_is_refused_by_name_and_not_run(write, save, tmp_path, function):
    trace = tmp_path / "it_ran"
    module, attribute = function.rsplit(".", 1)
    run = call(name(module, attribute), plain(f"touch {trace}"))
    stacked = plain(module) + plain(attribute) + b"\x93" + plain("true") + b"\x85R"
    words = f"asks for '{function}', which is not run"
    inside = mapping({"a": run}), mapping({"a": of_six(), "b": run})
    for piece in (run, stacked, *inside):
        assert_refused(write(piece), words)
    assert_refused(save(torch_files.pickled(run)), words)
    assert not trace.exists()


VIEWS = [  # that leave their storage
    ((1, (2, 3), (3, 1)), "too small"),
    ((6, (), ()), "too small"),
    ((7, (0,), (1,)), "too small"),
    ((0, (1 << 40,), (1,)), "too small"),
    ((0, (1 << 40,), (0,)), "too small"),
    ((0, (7,), (0,)), "too small"),
    ((0, (1 << 62, 1 << 62), (1, 1)), "too small"),
    ((5, (2,), (-1,)), "a tensor has -1 for a length or stride"),
    ((-1, (2,), (1,)), "a tensor has -1"),
    ((0, (-2, -3), (3, 1)), "a tensor has -2"),
    ((0, (2.0,), (1,)), "a tensor has 2.0"),
    ((0, (1 << 70,), (1,)), "a tensor has"),
    ((0, (2, 3), (1,)), "2 lengths and 1 strides"),
    ((0, 33 * (1,), 33 * (1,)), "33 lengths"),
    ((0, None, (1,)), "damaged"),
]


@pytest.mark.parametrize(
    ("piece", "words"),
    [
        (call(name("torch", "FloatStorage"), plain(1 << 40)), "not callable"),
        (call(plain(("collections", "OrderedDict"))), "not callable"),
        (b"ccollections\nOrderedDict\n)\x81", "is not a type"),
        (b"(icollections\nOrderedDict\n", "no tensors by name"),
        (REBUILD + b"}b", "attributes of a function"),
        (REBUILD + b"N}" + plain("_call") + b"Ns\x86b", "attributes of a function"),
        (b"}}b", "holds a dict and no tensors"),
        # Would be given memory before it is looked how much there is.
        (plain(1) + b"r\xff\xff\xff\xff", "holds a int"),
        (b"X\xff\xff\xff\x7f1", "damaged"),
        (b"\x96" + b"\xff" * 7 + b"\x7f1", "damaged"),
        (plain("persistent") + b"Q", "is no storage"),
        (plain(3), "holds a int"),
        (b"}", "holds a dict and no tensors"),
        (mapping({"a": plain(3)}), "entry 'a' is a int"),
        (b"}" + plain(1) + of_six() + b"s", "entry 1 is a _Tensor"),
        (b"R", "damaged"),
        (b"t", "damaged"),
        (b"h\x07", "damaged"),
        *(
            (mapping({"a": of_six(0, (1,), (1,), count=count)}), words)
            for count, words in [
                *((n, f"not {n} of float32") for n in (5, 7, 1 << 50, 1 << 62)),
                (-1, "has -1 elements"),
            ]
        ),
        (mapping({"a": of_six(key="1")}), "is missing|list of storages"),
        (mapping({"a": of_six(), "b": of_six(kind="Half")}), "declared in two ways"),
        *((mapping({"a": of_six(*view)}), words) for view, words in VIEWS),
    ],
)
def test_other_pickles_are_refused(write, piece, words):
    assert_refused(write(piece), words)


def test_cut_and_other_files_are_refused_in_one_line(write, save):
    content = write(A).read_bytes()
    cut = [content[:length] for length in range(0, len(content) - 1, 7)]
    for other in (*cut, b"PK", b"not weights at all", b"\x89HDF\r\n", 99 * b"("):
        assert_refused(save(other), "state dict saved by torch.save")


def test_archives_that_torch_does_not_write_are_refused(save, monkeypatch):
    packed = torch_files.zipped(A, {"0": SIX}, compression=zipfile.ZIP_DEFLATED)
    assert_refused(save(packed), "is compressed")
    plain_zip = torch_files.zipped(A, {"0": SIX})
    with zipfile.ZipFile(path := save(plain_zip), "a") as archive:
        archive.writestr("other/data.pkl", b"")
    assert_refused(path, "2 files data.pkl")
    big_endian = plain_zip.replace(b"little", b"-big--")
    assert_refused(save(big_endian), "Bad CRC|big-endian")
    monkeypatch.setitem(torch_files.SYSTEM, "little_endian", False)
    assert_refused(save(torch_files.stream(A, {"0": SIX})), "big-endian")


SHARED = 60 * (b"2\x86")  # a tuple of twice the one before, 60 times
BY_MEMO = b"".join(b"\x94h" + bytes([place]) + b"\x86" for place in range(60))


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (b"})" + SHARED + b"Ns", "a tuple for a key"),
        (b"})" + BY_MEMO + b"Ns", "a tuple for a key"),
        (
            call(name("collections", "OrderedDict"), b"](](" + b")" + SHARED + b"Nee"),
            "key",
        ),
        (b"(" + b")" + SHARED + b"Nd", "damaged"),
        (b"(" + b")" + SHARED + b"\x91", "damaged"),
        (b"\x8f()" + SHARED + b"\x90", "damaged"),
        (b")" + SHARED + b"Q", "damaged"),
        (b"(" + plain("storage") + b")" + SHARED + b"NNNtQ", "no storage"),
    ],
)
def test_a_short_pickle_whose_values_take_ages_is_refused(save, program, words):
    """To hash such a key takes 2^60 steps."""
    assert_refused(save(torch_files.pickled(program)), words)


def test_the_pickle_of_a_file_has_a_limit(save, monkeypatch):
    monkeypatch.setattr(torch_pickle, "_MOST_PICKLE", 100)
    many = mapping({str(number): of_six() for number in range(9)})
    for form in FORMATS.values():
        assert_refused(save(form(many, {"0": SIX})), "damaged or cut short")
