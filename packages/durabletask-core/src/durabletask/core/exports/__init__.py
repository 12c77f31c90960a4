"""Export of histories: instances that have ended are written to files, by a job that checkpoints and resumes.

``job`` has what is known of a job, ``transitions`` what operations do to it, ``forms`` and ``messages`` how SDKs of the
protocol write both, ``files`` what a file contains; all of these are pure. ``serving`` is what workers run, ``client``
what clients call.
"""

__all__: list[str] = []
