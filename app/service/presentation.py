"""How a recording came, whoever's voice it is: is it a copy, a living voice, are these the words asked for?

A voice can be right and the recording stolen. Whatever is asked beside the similarity is asked here, so that
verification, live verification and identification ask the same; each check answers by the policy's rule for
it, and may turn an acceptance into a rejection, never the other way round.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from app.service.call import Call
from app.service.challenges import Challenged, hear_answer
from app.service.copies import Replay, look_for_copies
from app.service.explanation import Objection, Remark
from app.service.listening import Heard
from app.service.pad import Pad, detect_attack


@dataclass(frozen=True, kw_only=True)
class Presentation:
    """What was asked about the way in which a recording came, and what was found."""

    replay: Replay
    pad: Pad
    challenge: Challenged | None = None
    """The digits that were asked for; None where none were."""

    @property
    def objections(self) -> tuple[Objection, ...]:
        """What speaks against the recording, by the rules that are not `allow`."""
        challenge = self.challenge.objection if self.challenge is not None else None
        found = (challenge, self.replay.objection, self.pad.objection)
        return tuple(each for each in found if each is not None)

    @property
    def refused(self) -> bool:
        """The policy accepts no such recording, whatever its score."""
        return any(each.refuses for each in self.objections)

    @property
    def warnings(self) -> tuple[str, ...]:
        """The codes of what speaks against it."""
        return tuple(each.remark.code for each in self.objections)

    @property
    def remarks(self) -> tuple[Remark, ...]:
        """The same for the explanation."""
        return tuple(each.remark for each in self.objections)


def presented(
    call: Call, heard: Heard, claimed: Sequence[int], challenge_id: str | None = None
) -> Presentation:
    """Ask everything about one recording; nothing is counted or written.

    Args:
        call: Who asks, by which policy.
        heard: The recording.
        claimed: Keys of the speakers whose earlier recordings it must not be a copy of.
        challenge_id: The challenge of the one who is claimed, where there is one.

    Raises:
        ChallengeNotFound: The challenge is gone meanwhile.
        Unavailable: The detector or the database cannot answer now.
    """
    return Presentation(
        replay=look_for_copies(call, heard.utterance, claimed),
        pad=detect_attack(call, heard.utterance),
        challenge=hear_answer(call, claimed[0], challenge_id, heard.utterance) if challenge_id else None,
    )
