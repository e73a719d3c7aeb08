"""Every SQL statement of the service, behind one class."""

from app.store.audit import Audit
from app.store.calibrations import Calibrations
from app.store.centroids import Centroids
from app.store.challenges import Challenges
from app.store.duties import Duties
from app.store.feedback import Feedbacks
from app.store.heard import HeardClips
from app.store.jobs import Jobs
from app.store.profiles import Profiles
from app.store.recordings import Recordings
from app.store.reerasing import Reerasing
from app.store.rekeying import Rekeying
from app.store.replays import Replays
from app.store.shadow import Shadows
from app.store.speakers import Speakers


class Repository(
    Speakers,
    Profiles,
    Reerasing,
    Rekeying,
    Centroids,
    Duties,
    Audit,
    Replays,
    Recordings,
    Jobs,
    Feedbacks,
    HeardClips,
    Calibrations,
    Shadows,
    Challenges,
):
    """The store. Each method is one transaction, blocks, and may be called from any thread.

    The engine stays the caller's, who disposes of it.
    """
