"""Session settings that a client may change, and why; every other SET is refused because we could not follow it."""

from __future__ import annotations

#: the gateway's own: answered by it, never the server's
OWN = frozenset({"hoopd.reason", "hoopd.wait", "hoopd.break_glass"})

#: name to the reason it is harmless
HARMLESS: dict[str, str] = {
    **dict.fromkeys(
        (
            "datestyle",
            "intervalstyle",
            "timezone",
            "extra_float_digits",
            "bytea_output",
            "xmlbinary",
            "lc_messages",
            "lc_monetary",
            "lc_numeric",
            "lc_time",
        ),
        "how values are written, not which",
    ),
    **dict.fromkeys(
        (
            "statement_timeout",
            "lock_timeout",
            "idle_in_transaction_session_timeout",
            "idle_session_timeout",
            "transaction_timeout",
            "client_min_messages",
            "client_connection_check_interval",
            "tcp_keepalives_idle",
            "tcp_keepalives_interval",
            "tcp_keepalives_count",
            "tcp_user_timeout",
        ),
        "when the server gives up or speaks",
    ),
    **dict.fromkeys(
        (
            "application_name",
            "work_mem",
            "maintenance_work_mem",
            "temp_buffers",
            "random_page_cost",
            "seq_page_cost",
            "effective_cache_size",
            "jit",
            "max_parallel_workers_per_gather",
            "synchronous_commit",
            "default_statistics_target",
            "geqo",
            "from_collapse_limit",
            "join_collapse_limit",
            "plan_cache_mode",
            "cursor_tuple_fraction",
            "gin_fuzzy_search_limit",
            "default_transaction_isolation",
            "default_transaction_read_only",
            "default_transaction_deferrable",
            "transaction_isolation",
            "transaction_read_only",
            "transaction_deferrable",
            "check_function_bodies",
            "escape_string_warning",
            "default_toast_compression",
            "backslash_quote",
            "synchronize_seqscans",
            "default_table_access_method",
            "default_tablespace",
        ),
        "cost and speed, or a transaction's own mode",
    ),
    **dict.fromkeys(("quote_all_identifiers", "xmloption"), "how definitions and documents are read and written"),
    **dict.fromkeys(
        ("row_security", "restrict_nonsystem_relation_kind"),
        "makes the server refuse more, never less",
    ),
    # may only be set to what we read statements by: the analysis looks at the value
    "client_encoding": "only UTF8",
    "standard_conforming_strings": "only on",
}

#: what a client may write for a setting that must keep its value
FIXED: dict[str, tuple[str, ...]] = {
    "client_encoding": ("utf8", "utf-8", "unicode"),
    "standard_conforming_strings": ("on", "true", "yes", "1"),
}

#: they widen what a session may do: policy calls them by this class
PRIVILEGED = frozenset({"role", "session_authorization", "session_replication_role"})
