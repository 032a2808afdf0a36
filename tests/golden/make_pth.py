"""Writes state_zip.pth, state_stream.pth and state.npz: one state dict, by PyTorch.

    python tests/golden/make_pth.py

Needs torch and numpy, and nothing of metainit: it is the other side of the comparison
in tests/test_pth.py. state.npz has the arrays as numpy has them (bfloat16 as its 16
bits), torch's version and this script's SHA-256.
"""

import collections
import hashlib
import pathlib

import numpy as np
import torch


def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        collections.OrderedDict(
            conv=torch.nn.Conv2d(3, 4, 3), bn=torch.nn.BatchNorm2d(4)
        )
    )
    entries = model.state_dict()  # an OrderedDict with `_metadata`
    entries["conv.weight"] = entries["conv.weight"].to(
        memory_format=torch.channels_last
    )
    whole = torch.randn(5, 6)
    entries["shared.whole"] = whole
    entries["shared.transposed"] = whole.T
    entries["shared.part"] = whole[1:4, ::2]
    entries["scalar"] = torch.tensor(2.5)
    entries["empty"] = torch.zeros(0, 3)
    entries["parameter"] = torch.nn.Parameter(torch.randn(3))
    entries["half"] = torch.randn(2, 3).half()
    entries["bfloat16"] = torch.randn(2, 3).bfloat16()
    entries["double"] = torch.randn(2).double()
    entries["bool"] = torch.tensor([True, False, True])
    for dtype in (torch.int64, torch.int32, torch.int16, torch.int8):
        entries[str(dtype).removeprefix("torch.")] = torch.tensor([-3, 5], dtype=dtype)
    entries["uint8"] = torch.tensor([3, 250], dtype=torch.uint8)
    return entries


def main() -> None:
    folder = pathlib.Path(__file__).parent
    entries = state()
    torch.save(entries, folder / "state_zip.pth")
    torch.save(
        {"epoch": 3, "state_dict": {f"module.{k}": v for k, v in entries.items()}},
        folder / "state_stream.pth",
        _use_new_zipfile_serialization=False,
    )
    stored = {}
    for name, value in entries.items():
        value = value.detach()
        if value.dtype == torch.bfloat16:
            value = value.view(torch.int16)
        stored[f"state/{name}"] = value.numpy()
    np.savez_compressed(
        folder / "state.npz",
        **stored,
        torch_version=torch.__version__,
        script_sha256=hashlib.sha256(pathlib.Path(__file__).read_bytes()).hexdigest(),
    )


if __name__ == "__main__":
    main()
