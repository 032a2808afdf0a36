"""Files of PyTorch are read without it, and no code of theirs is run."""

import hashlib
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
FULL = (0, (2, 3), (3, 1))  # offset, shape and strides of all of SIX


def of_six(offset, shape, strides):
    return tensor("FloatStorage", "0", 6, offset, shape, strides)


@pytest.fixture
def saved(tmp_path):
    def save(content):
        path = tmp_path / "weights.pth"
        path.write_bytes(content)
        return path

    return save


@pytest.fixture(params=FORMATS)
def write(request):
    return FORMATS[request.param]


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN / "state.npz") as file:
        return dict(file)


def assert_refused(path, words):
    with pytest.raises(ValueError, match=words) as caught:
        torch_pickle.read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("form", FORMATS)
def test_what_torch_saved_is_read_bit_for_bit(golden, form):
    expected = {
        key.removeprefix("state/"): value
        for key, value in golden.items()
        if key.startswith("state/")
    }
    state = torch_pickle.read(GOLDEN / f"state_{form}.pth")
    assert list(state) == list(expected)
    assert state["bfloat16"].dtype == jax.dtypes.bfloat16
    for key, want in expected.items():
        got = state[key].view(np.int16) if key == "bfloat16" else state[key]
        assert got.dtype == want.dtype, key
        np.testing.assert_array_equal(got, want, key)


def test_the_script_is_the_one_that_wrote_the_files(golden):
    script = (GOLDEN / "make_pth.py").read_bytes()
    assert golden["script_sha256"] == hashlib.sha256(script).hexdigest()
    assert sum(file.stat().st_size for file in GOLDEN.glob("state*")) < 20_000
    assert int(str(golden["torch_version"]).split(".")[0]) >= 2


def test_views_are_read_as_the_writer_of_these_tests_makes_them(saved, write):
    views = {"a": of_six(*FULL), "b": of_six(1, (2, 2), (1, 2))}
    # A stride along a length of 1 is never taken.
    views["c"] = of_six(0, (1, 6), (1 << 62, 1))
    state = torch_pickle.read(saved(write(mapping(views), {"0": SIX})))
    np.testing.assert_array_equal(state["a"], SIX.reshape(2, 3))
    np.testing.assert_array_equal(state["b"], [[1, 3], [2, 4]])
    np.testing.assert_array_equal(state["c"], [SIX])


TWO = {"module.a": of_six(*FULL), "module.b": of_six(*FULL)}
PAIRS = b"](](" + plain("a") + of_six(*FULL) + b"ee"


@pytest.mark.parametrize(
    ("piece", "names"),
    [
        (mapping({"epoch": plain(3), "state_dict": mapping(TWO)}), ["a", "b"]),
        (mapping({"model": mapping(TWO), "other": of_six(*FULL)}), ["a", "b"]),
        (mapping(TWO | {"c": of_six(*FULL)}), ["module.a", "module.b", "c"]),
        (call(name("collections", "OrderedDict"), PAIRS), ["a"]),
    ],
)
def test_names_are_bare(saved, write, piece, names):
    assert list(torch_pickle.read(saved(write(piece, {"0": SIX})))) == names


def test_a_stream_with_other_tensors_than_the_wrapped_ones_is_read(saved):
    other = tensor("LongStorage", "9", 2, 0, (2,), (1,))
    piece = mapping({"optimizer": other, "model": mapping({"a": of_six(*FULL)})})
    storages = {"9": np.arange(2), "0": SIX}
    state = torch_pickle.read(saved(torch_files.stream(piece, storages)))
    np.testing.assert_array_equal(state["a"], SIX.reshape(2, 3))


@pytest.mark.parametrize(
    "function",
    ["os.system", "posix.system", "builtins.eval", "torch.load", "torch._utils.other"],
)
def test_code_is_refused_by_name_and_not_run(saved, write, tmp_path, function):
    trace = tmp_path / "it_ran"
    module, attribute = function.rsplit(".", 1)
    run = call(name(module, attribute), plain(f"touch {trace}"))
    for piece in (run, mapping({"a": run}), mapping({"a": of_six(*FULL), "b": run})):
        path = saved(write(piece, {"0": SIX}))
        assert_refused(path, f"asks for '{function}', which is neither")
    assert not trace.exists()


def test_code_in_a_plain_pickle_is_refused(saved, tmp_path):
    trace = tmp_path / "it_ran"
    run = call(name("os", "system"), plain(f"touch {trace}"))
    assert_refused(saved(torch_files.pickled(run)), "asks for 'os.system'")
    stacked = plain("os") + plain("system") + b"\x93" + plain("true") + b"\x85R"
    assert_refused(saved(torch_files.pickled(stacked)), "asks for 'os.system'")
    assert not trace.exists()


