"""The course of one destination in a delivery: what it has stored and proven, when it is tried next, and all in words.

A course is a JSON object, kept beside the journal, so that a worker that takes over goes on where the last one was and
the page tells what is waited for. It holds names and sentences, neither patient data nor secrets.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from app.jobs.job import JobState

# Seconds before a destination is asked again: three days and two hours in all.
PAUSES_S = (2, 5, 15, 60, 300, 900, *(3600,) * 74)
# Where an administrator has to act first, asking often helps nobody and may lock the account of this node.
DENIED_PAUSE_S = 900
SETTLED_PROOFS = frozenset({"proven", "trusted", "unavailable"})
# As `app.delivery.destinations.Fate` has them; the page, which tells of courses, knows nothing of delivery.
STORED, REFUSED, DENIED = "stored", "refused", "denied"
OPEN_FATES = frozenset({"postponed", DENIED})

Course = dict[str, Any]


def begun() -> Course:
    """Return the course of a destination that has not been tried yet.

    instances: SOP Instance UID → fate and sentence. proof: of `Proof`, once it was asked for.
    deliveries, proofs: how often each was tried without coming to its end. at: when last, seconds since the epoch.
    stored_at, proven_at: when that was first so, seconds since the epoch; 0 where it is not.
    profile: the encoding that was settled on; note: why it is not that of the settings.
    fault: why the last try came to nothing before the destination was asked.
    """
    return {
        "profile": "",
        "note": "",
        "instances": {},
        "proof": None,
        "deliveries": 0,
        "proofs": 0,
        "at": 0.0,
        "stored_at": 0.0,
        "proven_at": 0.0,
        "fault": "",
        "ended": "",
    }


def tried(course: Course, what: str, *, now: float) -> Course:
    """Return the course after one more try of `deliveries` or `proofs`."""
    return {**course, what: course[what] + 1, "at": now}


def ended(course: Course, sentence: str) -> Course:
    """Return the course of a destination that is not tried again, and why."""
    return {**course, "ended": sentence}


def pause_after(course: Course) -> float | None:
    """Return how many seconds after its last try a destination is due; None where nothing is open or it is given up."""
    if course["ended"] or (course["proof"] and course["proof"]["state"] in SETTLED_PROOFS):
        return None
    if not course["deliveries"] + course["proofs"]:
        return 0.0
    tries = _tries(course)
    if tries > len(PAUSES_S):
        return None
    return float(_pause(course, tries))


def remaining_pause(course: Course, *, now: float) -> float | None:
    """Return how many seconds to wait before the next try, never more than its pause, whatever became of the clock.

    Args:
        course: of a destination.
        now: seconds since the epoch; may be earlier than the last try where the clock was set back.
    """
    pause = pause_after(course)
    if pause is None:
        return None
    elapsed = now - float(course["at"])
    return pause if elapsed < 0 else max(0.0, pause - elapsed)


def has(course: Course, *fates: str) -> bool:
    """Say whether an instance has one of some fates."""
    return any(found in fates for found, _ in course["instances"].values())


def is_stored(course: Course) -> bool:
    """Say whether a destination has stored every result."""
    fates = course["instances"].values()
    return not course["ended"] and bool(fates) and all(fate == STORED for fate, _ in fates)


def verdict(found: str, courses: Mapping[str, Course], *, now: float) -> dict[str, str]:
    """Say what was found and how its delivery ended; only a per-instance success is a success.

    Args:
        found: what the engine's answer says.
        courses: name of a destination → its course, in the order of the settings.
        now: seconds since the epoch.

    Returns:
        `state` and `sentence` of the job, and `proof`: see `app.jobs.delivering.is_proven`.
    """
    if not courses:
        kept = "no destination takes these results, they stay in the job's folder"
        return {"state": JobState.DELIVERED.value, "sentence": f"{found}. {kept}.", "proof": "unavailable"}
    proofs = {course["proof"]["state"] if course["proof"] else "unavailable" for course in courses.values()}
    proof = next((state for state in ("missing", "unavailable", "waiting", "trusted") if state in proofs), "proven")
    state = JobState.DELIVERED if all(map(is_stored, courses.values())) else JobState.FAILED
    return {"state": state.value, "sentence": f"{found}. {words_of(courses, now=now)}", "proof": proof}


def words_of(courses: Mapping[str, Course], *, now: float) -> str:
    """Return how far a delivery is, destination by destination, in a sentence or two; times are in UTC.

    Args:
        courses: name of a destination → its course.
        now: seconds since the epoch.
    """
    stored = sum(map(is_stored, courses.values()))
    parts = [f"{name}: {_words(course, now)}" for name, course in courses.items()]
    if 0 < stored < len(courses):
        parts.insert(0, f"Partly delivered: {stored} of {len(courses)} destinations")
    return f"{'; '.join(parts)} (UTC)."


def _words(course: Course, now: float) -> str:
    if not course["instances"] and not course["ended"] and not course["deliveries"]:
        return course["fault"] or "not tried yet"
    parts = [_stored_words(course, now)] if course["instances"] else []
    parts += [part for part in (course.get("note"), course["ended"]) if part]
    parts += _unstored_words(course)
    parts += _proof_words(course, now)
    return ", ".join([*filter(None, [*parts, course["fault"]]), *_next_words(course, now)])


def _stored_words(course: Course, now: float) -> str:
    fates = [fate for fate, _ in course["instances"].values()]
    stored = sum(fate == STORED for fate in fates)
    when = f" {_moment(course['stored_at'], now)}" if course.get("stored_at") and stored == len(fates) else ""
    return f"{stored} of {len(fates)} stored{when}"


def _unstored_words(course: Course) -> list[str]:
    """Name each instance that is refused; what is waited for is the same for most, and told once."""
    refused = [f"{uid}: {words}" for uid, (fate, words) in course["instances"].items() if fate == REFUSED]
    awaited = dict.fromkeys(words for fate, words in course["instances"].values() if fate in OPEN_FATES)
    return [*refused, *awaited]


def _proof_words(course: Course, now: float) -> list[str]:
    proof = course["proof"]
    if not proof or not has(course, STORED) or proof["state"] == "trusted":
        return []
    if proof["state"] == "proven":
        when = f" {_moment(course['proven_at'], now)}" if course.get("proven_at") else ""
        return [f"proven{when} {proof['sentence'].removeprefix('kept, ')}"]
    return [
        f"not proven: {proof['sentence']}" if proof["state"] != "waiting" else f"not proven yet: {proof['sentence']}"
    ]


def _next_words(course: Course, now: float) -> list[str]:
    """Say when a destination is tried next and until when, or that it was given up."""
    tries = _tries(course)
    if not tries or course["ended"] or (course["proof"] and course["proof"]["state"] in SETTLED_PROOFS):
        return []
    if tries > len(PAUSES_S):
        return [f"given up after the {_ordinal(tries)} try"]
    due = float(course["at"]) + _pause(course, tries)
    last = due + sum(_pause(course, each) for each in range(tries + 1, len(PAUSES_S) + 1))
    coming = f"next {_moment(due, now)}" if due > now else "the next is under way"
    return [f"{_ordinal(tries)} try", coming, f"gives up on {_day(last)}"]


def _tries(course: Course) -> int:
    is_open = has(course, *OPEN_FATES) or not course["instances"]
    return int(course["deliveries"] if is_open else course["proofs"])


def _pause(course: Course, tries: int) -> int:
    pause = PAUSES_S[tries - 1]
    return max(pause, DENIED_PAUSE_S) if has(course, DENIED) else pause


def _moment(at: float, now: float) -> str:
    moment, today = datetime.fromtimestamp(at, UTC), datetime.fromtimestamp(now, UTC).date()
    return f"{moment:%H:%M}" if moment.date() == today else f"{_day(at)} {moment:%H:%M}"


def _day(at: float) -> str:
    moment = datetime.fromtimestamp(at, UTC)
    return f"{moment.day} {moment:%b}"


def _ordinal(number: int) -> str:
    """Return a number as a rank.

    >>> [_ordinal(number) for number in (1, 2, 3, 4, 11, 22)]
    ['1st', '2nd', '3rd', '4th', '11th', '22nd']
    """
    ending = "th" if 10 < number % 100 < 14 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
