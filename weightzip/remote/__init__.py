"""The remote room: models of others by name, through the download code of the libraries that they belong to.

It knows names, caches and networks that fail; it never knows codecs, and executes nothing that a repository brings. (What
torchvision loads of its own is as safe as torchvision.)

hf:ORG/NAME --snapshots--> files in the hub's cache --fetch--> a path
torchvision:NAME --torchvision_models--> a module
"""

from weightzip.remote.fetch import check_local, default_output, fetched, is_remote, takes_remote
from weightzip.remote.snapshots import PREFIX, Repository, Snapshot, download
from weightzip.remote.torchvision_models import told_in_one_line, torchvision_model, unknown

__all__ = [
    "PREFIX",
    "Repository",
    "Snapshot",
    "check_local",
    "default_output",
    "download",
    "fetched",
    "is_remote",
    "takes_remote",
    "told_in_one_line",
    "torchvision_model",
    "unknown",
]
