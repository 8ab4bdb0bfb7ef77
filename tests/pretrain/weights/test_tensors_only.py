"""Tensors are read from checkpoints with objects in them, and no pickle runs code, whatever it names."""

from __future__ import annotations

import argparse
import collections
import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from compmod.pretrain.weights.read import read_tensors
from compmod.pretrain.weights.tensors_only import TensorsOnly

WEIGHTS = torch.arange(24.0).view(4, 6)


class Settings(dict[str, Any]):
    """A dict with attributes, as configurations are."""


class Harmful:
    """What a pickle can hold: a call, made when it is read."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("import pathlib; pathlib.Path('harmed').touch()",))


def checkpoint() -> dict[str, Any]:
    """Of Lightning: settings as objects of many kinds beside the weights."""
    settings = Settings(lr=0.1)
    settings.__dict__.update(note="kept aside")
    return {
        "hyper_parameters": {"args": argparse.Namespace(lr=0.1), "settings": settings, "path": Path("a/b")},
        "counts": collections.defaultdict(list, {"a": [1]}),
        "best": np.float64(0.5),
        "state_dict": {
            "weight": WEIGHTS,
            "part": WEIGHTS[1:3, ::2],  # a view: with an offset and strides
            "half": WEIGHTS.half(),
            "parameter": torch.nn.Parameter(WEIGHTS),
            "count": torch.tensor(7),
            "empty": torch.empty(0),
        },
    }


def test_tensors_are_read_beside_objects_whose_classes_are_not(tmp_path: Path) -> None:
    torch.save(checkpoint(), tmp_path / "last.ckpt")
    found = read_tensors(tmp_path / "last.ckpt")
    expected = {f"state_dict.{name}": tensor for name, tensor in checkpoint()["state_dict"].items()}
    assert found.tensors.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found.tensors[name], tensor), name
        assert found.tensors[name].dtype == tensor.dtype
    assert {"argparse.Namespace", "collections.defaultdict", "pathlib.PosixPath"} <= set(found.ignored)


@pytest.mark.parametrize("place", ["state_dict", "hyper_parameters"])
def test_a_call_in_a_checkpoint_is_not_made_and_is_named(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {"weight": WEIGHTS}, place: {"weight": WEIGHTS, "call": Harmful()}}, "last.ckpt")
    found = read_tensors(tmp_path / "last.ckpt")
    assert next(iter(found.tensors.values())).equal(WEIGHTS)
    assert "__builtin__.exec" in found.ignored  # at protocol 2
    assert not (tmp_path / "harmed").exists()


GLOBALS = [b"cos\nsystem\n", b"cbuiltins\neval\n", b"ctorch\nload\n", b"cpickle\nloads\n", b"ctorch.hub\nload\n"]


def archive(content: bytes, **more: bytes) -> bytes:
    """What `torch.save` writes, with a pickle of one's own."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as handle:
        handle.writestr("archive/data.pkl", content)
        handle.writestr("archive/version", "3\n")
        for name, data in more.items():
            handle.writestr(f"archive/{name}", data)
    return stream.getvalue()


@pytest.mark.parametrize("named", GLOBALS)
@pytest.mark.parametrize("last", [b"(Vtouch harmed\ntR.", b"(Vtouch harmed\nt\x81.", b"(Vtouch harmed\ntb."])
def test_whatever_a_pickle_names_becomes_an_object_that_does_nothing(
    named: bytes, last: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    reader = TensorsOnly(archive(b"\x80\x02" + named + last))
    found = reader.load()
    assert "Ignored" in str(found)
    assert len(reader.ignored) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_pickle_cannot_change_what_builds_the_tensors_of_the_next() -> None:
    spoiling = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nN}V__code__\nNs\x86b."
    with pytest.raises(TypeError, match="__code__"):
        TensorsOnly(archive(spoiling)).load()
    stream = io.BytesIO()
    torch.save({"weight": WEIGHTS, "object": argparse.Namespace()}, stream)
    assert torch.equal(TensorsOnly(stream.getvalue()).load()["weight"], WEIGHTS)


def test_a_tensor_outside_its_storage_is_an_error(tmp_path: Path) -> None:
    text = (
        b"\x80\x02}(Vweight\nctorch._utils\n_rebuild_tensor_v2\n((Vstorage\nctorch\nFloatStorage\nV0\nVcpu\nK\x02tQ"
        b"K\x01K\x02\x85K\x01\x85\x89NtRVobject\ncargparse\nNamespace\nu."
    )
    (tmp_path / "odd.pt").write_bytes(archive(text, **{"data/0": bytes(8)}))
    with pytest.raises(ValueError, match=r"odd\.pt is no file of plain tensors, or a damaged one: .*out of bounds"):
        read_tensors(tmp_path / "odd.pt")


def test_a_truncated_file_is_an_error_in_one_line(tmp_path: Path) -> None:
    for name, value in (("plain.pth", {"weight": WEIGHTS}), ("objects.ckpt", checkpoint())):
        torch.save(value, tmp_path / name)
        content = (tmp_path / name).read_bytes()
        for length in (0, 10, len(content) // 2, len(content) - 1):
            (tmp_path / name).write_bytes(content[:length])
            with pytest.raises(ValueError, match=rf"{name} is no file of plain tensors") as caught:
                read_tensors(tmp_path / name)
            assert "\n" not in str(caught.value)


def test_a_dict_inside_itself_ends(tmp_path: Path) -> None:
    value: dict[str, Any] = {"weight": WEIGHTS, "object": argparse.Namespace()}
    value["again"] = value
    torch.save(value, tmp_path / "loop.pt")
    assert list(read_tensors(tmp_path / "loop.pt").tensors) == ["weight"]


def test_a_pickle_without_an_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "plain.pt").write_bytes(pickle.dumps({"weight": argparse.Namespace()}, protocol=2))
    with pytest.raises(ValueError, match="one that needs code to be read is refused"):
        read_tensors(tmp_path / "plain.pt")
