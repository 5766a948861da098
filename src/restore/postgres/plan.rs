//! What a restore will do, decided before anything is done: a value that `--dry-run` prints.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::needs::{Needs, statements_for};
use super::new_roles::{NewRole, WITHOUT_ROLES};
use super::other::Other;
pub use super::subject::{Backup, File, Subject};
use super::survey::{Changes, Clients, LiveState, Survey};
use super::watch::Step;
use crate::error::{Exit, Fail};
use crate::sql::quote::Quote;

/// A restore, planned.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// That what is restored was made of another database than what it replaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub other: Option<Other>,
    /// What is restored.
    #[serde(flatten)]
    pub what: Subject,
    /// The job whose store gets the safety snapshot, and that can undo it.
    pub job: String,
    /// The server, for people.
    pub server: String,
    /// The name that the restored database will have.
    pub database: String,
    /// `swap`, `new` or `in-place`.
    pub mode: &'static str,
    /// Whether only a part of the backup is restored.
    pub part: bool,
    /// What all of it is restored without, or otherwise than it was, in sentences.
    pub changes: Vec<String>,
    /// What it replaces; `None` when there is no such database.
    pub replaces: Option<Replaces>,
    /// Room on the server.
    pub space: Space,
    /// What the server must have for it.
    pub needs: Needs,
    /// Roles that the backup names and the server lacks, with the statements that would create them.
    pub missing_roles: Vec<MissingRole>,
    /// Roles that are created.
    pub new_roles: Vec<NewRole>,
    /// What happens, in order.
    pub steps: Vec<PlannedStep>,
    /// What a person should know before it starts.
    pub warnings: Vec<String>,
    /// What keeps it from being done.
    pub obstacles: Vec<Obstacle>,
}

/// The live database.
#[derive(Clone, Debug, Serialize)]
pub struct Replaces {
    /// Its owner.
    pub owner: String,
    /// Its size in bytes, where the role may ask for it.
    pub bytes: Option<i64>,
    /// Its rows by the statistics.
    pub rows: Option<i64>,
    /// When a client last did something in it.
    pub newest_activity: Option<DateTime<Utc>>,
    /// What changed in it, as far as the server counts.
    pub changes: Changes,
    /// Who will be cut off.
    pub clients: Vec<Clients>,
}

/// Room on the server, in bytes.
#[derive(Clone, Debug, Serialize)]
pub struct Space {
    /// What the new database will take, about.
    pub needed: u64,
    /// What is free, where that could be found out.
    pub free: Option<u64>,
}

/// A role that the server lacks.
#[derive(Clone, Debug, Serialize)]
pub struct MissingRole {
    /// Its name.
    pub name: String,
    /// What the globals file of the backup creates it with.
    pub statements: Vec<String>,
}

/// One step.
#[derive(Clone, Debug, Serialize)]
pub struct PlannedStep {
    /// Its name.
    pub name: String,
    /// What happens.
    pub what: String,
    /// About how many seconds it takes.
    pub seconds: u64,
}

/// Why the restore cannot be done.
#[derive(Clone, Debug, Serialize)]
pub struct Obstacle {
    /// What is in the way.
    pub what: String,
    /// What to do about it.
    pub hint: String,
    /// Exit class of the refusal.
    #[serde(skip)]
    pub exit: Exit,
    /// Whether a restore that goes on after statements that fail gets past it: something is missing then.
    #[serde(skip)]
    pub passable: bool,
}

impl Obstacle {
    /// An obstacle whose refusal has the class `exit`.
    pub fn new(exit: Exit, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Obstacle {
            exit,
            what: what.into(),
            hint: hint.into(),
            passable: false,
        }
    }

    /// The same, which `--keep-going` gets past.
    #[must_use]
    pub fn passable(mut self) -> Self {
        self.passable = true;
        self
    }
}

/// What a restore is to come to.
#[derive(Clone, Copy, Debug)]
pub struct Goal<'a> {
    /// The job whose database is restored to.
    pub job: &'a str,
    /// The server, for people.
    pub server: &'a str,
    /// The name that the restored database will have.
    pub database: &'a str,
    /// What the server must have for it.
    pub needs: &'a Needs,
    /// How.
    pub wishes: Wishes<'a>,
}

