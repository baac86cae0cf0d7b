"""Every metric, in one place. Units are in the names; labels are few and bounded."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from shared.tally import Tally

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

# Relay
CONNECTIONS = Gauge("tailrace_connections_open", "Open event connections.", ["mode"])
STREAMS_STARTED = Counter("tailrace_streams_started_total", "Streams that this relay has started.")
FIRST_TOKEN = Histogram(
    "tailrace_first_token_seconds",
    "Time to the first token that a client of this relay saw, and its parts.",
    ["part"],
    buckets=_SECONDS,
)
"""Parts: ``queue`` (request to attempt), ``provider`` (to its first token), ``relay`` (to the socket), ``total``."""
RESUMES = Counter("tailrace_resumes_total", "Subscriptions that began from an offset.")
KEPT_REPLAYS = Counter("tailrace_kept_replays_total", "Reads of ended logs from a relay's memory.")
REPLAYED = Counter("tailrace_replayed_entries_total", "Entries read from logs for resuming and late readers.")
GAP_REPAIRS = Counter("tailrace_gap_repairs_total", "Holes in live delivery that were filled from the log.")
CATCH_UPS = Counter("tailrace_slow_client_catch_ups_total", "Slow readers sent back to reading the log.")
SEND_TIMEOUTS = Counter("tailrace_send_timeouts_total", "Clients let go because they had stopped reading.")
LINED_UP = Counter("tailrace_lined_up_total", "Event connections that had to wait in line to be let in.")
FORKS = Counter("tailrace_forks_total", "Readers told to reset because the log had gone another way.")
HTTP_ERRORS = Counter("tailrace_http_errors_total", "Requests answered with an error.", ["code"])

QUEUE_DEPTH = Gauge("tailrace_queue_depth", "Jobs in the queue at the time of the scrape; -1 when Redis is away.")
QUEUE_AGE = Gauge("tailrace_queue_age_seconds", "How long the first of them has been due; -1 when Redis is away.")

OF_THE_SYSTEM = (QUEUE_DEPTH, QUEUE_AGE)
"""What every process finds the same: not added up over processes, as all else is."""

# Both
PROCESSES = Gauge("tailrace_processes", "Processes that the metrics here are of.")
PROCESSES.set(1)  # each counts itself
PROCESS_RESTARTS = Counter("tailrace_process_restarts_total", "Ends of a process that were followed by its restart.")

# Worker
STREAMS = Gauge("tailrace_streams_active", "Streams this worker holds, by state.", ["state"])
STREAMS_ENDED = Counter("tailrace_streams_ended_total", "Streams ended, by status.", ["status"])
TOKENS = Counter("tailrace_output_tokens_total", "Output tokens as the providers count them.")
TOKEN_GAP = Tally("tailrace_token_gap_seconds", "Time between two reads of one provider stream.", buckets=_SECONDS)
QUEUE_WAIT = Histogram("tailrace_queue_wait_seconds", "Request to attempt, first attempts only.", buckets=_SECONDS)
PROVIDER_ERRORS = Counter("tailrace_provider_errors_total", "Failed provider calls.", ["kind"])
PROVIDER_CALLS = Counter("tailrace_provider_calls_total", "Provider calls.", ["provider"])
TAKEOVERS = Counter("tailrace_takeovers_total", "Streams taken from another worker, by reason.", ["reason"])
REAPED = Counter("tailrace_reaped_total", "Streams found without a lease and offered to the workers.")
FENCED = Counter("tailrace_fenced_total", "Attempts that found their stream taken by another worker.")
FALSE_TAKEOVERS = Counter(
    "tailrace_false_takeovers_total", "Expired leases whose old owner lived, as it found when it was back.", ["owner"]
)
"""Owners: ``silent`` had not renewed for a lease, as one that is stopped or cut off; ``renewing`` had."""
APPENDS = Counter("tailrace_appends_total", "Entries appended to logs.")
COMMITS = Counter("tailrace_commits_total", "Group commits, each one round trip for many appends.")
