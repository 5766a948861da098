//! pg_dump's options as one validated request: their values, conflicts and messages.

use std::num::IntErrorKind;

use anyhow::bail;

use super::{Args, PROGRAM, filter, say};
use crate::archive::Format;
use crate::archive::options::Sections;
use crate::engine::postgres::dump::Request;
use crate::engine::postgres::options::{DumpOptions, Inserts};
use crate::engine::postgres::snapshot::{Encoding, Quoting, SessionOptions};
use crate::error::{Exit, Fail, Result};
use crate::seal::compression::Compression;

impl Args {
    /// The validated request.
    ///
    /// # Errors
    /// Options conflict, or one has an impossible value: in pg_dump's words and order, so that of several mistakes the
    /// same one is told.
    pub fn request(&self) -> Result<Request> {
        let asked_jobs = self.asked_jobs()?;
        let sections = self.sections()?;
        self.check_sync_method()?;
        let mut options = self.options()?;
        let session = self.session()?;
        for file in &self.filter {
            filter::read(file, &mut options)?;
        }
        if let Some(extra) = self.positional.get(usize::from(self.dbname.is_none())) {
            let message = format!("too many command-line arguments (first is \"{extra}\")");
            bail!(usage(message).hint(self.help()));
        }
        let foreign_data = !options.include_foreign_data.is_empty();
        self.check_conflicts(foreign_data)?;
        let format = self.format()?;
        if self.restrict_key.is_some() && matches!(format, Format::Custom | Format::Directory) {
            bail!(usage(
                "option --restrict-key can only be used with --format=plain or --format=tar"
            ));
        }
        let compress = match self.compress_as_the_server() {
            // Told when its version is known.
            Some(_) => Compression::NONE,
            None => self.compression(format)?,
        };
        let parallel = asked_jobs.is_some_and(|jobs| jobs > 1);
        let jobs = self.jobs(asked_jobs, format, foreign_data)?;
        Ok(Request {
            session: SessionOptions {
                foreign_data,
                ..session
            },
            format,
            compress,
            sections,
            superuser: self.superuser.clone(),
            restrict_key: self.restrict_key.clone(),
            verbose: self.verbose > 0,
            parallel: parallel && format == Format::Directory,
            jobs,
            max_lock_wait: self.max_lock_wait.map(std::time::Duration::from_secs),
            common_columns: false,
            rows_of: None,
            skip_rows_of: std::sync::Arc::default(),
            hash_only: false,
            columns: std::sync::Arc::default(),
            options,
        })
    }

    fn check_sync_method(&self) -> Result<()> {
        match self.sync_method.as_deref() {
            None | Some("fsync" | "syncfs") => Ok(()),
            Some(method) => bail!(usage(format!("unrecognized sync method: {method}"))),
        }
    }

    /// Refuses options that do not go together. `foreign_data` may also come from a filter file.
    fn check_conflicts(&self, foreign_data: bool) -> Result<()> {
        let schema_only = (self.schema_only, "-s/--schema-only");
        let data_only = (self.data_only, "-a/--data-only");
        let statistics_only = (self.statistics_only, "--statistics-only");
        let statistics = (self.statistics, "--statistics");
        let no_statistics = (self.no_statistics, "--no-statistics");
        let foreign = (foreign_data, "--include-foreign-data");
        let exclusive = [
            (schema_only, data_only),
            (schema_only, statistics_only),
            (data_only, statistics_only),
            (data_only, (self.no_data, "--no-data")),
            (schema_only, (self.no_schema, "--no-schema")),
            (statistics_only, no_statistics),
            (statistics, no_statistics),
            (data_only, statistics),
            (schema_only, statistics),
            (schema_only, foreign),
            ((self.clean, "-c/--clean"), data_only),
        ];
        for ((one, one_name), (other, other_name)) in exclusive {
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
        let valid_key = |key: &String| !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric());
        if self.restrict_key.as_ref().is_some_and(|key| !valid_key(key)) {
            bail!(usage("invalid restrict key"));
        }
        Ok(())
    }

    fn format(&self) -> Result<Format> {
        let format = self.format.as_deref().unwrap_or("p");
        Ok(match format.to_ascii_lowercase().as_str() {
            "c" | "custom" => Format::Custom,
            "d" | "directory" => Format::Directory,
            "t" | "tar" => Format::Tar,
            "p" | "plain" => Format::Plain,
            _ => bail!(usage(format!("invalid output format \"{format}\" specified"))),
        })
    }

    /// The value of `--compress` where it is the version of the server that says what it means: under the name of pg_dump,
    /// unless all versions agree.
    pub(super) fn compress_as_the_server(&self) -> Option<&str> {
        let text = self.compress.as_deref().filter(|_| self.linked)?;
        (!matches!(text.as_bytes(), [b'0'..=b'9'])).then_some(text)
    }