/// How a backup becomes a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode<'a> {
    /// Beside the live one, whose name it then takes.
    Swap,
    /// Under this name, which no database has yet.
    New(&'a str),
    /// In one transaction inside the live one.
    InPlace,
}

impl Mode<'_> {
    fn name(self) -> &'static str {
        match self {
            Mode::Swap => "swap",
            Mode::New(_) => "new",
            Mode::InPlace => "in-place",
        }
    }
}

/// What a person asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wishes<'a> {
    /// How.
    pub mode: Mode<'a>,
    /// Whether the live database is backed up first.
    pub safety: bool,
    /// Whether an older server is tried.
    pub force: bool,
    /// Whether it goes on after statements that fail.
    pub keep_going: bool,
}

impl Wishes<'_> {
    /// Whether what is live is replaced.
    fn replaces(self) -> bool {
        !matches!(self.mode, Mode::New(_))
    }
}

/// Bytes of COPY text that a server takes in a second, with its indexes: a cautious guess.
const LOAD_RATE: u64 = 20 << 20;
/// Bytes that are read, hashed or dumped in a second.
const READ_RATE: u64 = 80 << 20;

impl Plan {
    /// Plans the restore of `what` on the server that was surveyed; `globals` may have the roles that it lacks.
    #[must_use]
    pub fn new(what: Subject, globals: Option<&str>, goal: &Goal<'_>, survey: &Survey) -> Plan {
        let wishes = goal.wishes;
        let live = survey.live.as_ref();
        let replaces = live.map(|live| Replaces {
            owner: live.database.owner.clone(),
            bytes: live.database.size,
            rows: live.rows,
            newest_activity: live.newest_activity,
            changes: live.changes.clone(),
            clients: live.clients.clone(),
        });
        let live_bytes = replaces.as_ref().and_then(|live| live.bytes).unwrap_or(0);
        let space = Space {
            // A table takes about a quarter more than its text, with its indexes more still.
            needed: (what.data_bytes() / 2 * 3).max(8 << 20),
            free: survey.free,
        };
        let quote = Quote::standard(survey.major);
        let missing_roles = survey.missing.roles.iter().map(|name| MissingRole {
            name: name.clone(),
            statements: globals
                .map(|text| statements_for(name, text, &quote))
                .unwrap_or_default(),
        });
        Plan {
            other: None,
            missing_roles: missing_roles.collect(),
            steps: steps(&what, u64::try_from(live_bytes).unwrap_or(0), live.is_some(), wishes),
            warnings: warnings(survey, &space, wishes),
            obstacles: obstacles(&what, goal, survey),
            what,
            job: goal.job.to_owned(),
            server: goal.server.to_owned(),
            database: goal.database.to_owned(),
            mode: wishes.mode.name(),
            part: false,
            changes: Vec::new(),
            new_roles: Vec::new(),
            replaces,
            space,
            needs: goal.needs.clone(),
        }
    }

    /// Says that in place only the rows of these tables are replaced.
    pub fn only_rows(&mut self, tables: &BTreeSet<(String, String)>) {
        self.leave_out(&[Step::PreData, Step::Privileges, Step::Analyse]);
        self.warnings.push(format!(
            "only the rows of these tables are replaced, and their sequences set: {}",
            list(tables)
        ));
    }

    /// Says that in place tables are replaced as a whole, and why: how they `differ`, what is made `again` that others
    /// built on them, and what the backup has of that and is `missing`.
    pub fn whole_tables(&mut self, differ: &[String], again: &[String], missing: &[String]) {
        self.leave_out(&[Step::Analyse]);
        if !differ.is_empty() {
            let differ = differ.join(", ");
            self.warnings.push(format!(
                "the tables are replaced with their indexes, constraints, triggers, policies and privileges: {differ}"
            ));
        }
        for (what, names) in [
            ("what others built on them is made again as it is now", again),
            (
                "the backup has this on them too, which is not there now and is not restored",
                missing,
            ),
        ] {
            if !names.is_empty() {
                self.warnings.push(format!("{what}: {}", names.join(", ")));
            }
        }
    }

    /// Says that in place these tables go, which were not there before what is taken back.
    pub fn drop_tables(&mut self, tables: &BTreeSet<(String, String)>) {
        if !tables.is_empty() {
            self.warnings.push(format!(
                "these tables were not there before, and are dropped: {}",
                list(tables)
            ));
        }
    }

