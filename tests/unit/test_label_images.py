"""Readers of predictions and references: every format gives the same label image, or an error that helps."""

import json
from collections.abc import Sequence
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset

from models.contracts import FoundStructure
from operators.dicom.identity import AlgorithmIdentity, Profile
from operators.dicom.label_images import LabelImageError, find_label_files, read_label_image
from operators.dicom.segmentation import build_segmentation
from tests.made_dicom import made_dx

ALGORITHM = AlgorithmIdentity("pack", "1", "0" * 64, "0.1")
LEVELS = {1: "C3", 2: "C4", 3: "C5"}


def three_blocks(rows: int = 33, columns: int = 21) -> NDArray[np.uint16]:
    """Return a labelmap whose size is no multiple of eight, with Segment Numbers 1 to 3."""
    labelmap = np.zeros((rows, columns), np.uint16)
    for number, top in enumerate((3, 13, 23), start=1):
        labelmap[top : top + 7, 4 + number : 14 + number] = number
    return labelmap


def segmentation(labelmap: NDArray[np.uint16], *, profile: Profile = "standard") -> tuple[Dataset, Dataset]:
    """Return a radiograph and its Segmentation."""
    source = made_dx(np.zeros(labelmap.shape, np.uint16))
    structures = [FoundStructure(n, level, level, 0.9, (0.0, 0.0)) for n, level in LEVELS.items()]
    return source, build_segmentation(labelmap, [source], structures, algorithm=ALGORITHM, profile=profile)


def labelme(path: Path, shapes: Sequence[tuple[str, Sequence[Sequence[float]]]]) -> Path:
    """Write an annotation as LabelMe does."""
    items = [{"label": label, "points": points, "shape_type": "point"} for label, points in shapes]
    path.write_text(json.dumps({"version": "5.0", "shapes": items, "imageHeight": 40, "imageWidth": 30}))
    return path


def corners(level: str, left: float, top: float, right: float, bottom: float) -> list[tuple[str, list[list[float]]]]:
    """Return the four key points of a body, in the order in which the atlas names them."""
    return [
        (f"{level} top left", [[left, top]]),
        (f"{level} top right", [[right, top]]),
        (f"{level} bottom left", [[left, bottom]]),
        (f"{level} bottom right", [[right, bottom]]),
    ]


@pytest.mark.parametrize("profile", ["standard", "ohif"])
def test_a_segmentation_comes_back_as_it_was_written_in_either_encoding(tmp_path: Path, profile: Profile) -> None:
    """BINARY and LABELMAP: the same voxels, the Segment Labels as levels, no spacing where nobody knows it."""
    _, seg = segmentation(three_blocks(), profile=profile)
    seg.save_as(tmp_path / "result")

    image = read_label_image(tmp_path / "result")

    np.testing.assert_array_equal(image.labelmap, three_blocks())
    assert image.levels == LEVELS
    assert image.spacing_mm is None
    assert image.overlapping == 0


