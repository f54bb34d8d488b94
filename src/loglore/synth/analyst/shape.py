"""Points about a log as a whole, for tasks that have room for them: who logs, at which levels, where it is silent."""

from loglore.synth.analyst import repetition
from loglore.synth.analyst.facts import Facts
from loglore.synth.analyst.telling import extent
from loglore.synth.analyst.wording import Wording, duration, raised

_PARTS = ("the lines come from {parts}", "most active are {parts}", "by component: {parts}")
_LEVELS = ("{levels}", "counted by level: {levels}", "the levels are {levels}")
_PAUSE = (
    "nothing is logged for {gap} after {at}",
    "a pause of {gap} follows {at}",
    "between {at} and {then} {gap} pass without a line",
)
_TITLES = {
    "parts": ("Components", "Sources of the lines", "Who logs"),
    "levels": ("Levels", "Severity", "Level counts"),
    "pause": ("Pause", "Silent time", "Gap"),
}


def points(facts: Facts, words: Wording) -> list[str]:
    """Components, levels and the longest pause as titled points, in an order of the chunk's own."""
    slots = extent(facts)
    gap = repetition.pause(facts)
    if gap:
        slots = {**slots, "gap": duration(gap.seconds), "at": gap.before.clock, "then": gap.after.clock}
    found = {
        "parts": words.say("parts", _PARTS, slots),
        "levels": words.say("levels", _LEVELS, slots) if len(facts.levels) > 1 else "",
        "pause": words.say("pause", _PAUSE, slots) if gap else "",
    }
    return [
        f"**{words.say(f'title/{name}', _TITLES[name], {})}**: {raised(found[name])}."
        for name in words.order("shape", list(found))
        if found[name]
    ]
