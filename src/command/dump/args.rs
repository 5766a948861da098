//! pg_dump's options, with its names, conflicts and messages, as one validated request.

use std::num::IntErrorKind;
use std::path::PathBuf;

use anyhow::bail;
use clap::ArgAction;

use super::filter;
use crate::archive::Format;
use crate::archive::options::Sections;
use crate::error::{Exit, Fail, Result};
use crate::postgres::connect::{self, Dsn, Params};
use crate::postgres::dump::Request;
use crate::postgres::options::{DumpOptions, Inserts};
use crate::postgres::snapshot::SessionOptions;
use crate::seal::compression::Compression;

/// pg_dump's options.
#[derive(Debug, clap::Args)]
#[allow(clippy::struct_excessive_bools)] // one per option of pg_dump
pub struct Args {
    /// Output file or directory name [default: stdout]
    #[arg(short = 'f', long, value_name = "FILENAME", help_heading = "General options")]
    pub file: Option<PathBuf>,
    /// Output file format: custom, directory, tar or plain text
    #[arg(
        short = 'F',
        long,
        value_name = "c|d|t|p",
        default_value = "p",
        help_heading = "General options"
    )]
    pub format: String,
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
    #[arg(long, value_name = "FILENAME", help_heading = "Content")]
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
        if self.password {
            dsn.password = Some(super::prompt_password()?);
        }
        if dsn.application_name.is_none() {
            dsn.application_name = Some("snapback dump".to_owned());
        }
        Ok(dsn)
    }

    /// The validated request.
    ///
    /// # Errors
    /// Options conflict, or one has an impossible value: in pg_dump's words.
    pub fn request(&self) -> Result<Request> {
        if let Some(extra) = self.positional.get(usize::from(self.dbname.is_none())) {
            let message = format!("too many command-line arguments (first is \"{extra}\")");
            bail!(usage(message).hint(HELP));
        }
        self.check_conflicts()?;
        let format = self.format()?;
        let compress = self.compression(format)?;
        let mut options = self.options()?;
        for file in &self.filter {
            filter::read(file, &mut options)?;
        }
        if !options.include_foreign_data.is_empty() && options.schema_only {
            bail!(together("-s/--schema-only", "--include-foreign-data"));
        }
        Ok(Request {
            session: self.session(&options)?,
            format,
            compress,
            sections: self.sections()?,
            superuser: self.superuser.clone(),
            restrict_key: self.restrict_key.clone(),
            verbose: self.verbose > 0,
            jobs: self.jobs(&options)?,
            max_lock_wait: self.max_lock_wait.map(std::time::Duration::from_secs),
            options,
        })
    }

    fn check_conflicts(&self) -> Result<()> {
        let exclusive = [
            (self.schema_only, "-s/--schema-only", self.data_only, "-a/--data-only"),
            (
                self.schema_only,
                "-s/--schema-only",
                self.statistics_only,
                "--statistics-only",
            ),
            (
                self.data_only,
                "-a/--data-only",
                self.statistics_only,
                "--statistics-only",
            ),
            (self.schema_only, "-s/--schema-only", self.statistics, "--statistics"),
            (self.data_only, "-a/--data-only", self.statistics, "--statistics"),
            (self.data_only, "-a/--data-only", self.no_data, "--no-data"),
            (self.schema_only, "-s/--schema-only", self.no_schema, "--no-schema"),
            (
                self.statistics_only,
                "--statistics-only",
                self.no_statistics,
                "--no-statistics",
            ),
            (self.statistics, "--statistics", self.no_statistics, "--no-statistics"),
            (
                self.schema_only,
                "-s/--schema-only",
                !self.include_foreign_data.is_empty(),
                "--include-foreign-data",
            ),
            (self.clean, "-c/--clean", self.data_only, "-a/--data-only"),
        ];
        for (one, one_name, other, other_name) in exclusive {
            if one && other {
                bail!(together(one_name, other_name));
            }
        }
        if self.if_exists && !self.clean {
            bail!(usage("option --if-exists requires option -c/--clean"));
        }
        if self.on_conflict_do_nothing && !self.inserts && !self.column_inserts && self.rows_per_insert.is_none() {
            bail!(usage(
                "option --on-conflict-do-nothing requires option --inserts, --rows-per-insert, or --column-inserts"
            ));
        }
        if let Some(method) = self.sync_method.as_deref().filter(|m| !["fsync", "syncfs"].contains(m)) {
            bail!(usage(format!("unrecognized sync method: {method}")));
        }
        let valid_key = |key: &String| !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric());
        if self.restrict_key.as_ref().is_some_and(|key| !valid_key(key)) {
            bail!(usage("invalid restrict key"));
        }
        Ok(())
    }

    fn format(&self) -> Result<Format> {
        Ok(match self.format.to_ascii_lowercase().as_str() {
            "c" | "custom" => Format::Custom,
            "d" | "directory" => Format::Directory,
            "t" | "tar" => Format::Tar,
            "p" | "plain" => Format::Plain,
            _ => bail!(usage(format!("invalid output format \"{}\" specified", self.format))),
        })
    }

    fn compression(&self, format: Format) -> Result<Compression> {
        let wanted: Option<Compression> = self.compress.as_deref().map(str::parse).transpose()?;
        Ok(match (format, wanted) {
            (Format::Tar, Some(wanted)) if wanted != Compression::NONE => {
                bail!(usage("compression is not supported by tar archive format"));
            }
            (_, Some(wanted)) => wanted,
            (Format::Custom | Format::Directory, None) => Compression::default(),
            (Format::Tar | Format::Plain, None) => Compression::NONE,
        })
    }

    fn sections(&self) -> Result<Sections> {
        if self.section.is_empty() {
            return Ok(Sections::default());
        }
        let mut sections = Sections {
            pre_data: false,
            data: false,
            post_data: false,
        };
        for name in &self.section {
            match name.as_str() {
                "pre-data" => sections.pre_data = true,
                "data" => sections.data = true,
                "post-data" => sections.post_data = true,
                _ => bail!(usage(format!("unrecognized section name: \"{name}\"")).hint(HELP)),
            }
        }
        Ok(sections)
    }

    fn jobs(&self, options: &DumpOptions) -> Result<usize> {
        let Some(text) = &self.jobs else {
            let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
            return Ok(if options.include_foreign_data.is_empty() {
                processors.min(4)
            } else {
                1
            });
        };
        let jobs = ranged(text, "-j/--jobs", 1, i32::MAX)?;
        if jobs > 1 && !options.include_foreign_data.is_empty() {
            bail!(usage(
                "option --include-foreign-data is not supported with parallel backup"
            ));
        }
        Ok(usize::try_from(jobs)?)
    }

    fn inserts(&self) -> Result<Option<Inserts>> {
        let rows = match &self.rows_per_insert {
            Some(text) => Some(ranged(text, "--rows-per-insert", 1, i32::MAX)?),
            None => None,
        };
        if rows.is_none() && !self.inserts && !self.column_inserts {
            return Ok(None);
        }
        Ok(Some(Inserts {
            columns: self.column_inserts,
            rows: u32::try_from(rows.unwrap_or(1))?,
            on_conflict_do_nothing: self.on_conflict_do_nothing,
        }))
    }

    fn session(&self, options: &DumpOptions) -> Result<SessionOptions> {
        let digits = self.extra_float_digits.as_deref();
        Ok(SessionOptions {
            encoding: self.encoding.clone(),
            role: self.role.clone(),
            extra_float_digits: digits
                .map(|text| ranged(text, "--extra-float-digits", -15, 3))
                .transpose()?,
            lock_wait_timeout: self.lock_wait_timeout.clone(),
            serializable_deferrable: self.serializable_deferrable,
            snapshot: self.snapshot.clone(),
            enable_row_security: self.enable_row_security,
            quote_all_identifiers: self.quote_all_identifiers,
            foreign_data: !options.include_foreign_data.is_empty(),
        })
    }

    fn options(&self) -> Result<DumpOptions> {
        Ok(DumpOptions {
            schema_only: self.schema_only || (self.no_data && !self.no_schema),
            data_only: self.data_only || (self.no_schema && !self.no_data),
            statistics_only: self.statistics_only || (self.no_schema && self.no_data),
            statistics: self.statistics,
            include_schemas: self.schema.clone(),
            exclude_schemas: self.exclude_schema.clone(),
            include_tables: self.table.clone(),
            include_tables_and_children: self.table_and_children.clone(),
            exclude_tables: self.exclude_table.clone(),
            exclude_tables_and_children: self.exclude_table_and_children.clone(),
            exclude_table_data: self.exclude_table_data.clone(),
            exclude_table_data_and_children: self.exclude_table_data_and_children.clone(),
            include_extensions: self.extension.clone(),
            exclude_extensions: self.exclude_extension.clone(),
            include_foreign_data: self.include_foreign_data.clone(),
            strict_names: self.strict_names,
            no_owner: self.no_owner,
            no_privileges: self.no_privileges,
            clean: self.clean,
            if_exists: self.if_exists,
            create: self.create,
            // Asked for both, pg_dump includes them.
            large_objects: match (self.large_objects, self.no_large_objects) {
                (true, _) => Some(true),
                (false, true) => Some(false),
                (false, false) => None,
            },
            no_comments: self.no_comments,
            no_publications: self.no_publications,
            no_security_labels: self.no_security_labels,
            no_subscriptions: self.no_subscriptions,
            no_policies: self.no_policies,
            no_tablespaces: self.no_tablespaces,
            no_table_access_method: self.no_table_access_method,
            no_toast_compression: self.no_toast_compression,
            no_unlogged_table_data: self.no_unlogged_table_data,
            inserts: self.inserts()?,
            disable_triggers: self.disable_triggers,
            disable_dollar_quoting: self.disable_dollar_quoting,
            enable_row_security: self.enable_row_security,
            load_via_partition_root: self.load_via_partition_root,
            quote_all_identifiers: self.quote_all_identifiers,
            use_set_session_authorization: self.use_set_session_authorization,
            sequence_data: self.sequence_data,
            binary_upgrade: self.binary_upgrade,
        })
    }
}

/// What pg_dump says after an error in its command line.
const HELP: &str = "Try \"snapback dump --help\" for more information.";

fn usage(message: impl Into<String>) -> Fail {
    Fail::new(Exit::Usage, message)
}

fn together(one: &str, other: &str) -> Fail {
    usage(format!("options {one} and {other} cannot be used together"))
}

fn ranged(text: &str, option: &str, least: i32, most: i32) -> Result<i32> {
    let number: Result<i32, _> = text.trim().parse();
    match number.map_err(|error| *error.kind()) {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        Ok(_) | Err(IntErrorKind::PosOverflow | IntErrorKind::NegOverflow) => {
            bail!(usage(format!("{option} must be in range {least}..{most}")))
        }
        Err(_) => bail!(usage(format!("invalid value \"{text}\" for option {option}"))),
    }
}