def volume_source(slices: int) -> list[Dataset]:
    """Return the slices of a sagittal volume, 4 mm apart, 0.5 by 0.6 mm pixels."""
    sources: list[Dataset] = []
    for index in range(slices):
        dataset = made_dx(np.zeros((8, 8), np.uint16), instance_number=index + 1)
        dataset.SeriesInstanceUID = "2.25.1"
        dataset.FrameOfReferenceUID = "2.25.2"
        dataset.PositionReferenceIndicator = ""
        dataset.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
        dataset.ImagePositionPatient = [4.0 * index, 0, 0]
        dataset.PixelSpacing = [0.5, 0.6]
        dataset.SliceThickness = 3.0
        dataset.SpacingBetweenSlices = 4.0
        sources.append(dataset)
    return sources


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_a_volume_is_read_along_its_normal_with_its_empty_slices_between(tmp_path: Path, kind: str) -> None:
    """Slices that the encoder left out as empty come back empty; the spacing is in the order of the axes."""
    volume = np.zeros((6, 8, 8), np.uint8)
    volume[1, 2:4, 2:6], volume[4, 3:6, 1:3] = 1, 2
    segments = [
        hd.seg.SegmentDescription(
            number, label, hd.sr.CodedConcept("123037004", "SCT", "Anatomical Structure"),
            hd.sr.CodedConcept("51282000", "SCT", "Vertebra"), "MANUAL",
        )
        for number, label in ((1, "l1"), (2, "L2"))
    ]  # fmt: skip
    seg = hd.seg.Segmentation(
        volume_source(6), volume, kind, segments, hd.UID(), 1, hd.UID(), 1, "m", "m", "1", "1",
        omit_empty_frames=True,
    )  # fmt: skip
    seg.save_as(tmp_path / "volume.dcm")

    image = read_label_image(tmp_path / "volume.dcm")

    ascending = volume[1:5] if _normal_ascends(seg) else volume[4:0:-1]
    np.testing.assert_array_equal(image.labelmap, ascending)
    assert image.levels == {1: "L1", 2: "L2"}
    assert image.spacing_mm == pytest.approx((4.0, 0.5, 0.6))


