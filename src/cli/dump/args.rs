//! pg_dump's options by their names, as clap reads them.

use std::path::PathBuf;

use clap::ArgAction;

use crate::engine::postgres::connect::{self, Dsn, Params};
use crate::error::Result;

/// pg_dump's options.
#[derive(Debug, clap::Args)]
#[allow(clippy::struct_excessive_bools)] // one per option of pg_dump
pub struct Args {
    /// Output file or directory name [default: stdout]
    #[arg(short = 'f', long, value_name = "FILENAME", value_parser = super::path, help_heading = "General options")]
    pub file: Option<PathBuf>,
    /// Output file format: custom, directory, tar or plain text [default: p]
    #[arg(short = 'F', long, value_name = "c|d|t|p", help_heading = "General options")]
    pub format: Option<String>,
    /// Read with this many connections at the same time [default: the number of processors, at most 4]
    #[arg(short = 'j', long, value_name = "NUM", help_heading = "General options")]
    pub jobs: Option<String>,
    /// Say on stderr what is done
    #[arg(short = 'v', long, action = ArgAction::Count, help_heading = "General options")]
    pub verbose: u8,
    /// Compress as specified
    #[arg(short = 'Z', long, value_name = "METHOD[:DETAIL]", help_heading = "General options")]
    pub compress: Option<String>,
    /// Fail after waiting TIMEOUT for a table lock
    #[arg(long, value_name = "TIMEOUT", help_heading = "General options")]
    pub lock_wait_timeout: Option<String>,
    /// Do not wait for changes to be written safely to disk
    #[arg(long, help_heading = "General options")]
    pub no_sync: bool,
    /// Method for syncing files to disk
    #[arg(long, value_name = "METHOD", help_heading = "General options")]
    pub sync_method: Option<String>,
    /// Give up when the dump makes others wait for its locks for longer than this many seconds
    #[arg(long, value_name = "SECONDS", help_heading = "General options")]
    pub max_lock_wait: Option<u64>,
    /// Does nothing any more; old scripts give it
    #[arg(short = 'R', long, hide = true)]
    pub no_reconnect: bool,
    /// Show this help, then exit
    #[arg(short = '?', long, action = ArgAction::Help, help_heading = "General options")]
    pub help: Option<bool>,
    /// Output version information, then exit
    #[arg(short = 'V', long, action = ArgAction::Version, help_heading = "General options")]
    pub version: Option<bool>,

