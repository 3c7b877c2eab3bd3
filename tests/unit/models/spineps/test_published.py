"""Published folders become a pack, a pack becomes published folders, and the file at fault is named."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from app.cli import app
from models.errors import PackError
from models.packs import ModelPack, load_pack, read_weights
from models.spineps.instance_network import build_instance_network
from models.spineps.labelling_network import build_labelling_network
from models.spineps.publish import publish
from models.spineps.published import import_published
from models.spineps.release import LABEL_OF
from models.spineps.semantic import build_semantic_network
from models.state_dicts import with_aliases

LABELS = {"1": "Spinal_Canal", "2": "49", "3": 100}
PLANS: dict[str, Any] = {
    "dataset_name": "Dataset001_Made",
    "plans_name": "nnUNetPlans",
    "original_median_spacing_after_transp": [3.3, 0.9, 0.9],
    "original_median_shape_after_transp": [16, 32, 32],
    "image_reader_writer": "SimpleITKIO",
    "transpose_forward": [0, 1, 2],
    "transpose_backward": [0, 1, 2],
    "configurations": {
        "3d_fullres": {
            "data_identifier": "nnUNetPlans_3d_fullres",
            "preprocessor_name": "DefaultPreprocessor",
            "batch_size": 2,
            "patch_size": [8, 16, 16],
            "median_image_size_in_voxels": [16, 32, 32],
            "spacing": [3.3, 0.9, 0.9],
            "normalization_schemes": ["ZScoreNormalization"],
            "use_mask_for_norm": [False],
            "resampling_fn_data": "resample_data_or_seg_to_shape",
            "resampling_fn_seg": "resample_data_or_seg_to_shape",
            "resampling_fn_data_kwargs": {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None},
            "resampling_fn_seg_kwargs": {"is_seg": True, "order": 1, "order_z": 0, "force_separate_z": None},
            "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
            "resampling_fn_probabilities_kwargs": {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None},
            "architecture": {
                "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
                "arch_kwargs": {
                    "n_stages": 2,
                    "features_per_stage": [4, 8],
                    "conv_op": "torch.nn.modules.conv.Conv3d",
                    "kernel_sizes": [[1, 3, 3], [3, 3, 3]],
                    "strides": [[1, 1, 1], [1, 2, 2]],
                    "n_conv_per_stage": [1, 1],
                    "n_conv_per_stage_decoder": [1],
                    "conv_bias": True,
                    "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
                    "norm_op_kwargs": {"eps": 1e-05, "affine": True},
                    "dropout_op": None,
                    "dropout_op_kwargs": None,
                    "nonlin": "torch.nn.LeakyReLU",
                    "nonlin_kwargs": {"inplace": True},
                },
                "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
            },
            "batch_dice": False,
        }
    },
    "experiment_planner_used": "ExperimentPlanner",
    "label_manager": "LabelManager",
    "foreground_intensity_properties_per_channel": {
        "0": {
            "max": 1.0,
            "mean": 0.5,
            "median": 0.5,
            "min": 0.0,
            "percentile_00_5": 0.0,
            "percentile_99_5": 1.0,
            "std": 0.2,
        }
    },
}
DATASET = {
    "channel_names": {"0": "T2w"},
    "labels": {"background": 0, "canal": 1, "body": 2, "disc": 3},
    "numTraining": 1,
    "file_ending": ".nii.gz",
}
SEMANTIC = {"plans": PLANS, "dataset": DATASET, "configuration": "3d_fullres"}
INSTANCE = {"dim": 8, "dim_mults": [1, 2, 4, 8], "channels": 11, "classes": 4}
LABELLING = {"kind": "densenet121", "heads": {"VERT": 24, "REGION": 3}, "head_conv": False, "head_hidden": True}
CONFIG: dict[str, Any] = {
    "log_name": "made",
    "acquisition": "sag",
    "model_expected_orientation": ["P", "I", "R"],
    "available_folds": 1,
    "inference_augmentation": True,
    "resolution_range": [0.86, 0.86, 3.3],
    "default_step_size": 0.5,
}


class TrainingOptions:
    """Options of a class that only the training's code has, as published checkpoints hold them."""

    def __init__(self, **options: object) -> None:
        """Set each option as an attribute."""
        self.__dict__.update(options)


def random_weights(settings: Mapping[str, Any], build: Any) -> dict[str, Tensor]:
    """Weights of a fresh network from a fixed seed."""
    torch.manual_seed(0)
    return {key: value.clone() for key, value in build(settings).state_dict().items()}


