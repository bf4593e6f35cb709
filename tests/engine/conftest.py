from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from server.engine.catalog import Catalog
from server.engine.diffusion import Painter
from server.engine.painting import Painting, PaintRequest
from tests import tiny_models


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.build(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def catalog(models: Path) -> Catalog:
    tiny_models.lora(models / "sd", models / "style.safetensors", seed=20)
    tiny_models.lora(models / "sd", models / "other.safetensors", seed=21)
    return Catalog([models], starter=None)


@pytest.fixture(scope="session")
def ids(catalog: Catalog) -> dict[str, str]:
    return {info.name: info.id for info in catalog.models()}


@pytest.fixture(scope="session")
def painter(catalog: Catalog) -> Painter:
    return Painter(catalog, "cpu")


@pytest.fixture
def paint(painter: Painter, ids: dict[str, str]) -> Callable[..., Painting]:
    """Paint with the shared painter: keyword arguments of a request, the model by its name."""

    def paint(model: str = "sd", *, on_progress: Any = None, cancelled: Any = None, **wanted: Any) -> Painting:
        request = PaintRequest(**{"model": ids[model], "seed": 7, "steps": 3, **wanted})
        return painter.paint(request, on_progress, cancelled)

    return paint


@pytest.fixture(scope="session")
def picture() -> np.ndarray:
    """(96, 80, 4) uint16, smooth colours with some noise, and an alpha that varies."""
    y, x = np.mgrid[0:96, 0:80]
    planes = [x / 79, y / 95, (x + y) / 174, np.where(x > 40, 1.0, 0.3)]
    noise = np.random.default_rng(0).uniform(-0.02, 0.02, (96, 80, 4))
    return (np.clip(np.stack(planes, axis=-1) + noise, 0, 1) * 65535).astype(np.uint16)
