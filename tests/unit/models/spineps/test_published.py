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
from models.spineps.old_plans import resolved_plans
from models.spineps.publish import publish
from models.spineps.published import import_published
from models.spineps.release import CUTOUT_MAPPING, LABEL_OF
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
    (pack,) = import_published([release], release.parent / "packs").packs
    return pack


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
    (pack,) = import_published(
        [release / "instance_sagittal", release / "T2w_semantic"], release.parent / "packs"
    ).packs

    assert set(pack.networks) == {"semantic", "instance"}


@pytest.mark.parametrize(
    ("folder", "network", "kind"), [("T2w_semantic", "instance", "unet"), ("instance_sagittal", "semantic", "nnunet")]
)
def test_a_missing_network_is_named(release: Path, folder: str, network: str, kind: str) -> None:
    """One of the two alone makes no pack."""
    with pytest.raises(PackError, match=f"no {network} network in .*inference_config.json of modeltype {kind}"):
        import_published([release / folder], release.parent / "packs")


def test_a_whole_models_folder_makes_a_pack_for_each_semantic_network(release: Path) -> None:
    """Users point at their SPINEPS models: T2w, T1w and Vibe share the instance and the labelling network."""
    write_semantic(release / "T1w_semantic_v1.0.9", modality=["T1w"])
    write_semantic(release / "Vibe_semantic_v1.0.9", modality=["Vibe"])
    (release / "T2w_labeling_v1.4.0").mkdir()
    write_labelling(release / "T2w_labeling_v1.4.0")

    imported = import_published([release], release.parent / "packs")

    assert [pack.name for pack in imported.packs] == ["spineps-t1w", "spineps-t2w", "spineps-vibe"]
    assert [pack.accepts["contrast"] for pack in imported.packs] == [["T1w"], ["T2w"], ["other"]]
    assert all({"semantic", "instance", "labelling"} == set(pack.networks) for pack in imported.packs)


def test_two_networks_for_the_same_pack_are_refused(release: Path) -> None:
    """Two versions of one network: only the user knows which is meant."""
    write_semantic(release / "T2w_semantic_v1.1.0")

    with pytest.raises(PackError, match="both make the pack spineps-t2w; name one of them with --from"):
        import_from(release)


def test_two_instance_networks_are_refused(release: Path) -> None:
    """They would be shared."""
    (release / "instance_sagittal_v1.3.0").mkdir()
    write_instance(release / "instance_sagittal_v1.3.0")

    with pytest.raises(PackError, match="both hold a instance network; name one"):
        import_from(release)


@pytest.mark.parametrize("config", [{"modality": ["CT"]}, {"modality": "CT"}])
def test_networks_for_ct_are_left_out_with_a_word(release: Path, config: dict[str, Any]) -> None:
    """Release v2.0.0 has some; a CT instance network says SEG, as every one does, and is known by its folder."""
    write_semantic(release / "CT_semantic_v2.0.0", **config)
    (release / "CT_instance_v2.0.0").mkdir()
    write_instance(release / "CT_instance_v2.0.0")

    imported = import_published([release], release.parent / "packs")

    assert [pack.name for pack in imported.packs] == ["spineps-t2w"]
    assert len(imported.notes) == 2
    assert all("network is for CT, which no engine here segments" in note for note in imported.notes)
    with pytest.raises(PackError, match="no semantic network in .*CT_semantic.*is for CT"):
        import_published([release / "CT_semantic_v2.0.0"], release.parent / "packs")


OLD_PLANS = {"3d_fullres": [20, 96, 160], "2d": [96, 160]}


@pytest.fixture
def old_plans(shared: Path) -> dict[str, Any]:
    """Return plans that nnunetv2 2.2's own planner wrote."""
    file = shared / "cases" / "spineps_old_plans" / "plans.json"
    if not file.is_file():
        pytest.skip(f"{file} is not there")
    plans: dict[str, Any] = json.loads(file.read_text())
    for configuration in plans["configurations"].values():
        configuration["UNet_base_num_features"], configuration["unet_max_num_features"] = 4, 12
    return plans


def rewrite(release: Path, plans: dict[str, Any], *, configuration: str = "3d_fullres") -> Path:
    """Give the semantic network of a release other plans and the weights that they describe."""
    folder = release / "T2w_semantic" / "nnUNetTrainer__nnUNetPlans__3d_fullres"
    write_json(folder / "plans.json", plans)
    resolved = resolved_plans(plans, configuration, folder / "plans.json")
    settings = {"plans": resolved, "dataset": DATASET, "configuration": configuration}
    path = folder / "fold_0" / "checkpoint_final.pth"
    checkpoint = torch.load(path, weights_only=False)
    checkpoint["network_weights"] = random_weights(settings, build_semantic_network)
    checkpoint["init_args"]["configuration"] = configuration
    torch.save(checkpoint, path)
    return folder


def test_plans_of_the_old_form_are_imported(release: Path, old_plans: dict[str, Any]) -> None:
    """What SPINEPS' authors published: UNet_class_name and the like instead of architecture."""
    rewrite(release, old_plans)

    pack = import_from(release)

    plans = load_pack(release.parent / "packs" / pack.name).networks["semantic"]["plans"]
    (name,) = plans["configurations"]
    architecture = plans["configurations"][name]["architecture"]
    assert name == "3d_fullres"
    assert architecture["network_class_name"].endswith("PlainConvUNet")
    assert architecture["arch_kwargs"]["features_per_stage"] == [4, 8, 12, 12, 12]
    assert plans["configurations"][name]["patch_size"] == OLD_PLANS[name]