def write_json(path: Path, body: Mapping[str, Any]) -> None:
    """Write a JSON file into a folder that may have to be made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(body))


def write_semantic(folder: Path, *, folds: int = 1, which: str = "final", **config: Any) -> None:
    """Write an nnU-Net folder the way its trainer leaves one."""
    made = {**CONFIG, "modality": ["T2w"], "modeltype": "nnunet", "labels": LABELS, "available_folds": folds, **config}
    write_json(folder / "inference_config.json", made)
    write_json(folder / "plans.json", PLANS)
    write_json(folder / "dataset.json", DATASET)
    weights = random_weights(SEMANTIC, build_semantic_network)
    for fold in range(folds):
        checkpoint = {
            "network_weights": weights,
            "optimizer_state": {"state": {}, "param_groups": [{"lr": 0.01}]},
            "grad_scaler_state": None,
            "logging": {"mean_fg_dice": [np.float64(0.9)], "dice_per_class": np.ones(3)},
            "_best_ema": np.float64(0.9),
            "current_epoch": 1000,
            "init_args": {"plans": PLANS, "configuration": "3d_fullres", "fold": fold, "device": torch.device("cpu")},
            "trainer_name": "nnUNetTrainer",
            "inference_allowed_mirroring_axes": (0, 1, 2),
        }
        path = folder / f"fold_{fold}" / f"checkpoint_{which}.pth"
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(checkpoint, path)


def write_instance(folder: Path, **config: Any) -> None:
    """Write a folder with a Lightning checkpoint of the instance network."""
    made = {**CONFIG, "modality": "SEG", "modeltype": "unet", "labels": {"1": 1}, "expected_inputs": ["seg"], **config}
    write_json(folder / "inference_config.json", made)
    weights = random_weights(INSTANCE, build_instance_network)
    checkpoint = {
        "epoch": 99,
        "pytorch-lightning_version": "1.9.0",
        "state_dict": {f"network.{key}": value for key, value in weights.items()},
        "callbacks": {
            "ModelCheckpoint{'monitor': 'val'}": {"best_model_score": torch.ones(()), "dirpath": Path("logs")}
        },
        "hyper_parameters": {"opt": argparse.Namespace(n_epoch=100), "num_channels": 11, "dim": 8},
    }
    torch.save(checkpoint, folder / "sub_best_weights.ckpt")


def write_labelling(folder: Path) -> None:
    """Write a folder with a Lightning checkpoint of the labelling network."""
    made = {**CONFIG, "modality": "T2w", "modeltype": "classifier", "labels": {"1": 1}}
    write_json(folder / "inference_config.json", made)
    options = TrainingOptions(final_size=(152, 168, 32), ds_name="sagittal_v4corpus_npz", lr=np.float32(1e-4))
    checkpoint = {
        "state_dict": random_weights(LABELLING, build_labelling_network),
        "hyper_parameters": {"opt": options, "group_2_n_channel": LABELLING["heads"]},
    }
    (folder / "checkpoints").mkdir()
    torch.save(checkpoint, folder / "checkpoints" / "epoch=3-val_f1=0.97-valf1-weights.ckpt")


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """Return a folder with the semantic and the instance network of a release."""
    write_semantic(tmp_path / "release" / "T2w_semantic" / "nnUNetTrainer__nnUNetPlans__3d_fullres")
    write_instance(tmp_path / "release" / "instance_sagittal")
    return tmp_path / "release"


def import_from(release: Path) -> ModelPack:
    """Import a release beside itself."""
    return import_published([release], release.parent / "packs")


def test_published_folders_become_a_pack(release: Path) -> None:
    """Settings come from the JSON files, builds from the shapes, weights go in unchanged."""
    import_from(release)

    pack = load_pack(release.parent / "packs" / "spineps-t2w")
    semantic, instance = pack.networks["semantic"], pack.networks["instance"]
    assert (pack.name, pack.engine) == ("spineps-t2w", "spineps")
    assert pack.accepts == {"modality": ["MR"], "plane": ["sagittal"], "contrast": ["T2w"]}
    assert semantic["plans"] == PLANS
    assert semantic["labels"] == {"1": 61, "2": 49, "3": 100}
    assert (semantic["folds"], semantic["mirror_axes"], semantic["configuration"]) == (1, [0, 1, 2], "3d_fullres")
    assert instance.items() >= INSTANCE.items()
    assert instance["cutout_size"] == [248, 304, 64]
    for network, settings, build in (
        ("semantic", SEMANTIC, build_semantic_network),
        ("instance", INSTANCE, build_instance_network),
    ):
        weights, expected = with_aliases(read_weights(pack, network), build(settings)), random_weights(settings, build)
        assert weights.keys() == expected.keys()
        assert all(torch.equal(weights[key], value) for key, value in expected.items())


def test_a_tensor_with_several_names_is_stored_once(release: Path) -> None:
    """nnU-Net's state dicts name the encoder four times over."""
    pack = import_from(release)

    stored = sum(tensor.numel() for tensor in read_weights(pack, "semantic").values())
    assert stored == sum(parameter.numel() for parameter in build_semantic_network(SEMANTIC).parameters())


