"""The audit log as a Merkle tree (RFC 6962): what is committed to, how it is proved, who signed it.

In: rows of the log, hashes, tiles by a function that reads them, signed notes.
Out: leaves, roots, proofs, tiles (C2SP tlog-tiles), checkpoints, and what happened to a log that
differs.
May import: `ehr_fhir.errors`. Nothing here reads a clock, a file or a database.

Why our own: pymerkle 7.0.0 knows neither tiles nor checkpoints, which witnesses of such logs read.
"""

from __future__ import annotations

from ehr_privacy.audit.checkpoint import (
    Checkpoint,
    Signer,
    open_note,
    open_text,
    public_key,
    verifier_key,
)
from ehr_privacy.audit.findings import Finding, find_difference
from ehr_privacy.audit.leaf import (
    SALT_BYTES,
    canonical_row,
    commitment,
    leaf_of_commitment,
    row_leaf,
)
from ehr_privacy.audit.lineage import (
    LAKE_REFRESH,
    MODEL_DECISION,
    RESEARCH_STEP,
    STEP_FACTS,
    canonical_json,
    digest_json,
    lineage_id,
    parse_record,
)
from ehr_privacy.audit.proofs import (
    consistency_proof,
    inclusion_proof,
    verify_consistency,
    verify_inclusion,
)
from ehr_privacy.audit.tiles import TILE, TILE_HEIGHT, TileReader, new_tiles, tile_path
from ehr_privacy.audit.trace import TRACE_FORMAT, parse_trace, verify_trace
from ehr_privacy.audit.trace_lines import MESSAGES, TraceLine, build_line
from ehr_privacy.audit.tree import EMPTY, HASH_BYTES, leaf_hash, node_hash, root_of

__all__ = [
    "EMPTY",
    "HASH_BYTES",
    "LAKE_REFRESH",
    "MESSAGES",
    "MODEL_DECISION",
    "RESEARCH_STEP",
    "SALT_BYTES",
    "STEP_FACTS",
    "TILE",
    "TILE_HEIGHT",
    "TRACE_FORMAT",
    "Checkpoint",
    "Finding",
    "Signer",
    "TileReader",
    "TraceLine",
    "build_line",
    "canonical_json",
    "canonical_row",
    "commitment",
    "consistency_proof",
    "digest_json",
    "find_difference",
    "inclusion_proof",
    "leaf_hash",
    "leaf_of_commitment",
    "lineage_id",
    "new_tiles",
    "node_hash",
    "open_note",
    "open_text",
    "parse_record",
    "parse_trace",
    "public_key",
    "root_of",
    "row_leaf",
    "tile_path",
    "verifier_key",
    "verify_consistency",
    "verify_inclusion",
    "verify_trace",
]