    pub(super) fn compression(&self, format: Format) -> Result<Compression> {
        let wanted: Option<Compression> = self.compress.as_deref().map(str::parse).transpose()?;
        if wanted.is_some_and(|wanted| wanted.workers) {
            say("warning: compression option \"workers\" is not currently supported by pg_dump");
        }
        Ok(match (format, wanted) {
            (_, Some(wanted)) => compressed_in(format, wanted)?,
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
                _ => bail!(usage(format!("unrecognized section name: \"{name}\"")).hint(self.help())),
            }
        }
        Ok(sections)
    }

    fn asked_jobs(&self) -> Result<Option<usize>> {
        let jobs = self.jobs.as_deref();
        let jobs = jobs.map(|text| ranged(text, "-j/--jobs", 1, i32::MAX)).transpose()?;
        Ok(jobs.map(usize::try_from).transpose()?)
    }

    /// How many connections read. pg_dump reads in parallel only into a directory; we do into every format, unless
    /// a script that called us pg_dump expects the refusal.
    fn jobs(&self, asked: Option<usize>, format: Format, foreign_data: bool) -> Result<usize> {
        let parallel = asked.is_some_and(|jobs| jobs > 1);
        if parallel && foreign_data {
            bail!(usage(
                "option --include-foreign-data is not supported with parallel backup"
            ));
        }
        if parallel && self.linked && format != Format::Directory {
            bail!(usage("parallel backup only supported by the directory format"));
        }
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let by_default = if foreign_data { 1 } else { processors.min(4) };
        Ok(asked.unwrap_or(by_default))
    }

    /// What pg_dump says after some errors in its command line.
    pub(super) fn help(&self) -> String {
        let name = if self.linked { PROGRAM } else { "snapback dump" };
        format!("Try \"{name} --help\" for more information.")
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

    fn session(&self) -> Result<SessionOptions> {
        let digits = self.extra_float_digits.as_deref();
        Ok(SessionOptions {
            encoding: self.encoding.clone().map_or(Encoding::Own, Encoding::Named),
            role: self.role.clone(),
            extra_float_digits: digits
                .map(|text| ranged(text, "--extra-float-digits", -15, 3))
                .transpose()?,
            lock_wait_timeout: self.lock_wait_timeout.clone(),
            serializable_deferrable: self.serializable_deferrable,
            snapshot: self.snapshot.clone(),
            enable_row_security: self.enable_row_security,
            quoting: if self.quote_all_identifiers {
                Quoting::All
            } else {
                Quoting::AsSet
            },
            ..SessionOptions::default()
        })
    }

    fn options(&self) -> Result<DumpOptions> {
        Ok(DumpOptions {
            schema_only: self.schema_only || (self.no_data && !self.no_schema),
            data_only: self.data_only || (self.no_schema && !self.no_data),
            neither_schema_nor_data: self.statistics_only || (self.no_schema && self.no_data),
            statistics: self.statistics || self.statistics_only,
            include_schemas: self.schema.clone(),
            exclude_schemas: self.exclude_schema.clone(),
            include_tables: self.table.clone(),
            include_tables_and_children: self.table_and_children.clone(),
            exclude_tables: self.exclude_table.clone(),
            exclude_tables_and_children: self.exclude_table_and_children.clone(),
            exclude_table_data: self.exclude_table_data.clone(),
            exclude_table_data_and_children: self.exclude_table_data_and_children.clone(),
            include_extensions: self.extension.clone(),
            extensions_alone: !self.extension.is_empty(),
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

/// `wanted`, unless the format takes none.
pub(super) fn compressed_in(format: Format, wanted: Compression) -> Result<Compression> {
    match format {
        Format::Tar if wanted != Compression::NONE => {
            Err(usage("compression is not supported by tar archive format").into())
        }
        _ => Ok(wanted),
    }
}

pub(super) fn usage(message: impl Into<String>) -> Fail {
    Fail::new(Exit::Usage, message)
}

fn together(one: &str, other: &str) -> Fail {
    usage(format!("options {one} and {other} cannot be used together"))
}

pub(super) fn ranged(text: &str, option: &str, least: i32, most: i32) -> Result<i32> {
    let number: Result<i32, _> = match text.trim() {
        // As the C library reads it.
        "" => Ok(0),
        digits => digits.parse(),
    };
    match number.map_err(|error| *error.kind()) {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        Ok(_) | Err(IntErrorKind::PosOverflow | IntErrorKind::NegOverflow) => {
            bail!(usage(format!("{option} must be in range {least}..{most}")))
        }
        Err(_) => bail!(usage(format!("invalid value \"{text}\" for option {option}"))),
    }
}
