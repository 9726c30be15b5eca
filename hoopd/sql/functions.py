"""Which of PostgreSQL's own functions are harmless, and why the others are not; not the user's functions.

Harmless means: changes nothing, runs no SQL given as text, reads no table but what its arguments hold, reads no file
and reaches no network. Everything the server's catalogue calls stable or immutable is, unless named in C{RUNS_SQL} or
C{REVEALS}; of the volatile ones those in C{VOLATILE_HARMLESS}.
"""

from __future__ import annotations

from hoopd.sql.builtin_names import AGGREGATES, NOT_VOLATILE

#: take SQL as text, or a table's name, and return its rows: no mask can follow
RUNS_SQL = frozenset(
    """
    query_to_xml query_to_xmlschema query_to_xml_and_xmlschema table_to_xml table_to_xmlschema
    table_to_xml_and_xmlschema schema_to_xml schema_to_xmlschema schema_to_xml_and_xmlschema database_to_xml
    database_to_xmlschema database_to_xml_and_xmlschema cursor_to_xml cursor_to_xmlschema ts_rewrite ts_stat
    """.split()
)

#: other sessions' statements, statistics that hold values of columns, settings that hold secrets
REVEALS = frozenset(
    """
    pg_stat_get_activity pg_stat_get_backend_activity pg_mcv_list_items pg_stat_get_wal_receiver
    pg_show_all_file_settings pg_hba_file_rules
    """.split()
)

#: volatile in the catalogue because their answer changes, harmless all the same
VOLATILE_HARMLESS = frozenset(
    """
    clock_timestamp current_query gen_random_uuid pg_blocking_pids pg_current_wal_lsn pg_database_size
    pg_indexes_size pg_is_in_recovery pg_is_wal_replay_paused pg_jit_available pg_last_wal_receive_lsn
    pg_last_wal_replay_lsn pg_last_xact_replay_timestamp pg_lock_status pg_notification_queue_usage
    pg_partition_ancestors pg_partition_tree pg_relation_size pg_safe_snapshot_blocking_pids pg_sequence_last_value
    pg_sleep pg_sleep_for pg_sleep_until pg_table_size pg_tablespace_size pg_total_relation_size pg_xact_status
    random timeofday txid_status pg_collation_actual_version pg_database_collation_actual_version pg_prepared_xact
    pg_replication_origin_session_is_setup pg_stat_get_xact_numscans
    """.split()
)

#: newer than the server the list was made from
NEWER = frozenset(
    """
    any_value random_normal array_shuffle array_sample json_array json_object json_scalar json_serialize uuidv4
    uuidv7 casefold crc32 crc32c uuid_extract_timestamp uuid_extract_version pg_get_role_ddl array_sort
    array_reverse
    """.split()
)

#: what each group of the rest reaches, for the word in a rule and in a refusal
FILES = frozenset(
    """
    pg_read_file pg_read_binary_file pg_read_file_old pg_ls_dir pg_ls_logdir pg_ls_waldir pg_ls_archive_statusdir
    pg_ls_tmpdir pg_ls_logicalmapdir pg_ls_logicalsnapdir pg_ls_replslotdir pg_stat_file pg_current_logfile
    lo_import lo_export pg_file_write pg_file_read pg_file_rename pg_file_unlink pg_file_sync pg_logdir_ls
    """.split()
)
NETWORK = frozenset(
    """
    dblink dblink_connect dblink_connect_u dblink_exec dblink_open dblink_fetch dblink_send_query dblink_get_result
    """.split()
)

#: SQL-standard forms that the grammar turns into calls of these names, or nodes of their own: never user-defined
HARMLESS = (NOT_VOLATILE | VOLATILE_HARMLESS | NEWER) - RUNS_SQL - REVEALS - FILES - NETWORK


def group(name: str) -> str:
    """The class word of a function that is not harmless: C{"file"}, C{"network"}, C{"read-secret"} or C{"function"}."""
    if name in FILES:
        return "file"
    if name in NETWORK:
        return "network"
    if name in REVEALS:
        return "read-secret"
    return "function"


__all__ = ["AGGREGATES", "FILES", "HARMLESS", "NETWORK", "REVEALS", "RUNS_SQL", "VOLATILE_HARMLESS", "group"]
