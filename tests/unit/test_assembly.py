"""Which series are complete: the rules, on a clock of numbers."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.gateway.assembly import FOREIGN_GRACE_S, ArrivingSeries, complete_at, is_complete, why_complete
from app.jobs.job import job_identity

QUIET_S = 5.0


def arrived(modality: str, *, at: float = 100.0, association: int = 1) -> ArrivingSeries:
    """Return a series of one instance that came at a time on an association that is still open."""
    empty = ArrivingSeries(
        study_instance_uid="1.2",
        series_instance_uid="1.2.3",
        modality=modality,
        calling_ae_title="PACS",
        last_arrival=0.0,
    )
    return empty.with_instance("1.2.3.4", "ab", association, at)


@pytest.mark.parametrize("modality", ["CR", "DX"])
def test_a_radiograph_is_complete_as_soon_as_its_association_is_released(modality: str) -> None:
    """The radiologist is waiting; nothing more can come on that association."""
    series = arrived(modality).without_association(1, in_order=True)

    assert is_complete(series, 100.0, quiet_s=QUIET_S)


def test_a_radiograph_waits_while_its_association_is_open() -> None:
    """More views of the same series may follow on it."""
    assert not is_complete(arrived("DX"), 104.9, quiet_s=QUIET_S)


def test_a_radiograph_on_an_association_that_stays_open_is_complete_after_the_quiet_time() -> None:
    """Some PACS hold an association for hours."""
    assert is_complete(arrived("DX"), 105.0, quiet_s=QUIET_S)


def test_a_radiograph_whose_association_broke_waits_for_the_quiet_time() -> None:
    """Its sender will come again with what is missing."""
    series = arrived("DX").without_association(1, in_order=False)

    assert complete_at(series, QUIET_S) == 105.0


def test_a_radiograph_that_comes_on_two_associations_waits_for_both() -> None:
    """The release of one says nothing of the other."""
    series = arrived("DX").with_instance("1.2.3.5", "cd", 2, 101.0).without_association(1, in_order=True)

    assert not is_complete(series, 101.0, quiet_s=QUIET_S)
    assert is_complete(series.without_association(2, in_order=True), 101.0, quiet_s=QUIET_S)


def test_the_end_of_a_foreign_association_changes_nothing() -> None:
    """Only those that brought an instance count."""
    series = arrived("DX")

    assert series.without_association(7, in_order=True) is series


def test_a_volume_is_complete_only_after_the_quiet_time() -> None:
    """Its slices may come over several associations, one after the other."""
    series = arrived("MR").without_association(1, in_order=True)

    assert not is_complete(series, 104.9, quiet_s=QUIET_S)
    assert is_complete(series, 105.0, quiet_s=QUIET_S)


def test_a_volume_that_is_known_to_be_whole_is_complete_with_its_association() -> None:
    """The peers wait 60 s and more; see `app.gateway.wholeness` for how it is known."""
    series = arrived("MR")

    assert not series.may_be_whole
    sent = series.without_association(1, in_order=True)
    assert sent.may_be_whole
    whole = replace(sent, is_whole=True)
    assert is_complete(whole, 100.0, quiet_s=QUIET_S)
    assert why_complete(whole) == "its association was released and its slices are whole"
    assert whole.with_instance("1.2.3.5", "cd", 2, 101.0).is_whole is None


def test_a_volume_whose_association_broke_is_not_asked_if_it_is_whole() -> None:
    """Its sender comes again."""
    assert not arrived("MR").without_association(1, in_order=False).may_be_whole


def test_a_series_that_another_gateway_receives_is_left_to_it_for_a_while() -> None:
    """Else both would take it whenever its sender pauses."""
    series = replace(arrived("DX"), is_foreign=True, open_associations=frozenset())

    assert complete_at(series, QUIET_S) == 100.0 + QUIET_S + FOREIGN_GRACE_S


@given(st.lists(st.tuples(st.integers(0, 9), st.floats(0, 50)), min_size=1, max_size=12))
def test_completeness_never_comes_before_the_last_instance_and_never_goes_away(
    arrivals: list[tuple[int, float]],
) -> None:
    """Whatever the order, a volume is complete one quiet time after its last instance, and stays so."""
    series, now = arrived("MR", at=0.0), 0.0
    for number, pause in arrivals:
        now += pause
        series = series.with_instance(f"1.2.3.{number}", "ab", number, now)

    assert complete_at(series, QUIET_S) == now + QUIET_S
    assert is_complete(series, now + QUIET_S + 1e6, quiet_s=QUIET_S)


@given(st.lists(st.from_regex(r"1\.[1-9]{1,9}", fullmatch=True), min_size=2))
def test_the_identity_of_a_job_does_not_depend_on_the_order_of_arrival(uids: list[str]) -> None:
    """A PACS may send the same series in any order, and twice."""
    contents = {uid: f"content of {uid}" for uid in uids}

    assert job_identity("1", "2", dict(reversed(contents.items()))) == job_identity("1", "2", contents)


def test_the_identity_of_a_job_takes_study_series_content_and_packs_in() -> None:
    """One more instance, a corrected one, the same one in another study or series, or another pack: it is new work."""
    identities = {
        job_identity("1", "2", {"1.2": "a"}, ["pack 1"]),
        job_identity("1", "2", {"1.2": "a"}, ["pack 2"]),
        job_identity("1", "2", {"1.2": "a"}, []),
        job_identity("1", "2", {"1.2": "a", "1.3": "a"}, ["pack 1"]),
        job_identity("1", "2", {"1.2": "b"}, ["pack 1"]),
        job_identity("3", "2", {"1.2": "a"}, ["pack 1"]),
        job_identity("1", "3", {"1.2": "a"}, ["pack 1"]),
    }

    assert len(identities) == 7