@pytest.mark.slow
def test_a_labelling_network_comes_along(release: Path) -> None:
    """Backbone and heads are read from the shapes, cutouts from the options of a class that nobody imports."""
    write_labelling(release / "T2w_labeling")

    pack = import_from(release)

    assert pack.networks["labelling"].items() >= LABELLING.items()
    assert (pack.networks["labelling"]["cutout_size"], pack.networks["labelling"]["rotate"]) == ([152, 168, 32], True)


def test_each_fold_is_kept(release: Path) -> None:
    """An ensemble of folds stays one; the best checkpoint stands in where no final one was published."""
    folder = release / "T2w_semantic" / "nnUNetTrainer__nnUNetPlans__3d_fullres"
    (folder / "fold_0" / "checkpoint_final.pth").unlink()
    write_semantic(folder, folds=2, which="best")

    pack = import_from(release)

    assert pack.networks["semantic"]["folds"] == 2
    assert set(pack.weights) == {"semantic_fold_0", "semantic_fold_1", "instance"}


def test_networks_may_come_from_several_folders(release: Path) -> None:
    """Archives unpack side by side or apart."""
    pack = import_published([release / "instance_sagittal", release / "T2w_semantic"], release.parent / "packs")

    assert set(pack.networks) == {"semantic", "instance"}


@pytest.mark.parametrize(
    ("folder", "network", "kind"), [("T2w_semantic", "instance", "unet"), ("instance_sagittal", "semantic", "nnunet")]
)
def test_a_missing_network_is_named(release: Path, folder: str, network: str, kind: str) -> None:
    """One of the two alone makes no pack."""
    with pytest.raises(PackError, match=f"no {network} network in .*inference_config.json of modeltype {kind}"):
        import_published([release / folder], release.parent / "packs")


def test_two_semantic_networks_are_refused(release: Path) -> None:
    """T1w and T2w become two packs."""
    write_semantic(release / "T1w_semantic")

    with pytest.raises(PackError, match="both hold a semantic network; name one"):
        import_from(release)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("plans.json", "plans.json cannot be read"),
        ("dataset.json", "dataset.json cannot be read"),
        ("fold_0/checkpoint_final.pth", "checkpoint_final.pth is missing, and so is checkpoint_best.pth"),
    ],
)
def test_a_missing_file_of_the_semantic_network_is_named(release: Path, file: str, message: str) -> None:
    """A partial folder is no network."""
    (release / "T2w_semantic" / "nnUNetTrainer__nnUNetPlans__3d_fullres" / file).unlink()

    with pytest.raises(PackError, match=message):
        import_from(release)


def test_a_missing_instance_checkpoint_is_named(release: Path) -> None:
    """The configuration alone is no network."""
    (release / "instance_sagittal" / "sub_best_weights.ckpt").unlink()

    with pytest.raises(PackError, match=r"instance_sagittal: expected one \*weights\*.ckpt, found none"):
        import_from(release)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"modality": ["CT"]}, "made for CT; there is use for T2w"),
        ({"acquisition": "oblique"}, "acquisition 'oblique'; expected one of sag"),
        ({"model_expected_orientation": ["R", "A", "S"]}, "oriented R-A-S; expected P-I-R"),
        ({"resolution_range": [1, 1]}, r"resolution_range is \[1, 1\]; expected three spacings"),
        ({"labels": {"1": "Femur"}}, "label 1 is 'Femur'; expected a number or one of"),
        ({"labels": {}}, "has no labels"),
    ],
)
def test_a_configuration_there_is_no_use_for_is_refused(release: Path, config: dict[str, Any], message: str) -> None:
    """The setting at fault is named with what was expected."""
    write_semantic(release / "T2w_semantic" / "nnUNetTrainer__nnUNetPlans__3d_fullres", **config)

    with pytest.raises(PackError, match=message):
        import_from(release)


