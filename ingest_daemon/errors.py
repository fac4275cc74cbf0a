"""Every error the daemon raises, as one tree. What lives here: the classes and what the loop does on each.

Nothing here logs, retries or decides; `daemon.py` reads the class and acts.

    IngestError
    ├── ConfigError            stop: a setting is wrong; the message names the key and the accepted form
    ├── ParseError             quarantine: one frame is not what its venue documents
    ├── VenueRefused           report: the venue answered a request with an error (channel, symbol)
    │   └── LoginRefused       report, and try again after a long pause: it does not take our account
    ├── FeedLost               retry for ever: the socket is gone, or was silent too long
    ├── RecordingError         stop the replay: a file is not a recording, or of nothing we know
    ├── SpoolUnusable          wait for the database instead: the disk does not take what it should keep
    └── StoreError
        ├── StoreUnavailable   retry for ever: the database cannot be reached
        └── StoreRejected      stop: the database refuses what we write (schema, rights)
"""

from __future__ import annotations


class IngestError(Exception):
    """The root; never raised itself."""


class ConfigError(IngestError):
    """A setting is wrong. The message names the key, its value and the accepted form. The program stops."""


class ParseError(IngestError):
    """A frame is not what its venue documents. It goes to `market.rejected_frames`; the feed goes on."""


class VenueRefused(IngestError):
    """The venue refused a request: a channel, a symbol. The other feeds go on."""


class LoginRefused(VenueRefused):
    """The venue refused our account, or will not talk to it now. Its feed pauses long; the others go on."""


class FeedLost(IngestError):
    """The socket is gone or was silent too long. The feed reconnects for ever; the hole is a gap row."""


class RecordingError(IngestError):
    """A file cannot be replayed. The message names it, and the line where there is one."""


class SpoolUnusable(IngestError):
    """The spool's directory cannot be used. The message names it; the batch is still the caller's."""


class StoreError(IngestError):
    """The database did not take a batch."""


class StoreUnavailable(StoreError):
    """The database cannot be reached now. The batch is kept and tried again."""


class StoreRejected(StoreError):
    """The database refuses what we write: a missing relation, a missing right. A human must act."""
