//! What of a backup is restored, in pg_restore's words.

use std::path::{Path, PathBuf};

use clap::ValueEnum;

use crate::archive::options::{RestoreOptions, Sections};
use crate::archive::roles::RoleMap;
use crate::archive::selection::{Selection, parse_list};
use crate::error::{Exit, Fail, Result};
use crate::sql::encoding::known;

/// pg_restore's options that say what is restored.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "A part, as pg_restore selects it (with --mode new)")]
#[allow(clippy::struct_excessive_bools)] // one per option of pg_restore
pub struct Choice {
    /// Restore only objects of this schema; may be repeated, as all of these
    #[arg(long, short = 'n', value_name = "SCHEMA")]
    schema: Vec<String>,
    /// Do not restore objects of this schema
    #[arg(long, short = 'N', value_name = "SCHEMA")]
    exclude_schema: Vec<String>,
    /// Restore this table, view, materialized view, foreign table or sequence
    #[arg(long, short = 't', value_name = "NAME")]
    table: Vec<String>,
    /// Restore this index
    #[arg(long, short = 'I', value_name = "NAME")]
    index: Vec<String>,
    /// Restore this function
    #[arg(long, short = 'P', value_name = "NAME(ARGS)")]
    function: Vec<String>,
    /// Restore this trigger
    #[arg(long, short = 'T', value_name = "TABLE TRIGGER")]
    trigger: Vec<String>,
    /// Restore the entries of this list, in its order; `pg_restore -l` prints one to edit
    #[arg(long, short = 'L', value_name = "FILE")]
    use_list: Option<PathBuf>,
    /// Restore this section
    #[arg(long, value_enum, value_name = "SECTION")]
    section: Vec<Part>,
    /// Restore only rows, into tables that are there
    #[arg(long, short = 'a', conflicts_with = "schema_only")]
    data_only: bool,
    /// Restore only definitions
    #[arg(long, short = 's')]
    schema_only: bool,
}

/// What all of it is restored without, or otherwise than it was.
#[derive(Debug, clap::Args)]
#[command(
    next_help_heading = "Without owners, privileges and the like (pg_restore's words, in every mode, also of plain SQL)"
)]
#[allow(clippy::struct_excessive_bools)] // one per option of pg_restore
pub struct Changes {
    /// Everything belongs to the role that restores
    #[arg(long, short = 'O')]
    no_owner: bool,
    /// Grant nothing
    #[arg(long, short = 'x', visible_alias = "no-acl")]
    no_privileges: bool,
    /// Restore as this role (SET ROLE)
    #[arg(long, value_name = "ROLE")]
    role: Option<String>,
    /// Name role NEW wherever the dump names OLD: owners, privileges, policies, user mappings; may be repeated
    #[arg(long, value_name = "OLD=NEW")]
    map_role: Vec<String>,
    /// Create the roles that the server lacks, without a login
    #[arg(long)]
    pub create_roles: bool,
    /// The text of a plain SQL file is in this encoding, whatever it says itself (LATIN1, WIN1252, …)
    #[arg(long, value_name = "ENCODING")]
    encoding: Option<String>,
    /// Let a file from elsewhere run programs and reach files on the server, which no dump does and is refused otherwise
    #[arg(long)]
    allow_server_programs: bool,
    /// Restore no comments
    #[arg(long)]
    no_comments: bool,
    /// Restore no row-level security policies
    #[arg(long)]
    no_policies: bool,
    /// Restore no publications
    #[arg(long)]
    no_publications: bool,
    /// Restore no security labels
    #[arg(long)]
    no_security_labels: bool,
    /// Restore no subscriptions
    #[arg(long)]
    no_subscriptions: bool,
    /// Everything lies in the default tablespace
    #[arg(long)]
    no_tablespaces: bool,
    /// Everything has the default table access method
    #[arg(long)]
    no_table_access_method: bool,
}

impl Changes {
    /// `options` with these.
    ///
    /// # Errors
    /// A role is not mapped in a way that can be understood.
    pub fn options(&self, options: RestoreOptions) -> Result<RestoreOptions> {
        Ok(RestoreOptions {
            no_owner: self.no_owner,
            no_privileges: self.no_privileges,
            no_tablespaces: self.no_tablespaces,
            no_table_access_method: self.no_table_access_method,
            no_comments: self.no_comments,
            no_publications: self.no_publications,
            no_security_labels: self.no_security_labels,
            no_subscriptions: self.no_subscriptions,
            no_policies: self.no_policies,
            role: self.role.clone(),
            role_map: RoleMap::parse(&self.map_role)?,
            encoding: self.encoding.as_deref().map(known).transpose()?,
            allow_server_programs: self.allow_server_programs,
            ..options
        })
    }
}

/// A section of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Definitions that rows need
    PreData,
    /// Rows, large objects and sequence values
    Data,
    /// Indexes, constraints, triggers, rules
    PostData,
}

impl Choice {
    /// The tables that are named; `None` where something else says what is left out.
    #[must_use]
    pub fn only_tables(&self) -> Option<&[String]> {
        let others = [
            &self.schema,
            &self.exclude_schema,
            &self.index,
            &self.function,
            &self.trigger,
        ];
        let has_other = others.iter().any(|names| !names.is_empty())
            || self.use_list.is_some()
            || !self.section.is_empty()
            || self.data_only
            || self.schema_only;
        (!has_other).then_some(&self.table)
    }

    /// The options as the engine takes them.
    ///
    /// # Errors
    /// The list cannot be read.
    pub fn options(&self) -> Result<RestoreOptions> {
        let part = |part| self.section.is_empty() || self.section.contains(&part);
        Ok(RestoreOptions {
            schema: !self.data_only,
            data: !self.schema_only,
            sections: Sections {
                pre_data: part(Part::PreData),
                data: part(Part::Data),
                post_data: part(Part::PostData),
            },
            selection: Selection {
                schemas: self.schema.clone(),
                exclude_schemas: self.exclude_schema.clone(),
                tables: self.table.clone(),
                indexes: self.index.clone(),
                functions: self.function.clone(),
                triggers: self.trigger.clone(),
                list: self.use_list.as_deref().map(read_list).transpose()?,
                with_schemas: true,
            },
            ..RestoreOptions::default()
        })
    }
}

fn read_list(path: &Path) -> Result<Vec<i32>> {
    let bytes = std::fs::read(path).map_err(|error| {
        let message = format!("cannot read the list {}: {error}", path.display());
        Fail::new(Exit::NotFound, message).hint("`pg_restore -l` prints such a list")
    })?;
    Ok(parse_list(&String::from_utf8_lossy(&bytes))?)
}