def _normal_ascends(seg: Dataset) -> bool:
    """Whether the normal of the orientation used above points to higher x: (0,1,0) × (0,0,-1) = (-1,0,0): no."""
    groups = seg.SharedFunctionalGroupsSequence[0]
    axes = np.array(groups.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    return bool(np.cross(axes[:3], axes[3:])[0] > 0)


def test_overlapping_segments_are_counted_and_go_to_the_lowest_number(tmp_path: Path) -> None:
    """A labelmap holds one value per voxel: what is lost by that is said."""
    _, seg = segmentation(three_blocks())
    frames = seg.pixel_array.copy()
    frames[1] |= frames[0]
    seg.PixelData = np.packbits(frames.ravel().astype(bool), bitorder="little").tobytes()
    if len(seg.PixelData) % 2:
        seg.PixelData += b"\0"
    seg.save_as(tmp_path / "seg.dcm")

    image = read_label_image(tmp_path / "seg.dcm")

    np.testing.assert_array_equal(image.labelmap, three_blocks())
    assert image.overlapping == 70


def test_a_radiograph_given_for_its_segmentation_is_named(tmp_path: Path) -> None:
    """The commonest slip, the image instead of the SEG, is told apart from a broken file."""
    made_dx(np.zeros((8, 8), np.uint16)).save_as(tmp_path / "image.dcm")

    with pytest.raises(LabelImageError, match=r"image\.dcm is DICOM but no Segmentation"):
        read_label_image(tmp_path / "image.dcm")


def test_a_fractional_segmentation_is_refused(tmp_path: Path) -> None:
    """Probabilities are no label map; nobody chooses a threshold silently."""
    _, seg = segmentation(three_blocks())
    seg.SegmentationType = "FRACTIONAL"
    seg.save_as(tmp_path / "seg.dcm")

    with pytest.raises(LabelImageError, match="type FRACTIONAL; BINARY and LABELMAP"):
        read_label_image(tmp_path / "seg.dcm")


def test_png_values_follow_the_public_numbering_without_a_table(tmp_path: Path) -> None:
    """3 … 7 are C3 … C7, 8 is T1, 20 is L1, 26 is S1; levels that do not occur are not named."""
    values = np.array([[0, 3, 7, 8, 20, 26]], np.uint8)
    Image.fromarray(values).save(tmp_path / "a.png")

    image = read_label_image(tmp_path / "a.png")

    assert image.levels == {3: "C3", 7: "C7", 8: "T1", 20: "L1", 26: "S1"}


@pytest.mark.parametrize("table", [{"levels": {"1": "l05", "200": "vertebra 2"}}, {"1": "L5", "200": "vertebra 2"}])
def test_a_table_beside_a_png_names_its_values(tmp_path: Path, table: dict[str, object]) -> None:
    """The table goes before the public numbering, bare or under `levels`."""
    Image.fromarray(np.array([[0, 1, 200]], np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "a.json").write_text(json.dumps(table))

    assert read_label_image(tmp_path / "a.png").levels == {1: "L5", 200: "vertebra 2"}


@pytest.mark.parametrize("in_file", [True, False])
def test_npz_is_read_with_its_levels_in_it_or_beside_it(tmp_path: Path, in_file: bool) -> None:
    """The table of levels may travel either way; the spacing is in axis order."""
    levels = json.dumps({str(number): level for number, level in LEVELS.items()})
    arrays: dict[str, NDArray[np.generic]] = {"labelmap": three_blocks(), "spacing_mm": np.array([0.2, 0.3])}
    if in_file:
        arrays["levels"] = np.array(levels)
    else:
        (tmp_path / "a.json").write_text(levels)
    np.savez_compressed(tmp_path / "a.npz", **arrays)  # type: ignore[arg-type]  # numpy's stub takes a flag there

    image = read_label_image(tmp_path / "a.npz")

    np.testing.assert_array_equal(image.labelmap, three_blocks())
    assert (image.levels, image.spacing_mm) == (LEVELS, (0.2, 0.3))


def test_an_npz_without_levels_gets_neutral_labels(tmp_path: Path) -> None:
    """References numbered from the top carry no anatomical level, so none is invented."""
    np.savez(tmp_path / "a.npz", labelmap=three_blocks())

    assert read_label_image(tmp_path / "a.npz").levels == {1: "structure 1", 2: "structure 2", 3: "structure 3"}


def test_a_csxa_body_is_the_quadrilateral_of_its_corners(tmp_path: Path) -> None:
    """Key points may come in any order; C2 is marked in part and has no area."""
    shapes = [
        ("C2 centroid", [[12.0, 3.0]]),
        ("C2 bottom left", [[8.0, 5.0]]),
        ("C2 bottom right", [[16.0, 5.0]]),
        *corners("C4", 9.6, 20.6, 19.4, 27.4),
        *reversed(corners("C3", 8.6, 8.6, 18.4, 15.4)),
    ]

    image = read_label_image(labelme(tmp_path / "0001.json", shapes))

    expected = np.zeros((40, 30), np.uint16)
    expected[9:16, 9:19], expected[21:28, 10:20] = 1, 2
    np.testing.assert_array_equal(image.labelmap, expected)
    assert image.levels == {1: "C3", 2: "C4"}


def test_an_outline_is_read_where_an_annotation_has_one(tmp_path: Path) -> None:
    """A polygon named by its level stands for the body."""
    image = read_label_image(labelme(tmp_path / "a.json", [("c3", [[4.6, 4.6], [9.4, 4.6], [9.4, 9.4], [4.6, 9.4]])]))

    assert image.levels == {1: "C3"}
    assert np.argwhere(image.labelmap).min() == 5
    assert np.count_nonzero(image.labelmap) == 25


@pytest.mark.parametrize(
    ("shapes", "reason"),
    [
        (corners("C3", 5, 5, 15, 15)[:3], "C3 has no point 'bottom right'"),
        ([("nose", [[1.0, 1.0]])], "label 'nose' is unknown"),
        ([("C3 middle", [[1.0, 1.0]])], "label 'C3 middle' is unknown"),
        ([*corners("C3", 5, 5, 15, 15), ("C3 top left", [[5.0, 5.0]])], "'C3 top left' is marked twice"),
        (corners("C3", 5, 5, 95, 15), "C3 lies outside its image of 30 × 40 pixels"),
        ([("C3", [[1.0, 1.0], [2.0, 2.0]])], "C3 has 2 points; an outline needs three"),
        ([("C3 top left", [[1.0]])], "no annotation of CSXA"),
    ],
)
def test_a_csxa_file_that_is_not_as_published_is_refused(
    tmp_path: Path, shapes: list[tuple[str, list[list[float]]]], reason: str
) -> None:
    """The file is named, and what was expected."""
    with pytest.raises(LabelImageError, match=rf"a\.json.*{reason}"):
        read_label_image(labelme(tmp_path / "a.json", shapes))


BOX = [(5, 5), (15, 5), (15, 12), (5, 12)]


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(f"C3 {x} {y}" for x, y in BOX),
        "# made for a test\nC03\n" + "\n".join(f"{x},\t{y}" for x, y in BOX),
        "c3;5;5\nc3;15;12\nc3;15;5\nc3;5;12\n",
    ],
    ids=["level in every line", "level above its points", "points in the order of a protocol"],
)
def test_nhanes_coordinates_give_the_outline_they_bound(tmp_path: Path, text: str) -> None:
    """Both line forms give the same body, also when the points do not go round it."""
    (tmp_path / "C00001.txt").write_text(text)
    Image.fromarray(np.zeros((30, 20), np.uint8)).save(tmp_path / "C00001.png")

    image = read_label_image(tmp_path / "C00001.txt")

    assert image.labelmap.shape == (30, 20)
    assert image.levels == {1: "C3"}
    assert np.count_nonzero(image.labelmap[6:12, 6:15]) == np.count_nonzero(np.ones((6, 9)))
    assert np.count_nonzero(image.labelmap) <= 8 * 11


