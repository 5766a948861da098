//! What to dump and how: pg_dump's options as one validated value.

use crate::archive::RestoreOptions;

/// Options of one dump; the default is plain `pg_dump DBNAME`. Patterns are as psql understands them.
#[derive(Clone, Debug, Default)]
#[allow(clippy::struct_excessive_bools)] // one per option of pg_dump
pub struct DumpOptions {
    /// `-s`, `--schema-only`.
    pub schema_only: bool,
    /// `-a`, `--data-only`.
    pub data_only: bool,
    /// `--statistics-only`, or `--no-schema` with `--no-data` (18).
    pub neither_schema_nor_data: bool,
    /// `--statistics`, `--statistics-only` (18): planner statistics are written (pg_dump's `dumpStatistics`).
    pub statistics: bool,
    /// `-n`, `--schema`.
    pub include_schemas: Vec<String>,
    /// `-N`, `--exclude-schema`.
    pub exclude_schemas: Vec<String>,
    /// `-t`, `--table`.
    pub include_tables: Vec<String>,
    /// `--table-and-children` (16).
    pub include_tables_and_children: Vec<String>,
    /// `-T`, `--exclude-table`.
    pub exclude_tables: Vec<String>,
    /// `--exclude-table-and-children` (16).
    pub exclude_tables_and_children: Vec<String>,
    /// `--exclude-table-data`.
    pub exclude_table_data: Vec<String>,
    /// `--exclude-table-data-and-children` (16).
    pub exclude_table_data_and_children: Vec<String>,
    /// `-e`, `--extension`.
    pub include_extensions: Vec<String>,
    /// `-e` was given, so nothing but what is included is dumped. The extensions of a `--filter` do not say that.
    pub extensions_alone: bool,
    /// `--exclude-extension` (17).
    pub exclude_extensions: Vec<String>,
    /// `--include-foreign-data`: patterns of foreign server names.
    pub include_foreign_data: Vec<String>,
    /// `--strict-names`: a pattern that matches nothing is an error.
    pub strict_names: bool,
    /// `-O`, `--no-owner`.
    pub no_owner: bool,
    /// `-x`, `--no-privileges`.
    pub no_privileges: bool,
    /// `-c`, `--clean`.
    pub clean: bool,
    /// `--if-exists`.
    pub if_exists: bool,
    /// `-C`, `--create`.
    pub create: bool,
    /// `-b`, `--large-objects`: `Some(false)` is `-B`; `None` leaves it to the selection.
    pub large_objects: Option<bool>,
    /// `--no-comments`.
    pub no_comments: bool,
    /// `--no-publications`.
    pub no_publications: bool,
    /// `--no-security-labels`.
    pub no_security_labels: bool,
    /// `--no-subscriptions`.
    pub no_subscriptions: bool,
    /// `--no-policies` (18).
    pub no_policies: bool,
    /// `--no-tablespaces`.
    pub no_tablespaces: bool,
    /// `--no-table-access-method`.
    pub no_table_access_method: bool,
    /// `--no-toast-compression`.
    pub no_toast_compression: bool,
    /// `--no-unlogged-table-data`.
    pub no_unlogged_table_data: bool,
    /// `--inserts` and its kin; `None` writes COPY.
    pub inserts: Option<Inserts>,
    /// `--disable-triggers`.
    pub disable_triggers: bool,
    /// `--disable-dollar-quoting`.
    pub disable_dollar_quoting: bool,
    /// `--enable-row-security`.
    pub enable_row_security: bool,
    /// `--load-via-partition-root`.
    pub load_via_partition_root: bool,
    /// `--quote-all-identifiers`.
    pub quote_all_identifiers: bool,
    /// `--use-set-session-authorization`.
    pub use_set_session_authorization: bool,
    /// `--sequence-data` (18): sequence values also in a schema-only dump.
    pub sequence_data: bool,
    /// `--binary-upgrade`.
    pub binary_upgrade: bool,
}

/// Rows as INSERT statements.
#[derive(Clone, Copy, Debug, Default)]
pub struct Inserts {
    /// `--column-inserts`: name the columns.
    pub columns: bool,
    /// `--rows-per-insert`; at least 1.
    pub rows: u32,
    /// `--on-conflict-do-nothing`.
    pub on_conflict_do_nothing: bool,
}

impl DumpOptions {
    /// Whether definitions are written (pg_dump's `dumpSchema`).
    #[must_use]
    pub fn dump_schema(&self) -> bool {
        !self.data_only && !self.neither_schema_nor_data
    }

    /// Whether rows are written (pg_dump's `dumpData`).
    #[must_use]
    pub fn dump_data(&self) -> bool {
        !self.schema_only && !self.neither_schema_nor_data
    }

    /// The options under which `pg_dump` with these prints its plain format.
    #[must_use]
    pub fn for_printing(&self) -> RestoreOptions {
        RestoreOptions {
            clean: self.clean,
            if_exists: self.if_exists,
            create: self.create,
            schema: self.dump_schema(),
            data: self.dump_data(),
            statistics: self.statistics,
            sequence_data: self.sequence_data,
            binary_upgrade: self.binary_upgrade,
            no_owner: self.no_owner,
            no_privileges: self.no_privileges,
            no_tablespaces: self.no_tablespaces,
            no_table_access_method: self.no_table_access_method,
            no_comments: self.no_comments,
            no_publications: self.no_publications,
            no_security_labels: self.no_security_labels,
            no_subscriptions: self.no_subscriptions,
            no_policies: self.no_policies,
            use_set_session_authorization: self.use_set_session_authorization,
            disable_triggers: self.disable_triggers,
            enable_row_security: self.enable_row_security,
            ..RestoreOptions::default()
        }
    }
}