    pub(super) fn leave_out(&mut self, steps: &[Step]) {
        let names: Vec<_> = steps.iter().map(Step::to_string).collect();
        self.steps.retain(|step| !names.contains(&step.name));
    }

    /// Refuses when there is an obstacle.
    ///
    /// # Errors
    /// The first obstacle's class, with all of them in the message.
    pub fn check(&self) -> Result<(), Fail> {
        let Some(first) = self.obstacles.first() else {
            return Ok(());
        };
        let all: Vec<_> = self.obstacles.iter().map(|obstacle| obstacle.what.as_str()).collect();
        Err(Fail::new(first.exit, format!("this restore cannot be done: {}", all.join("; "))).hint(first.hint.clone()))
    }
}

fn list(tables: &BTreeSet<(String, String)>) -> String {
    let names: Vec<_> = tables.iter().map(|(schema, name)| format!("{schema}.{name}")).collect();
    names.join(", ")
}

fn steps(what: &Subject, live_bytes: u64, replaces: bool, wishes: Wishes<'_>) -> Vec<PlannedStep> {
    let load = what.data_bytes() / LOAD_RATE;
    let read = what.data_bytes() / READ_RATE;
    let in_place = wishes.mode == Mode::InPlace;
    let new = !in_place;
    let safety = replaces && wishes.replaces() && wishes.safety;
    let steps = [
        (Step::Check, !what.is_script(), what.bytes() / (READ_RATE * 4)),
        (Step::Lock, in_place, 0),
        (Step::Safety, safety, live_bytes / READ_RATE),
        (Step::Remove, in_place, 0),
        (Step::Roles, true, 0),
        (Step::Create, new, 0),
        (Step::PreData, !what.is_script(), 0),
        // One connection does what several do otherwise.
        (Step::Data, true, if in_place { load * 2 } else { load }),
        (Step::Privileges, !what.is_script(), 0),
        (Step::Analyse, new, read / 4),
        (Step::Prove, true, read),
        (Step::Properties, new, 0),
        (Step::Fence, replaces && new, 0),
        (Step::Rename, new, 0),
        (Step::Commit, in_place, 0),
        (Step::Analyse, in_place, read / 4),
    ];
    steps
        .into_iter()
        .filter(|(_, happens, _)| *happens)
        .map(|(step, _, seconds)| PlannedStep {
            name: step.to_string(),
            what: step.describe().to_owned(),
            seconds: seconds + 1,
        })
        .collect()
}

fn warnings(survey: &Survey, space: &Space, wishes: Wishes<'_>) -> Vec<String> {
    let mut warnings = Vec::new();
    if space.free.is_some_and(|free| free < space.needed) {
        warnings.push("there may not be enough room on the server".to_owned());
    }
    let Some(live) = survey.live.as_ref().filter(|_| wishes.replaces()) else {
        return warnings;
    };
    if wishes.mode == Mode::InPlace {
        return in_place_warnings(live, wishes, warnings);
    }
    if !wishes.safety {
        warnings
            .push("no safety snapshot is taken: what is live now will only be in the database that is kept".to_owned());
    }
    for (what, names) in [
        (
            "replication slots stay with the replaced database and must be made anew",
            &live.slots,
        ),
        (
            "subscriptions go on in the replaced database until they are disabled there; restored ones arrive disabled",
            &live.subscriptions,
        ),
    ] {
        if !names.is_empty() {
            warnings.push(format!("{what}: {}", names.join(", ")));
        }
    }
    warnings
}

fn in_place_warnings(live: &LiveState, wishes: Wishes<'_>, mut warnings: Vec<String>) -> Vec<String> {
    if !wishes.safety {
        warnings.push("no safety snapshot is taken: what is live now will be gone for ever".to_owned());
    }
    warnings.push(
        "from the safety snapshot on nobody can write, and while it is loaded nobody can read; applications wait"
            .to_owned(),
    );
    warnings.push("no database is kept: only the safety snapshot takes it back".to_owned());
    if !live.slots.is_empty() {
        let slots = live.slots.join(", ");
        warnings.push(format!(
            "who reads these replication slots will be sent all rows anew: {slots}"
        ));
    }
    warnings
}

