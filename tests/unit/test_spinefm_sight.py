"""Laws of what detector and patches have to say to each other."""

import numpy as np
import pytest
import torch

from models.spinefm.detection import Detection, DetectionKind
from models.spinefm.engine import _kinds_seen
from models.spinefm.eyes import Vertebra
from models.spinefm.patches import Window, place
from models.spinefm.walk import Sight

CLASSES = ("background", "vertebra", "C2", "S1")
BODY_PX = 20.0


def seen(probabilities: tuple[float, ...]) -> Vertebra:
    """A vertebra at (50, 50) of which the classifier thinks this."""
    logits = torch.from_numpy(np.full((20, 20), 4.0, np.float32))
    mask = place(logits, Window.around((50, 50), 20), (100, 100), upsampling="nearest", outside="background")
    return Vertebra(mask, (50.0, 50.0), probabilities)


@pytest.mark.parametrize(
    ("where", "score", "kind", "expected"),
    [
        ((52.0, 49.0), 0.9, "vertebra", "vertebra"),  # the detector is surer than the classifier
        ((52.0, 49.0), 0.1, "vertebra", "background"),  # it is not
        ((52.0, 49.0), 0.9, "C2", "C2"),
        ((70.0, 50.0), 0.9, "vertebra", "background"),  # it means the next one
    ],
)
def test_the_detector_has_a_vote_as_sure_as_its_score_where_it_saw_the_same_body(
    where: tuple[float, float], score: float, kind: DetectionKind, expected: str
) -> None:
    """A classifier that leans to background is outvoted by a sure detection of this very body, and by no other."""
    sight = Sight([Detection(score, where, BODY_PX, kind)], BODY_PX)

    assert sight.second_opinion(seen((0.6, 0.4, 0.0, 0.0)), CLASSES) == expected


def test_without_a_detection_the_classifier_decides() -> None:
    """Nothing seen on the whole image says nothing."""
    assert Sight([], BODY_PX).second_opinion(seen((0.2, 0.1, 0.0, 0.7)), CLASSES) == "S1"


def test_a_point_snaps_to_the_nearest_detection_within_reach() -> None:
    """Half a body away it is taken, a whole body away it is not, and a pack may switch it off."""
    sight = Sight([Detection(0.9, (56.0, 50.0), BODY_PX), Detection(0.9, (80.0, 50.0), BODY_PX)], BODY_PX)

    assert sight.snapped((50.0, 50.0), 0.5) == (56.0, 50.0)
    assert sight.snapped((68.0, 50.0), 0.5) == (68.0, 50.0)
    assert sight.snapped((50.0, 50.0), None) == (50.0, 50.0)


def test_a_landmark_is_heard_from_where_its_middle_lies_and_outvotes_a_vertebra() -> None:
    """The middle of C2 with its dens lies up to a body higher; a vertebra seen that far off is another one."""
    chain = [(50.0, 50.0), (50.0, 75.0), (50.0, 100.0)]
    above = Detection(0.6, (50.0, 32.0), BODY_PX, "C2")
    same = Detection(0.9, (50.0, 52.0), BODY_PX, "vertebra")
    stray = Detection(0.9, (50.0, 118.0), BODY_PX, "vertebra")

    assert _kinds_seen(chain, [above, same, stray], BODY_PX) == ["C2", None, None]
    assert _kinds_seen(chain, [same, stray], BODY_PX) == ["vertebra", None, None]