@pytest.mark.parametrize(("level", "grid"), [("C3", (1755, 1463)), ("L4", (2487, 2048))])
def test_without_its_radiograph_the_grid_is_that_of_the_region(
    tmp_path: Path, level: str, grid: tuple[int, int]
) -> None:
    """The library digitised cervical and lumbar films at one size each."""
    (tmp_path / "a.mrk").write_text("\n".join(f"{level} {100 * x} {100 * y}" for x, y in [(5, 5), (14, 5), (14, 12)]))

    assert read_label_image(tmp_path / "a.mrk").labelmap.shape == grid


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "holds no vertebra coordinates"),
        ("5 5\n", "line 1: a level with x and y"),
        ("C3 5\n", "line 1: a level with x and y"),
        ("C3 5 5\nC3 six 5\n", "line 2: a level with x and y"),
        ("C3 5 5\nC3 9 9\n", "C3 has 2 points"),
        ("C3 5 5\nC3 9 5\nC3 9 9000\n", "outside its image"),
        ("T3 5 5\nT3 9 5\nT3 9 9\n", "put the radiograph beside it"),
    ],
)
def test_a_coordinate_file_of_another_form_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    """The format was found described in words only, so every line is held against what was assumed."""
    (tmp_path / "a.txt").write_text(text)

    with pytest.raises(LabelImageError, match=rf"a\.txt.*{reason}"):
        read_label_image(tmp_path / "a.txt")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.mnc", b"x", "a DICOM SEG or one of .dcm, .png, .npz, .json"),
        ("a.nii.gz", b"x", "no volume that ITK can read"),
        ("a.dcm", b"x", "is no DICOM file"),
        ("a.png", b"x", "is no PNG"),
        ("a.npz", b"x", "is no NPZ file"),
        ("a.json", b"{", "no annotation of CSXA"),
    ],
)
def test_a_file_that_nothing_reads_is_named_with_what_was_expected(
    tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    """No foreign file ends in a traceback."""
    (tmp_path / name).write_bytes(content)

    with pytest.raises(LabelImageError, match=reason):
        read_label_image(tmp_path / name)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """The path comes back in the message."""
    with pytest.raises(LabelImageError, match=r"nowhere\.png is no file"):
        read_label_image(tmp_path / "nowhere.png")


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (lambda path: Image.new("RGB", (4, 4)).save(path), "mode RGB"),
        (lambda path: Image.fromarray(np.array([[99]], np.uint8)).save(path), r"no level is known for: 99"),
    ],
)
def test_a_png_that_is_no_label_map_is_refused(tmp_path: Path, write: object, reason: str) -> None:
    """A colour overlay, and values without names."""
    write(tmp_path / "a.png")  # type: ignore[operator]

    with pytest.raises(LabelImageError, match=reason):
        read_label_image(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"mask": np.zeros((2, 2), int)}, r"holds \['mask'\]; the array `labelmap`"),
        ({"labelmap": np.zeros((2, 2))}, "float64 in 2 dimensions"),
        ({"labelmap": np.zeros(4, int)}, "int64 in 1 dimensions"),
        ({"labelmap": np.ones((2, 2), int), "levels": np.array("[1]")}, "names no levels"),
    ],
)
def test_an_npz_that_is_no_label_map_is_refused(
    tmp_path: Path, arrays: dict[str, NDArray[np.generic]], reason: str
) -> None:
    """What is in the file is said, and what was expected."""
    np.savez(tmp_path / "a.npz", **arrays)  # type: ignore[arg-type]  # numpy's stub takes a flag there

    with pytest.raises(LabelImageError, match=reason):
        read_label_image(tmp_path / "a.npz")