fn obstacles(what: &Subject, goal: &Goal<'_>, survey: &Survey) -> Vec<Obstacle> {
    let (database, wishes) = (goal.database, goal.wishes);
    let mut found = Vec::new();
    if survey.in_recovery {
        found.push(Obstacle::new(
            Exit::Failure,
            format!("the server {} is a standby, which is read-only", goal.server),
            "set restore_url of the job to the primary, or name it with --to",
        ));
    }
    if let Some(from) = what.major()
        && survey.major < from
        && !wishes.force
    {
        found.push(Obstacle::new(
            Exit::Failure,
            format!(
                "it was made on PostgreSQL {from}, and this server is the older {}",
                survey.major
            ),
            "restore to a server of the same or a newer version, or try with --force",
        ));
    }
    if !wishes.replaces() && survey.live.is_some() {
        found.push(Obstacle::new(
            Exit::Failure,
            format!("database {database:?} exists already"),
            "choose another name with --as, or replace it with --mode swap",
        ));
    }
    if wishes.mode == Mode::InPlace && survey.live.is_none() {
        found.push(Obstacle::new(
            Exit::NotFound,
            format!("there is no database {database:?} to restore into"),
            "create it, empty, or restore with --mode swap",
        ));
    }
    if survey
        .live
        .as_ref()
        .is_some_and(|live| !live.database.allows_connections)
        && wishes.mode == Mode::Swap
        && wishes.safety
    {
        found.push(Obstacle::new(
            Exit::Failure,
            "no safety snapshot can be taken, because the live database does not accept connections",
            "ALTER DATABASE … ALLOW_CONNECTIONS true, or restore with --no-safety: what is replaced is kept all the same",
        ));
    }
    found.extend(rights(survey, wishes));
    found.extend(lacks(survey));
    if let Some(live) = survey
        .live
        .as_ref()
        .filter(|live| wishes.replaces() && !live.prepared.is_empty())
    {
        found.push(Obstacle::new(
            Exit::Failure,
            format!(
                "prepared transactions are open in the live database: {}",
                live.prepared.join(", ")
            ),
            "end them with COMMIT PREPARED or ROLLBACK PREPARED; they hold what the restore replaces",
        ));
    }
    found
}

fn rights(survey: &Survey, wishes: Wishes<'_>) -> Vec<Obstacle> {
    let rights = &survey.rights;
    let mut found = Vec::new();
    if !rights.create_database && wishes.mode != Mode::InPlace {
        found.push(Obstacle::new(
            Exit::Permission,
            format!("role {:?} may not create databases", rights.role),
            format!(
                "ALTER ROLE {} CREATEDB, as a superuser; where that cannot be had, --mode in-place needs it not",
                super::target::quoted(&rights.role)
            ),
        ));
    }
    if wishes.replaces() && !rights.owns_live {
        found.push(Obstacle::new(
            Exit::Permission,
            format!("role {:?} does not own the live database", rights.role),
            "restore as its owner, a member of the owner's role, or a superuser",
        ));
    }
    if !rights.superuser && !rights.foreign_owners.is_empty() {
        let owners = rights.foreign_owners.join(", ");
        found.push(
            Obstacle::new(
                Exit::Permission,
                format!("role {:?} may not make objects belong to: {owners}", rights.role),
                format!("grant it these roles, or restore as a superuser; or {WITHOUT_ROLES}"),
            )
            .passable(),
        );
    }
    found
}

fn lacks(survey: &Survey) -> Vec<Obstacle> {
    let missing = &survey.missing;
    [
        (
            &missing.roles,
            "roles",
            format!(
                "--create-roles creates them, without a login; or {WITHOUT_ROLES}; or create them first: --dry-run shows the \
                 statements that the backup has for them"
            ),
        ),
        (
            &missing.extensions,
            "extensions",
            "install their packages on the server; --keep-going restores what does not need them".to_owned(),
        ),
        (
            &missing.tablespaces,
            "tablespaces",
            "create them on the server first, or restore with --no-tablespaces".to_owned(),
        ),
    ]
    .into_iter()
    .filter(|(names, ..)| !names.is_empty())
    .map(|(names, what, hint)| {
        let obstacle = Obstacle::new(
            Exit::Failure,
            format!("the server lacks {what}: {}", names.join(", ")),
            hint,
        );
        // Nothing at all could be created in a tablespace that is not there.
        Obstacle {
            passable: what != "tablespaces",
            ..obstacle
        }
    })
    .collect()
}