@pytest.mark.parametrize(
    ("piece", "words"),
    [
        (call(name("torch", "FloatStorage"), plain(1 << 40)), "not callable"),
        (call(plain(("collections", "OrderedDict"))), "not callable"),
        (b"ccollections\nOrderedDict\n)\x81", "instruction NEWOBJ"),
        (b"(icollections\nOrderedDict\n", "instruction INST"),
        (REBUILD + b"}b", "attributes of a function"),
        (REBUILD + b"N}" + plain("_call") + b"Ns\x86b", "attributes of a function"),
        (b"}}b", "damaged"),
        # Would be given memory before it is looked how much there is.
        (plain(1) + b"r\xff\xff\xff\xff", "4294967295 for a place in the memo"),
        (b"X\xff\xff\xff\x7f1", "damaged"),
        (b"\x96" + b"\xff" * 7 + b"\x7f1", "damaged"),
        (plain(1) + b"0", "instruction POP"),
        (plain("persistent") + b"Q", "is no storage"),
        (plain(3), "holds a int"),
        (b"}", "holds a dict and no tensors"),
        (mapping({"a": plain(3)}), "entry 'a' is a int"),
        (b"}" + plain(1) + of_six(*FULL) + b"s", "entry 1 is a _Tensor"),
        (b"R", "damaged"),
        (b"t", "damaged"),
        (b"h\x07", "damaged"),
    ],
)
def test_other_pickles_are_refused(saved, write, piece, words):
    assert_refused(saved(write(piece, {"0": SIX})), words)


@pytest.mark.parametrize(
    ("view", "words"),
    [
        ((1, (2, 3), (3, 1)), "too small"),
        ((6, (), ()), "too small"),
        ((7, (0,), (1,)), "too small"),
        ((0, (1 << 40,), (1,)), "too small"),
        ((0, (1 << 40,), (0,)), "too small"),
        ((0, (7,), (0,)), "too small"),
        ((0, (1 << 62, 1 << 62), (1, 1)), "too small"),
        ((5, (2,), (-1,)), "has a tensor with -1 for a length or stride"),
        ((-1, (2,), (1,)), "has a tensor with -1"),
        ((0, (-2, -3), (3, 1)), "has a tensor with -2"),
        ((0, (2.0,), (1,)), "has a tensor with 2.0"),
        ((0, (1 << 70,), (1,)), "has a tensor with"),
        ((0, (2, 3), (1,)), "2 lengths and 1 strides"),
        ((0, 33 * (1,), 33 * (1,)), "33 lengths"),
        ((0, None, (1,)), "damaged"),
    ],
)
def test_views_that_leave_their_storage_are_refused(saved, write, view, words):
    path = saved(write(mapping({"a": of_six(*view)}), {"0": SIX}))
    assert_refused(path, words)


def test_storages_that_are_not_as_declared_are_refused(saved, write):
    for declared in (5, 7, 1 << 50, 1 << 62):
        piece = mapping({"a": tensor("FloatStorage", "0", declared, 0, (1,), (1,))})
        assert_refused(saved(write(piece, {"0": SIX})), f"not {declared} of float32")
    piece = mapping({"a": tensor("FloatStorage", "0", -1, 0, (), ())})
    assert_refused(saved(write(piece, {"0": SIX})), "has -1 elements")
    piece = mapping({"a": of_six(*FULL), "b": tensor("HalfStorage", "0", 6, *FULL)})
    assert_refused(saved(write(piece, {"0": SIX})), "declared in two ways")
    piece = mapping({"a": of_six(*FULL)})
    assert_refused(saved(write(piece, {"1": SIX})), "is missing|list of storages")


def test_files_cut_short_are_refused_wherever_they_end(saved, write):
    content = write(mapping({"a": of_six(*FULL)}), {"0": SIX})
    for length in range(0, len(content) - 1, 7):
        assert_refused(saved(content[:length]), "state dict saved by torch.save")


def test_damaged_files_are_read_or_refused_in_one_line(saved, write):
    content = write(mapping({"a": of_six(*FULL)}), {"0": SIX})
    rng = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(content)
        for place in rng.integers(0, len(content), 3):
            damaged[place] = rng.integers(256)
        path = saved(bytes(damaged))
        try:
            torch_pickle.read(path)
        except ValueError as error:
            assert str(error).startswith(f"{path}: ")
            assert "\n" not in str(error)


def test_compressed_archives_and_two_pickles_are_refused(saved):
    piece = mapping({"a": of_six(*FULL)})
    packed = torch_files.zipped(piece, {"0": SIX}, compression=zipfile.ZIP_DEFLATED)
    assert_refused(saved(packed), "is compressed")
    path = saved(torch_files.zipped(piece, {"0": SIX}))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("other/data.pkl", b"")
    assert_refused(path, "2 files data.pkl")


def test_big_endian_files_are_refused(saved, monkeypatch):
    path = saved(torch_files.zipped(mapping({"a": of_six(*FULL)}), {"0": SIX}))
    path.write_bytes(path.read_bytes().replace(b"little", b"-big--"))
    assert_refused(path, "Bad CRC|big-endian")
    monkeypatch.setitem(torch_files.SYSTEM, "little_endian", False)
    stream = torch_files.stream(mapping({"a": of_six(*FULL)}), {"0": SIX})
    assert_refused(saved(stream), "big-endian")


def test_other_files_are_refused(saved):
    for content in (b"", b"PK", b"not weights at all", b"\x89HDF\r\n", 99 * b"("):
        assert_refused(saved(content), "state dict saved by torch.save")