    /// Write roles and tablespaces instead of a database, as pg_dumpall --globals-only does
    #[arg(long, help_heading = "Content")]
    pub globals_only: bool,
    /// Write roles only, as pg_dumpall does
    #[arg(long, help_heading = "Content", conflicts_with_all = ["globals_only", "tablespaces_only"])]
    pub roles_only: bool,
    /// Write tablespaces only, as pg_dumpall does
    #[arg(long, help_heading = "Content", conflicts_with = "globals_only")]
    pub tablespaces_only: bool,
    /// Write roles without their passwords
    #[arg(long, help_heading = "Content")]
    pub no_role_passwords: bool,
    /// Dump only the data, not the schema or statistics
    #[arg(short = 'a', long, help_heading = "Content")]
    pub data_only: bool,
    /// Include large objects in dump
    #[arg(short = 'b', long, alias = "blobs", help_heading = "Content")]
    pub large_objects: bool,
    /// Exclude large objects in dump
    #[arg(short = 'B', long, alias = "no-blobs", help_heading = "Content")]
    pub no_large_objects: bool,
    /// Clean (drop) database objects before recreating
    #[arg(short = 'c', long, help_heading = "Content")]
    pub clean: bool,
    /// Include commands to create database in dump
    #[arg(short = 'C', long, help_heading = "Content")]
    pub create: bool,
    /// Dump the specified extension(s) only
    #[arg(short = 'e', long, value_name = "PATTERN", help_heading = "Content")]
    pub extension: Vec<String>,
    /// Dump the data in encoding ENCODING
    #[arg(short = 'E', long, value_name = "ENCODING", help_heading = "Content")]
    pub encoding: Option<String>,
    /// Dump the specified schema(s) only
    #[arg(short = 'n', long, value_name = "PATTERN", help_heading = "Content")]
    pub schema: Vec<String>,
    /// Do NOT dump the specified schema(s)
    #[arg(short = 'N', long, value_name = "PATTERN", help_heading = "Content")]
    pub exclude_schema: Vec<String>,
    /// Skip restoration of object ownership in plain-text format
    #[arg(short = 'O', long, help_heading = "Content")]
    pub no_owner: bool,
    /// Dump only the schema, no data or statistics
    #[arg(short = 's', long, help_heading = "Content")]
    pub schema_only: bool,
    /// Superuser user name to use in plain-text format
    #[arg(short = 'S', long, value_name = "NAME", help_heading = "Content")]
    pub superuser: Option<String>,
    /// Dump only the specified table(s)
    #[arg(short = 't', long, value_name = "PATTERN", help_heading = "Content")]
    pub table: Vec<String>,
    /// Do NOT dump the specified table(s)
    #[arg(short = 'T', long, value_name = "PATTERN", help_heading = "Content")]
    pub exclude_table: Vec<String>,
    /// Do not dump privileges (grant/revoke)
    #[arg(short = 'x', long, alias = "no-acl", help_heading = "Content")]
    pub no_privileges: bool,
    /// For use by upgrade utilities only
    #[arg(long, help_heading = "Content")]
    pub binary_upgrade: bool,
    /// Dump data as INSERT commands with column names
    #[arg(long, alias = "attribute-inserts", help_heading = "Content")]
    pub column_inserts: bool,
    /// Disable dollar quoting, use SQL standard quoting
    #[arg(long, help_heading = "Content")]
    pub disable_dollar_quoting: bool,
    /// Disable triggers during data-only restore
    #[arg(long, help_heading = "Content")]
    pub disable_triggers: bool,
    /// Enable row security (dump only content user has access to)
    #[arg(long, help_heading = "Content")]
    pub enable_row_security: bool,
    /// Do NOT dump the specified extension(s)
    #[arg(long, value_name = "PATTERN", help_heading = "Content")]
    pub exclude_extension: Vec<String>,
    /// Do NOT dump the specified table(s), including child and partition tables
    #[arg(long, value_name = "PATTERN", help_heading = "Content")]
    pub exclude_table_and_children: Vec<String>,
    /// Do NOT dump data for the specified table(s)
    #[arg(long, value_name = "PATTERN", help_heading = "Content")]
    pub exclude_table_data: Vec<String>,
    /// Do NOT dump data for the specified table(s), including child and partition tables
    #[arg(long, value_name = "PATTERN", help_heading = "Content")]
    pub exclude_table_data_and_children: Vec<String>,
    /// Override default setting for extra_float_digits
    #[arg(long, value_name = "NUM", help_heading = "Content")]
    pub extra_float_digits: Option<String>,
    /// Include or exclude objects and data from dump based on expressions in FILENAME
    #[arg(long, value_name = "FILENAME", value_parser = super::path, help_heading = "Content")]
    pub filter: Vec<PathBuf>,
    /// Use IF EXISTS when dropping objects
    #[arg(long, help_heading = "Content")]
    pub if_exists: bool,
    /// Include data of foreign tables on foreign servers matching PATTERN
    #[arg(long, value_name = "PATTERN", help_heading = "Content")]
    pub include_foreign_data: Vec<String>,
    /// Dump data as INSERT commands, rather than COPY
    #[arg(long, help_heading = "Content")]
    pub inserts: bool,
    /// Load partitions via the root table
    #[arg(long, help_heading = "Content")]
    pub load_via_partition_root: bool,
    /// Do not dump comment commands
    #[arg(long, help_heading = "Content")]
    pub no_comments: bool,
    /// Do not dump data
    #[arg(long, help_heading = "Content")]
    pub no_data: bool,
    /// Do not dump row security policies
    #[arg(long, help_heading = "Content")]
    pub no_policies: bool,
    /// Do not dump publications
    #[arg(long, help_heading = "Content")]
    pub no_publications: bool,
    /// Do not dump schema
    #[arg(long, help_heading = "Content")]
    pub no_schema: bool,
    /// Do not dump security label assignments
    #[arg(long, help_heading = "Content")]
    pub no_security_labels: bool,
    /// Do not dump statistics
    #[arg(long, help_heading = "Content")]
    pub no_statistics: bool,
    /// Do not dump subscriptions
    #[arg(long, help_heading = "Content")]
    pub no_subscriptions: bool,
    /// Do not dump table access methods
    #[arg(long, help_heading = "Content")]
    pub no_table_access_method: bool,
    /// Do not dump tablespace assignments
    #[arg(long, help_heading = "Content")]
    pub no_tablespaces: bool,
    /// Do not dump TOAST compression methods
    #[arg(long, help_heading = "Content")]
    pub no_toast_compression: bool,
    /// Do not dump unlogged table data
    #[arg(long, help_heading = "Content")]
    pub no_unlogged_table_data: bool,
    /// Add ON CONFLICT DO NOTHING to INSERT commands
    #[arg(long, help_heading = "Content")]
    pub on_conflict_do_nothing: bool,
    /// Quote all identifiers, even if not key words
    #[arg(long, help_heading = "Content")]
    pub quote_all_identifiers: bool,
    /// Use provided string as psql \restrict key
    #[arg(long, value_name = "RESTRICT_KEY", help_heading = "Content")]
    pub restrict_key: Option<String>,
    /// Number of rows per INSERT; implies --inserts
    #[arg(long, value_name = "NROWS", help_heading = "Content")]
    pub rows_per_insert: Option<String>,
    /// Dump named section (pre-data, data, or post-data)
    #[arg(long, value_name = "SECTION", help_heading = "Content")]
    pub section: Vec<String>,
    /// Include sequence data in dump
    #[arg(long, help_heading = "Content")]
    pub sequence_data: bool,
    /// Wait until the dump can run without anomalies
    #[arg(long, help_heading = "Content")]
    pub serializable_deferrable: bool,
    /// Use given snapshot for the dump
    #[arg(long, value_name = "SNAPSHOT", help_heading = "Content")]
    pub snapshot: Option<String>,
    /// Dump the statistics
    #[arg(long, alias = "with-statistics", help_heading = "Content")]
    pub statistics: bool,
    /// Dump only the statistics, not schema or data
    #[arg(long, help_heading = "Content")]
    pub statistics_only: bool,
    /// Require table and/or schema include patterns to match at least one entity each
    #[arg(long, help_heading = "Content")]
    pub strict_names: bool,
    /// Dump only the specified table(s), including child and partition tables
    #[arg(long, value_name = "PATTERN", help_heading = "Content")]
    pub table_and_children: Vec<String>,
    /// Use SET SESSION AUTHORIZATION commands instead of ALTER OWNER commands to set ownership
    #[arg(long, help_heading = "Content")]
    pub use_set_session_authorization: bool,

