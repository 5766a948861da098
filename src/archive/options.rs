//! What of an archive is restored, or printed, and how: pg_restore's options as one value.

use std::collections::BTreeSet;

use super::roles::RoleMap;
use super::selection::Selection;
use super::toc::Section;

/// pg_restore's options; the default is plain `pg_restore -f -`. pg_dump's plain format obeys the same.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools)] // one per option of pg_restore
pub struct RestoreOptions {
    /// `-c`, `--clean`: drop what will be created.
    pub clean: bool,
    /// `--if-exists`: the drops do not fail when there is nothing to drop.
    pub if_exists: bool,
    /// `-C`, `--create`: create the database and connect to it.
    pub create: bool,
    /// Definitions are wanted (off: `--data-only`).
    pub schema: bool,
    /// Rows are wanted (off: `--schema-only`).
    pub data: bool,
    /// Planner statistics are wanted.
    pub statistics: bool,
    /// Sequence values even without rows (`--sequence-data`).
    pub sequence_data: bool,
    /// `--binary-upgrade`: definitions of large objects even without rows.
    pub binary_upgrade: bool,
    /// `--section`.
    pub sections: Sections,
    /// `-n`, `-t`, `-L` and their kin.
    pub selection: Selection,
    /// `-O`, `--no-owner`.
    pub no_owner: bool,
    /// `-x`, `--no-privileges`.
    pub no_privileges: bool,
    /// `--no-tablespaces`.
    pub no_tablespaces: bool,
    /// `--no-table-access-method`.
    pub no_table_access_method: bool,
    /// `--no-comments`.
    pub no_comments: bool,
    /// `--no-publications`.
    pub no_publications: bool,
    /// `--no-security-labels`.
    pub no_security_labels: bool,
    /// `--no-subscriptions`.
    pub no_subscriptions: bool,
    /// `--no-policies`.
    pub no_policies: bool,
    /// `--use-set-session-authorization` instead of `ALTER … OWNER`.
    pub use_set_session_authorization: bool,
    /// `--disable-triggers`, which only counts without definitions.
    pub disable_triggers: bool,
    /// `-S`, `--superuser`: who disables triggers.
    pub superuser: Option<String>,
    /// `--role`: who restores (pg_dump's own `--role` is about reading and is not this).
    pub role: Option<String>,
    /// `--map-role`: roles that are named instead of others. It is ours: pg_restore has no such option.
    pub role_map: RoleMap,
    /// `--encoding`: what the text of a script is in, whatever it says itself. It is ours.
    pub encoding: Option<String>,
    /// `--allow-server-programs`: a script may run programs and reach files on the server. It is ours.
    pub allow_server_programs: bool,
    /// Roles that policies and user mappings are not for; one that is for no other is left out.
    pub without_roles: BTreeSet<String>,
    /// `--enable-row-security`.
    pub enable_row_security: bool,
    /// The key of `\restrict`, for minor versions that write it.
    pub restrict_key: Option<String>,
    /// `-v`, `--verbose`: numbers, dependencies and times in the comments.
    pub verbose: bool,
    /// With `verbose`, [`super::Writer::notes`] tell when the data of an entry is complete, as a parallel dump does.
    pub finished_items: bool,
    /// Comments before each entry; pg_restore leaves them out when it talks to a server.
    pub comments: bool,
}

/// Which sections are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sections {
    /// Definitions that come before rows.
    pub pre_data: bool,
    /// Rows.
    pub data: bool,
    /// Definitions that come after rows.
    pub post_data: bool,
}

impl Default for Sections {
    fn default() -> Self {
        Sections {
            pre_data: true,
            data: true,
            post_data: true,
        }
    }
}

impl Sections {
    /// Whether `section` is wanted.
    #[must_use]
    pub fn has(self, section: Section) -> bool {
        match section {
            Section::PreData => self.pre_data,
            Section::Data => self.data,
            Section::PostData => self.post_data,
            Section::None => false,
        }
    }
}

impl Default for RestoreOptions {
    fn default() -> Self {
        RestoreOptions {
            clean: false,
            if_exists: false,
            create: false,
            schema: true,
            data: true,
            statistics: true,
            sequence_data: false,
            binary_upgrade: false,
            sections: Sections::default(),
            selection: Selection::default(),
            no_owner: false,
            no_privileges: false,
            no_tablespaces: false,
            no_table_access_method: false,
            no_comments: false,
            no_publications: false,
            no_security_labels: false,
            no_subscriptions: false,
            no_policies: false,
            use_set_session_authorization: false,
            disable_triggers: false,
            superuser: None,
            role: None,
            role_map: RoleMap::default(),
            encoding: None,
            allow_server_programs: false,
            without_roles: BTreeSet::new(),
            enable_row_security: false,
            restrict_key: None,
            verbose: false,
            finished_items: false,
            comments: true,
        }
    }
}

impl RestoreOptions {
    /// Whether only a part of an archive is restored: what is not selected is missing afterwards.
    #[must_use]
    pub fn is_part(&self) -> bool {
        !(self.selection.is_all() && self.schema && self.data && self.sections == Sections::default())
    }

    /// Whether what is restored is not all as it was: without what people may have no use for where they restore it -
    /// owners, privileges, comments - or with other roles.
    #[must_use]
    pub fn changes(&self) -> bool {
        let left_out = [
            self.no_owner,
            self.no_privileges,
            self.no_tablespaces,
            self.no_table_access_method,
            self.no_comments,
            self.no_publications,
            self.no_security_labels,
            self.no_subscriptions,
            self.no_policies,
        ];
        left_out.contains(&true) || !self.role_map.is_empty() || !self.without_roles.is_empty()
    }
}
