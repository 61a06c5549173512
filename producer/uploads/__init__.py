"""Files that programs post to ``serve``: stored on its disk, put on record, then taken in as ``send`` does."""

from producer.uploads.intake import SMALL_BYTES, UploadIntake
from producer.uploads.requests import CampaignOptions, Poster, Uploads
from producer.uploads.store import Incoming, StoredFile, UploadStore

__all__ = [
    "SMALL_BYTES",
    "CampaignOptions",
    "Incoming",
    "Poster",
    "StoredFile",
    "UploadIntake",
    "UploadStore",
    "Uploads",
]
