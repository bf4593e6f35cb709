"""A request that no model could paint is refused with field, value, range and remedy."""

import pickle

import numpy as np
import pytest

from server.engine import errors
from server.engine.painting import ControlInput, PaintRequest, check

IMAGE = np.zeros((64, 72, 3), np.uint8)


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [
        ({"steps": 0}, "steps is 0; it must lie in 1 to 1000"),
        ({"guidance_scale": float("nan")}, "guidance_scale is nan"),
        ({"denoising_strength": 1.5}, "denoising_strength is 1.5; it must lie in 0 to 1"),
        ({"batch": 0}, "batch is 0"),
        ({"width": 100}, "width is 100; it must be a multiple of 8"),
        ({"height": 32}, "height is 32; it must be a multiple of 8 from 64 on"),
        ({"seed": -1}, "seed is -1"),
        ({"image": IMAGE, "width": 64}, "width is 64 and the image's is 72"),
        ({"image": IMAGE[..., 0]}, r"image is uint8 \(64, 72\)"),
        ({"image": IMAGE.astype(np.float64)}, "image is float64"),
        ({"image": np.zeros((0, 4, 3), np.uint8)}, "image is uint8"),
        ({"mask": IMAGE[..., 0]}, "mask is given without an image"),
        ({"image": IMAGE, "mask": np.zeros((64, 64), np.uint8)}, "mask is 64 × 64 and image is 72 × 64"),
        ({"image": IMAGE, "mask": IMAGE}, r"mask is uint8 \(64, 72, 3\)"),
        ({"mask_feather": -1}, "mask_feather is -1"),
        ({"mask_padding": -1}, "mask_padding is -1"),
        ({"controls": (ControlInput("smell", IMAGE),)}, r"controls\[0\].kind is 'smell'"),
        ({"controls": (ControlInput("depth", IMAGE, weight=3),)}, r"controls\[0\].weight is 3"),
        ({"controls": (ControlInput("depth", IMAGE, start=0.6, end=0.4),)}, r"controls\[0\].end is 0.4"),
        ({"controls": (ControlInput("depth", IMAGE, metric=True),)}, r"metric depth is float \(h, w\)"),
        ({"controls": (ControlInput("canny", IMAGE, metric=True),)}, "cannot be metric"),
        ({"controls": (ControlInput("pose", np.zeros((1, 17, 3), np.float32), metric=True),)}, "18 or 60 or 130"),
    ],
)
def test_a_wrong_value_is_named_with_its_range(wanted, sentence):
    with pytest.raises(errors.InvalidRequest, match=sentence) as refusal:
        check(PaintRequest(**wanted))
    assert refusal.value.remedy


def test_the_defaults_are_fine():
    check(PaintRequest())


@pytest.mark.parametrize("cls", [cls for cls in vars(errors).values() if isinstance(cls, type)])
def test_errors_travel_between_processes_whole(cls):
    error = cls("What happened.", "What to do.") if cls is not errors.Cancelled else cls()
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is cls
    assert (copy.code, copy.sentence, copy.remedy) == (cls.code, error.sentence, error.remedy)
    assert str(copy) == f"{error.sentence} {error.remedy}"


def test_every_error_has_a_code_of_its_own():
    codes = [cls.code for cls in vars(errors).values() if isinstance(cls, type)]
    assert len(codes) == len(set(codes))
