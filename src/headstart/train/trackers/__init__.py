"""Where the numbers of a run can be sent beside the screen, one file for each place; only those that `track` names are used.

A tracker offers `make(run_folder, plan) -> Observer`. It raises at once what cannot work (a library that is missing), opens
nothing and sends nothing: the first event does, on a thread of the tracker's own, so that a slow server slows no training.
Other packages add trackers by entry points of the group `headstart.trackers`.
"""
