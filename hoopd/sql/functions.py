"""Which of PostgreSQL's own functions are harmless, and why the others are not; not the user's functions.

Harmless means: changes nothing, runs no SQL given as text, reads no table but what its arguments hold, reads no file
and reaches no network. Everything the server's catalogue calls stable or immutable is, unless named in C{RUNS_SQL} or
C{REVEALS}; of the volatile ones those in C{VOLATILE_HARMLESS}.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from hoopd.sql.builtin_names import NOT_VOLATILE

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
    pg_replication_origin_session_is_setup pg_stat_get_xact_numscans pg_advisory_unlock pg_advisory_unlock_all
    pg_advisory_unlock_shared
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

#: functions of common extensions that only compute
EXTENSIONS = frozenset(
    """
    uuid_generate_v1 uuid_generate_v1mc uuid_generate_v3 uuid_generate_v4 uuid_generate_v5 uuid_nil similarity
    word_similarity strict_word_similarity show_trgm unaccent levenshtein levenshtein_less_equal soundex difference
    metaphone dmetaphone dmetaphone_alt daitch_mokotoff digest hmac crypt gen_salt gen_random_bytes earth_distance
    ll_to_earth earth_box cube cube_distance hstore hstore_to_json hstore_to_jsonb akeys avals skeys svals
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
#: large objects through the server; lo_import and lo_export read and write its files
LARGE_OBJECTS = frozenset(
    """
    lo_open lo_close loread lowrite lo_lseek lo_lseek64 lo_creat lo_create lo_tell lo_tell64 lo_truncate lo_truncate64
    lo_unlink lo_from_bytea lo_get lo_put
    """.split()
)
NETWORK = frozenset(
    """
    dblink dblink_connect dblink_connect_u dblink_exec dblink_open dblink_fetch dblink_send_query dblink_get_result
    """.split()
)

#: volatile and not harmless (they change something, or tell of other sessions), but what they return comes from no table
QUIET = frozenset(
    """
    nextval currval lastval setval setseed pg_notify set_config txid_current txid_current_if_assigned
    txid_current_snapshot pg_current_xact_id pg_current_xact_id_if_assigned pg_current_snapshot pg_export_snapshot
    pg_advisory_lock pg_advisory_lock_shared pg_advisory_xact_lock pg_advisory_xact_lock_shared pg_advisory_unlock
    pg_advisory_unlock_all pg_advisory_unlock_shared pg_try_advisory_lock pg_try_advisory_lock_shared
    pg_try_advisory_xact_lock pg_try_advisory_xact_lock_shared pg_cancel_backend pg_terminate_backend pg_reload_conf
    lo_open lo_close lowrite lo_lseek lo_lseek64 lo_creat lo_create lo_tell lo_tell64 lo_truncate lo_truncate64 lo_unlink
    lo_from_bytea lo_put
    pg_rotate_logfile pg_stat_reset pg_stat_clear_snapshot pg_stat_force_next_flush pg_backend_pid
    """.split()
)

#: give one value for every value of every argument, so that neither failure nor the number of rows tells anything; what
#: they make of a masked column is masked wholly
TOTAL = frozenset(
    """
    upper lower initcap btrim ltrim rtrim concat concat_ws reverse length char_length character_length octet_length
    bit_length md5 sha224 sha256 sha384 sha512 ascii to_hex quote_literal quote_nullable replace translate left right
    strpos hashtext count min max array_agg string_agg json_agg jsonb_agg xmlagg any_value first_value last_value mode
    percentile_disc to_json to_jsonb row_to_json array_to_json array_to_string array_append array_prepend
    json_build_array jsonb_build_array json_strip_nulls jsonb_strip_nulls jsonb_pretty json_typeof jsonb_typeof
    string_to_array cardinality array_length array_ndims array_dims pg_typeof pg_column_size num_nulls num_nonnulls
    bool_and bool_or every starts_with array_remove array_replace
    """.split()
)

#: the same, as long as only these arguments are masked: positions modulo 2 of the (key, value) builders, or the first
TOTAL_FIRST = frozenset(
    """
    substr substring overlay lpad rpad repeat split_part encode to_char lag lead nth_value regexp_replace
    """.split()
)
TOTAL_VALUES = frozenset("json_object_agg jsonb_object_agg json_build_object jsonb_build_object".split())

#: SQL-standard forms that the grammar turns into calls of these names, or nodes of their own: never user-defined
HARMLESS = (NOT_VOLATILE | VOLATILE_HARMLESS | NEWER) - RUNS_SQL - REVEALS - FILES - NETWORK


def harmless(name: tuple[str, ...], own: Collection[str]) -> bool:
    """Whether a call of C{name}, as it is written, surely is of a harmless function.

    @param own: names of users' functions: an unqualified name may mean one of them.
    """
    schema, base = (name[-2] if len(name) > 1 else ""), name[-1] if name else ""
    if schema == "pg_catalog":
        return base in HARMLESS
    return not schema and base not in own and (base in HARMLESS or base in EXTENSIONS)


def trusted(name: str, trust: Collection[str], search_path: Sequence[str]) -> bool:
    """Whether configuration trusts the function that is written C{name}; a missing schema is any of the path's."""
    schema, _, base = name.rpartition(".")
    for each in trust:
        wanted, _, entry = each.rpartition(".")
        if entry == base and (wanted == schema or (not wanted and schema in search_path)):
            return True
        if entry == base and not schema and wanted in search_path:
            return True
    return False


def group(name: str) -> str:
    """The class word of a function that is not harmless: C{"file"}, C{"network"}, C{"large-object"}, C{"read-secret"} or
    C{"function"}.
    """
    if name in FILES:
        return "file"
    if name in NETWORK:
        return "network"
    if name in LARGE_OBJECTS:
        return "large-object"
    if name in REVEALS:
        return "read-secret"
    return "function"
