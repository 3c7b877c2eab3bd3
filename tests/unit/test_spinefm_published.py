"""Published files become a pack, or the one at fault is named with what was expected."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from models.errors import PackError
from models.packs import load_pack, read_weights
from models.spinefm.config import read_config
from models.spinefm.networks import build_maskrcnn, build_point_predictor, build_resnet
from models.spinefm.published import FILES, import_published
from tests.unit.spinefm_recipe import recipe_like, recipe_state_dict

KEYS = Path(__file__).parents[1] / "data" / "medsam_vit_b_keys.json"
CSXA = {network: name for network, (_, name) in FILES.items()}


def write_light_files(folder: Path, *, classes: int = 2) -> None:
    """Write what is small: the point predictor; the others hold one foreign tensor."""
    torch.save(recipe_like(build_point_predictor().state_dict()), folder / CSXA["point_predictor"])
    for network in ("detector", "segmenter"):
        torch.save({"foreign.weight": torch.zeros(1)}, folder / CSXA[network])
    torch.save({"fc.weight": torch.zeros(classes, 8)}, folder / CSXA["classifier"])


@pytest.mark.parametrize("network", list(FILES))
def test_a_missing_file_is_named_with_the_one_expected(tmp_path: Path, network: str) -> None:
    """The message says which file to bring."""
    write_light_files(tmp_path)
    (tmp_path / CSXA[network]).unlink()

    with pytest.raises(PackError, match=f"no file for the {network}; expected {CSXA[network]}"):
        import_published(tmp_path, tmp_path / "packs")


def test_two_files_for_one_network_are_refused(tmp_path: Path) -> None:
    """Files of two data sets do not mix."""
    write_light_files(tmp_path)
    torch.save({}, tmp_path / "mask_rcnn_nhanes.pth")

    with pytest.raises(PackError, match=r"several files for the detector \(mask_rcnn_csxa.pth, mask_rcnn_nhanes.pth\)"):
        import_published(tmp_path, tmp_path / "packs")


def test_a_classifier_of_another_kind_is_refused(tmp_path: Path) -> None:
    """Depth and classes are read from the keys."""
    write_light_files(tmp_path, classes=3)

    with pytest.raises(PackError, match="0 blocks in layer3 and 3 classes found; expected resnet50"):
        import_published(tmp_path, tmp_path / "packs")


def test_a_foreign_point_predictor_is_refused_with_the_difference(tmp_path: Path) -> None:
    """Missing, unknown and misshapen entries are named."""
    write_light_files(tmp_path)
    torch.save({"0.weight": torch.zeros(50, 8), "x": torch.zeros(1)}, tmp_path / CSXA["point_predictor"])

    with pytest.raises(PackError, match=r"4 entries: 0.bias is missing; 2.weight is missing; .* and 2 more"):
        import_published(tmp_path, tmp_path / "packs")


class Bomb:
    """What a pickle must not be allowed to make."""


@pytest.mark.parametrize("content", [Bomb(), [1, 2], {"a": 1}])
def test_what_is_no_state_dict_is_not_opened(tmp_path: Path, content: Any) -> None:
    """An arbitrary pickle, or tensors in another form, is refused."""
    write_light_files(tmp_path)
    torch.save(content, tmp_path / CSXA["point_predictor"])

    with pytest.raises(PackError, match=r"point_predictor.pth holds no state dict"):
        import_published(tmp_path, tmp_path / "packs")


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    """A text file with the right name stays closed."""
    write_light_files(tmp_path)
    (tmp_path / CSXA["point_predictor"]).write_text("not found")

    with pytest.raises(PackError, match="holds no state dict that can be opened safely"):
        import_published(tmp_path, tmp_path / "packs")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("resnet", "classes", "name", "edges"),
    [("resnet50", 2, "spinefm-csxa", (300, 256)), ("resnet101", 4, "spinefm-nhanes-ii", (600, 512))],
)
def test_published_files_become_a_pack(
    tmp_path: Path, resnet: str, classes: int, name: str, edges: tuple[int, int]
) -> None:
    """All four networks go in unchanged; patches and classes are the data set's."""
    segmenter = recipe_state_dict(json.loads(KEYS.read_text()))
    classifier = recipe_like(build_resnet(resnet, classes).state_dict())
    source = tmp_path / "published"
    source.mkdir()
    torch.save(recipe_like(build_maskrcnn().state_dict()), source / "mask_rcnn_csxa.pth")
    torch.save({"state_dict": {f"module.{key}": value for key, value in segmenter.items()}}, source / "MSA_300b.pth")
    torch.save(recipe_like(build_point_predictor().state_dict()), source / "point_predictor.pth")
    torch.save(classifier, source / f"{resnet}_{classes}_class_224px.pth")

    import_published(source, tmp_path / "packs")

    pack = load_pack(tmp_path / "packs" / name)
    settings = read_config(pack)
    assert pack.name == name
    assert pack.networks["classifier"]["kind"] == resnet
    assert (settings.segmenter.px, settings.classifier.px) == edges
    assert len(settings.classes) == classes
    for network, expected in (("segmenter", segmenter), ("classifier", classifier)):
        weights = read_weights(pack, network)
        assert weights.keys() == expected.keys()
        assert all(torch.equal(weights[key], value) for key, value in expected.items())
