"""Export: the encoder of a finished run as a file that torchvision, timm or Detectron2 loads, or a folder for the hub.

`compmod export RUN_DIR --to TARGET -o FILE`; the same features come out of it, which a test shows for every target.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from tyro.conf import Positional, arg

from ...pretrain.files.whole_file import write_whole
from ...pretrain.records.files import SPEC_FILE
from ...pretrain.records.record import Record
from ...pretrain.specs.run import Backbone, Run

Target = Literal["torchvision", "timm", "detectron2", "hub"]
TARGETS: tuple[Target, ...] = get_args(Target)
SUFFIXES: dict[Target, tuple[str, ...]] = {
    "torchvision": (".pth", ".safetensors"),
    "timm": (".pth", ".safetensors"),
    "detectron2": (".pth",),  # its checkpointer reads no other format, except pickles
    "hub": ("",),  # a folder
}


def export_command(
    run_dir: Annotated[Positional[Path], arg(help="folder of a finished run", metavar="RUN_DIR")],
    to: Annotated[Target, arg(help="the program that is to load it")],
    output: Annotated[Path, arg(aliases=("-o",), metavar="FILE", help="to write: .pth, .safetensors; hub: a folder")],
    push: Annotated[str, arg(metavar="REPO", help="also upload the hub's folder there, such as me/encoder")] = "",
) -> None:
    """Write the encoder of a finished run for torchvision, timm, Detectron2 or a hub, and print how to load it."""
    if push and to != "hub":
        raise ValueError(f"push is of --to hub, not of {to}")
    print(export(run_dir, to, output))
    if push:
        from ..weights.hub import push as upload

        print(f"# uploaded: {upload(output, push)}")


def export(run_dir: Path, target: Target, output: Path) -> str:
    """Write the file whole; returns the lines of Python that load it.

    Raises ValueError where the run is not finished, the target cannot hold its trunk or the file's name is wrong.
    """
    if target not in TARGETS:
        raise ValueError(f"unknown target {target!r}; known: {', '.join(TARGETS)}")
    if target != "hub" and output.suffix not in SUFFIXES[target]:
        raise ValueError(f"{target} does not read {output.name!r}; expected a name in {' or '.join(SUFFIXES[target])}")
    if not output.parent.is_dir():
        raise ValueError(f"{output.parent} is no folder; {output.name} needs one that is there")
    if target == "hub" and output.exists() and not output.is_dir():
        raise ValueError(f"{output} is a file; expected the name of a folder to write")
    if target != "hub" and output.is_dir():
        raise ValueError(f"{output} is a folder; expected the name of a file to write")
    if any((folder / SPEC_FILE).exists() for folder in output.absolute().parents):
        raise ValueError(f"{output} is inside the folder of a run, which holds what the run wrote; give another path")
    record = Record.open(run_dir)
    if not isinstance(record.spec, Run):
        raise ValueError(f"{run_dir} is no run; give the folder of the run, {run_dir.resolve().parent}")
    if target != "hub":
        check_holds(target, record.spec.backbone)
    if record.status != "done":
        raise ValueError(f"the run {record.path} is {record.status}, not done; finish it first")
    if target == "hub":
        from ..weights.hub import write_folder

        return write_folder(record, output)
    write_whole(output, _content(record, target, output.suffix))
    return "\n".join(_loading(record.spec, target, str(output)))


def check_holds(target: Target, backbone: Backbone) -> None:
    """Raise ValueError where the target has no model for a trunk."""
    what = f"a {backbone.name} of width {backbone.width} with the stem {backbone.stem!r}"
    if backbone.name == "pixels":
        raise ValueError("backbone pixels has no weights to export")
    if backbone.colours != "rgb":
        raise ValueError(
            f"{target} holds one trunk on RGB images; this run has two, on the parts of {backbone.colours}"
        )
    if target != "detectron2" and not _standard(backbone):
        raise ValueError(
            f"{target} has no model for {what}; it has resnet18, resnet34 and resnet50 of width 64. "
            "Any ResNet of ours goes to detectron2"
        )


def _content(record: Record, target: Target, suffix: str) -> bytes:
    import safetensors.torch
    import torch

    from ...pretrain.networks.encoder import ENCODER, read_encoder
    from ...pretrain.weights.recognise import check_weights
    from ..weights.convert import to_detectron2

    assert isinstance(record.spec, Run)
    state = read_encoder(record)
    try:
        check_weights(state, record.spec.backbone)
    except ValueError as error:
        raise ValueError(f"{record.path / ENCODER} is not of this run: {error}") from error
    if suffix == ".safetensors":
        return safetensors.torch.save(state, {"spec": record.spec.digest, "method": record.spec.method})
    stored: dict[str, Any] = dict(state)
    if target == "detectron2":
        # Detectron2 matches these names to the ends of the names in a detector, wherever the detector has its trunk.
        stored = {"model": to_detectron2(state).weights, "matching_heuristics": True, "__author__": "compmod"}
    buffer = io.BytesIO()
    torch.save(stored, buffer)
    return buffer.getvalue()


def _loading(run: Run, target: Target, file: str) -> tuple[str, ...]:
    """Lines of Python that load the file, and a word on the images."""
    name = "wide_resnet50_2" if run.backbone.inner == 2 else run.backbone.name
    mean, std = ([round(255 * value, 3) for value in values] for values in _statistics(run))
    images = f"# images: RGB, 0 to 255, less {mean}, over {std}"
    stem = _stem(run.backbone)
    if target == "timm" and not stem:
        return ("import timm", f"model = timm.create_model({name!r}, num_classes=0, checkpoint_path={file!r})", images)
    if target in ("timm", "torchvision"):
        safe = file.endswith(".safetensors")
        read = f"safetensors.torch.load_file({file!r})" if safe else f"torch.load({file!r}, weights_only=True)"
        building = [f"model = torchvision.models.{name}()", "model.fc = torch.nn.Identity()"]
        if target == "timm":
            building = [f"model = timm.create_model({name!r}, num_classes=0)"]
        imports = f"import {'safetensors.torch, ' if safe else ''}{', '.join(sorted(('torch', target)))}"
        return (imports, *building, *stem, f"model.load_state_dict({read})", images)
    loading = (
        "from detectron2.checkpoint import DetectionCheckpointer",
        f"DetectionCheckpointer(model).load({file!r})",
    )
    if not _in_detectron2(run.backbone):
        trunk = f'model = build_trunk({run.backbone!r}, features=("res2", "res3", "res4", "res5"))'
        return (
            "from compmod.pretrain.specs.run import Backbone",
            "from compmod.transfer.detector.trunk import build_trunk",
            trunk,
            *loading,
            images,
        )
    depth, channels = (50, 256) if name == "resnet50" else (18, 64)
    return (
        f"cfg.MODEL.RESNETS.DEPTH, cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = {depth}, {channels}",
        "cfg.MODEL.RESNETS.STRIDE_IN_1X1 = False",
        f'cfg.INPUT.FORMAT, cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD = "RGB", {mean}, {std}',
        "from detectron2.modeling import build_model",
        "model = build_model(cfg)",
        *loading,
    )


def _standard(backbone: Backbone) -> bool:
    """Whether torchvision and timm have this trunk, but for its stem."""
    return backbone.name in ("resnet18", "resnet34", "resnet50") and backbone.width == 64 and backbone.inner in (1, 2)


def _in_detectron2(backbone: Backbone) -> bool:
    """Whether Detectron2's own configuration makes this trunk."""
    standard = _standard(backbone) and backbone.name != "resnet34" and backbone.inner == 1
    return standard and backbone.stem == "large"


def _stem(backbone: Backbone) -> tuple[str, ...]:
    """Lines of Python that replace the stem for large images of torchvision's and timm's models by this one."""
    from ...pretrain.networks.resnet import POOLED, STEMS

    if backbone.stem == "large":
        return ()
    kernel, stride, padding = STEMS[backbone.stem]
    first = f"model.conv1 = torch.nn.Conv2d(3, {backbone.width}, {kernel}, {stride}, {padding}, bias=False)"
    return (first,) if backbone.stem in POOLED else (first, "model.maxpool = torch.nn.Identity()")


def _statistics(run: Run) -> tuple[tuple[float, ...], tuple[float, ...]]:
    dataset = run.data
    return dataset.mean, dataset.std
