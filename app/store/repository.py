"""Every SQL statement of the service, behind one class."""

from app.store.centroids import Centroids
from app.store.enrollments import Enrollments
from app.store.speakers import Speakers


class Repository(Speakers, Enrollments, Centroids):
    """The store. Each method is one transaction, blocks, and may be called from any thread.

    The engine stays the caller's, who disposes of it.
    """