def test_an_unknown_modeltype_is_refused(release: Path) -> None:
    """What a folder is, its configuration says."""
    write_json(release / "other" / "inference_config.json", {"modeltype": "transformer"})

    with pytest.raises(PackError, match="modeltype 'transformer'; expected one of nnunet, unet, classifier"):
        import_from(release)


def test_plans_that_would_import_something_else_are_refused(release: Path) -> None:
    """nnU-Net imports what its plans name; ours are held to networks and layers."""
    path = release / "T2w_semantic" / "nnUNetTrainer__nnUNetPlans__3d_fullres" / "plans.json"
    path.write_text(path.read_text().replace("torch.nn.LeakyReLU", "os.system"))

    with pytest.raises(PackError, match="configuration 3d_fullres wants 'os.system'"):
        import_from(release)


def test_weights_of_another_width_are_refused(release: Path) -> None:
    """The plans and the checkpoint belong together."""
    path = release / "T2w_semantic" / "nnUNetTrainer__nnUNetPlans__3d_fullres" / "plans.json"
    path.write_text(path.read_text().replace("[4, 8]", "[4, 16]"))

    with pytest.raises(PackError, match=r"checkpoint_final.pth is not the expected network of .* expected \(16, "):
        import_from(release)


class Bomb:
    """What runs a command where a pickle is opened carelessly."""

    def __init__(self, marker: Path) -> None:
        """Take the file that must not come to be."""
        self.marker = marker

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        """Ask for a command."""
        return eval, (f"open({str(self.marker)!r}, 'w')",)


def test_a_checkpoint_that_wants_to_run_something_is_not_opened(release: Path, tmp_path: Path) -> None:
    """The name of the function is in the message, and nothing happened."""
    torch.save({"state_dict": {}, "x": Bomb(tmp_path / "ran")}, release / "instance_sagittal" / "sub_best_weights.ckpt")

    with pytest.raises(PackError, match="sub_best_weights.ckpt names builtins.eval, which no checkpoint needs"):
        import_from(release)

    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds no dictionary"),
        ({"weights": {}}, "holds no state dict under 'state_dict'; it has weights"),
        (
            {"state_dict": {"network.a": torch.zeros(1)}},
            "no instance network of SPINEPS: 'init_conv.weight' is missing",
        ),
    ],
)
def test_a_foreign_checkpoint_is_refused(release: Path, content: Any, message: str) -> None:
    """What is in it instead is told."""
    torch.save(content, release / "instance_sagittal" / "sub_best_weights.ckpt")

    with pytest.raises(PackError, match=message):
        import_from(release)


def test_a_checkpoint_that_is_a_web_page_is_refused(release: Path) -> None:
    """A failed download is told from a checkpoint."""
    (release / "instance_sagittal" / "sub_best_weights.ckpt").write_text("<html>not found</html>")

    with pytest.raises(PackError, match="sub_best_weights.ckpt cannot be opened safely"):
        import_from(release)


def test_a_pack_survives_being_published(release: Path, tmp_path: Path) -> None:
    """Published again and imported again, it is the same pack."""
    pack = import_from(release)

    publish(pack, tmp_path / "published")
    again = import_published([tmp_path / "published"], tmp_path / "again")

    assert again.digest == pack.digest
    assert again.accepts == pack.accepts


def test_a_pack_of_another_engine_is_not_published(release: Path, tmp_path: Path) -> None:
    """Only SPINEPS has these folders."""
    pack = import_from(release)
    foreign = ModelPack(**{**vars(pack), "engine": "spinefm"})

    with pytest.raises(PackError, match="is for the engine spinefm, and only one for spineps"):
        publish(foreign, tmp_path / "published")


def test_names_of_labels_are_those_of_the_scheme() -> None:
    """The fourteen structures have a name and a number each."""
    assert set(LABEL_OF.values()) >= {*range(41, 50), 60, 61, 62, 100, 26}


def test_the_command_imports_and_exports(release: Path, tmp_path: Path) -> None:
    """What was imported is installed, and can be written out for the original."""
    packs, out = tmp_path / "packs", tmp_path / "published"
    (tmp_path / "app.yaml").write_text(f"packs: {packs}\n")
    folders = [f"--from={folder}" for folder in sorted(release.iterdir())]
    settings = f"--config={tmp_path / 'app.yaml'}"

    imported = CliRunner().invoke(app, ["models", "import", "spineps", *folders, settings])
    exported = CliRunner().invoke(app, ["models", "export", "spineps-t2w", f"--to={out}", settings])

    assert "spineps-t2w 1.0.0 is installed" in imported.output
    assert "semantic:" in exported.output
    assert (out / "semantic" / "fold_0" / "checkpoint_final.pth").is_file()