def test_a_configuration_of_old_plans_may_inherit(release: Path, old_plans: dict[str, Any]) -> None:
    """nnU-Net lets a configuration name another and state what differs; so does one that inherits twice."""
    old_plans["configurations"]["finer"] = {"inherits_from": "3d_fullres", "batch_size": 5, "patch_size": [16, 96, 96]}
    old_plans["configurations"]["finest"] = {"inherits_from": "finer", "UNet_base_num_features": 2}
    rewrite(release, old_plans, configuration="finest")

    import_from(release)

    plans = load_pack(release.parent / "packs" / "spineps-t2w").networks["semantic"]["plans"]
    settings = plans["configurations"]["finest"]
    assert settings["patch_size"] == [16, 96, 96]
    assert settings["architecture"]["arch_kwargs"]["features_per_stage"] == [2, 4, 8, 12, 12]
    assert settings["spacing"] == old_plans["configurations"]["3d_fullres"]["spacing"]


def test_a_residual_network_of_the_old_form_is_built(release: Path, old_plans: dict[str, Any]) -> None:
    """nnU-Net 2.2 knew two networks."""
    old_plans["configurations"]["3d_fullres"]["UNet_class_name"] = "ResidualEncoderUNet"
    rewrite(release, old_plans)

    import_from(release)

    plans = load_pack(release.parent / "packs" / "spineps-t2w").networks["semantic"]["plans"]
    assert plans["configurations"]["3d_fullres"]["architecture"]["network_class_name"].endswith("ResidualEncoderUNet")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"UNet_class_name": "os.system"}, "configuration 3d_fullres describes no network of nnU-Net: .*os.system"),
        ({"UNet_class_name": None}, "configuration 3d_fullres describes no network of nnU-Net"),
        ({"conv_kernel_sizes": None}, "describes no network that can be built"),
    ],
)
def test_old_plans_that_name_no_network_are_refused(
    release: Path, old_plans: dict[str, Any], change: dict[str, Any], message: str
) -> None:
    """The message names the file and the configuration."""
    folder = rewrite(release, old_plans)
    old_plans["configurations"]["3d_fullres"] |= change
    write_json(folder / "plans.json", old_plans)

    with pytest.raises(PackError, match=message):
        import_from(release)


def test_plans_without_either_form_say_what_they_lack(release: Path) -> None:
    """The key is named."""
    path = release / "T2w_semantic" / "nnUNetTrainer__nnUNetPlans__3d_fullres" / "plans.json"
    plans = json.loads(path.read_text())
    del plans["configurations"]["3d_fullres"]["architecture"]
    write_json(path, plans)

    with pytest.raises(PackError, match="lacks both 'architecture' and 'UNet_class_name'"):
        import_from(release)


def test_plans_may_lie_deeper_than_the_configuration(release: Path) -> None:
    """A release has its inference_config.json above nnU-Net's own folder, or in it."""
    folder = release / "T2w_semantic" / "nnUNetTrainer__nnUNetPlans__3d_fullres"
    (folder / "inference_config.json").rename(release / "T2w_semantic" / "inference_config.json")

    assert import_from(release).name == "spineps-t2w"


@pytest.mark.parametrize("available", [1, "0", "1", ["0"], [0], "0,1", ["0", "1"], 2])
def test_folds_are_told_as_number_text_or_list(release: Path, available: object) -> None:
    """As spineps reads them: a number counts, a text or list names."""
    write_semantic(release / "T2w_semantic" / "nnUNetTrainer__nnUNetPlans__3d_fullres", folds=2)
    write_json_key(release, "available_folds", available)

    folds = import_from(release).networks["semantic"]["folds"]

    assert folds == (1 if available in (1, "0", "1", ["0"], [0]) else 2)


def write_json_key(release: Path, key: str, value: object) -> None:
    """Set one key of the semantic network's configuration."""
    path = release / "T2w_semantic" / "nnUNetTrainer__nnUNetPlans__3d_fullres" / "inference_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("has_c1", True, "has_c1 is True: vertebrae are counted from C2"),
        ("needs_corp", True, "needs_corp is True: the crop by a second network"),
        ("sacrum_ids", [26, 71], r"sacrum_ids is \[26, 71\]"),
        ("vert_size_threshold", 100, "vert_size_threshold is 100"),
        ("mapping", {"41": 1}, "mapping is not SPINEPS' own"),
        ("expected_inputs", ["ip", "oop"], r"a network of 2 inputs \(ip, oop\); the engine gives it one image"),
        ("available_folds", [], "available_folds is"),
    ],
)
def test_what_the_engine_does_not_honour_is_refused_by_name(
    release: Path, key: str, value: object, message: str
) -> None:
    """At import, not by a fault of the engine with a patient's study."""
    write_json_key(release, key, value)

    with pytest.raises(PackError, match=message):
        import_from(release)


@pytest.mark.parametrize(
    ("key", "value"),
    [("has_c1", False), ("sacrum_ids", [26]), ("mapping", {str(k): v for k, v in CUTOUT_MAPPING.items()})],
)
def test_what_the_engine_does_anyhow_may_be_said(release: Path, key: str, value: object) -> None:
    """The defaults, written out."""
    write_json_key(release, key, value)

    assert import_from(release).name == "spineps-t2w"


def test_a_network_of_two_channels_is_refused(release: Path) -> None:
    """nnU-Net's own word for several inputs."""
    folder = release / "T2w_semantic" / "nnUNetTrainer__nnUNetPlans__3d_fullres"
    write_json(folder / "dataset.json", {**DATASET, "channel_names": {"0": "in-phase", "1": "out-of-phase"}})

    with pytest.raises(PackError, match=r"2 inputs \(in-phase, out-of-phase\)"):
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
        ({"modality": ["US"]}, "made for US; there is use for T2w"),
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
    (again,) = import_published([tmp_path / "published"], tmp_path / "again").packs

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
