"""Calibration files: what the makers of depth data write about the camera that it was measured with.

All of them count pixels so that the first pixel's centre is at 0; a `Camera` has it at 0.5. `Calibration.camera`
brings the one to the other.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .camera import Camera

#: What `read_calibration` reads, as an error says it.
FORMATS = (
    "Middlebury's calib.txt (cam0, doffs, baseline), KITTI's (P2, P3 or P_rect_02, P_rect_03), ORB-SLAM's and ROS's "
    "YAML, JSON (fx, fy, cx, cy, or Open3D's intrinsic_matrix), or the four numbers fx fy cx cy"
)


@dataclass(frozen=True)
class Calibration:
    """A camera's numbers, and its stereo rig's.

    fx, fy, cx, cy: pixels, with pixel centres at whole numbers. baseline: in metres. doffs: the difference of the two
    principal points' x, in pixels. width, height: the size that the numbers were found at, where it is given. unit:
    metres for one step of the depth files that belong to it, where it is given.
    """

    fx: float
    fy: float
    cx: float
    cy: float
    baseline: float | None = None
    doffs: float = 0.0
    width: int | None = None
    height: int | None = None
    unit: float | None = None

    def camera(self, width: int, height: int) -> Camera:
        """The camera of a (height, width) map; the calibration is scaled where it was made for another size."""
        # Their pixel centres are at whole numbers, ours half a pixel further.
        own = Camera(self.width or width, self.height or height, self.fx, self.fy, self.cx + 0.5, self.cy + 0.5)
        return own.resized(width, height)

    def doffs_at(self, width: int) -> float:
        """`doffs` in pixels of a map that is `width` wide: disparities shrink with the picture."""
        return self.doffs * width / (self.width or width)


def read_calibration(path: Path | str) -> Calibration:
    """A calibration from a file of one of the `FORMATS`, known by what stands in it.

    Middlebury's baseline is in millimetres there. Of KITTI's four cameras it is the left colour one (2), and its
    baseline the one to the right colour one (3). Raises FileNotFoundError, and ValueError for anything else.
    """
    path = Path(path)
    text = path.read_text("utf-8", "replace")
    fields = dict(re.findall(r"^\s*([\w.]+)\s*[:=]\s*(\S.*?)\s*$", text, re.MULTILINE))
    try:
        if text.lstrip().startswith("{"):
            return _from_json(json.loads(text))
        if "cam0" in fields:
            return _middlebury(fields)
        for left, right, size in (("P_rect_02", "P_rect_03", "S_rect_02"), ("P2", "P3", "")):
            if left in fields:
                return _kitti(fields, left, right, size)
        if "Camera.fx" in fields:
            return _orb_slam(fields)
        matrix = re.search(r"camera_matrix:.*?data:\s*\[(.*?)\]", text, re.DOTALL)
        if matrix:
            m = _numbers(matrix[1], 9, "camera_matrix")
            width, height = _size(fields, "image_width", "image_height")
            return Calibration(m[0], m[4], m[2], m[5], None, 0.0, width, height)
        plain = re.match(r"\s*" + r"([-+.\deE]+)\s+" * 3 + r"([-+.\deE]+)\s", text + "\n")
        if plain:
            fx, fy, cx, cy = (float(number) for number in plain.groups())
            return Calibration(fx, fy, cx, cy)
    except KeyError as missing:
        raise ValueError(f"{path} lacks {missing}") from None
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} is not a calibration that can be read: {error}") from None
    raise ValueError(f"{path} is of no known kind; calibrations are read from {FORMATS}")


def _middlebury(fields: dict[str, str]) -> Calibration:
    m = _numbers(fields["cam0"].strip("[]"), 9, "cam0")
    baseline = float(fields["baseline"]) / 1000 if "baseline" in fields else None
    doffs = float(fields.get("doffs", 0))
    return Calibration(m[0], m[4], m[2], m[5], baseline, doffs, *_size(fields, "width", "height"))


def _kitti(fields: dict[str, str], left: str, right: str, size: str) -> Calibration:
    p = _numbers(fields[left], 12, left)
    # A projection matrix's fourth column is −fx times the camera's place along x.
    baseline = (p[3] - _numbers(fields[right], 12, right)[3]) / p[0] if right in fields else None
    width, height = (int(v) for v in _numbers(fields[size], 2, size)) if size in fields else (None, None)
    return Calibration(p[0], p[5], p[2], p[6], baseline, 0.0, width, height)


def _orb_slam(fields: dict[str, str]) -> Calibration:
    fx, fy, cx, cy = (float(fields[f"Camera.{name}"]) for name in ("fx", "fy", "cx", "cy"))
    # bf is the baseline times fx; DepthMapFactor the steps of one metre.
    baseline = float(fields["Camera.bf"]) / fx if "Camera.bf" in fields else None
    unit = 1 / float(fields["DepthMapFactor"]) if "DepthMapFactor" in fields else None
    width, height = _size(fields, "Camera.width", "Camera.height")
    return Calibration(fx, fy, cx, cy, baseline, 0.0, width, height, unit)


def _from_json(data: dict[str, Any]) -> Calibration:
    def number(name: str) -> float | None:
        value = data.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise ValueError(f"{name} is {value!r}; it must be a number")
        return value

    if "intrinsic_matrix" in data:
        # Open3D writes it column by column.
        m = _numbers(" ".join(str(v) for v in data["intrinsic_matrix"]), 9, "intrinsic_matrix")
        fx, fy, cx, cy = m[0], m[4], m[6], m[7]
    else:
        for name in ("fx", "cx", "cy"):
            if number(name) is None:
                raise KeyError(name)
        fx, fy, cx, cy = data["fx"], data.get("fy", data["fx"]), data["cx"], data["cy"]
    width, height = (None if number(name) is None else int(data[name]) for name in ("width", "height"))
    return Calibration(fx, fy, cx, cy, number("baseline"), number("doffs") or 0.0, width, height, number("unit"))


def _numbers(text: str, count: int, name: str) -> list[float]:
    found = [float(word) for word in re.split(r"[\s;,]+", text.strip()) if word]
    if len(found) != count:
        raise ValueError(f"{name} has {len(found)} numbers; it must have {count}")
    return found


def _size(fields: dict[str, str], width: str, height: str) -> tuple[int, int] | tuple[None, None]:
    if width not in fields or height not in fields:
        return None, None
    return int(float(fields[width])), int(float(fields[height]))