def test_a_folder_gives_its_label_images_and_nothing_else(tmp_path: Path) -> None:
    """Radiographs, pictures in colour, tables and reports lie between them and are passed over."""
    source, seg = segmentation(three_blocks())
    for folder, dataset, name in (("out/s", source, "image"), ("out/s", seg, "7.dcm")):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        dataset.save_as(tmp_path / folder / name)
    chance = np.random.default_rng(1)
    Image.fromarray(chance.integers(0, 255, (40, 40), np.uint8)).save(tmp_path / "0001.png")
    labelme(tmp_path / "0001.json", corners("C3", 5, 5, 15, 15))
    Image.fromarray(chance.integers(0, 255, (40, 40), np.uint8)).save(tmp_path / "grey.png")
    Image.new("RGB", (4, 4)).save(tmp_path / "overlay.png")
    (tmp_path / "report.json").write_text('{"studies": []}')
    (tmp_path / "README.txt").write_text("Cervical spines\n")
    (tmp_path / "film.txt").write_text("# made for a test\nC3 5 5\n")
    Image.fromarray(np.array([[0, 3]], np.uint8)).save(tmp_path / "labels.png")

    files = find_label_files(tmp_path)

    assert [(file.path.name, file.name) for file in files] == [
        ("0001.json", "0001"), ("film.txt", "film"), ("labels.png", "labels"), ("7.dcm", "7")
    ]  # fmt: skip
    assert files[3].sop_instance_uids == {source.SOPInstanceUID}


def test_a_reference_is_about_the_dicom_image_in_its_folder_and_named_by_it(tmp_path: Path) -> None:
    """Where every folder holds a file of one name, the folder is the name of the image."""
    for name in ("first", "second"):
        folder = tmp_path / name
        folder.mkdir()
        made_dx(np.zeros((8, 8), np.uint16), study=name).save_as(folder / "1.dcm")
        Image.fromarray(np.array([[0, 3]], np.uint8)).save(folder / "reference_labelmap.png")

    files = find_label_files(tmp_path)

    assert [file.name for file in files] == ["first", "second"]
    assert [file.sop_instance_uids for file in files] == [
        {dcmread(tmp_path / name / "1.dcm").SOPInstanceUID} for name in ("first", "second")
    ]


@pytest.mark.parametrize(("path", "reason"), [("", "holds no label image"), ("nowhere", "does not exist")])
def test_a_folder_without_label_images_is_named(tmp_path: Path, path: str, reason: str) -> None:
    """An empty comparison is an error, not a table of nothing."""
    with pytest.raises(LabelImageError, match=reason):
        find_label_files(tmp_path / path)
