"""What can read control maps from pictures, by one name each, and what each lacks. No torch in here: the server's
process lists what there is.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from server.engine import packages
from server.engine.painting import Pixels

Source = Literal["plain", "pose", "transformers", "segments", "marigold", "controlnet-aux"]

#: Where the weights of controlnet-aux's detectors lie in a model folder; the catalog does not look in there.
AUX_FOLDER = "annotators"


@dataclass(frozen=True)
class Detector:
    """One detector. control: the kind of control that it makes. model: of transformers' and Marigold's models, the type
    or the class in their configuration. files: of weights in the folder `annotators`; repository: of the Hugging Face
    Hub, where the weights are.
    """

    id: str
    name: str
    control: str
    source: Source
    model: str = ""
    files: tuple[str, ...] = ()
    repository: str = ""


_LLLYASVIEL = "lllyasviel/Annotators"

DETECTORS: tuple[Detector, ...] = (
    Detector("canny", "Canny edges", "canny", "plain"),
    Detector("lineart_standard", "Lines, without a network", "lineart", "plain"),
    Detector("scribble", "Scribble (XDoG)", "scribble", "plain"),
    Detector("softedge", "Soft edges, without a network", "softedge", "plain"),
    Detector("color", "Colours", "color", "plain"),
    Detector("tile", "Tile", "tile", "plain"),
    Detector("shuffle", "Content shuffle", "shuffle", "plain"),
    Detector("pose", "Pose: body, hands, face (BlazePose)", "pose", "pose"),
    Detector("face", "Face (MediaPipe's mesh)", "face", "pose"),
    Detector("depth_anything", "Depth Anything", "depth", "transformers", "depth_anything",
             repository="depth-anything/Depth-Anything-V2-Small-hf"),
    Detector("dpt", "DPT", "depth", "transformers", "dpt", repository="Intel/dpt-large"),
    Detector("zoedepth", "ZoeDepth", "depth", "transformers", "zoedepth", repository="Intel/zoedepth-nyu-kitti"),
    Detector("segment", "Segment Anything", "segmentation", "segments", "sam", repository="facebook/sam-vit-base"),
    Detector("marigold_depth", "Marigold depth", "depth", "marigold", "MarigoldDepthPipeline",
             repository="prs-eth/marigold-depth-v1-1"),
    Detector("marigold_normals", "Marigold normals", "normal", "marigold", "MarigoldNormalsPipeline",
             repository="prs-eth/marigold-normals-v1-1"),
    Detector("hed", "HED soft edges", "softedge", "controlnet-aux", "HEDdetector", ("ControlNetHED.pth",), _LLLYASVIEL),
    Detector("scribble_hed", "Scribble (HED)", "scribble", "controlnet-aux", "HEDdetector", ("ControlNetHED.pth",),
             _LLLYASVIEL),
    Detector("pidinet", "PidiNet soft edges", "softedge", "controlnet-aux", "PidiNetDetector", ("table5_pidinet.pth",),
             _LLLYASVIEL),
    Detector("scribble_pidinet", "Scribble (PidiNet)", "scribble", "controlnet-aux", "PidiNetDetector",
             ("table5_pidinet.pth",), _LLLYASVIEL),
    Detector("mlsd", "Straight lines (M-LSD)", "mlsd", "controlnet-aux", "MLSDdetector", ("mlsd_large_512_fp32.pth",),
             _LLLYASVIEL),
    Detector("lineart", "Line art", "lineart", "controlnet-aux", "LineartDetector", ("sk_model.pth", "sk_model2.pth"),
             _LLLYASVIEL),
    Detector("lineart_coarse", "Line art, coarse", "lineart", "controlnet-aux", "LineartDetector",
             ("sk_model.pth", "sk_model2.pth"), _LLLYASVIEL),
    Detector("lineart_anime", "Line art, anime", "lineart", "controlnet-aux", "LineartAnimeDetector", ("netG.pth",),
             _LLLYASVIEL),
    Detector("anyline", "AnyLine", "lineart", "controlnet-aux", "AnylineDetector", ("MTEED.pth",),
             "TheMistoAI/MistoLine"),
    Detector("teed", "TEED soft edges", "softedge", "controlnet-aux", "TEEDdetector", ("5_model.pth",),
             "fal-ai/teed"),
    Detector("openpose", "OpenPose", "pose", "controlnet-aux", "OpenposeDetector",
             ("body_pose_model.pth", "hand_pose_model.pth", "facenet.pth"), _LLLYASVIEL),
    Detector("dwpose", "DWPose", "pose", "controlnet-aux", "DWposeDetector"),
    Detector("midas", "MiDaS depth", "depth", "controlnet-aux", "MidasDetector", ("dpt_hybrid-midas-501f0c75.pt",),
             _LLLYASVIEL),
    Detector("leres", "LeReS depth", "depth", "controlnet-aux", "LeresDetector", ("res101.pth", "latest_net_G.pth"),
             _LLLYASVIEL),
    Detector("zoe", "ZoeDepth (controlnet-aux)", "depth", "controlnet-aux", "ZoeDetector", ("ZoeD_M12_N.pt",),
             _LLLYASVIEL),
    Detector("normalbae", "Normals (BAE)", "normal", "controlnet-aux", "NormalBaeDetector", ("scannet.pt",),
             _LLLYASVIEL),
    Detector("sam", "Segment Anything (controlnet-aux)", "segmentation", "controlnet-aux", "SamDetector",
             ("sam_vit_h_4b8939.pth",), "ybelkada/segment-anything"),
    Detector("mediapipe_face", "Face (MediaPipe)", "face", "controlnet-aux", "MediapipeFaceDetector"),
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class AnnotateRequest:
    """image: (h, w, 3 or 4). detector: an id of `detectors.DETECTORS`, or a key of `detectors.BEST`. resolution: the
    shorter side that the detector sees, 0 is its own choice. low, high: of edges, 0 to 255; None is the detector's own.
    hands, face: of poses. seed: of detectors that draw lots.
    """

    image: Pixels
    detector: str
    resolution: int = 0
    low: int | None = None
    high: int | None = None
    hands: bool = True
    face: bool = True
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Annotation:
    """What was read.

    control: (h, w, 3) uint8 of the picture's size, as ControlNets of this kind expect it. kind: of control.
    exact: data in full: `depth` (h, w) float32, `normal` (h, w, 3) float32 unit in camera space, `keypoints`
    (130 · people, 3) float32: x, y in pixels of the picture, visibility; or `segments` (h, w) float32: numbers from 1
    on, 0 where there is none. depth_kind: metric (z in metres) or relative (inverse depth, up to scale and shift, near
    is large). detector: the id of the one that read it.
    """

    control: NDArray[np.uint8]
    kind: str
    exact: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    depth_kind: Literal["", "metric", "relative"] = ""
    detector: str = ""


BY_ID = {detector.id: detector for detector in DETECTORS}

#: Which depth is taken where nobody says: the best that is there.
DEPTH_ORDER = ("depth_anything", "marigold_depth", "zoedepth", "dpt", "midas", "leres", "zoe")
#: What may be asked for in place of a detector, and who reads it: the first that is there.
BEST = {"depth": DEPTH_ORDER, "normal": ("marigold_normals", "normalbae"), "edges": ("canny",)}

#: What reads materials from pictures: Marigold's pipelines.
ESTIMATORS = {
    "MarigoldNormalsPipeline": ("marigold_normals", "Marigold normals", "prs-eth/marigold-normals-v1-1"),
    "MarigoldIntrinsicsPipeline": (
        "marigold_intrinsics",
        "Marigold appearance",
        "prs-eth/marigold-iid-appearance-v1-1",
    ),
    "MarigoldDepthPipeline": ("marigold_depth", "Marigold depth", "prs-eth/marigold-depth-v1-1"),
}  # fmt: skip


def detectors(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """Every detector as plain values: id, name, kind ("detector"), control, available, and remedy where it is not."""
    own = models(folders)
    return [
        {
            "id": one.id, "name": one.name, "kind": "detector", "control": one.control,
            "available": not (lack := lacking(one, folders, own)), "remedy": lack,
        }
        for one in DETECTORS
    ]  # fmt: skip


def estimators(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """What reads materials from pictures, as plain values like those of `detectors`; analysis is always there."""
    own = models(folders)
    analysis = {"id": "analysis", "name": "Image analysis", "kind": "estimator", "available": True, "remedy": ""}
    return [analysis] + [
        {
            "id": name, "name": title, "kind": "estimator", "available": model in own,
            "remedy": "" if model in own else _download(repository),
        }
        for model, (name, title, repository) in ESTIMATORS.items()
    ]  # fmt: skip


def best(kind: str, folders: Sequence[Path]) -> Detector:
    """Who reads that kind of map (a key of BEST): the first that can be used, or the first where none can."""
    own = models(folders)
    order = [BY_ID[name] for name in BEST[kind]]
    return next((one for one in order if not lacking(one, folders, own)), order[0])


def lacking(detector: Detector, folders: Sequence[Path], own: dict[str, Path]) -> str:
    """What to do before a detector can be used; empty where nothing is to be done. own: see `models`."""
    if detector.source == "pose":
        if find_spec("ai_edge_litert") is None:
            return 'Install what runs its models: pip install "brushwire[pose]"'
        return "" if packages.there(packages.MEDIAPIPE, folders) else packages.REMEDY
    if detector.source in ("transformers", "segments", "marigold"):
        return "" if detector.model in own else _download(detector.repository)
    if detector.source == "controlnet-aux":
        absent = [name for name, module in _AUX_NEEDS if find_spec(module) is None]
        if absent:
            needs = " and ".join(absent)
            return f'It needs {needs}: pip install "brushwire[detectors]", with the torchvision for your torch.'
        missing = [file for file in detector.files if weight_file(file, folders) is None]
        if missing:
            return f"Download {', '.join(missing)} from {detector.repository} into the model folder's {AUX_FOLDER}/."
    return ""


def models(folders: Sequence[Path]) -> dict[str, Path]:
    """The folders of transformers' and Marigold's models in the model folders, by type or class; the first of each."""
    found: dict[str, Path] = {}
    for folder in folders:
        place = folder.resolve()
        for path in sorted([*folder.rglob("config.json"), *folder.rglob("model_index.json")]):
            if not path.resolve().is_relative_to(place):
                continue
            try:
                config = json.loads(path.read_bytes())
            except (OSError, ValueError):
                continue  # the catalog lists what is refused
            name = config.get("_class_name" if path.name == "model_index.json" else "model_type", "")
            if isinstance(name, str) and (name in ESTIMATORS or name in _TYPES):
                found.setdefault(name, path.parent)
    return found


def weight_file(name: str, folders: Sequence[Path]) -> Path | None:
    """A file of weights in one of the folders' `annotators`."""
    for folder in folders:
        for path in sorted((folder / AUX_FOLDER).rglob(name)):
            return path
    return None


_TYPES = {detector.model for detector in DETECTORS if detector.source in ("transformers", "segments")}
#: What the detectors of controlnet-aux need, and the modules that tell whether it is there.
_AUX_NEEDS = (("controlnet-aux", "controlnet_aux"), ("torchvision", "torchvision"))


def _download(repository: str) -> str:
    return f"Download {repository} from the Hugging Face Hub (all its files) into a folder in the model folder."
