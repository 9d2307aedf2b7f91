"""Every key Knudge writes. What one Lua script touches shares a hash tag, so that it lies in one slot of a cluster."""

from __future__ import annotations

import re
import secrets

from common.errors import NotFound

BUCKET = 64  # items per hash: few enough for one HMGET, enough that a million items are 16k keys

CLOCK = "kn:clock"
ACTIVE_RUNS = "kn:runs:active"
EXPIRING_RUNS = "kn:runs:expiring"
DEAD_LETTERS = "kn:dead_letters"
API_KEYS = "kn:apikeys"
PROBE = "kn:probe"

_IDENTIFIER = re.compile(r"[A-Za-z0-9._:-]{1,160}")
_TICK_DIGITS = 14  # hexadecimal microseconds since 1970, enough until 2255


def new_id(prefix: str, tick_us: int) -> str:
    """A random identifier that sorts by its time of creation, e.g. ``run_00064b9f…``."""
    return identifier(prefix, tick_us, secrets.token_hex(8))


def identifier(prefix: str, tick_us: int, suffix: str) -> str:
    """The identifier made of these parts; `suffix` is hexadecimal."""
    return f"{prefix}_{tick_us:0{_TICK_DIGITS}x}{suffix}"


def tick_of(identifier: str) -> int | None:
    """The creation time (microseconds) inside an identifier made by `new_id`; None if it is of another make."""
    digits = identifier.rpartition("_")[2][:_TICK_DIGITS]
    try:
        return int(digits, 16) if len(digits) == _TICK_DIGITS else None
    except ValueError:
        return None


def _tag(identifier: str) -> str:
    """Identifiers come from outside; one that could leave its place in a key names nothing that exists."""
    if not _IDENTIFIER.fullmatch(identifier):
        raise NotFound(f"no such object: {identifier[:40]!r}")
    return f"{{{identifier}}}"


def eval_versions(eval_id: str) -> str:
    """List of an eval's versions, oldest first."""
    return f"kn:eval:{_tag(eval_id)}"


def eval_runs(eval_id: str) -> str:
    """Sorted set: an eval's runs by creation."""
    return f"kn:eval:{_tag(eval_id)}:runs"


def evals(project: str, order_by: str) -> str:
    """Sorted set: a project's evals by ``created_at`` or ``updated_at``."""
    return f"kn:evals:{_tag(project)}:{order_by}"


def file(file_id: str) -> str:
    """A file's record."""
    return f"kn:file:{_tag(file_id)}"


def files(project: str) -> str:
    """Sorted set: a project's files by creation."""
    return f"kn:files:{_tag(project)}"


def dataset(dataset_id: str) -> str:
    """Hash: a dataset's size."""
    return f"kn:ds:{_tag(dataset_id)}"


def dataset_holders(dataset_id: str) -> str:
    """Set: who still needs the dataset."""
    return f"kn:ds:{_tag(dataset_id)}:holders"


def dataset_valid(dataset_id: str) -> str:
    """Hash: digest of an item schema -> how many lines are known to fit it."""
    return f"kn:ds:{_tag(dataset_id)}:valid"


def dataset_bucket(dataset_id: str, bucket: int) -> str:
    """Hash: line index -> raw line."""
    return f"kn:ds:{_tag(dataset_id)}:{bucket}"


def run(run_id: str, part: str) -> str:
    """A run's ``plan``, ``state``, ``leases``, ``attempts``, ``sent``, ``told``, ``done``, ``sums``, ``dead``, or outcomes."""
    return f"kn:run:{_tag(run_id)}:{part}"


def run_claim(run_id: str, item: int, lease: str) -> str:
    """Who works on the event whose first item this is."""
    return f"kn:run:{_tag(run_id)}:claim:{item}:{lease}"


def run_worst(run_id: str, grader: int) -> str:
    """Sorted set: items with a grader's lowest scores."""
    return f"kn:run:{_tag(run_id)}:worst:{grader}"


def run_scores(run_id: str, grader: int) -> str:
    """String: a grader's scores by item, as packed float64."""
    return f"kn:run:{_tag(run_id)}:scores:{grader}"


def run_passed(run_id: str, grader: int) -> str:
    """Bitmap: items that a grader passed."""
    return f"kn:run:{_tag(run_id)}:passed:{grader}"


def run_samples(run_id: str, bucket: int) -> str:
    """Hash: items' samples, under `common.store.stored.sample_field`."""
    return f"kn:run:{_tag(run_id)}:s:{bucket}"


def run_verdicts(run_id: str, bucket: int) -> str:
    """Hash: items' verdicts, under `common.store.stored.verdict_field`."""
    return f"kn:run:{_tag(run_id)}:v:{bucket}"


def evaluation(project: str, evaluation_id: str) -> str:
    """Hash: fingerprint and verdicts of a single evaluation. Each project has its own ids."""
    return f"kn:evaluation:{_tag(evaluation_id)}:{project}"


def evaluation_claim(project: str, evaluation_id: str) -> str:
    """Who is judging a single evaluation right now."""
    return f"kn:evaluation-claim:{_tag(evaluation_id)}:{project}"


def idempotency(digest: str) -> str:
    """Hash: what became of a creating request, by the SHA-256 of its scope and idempotency key."""
    return f"kn:once:{_tag(digest)}"


def api_key(digest: str) -> str:
    """Hash: an API key's record, by the SHA-256 of the key."""
    return f"kn:apikey:{_tag(digest)}"