    /// Database to dump: name, URI or keyword=value string
    #[arg(short = 'd', long, value_name = "DBNAME", help_heading = "Connection")]
    pub dbname: Option<String>,
    /// Database server host or socket directory
    #[arg(short = 'h', long, value_name = "HOSTNAME", help_heading = "Connection")]
    pub host: Option<String>,
    /// Database server port number
    #[arg(short = 'p', long, value_name = "PORT", help_heading = "Connection")]
    pub port: Option<String>,
    /// Connect as specified database user
    #[arg(short = 'U', long, value_name = "NAME", help_heading = "Connection")]
    pub username: Option<String>,
    /// Never prompt for password
    #[arg(short = 'w', long, help_heading = "Connection")]
    pub no_password: bool,
    /// Force password prompt (should happen automatically)
    #[arg(short = 'W', long, help_heading = "Connection")]
    pub password: bool,
    /// Do SET ROLE before dump
    #[arg(long, value_name = "ROLENAME", help_heading = "Connection")]
    pub role: Option<String>,

    /// Database to dump, when -d does not name it
    #[arg(value_name = "DBNAME")]
    pub positional: Vec<String>,

    /// The program was called by a link named pg_dump.
    #[arg(skip)]
    pub linked: bool,
}

impl Args {
    /// The connection parameters: options win over what the database's URI says, as in pg_dump.
    ///
    /// # Errors
    /// The connection string is malformed.
    pub fn dsn(&self) -> Result<Dsn> {
        let named = self.dbname.as_deref().or(self.positional.first().map(String::as_str));
        let mut params: Params = connect::params(named.unwrap_or_default())?;
        for (keyword, value) in [("host", &self.host), ("port", &self.port), ("user", &self.username)] {
            if let Some(value) = value {
                params.insert(keyword, value.clone());
            }
        }
        let mut dsn = Dsn::from_params(params)?;
        dsn.encoding_as_set = true;
        if self.password {
            dsn.password = Some(super::prompt_password()?);
        }
        if dsn.application_name.is_none() {
            dsn.application_name = Some("snapback dump".to_owned());
        }
        Ok(dsn)
    }
}
