//! A section that is about a whole server: each of its databases is a job, made of the section when the database is known.

use std::fmt;

use xxhash_rust::xxh3::xxh3_64;

use super::{Job, SourceConfig, job_letter};
use crate::error::{Exit, Fail};

/// What stands between the name of the section and that of the database in the name of a job. No name in a configuration has it, so
/// that neither another job nor another section can have the same.
pub const BETWEEN: char = '.';

/// The longest name of a database that goes into the name of its job as it is.
const LONGEST: usize = 40;

/// Hexadecimal digits of the hash that stands for a name which a job cannot have.
const HASH: usize = 8;

/// A section for a whole server.
#[derive(Clone)]
pub struct ServerJobs {
    /// What each of its jobs is like; its source is the server.
    pub template: Job,
    /// Names of databases, and patterns of names.
    pub databases: Vec<String>,
    /// Names and patterns of those that are left out.
    pub exclude: Vec<String>,
}

/// The databases of a section, as far as they are known.
#[derive(Clone, Debug, Default)]
pub struct KnownDatabases {
    /// Those that are there, or were when somebody last looked.
    pub databases: Vec<String>,
    /// Those that have backups and are not on the server any more.
    pub gone: Vec<String>,
    /// Why the server did not tell.
    pub trouble: Option<Fail>,
}

impl fmt::Debug for ServerJobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerJobs")
            .field("template", &self.template)
            .field("databases", &self.databases)
            .field("exclude", &self.exclude)
            .finish()
    }
}

impl ServerJobs {
    /// The name of the section.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.template.name
    }

    /// Whether only the server can tell which databases it is about.
    #[must_use]
    pub fn asks(&self) -> bool {
        self.databases.iter().any(|name| is_pattern(name))
    }

    /// Whether it is about `database`.
    #[must_use]
    pub fn wants(&self, database: &str) -> bool {
        let has = |patterns: &[String]| patterns.iter().any(|pattern| matches(pattern, database));
        has(&self.databases) && !has(&self.exclude)
    }

    /// The databases that it names, whatever the server has.
    pub fn named(&self) -> impl Iterator<Item = &str> {
        let named = self.databases.iter().map(String::as_str);
        named.filter(|name| !is_pattern(name) && self.wants(name))
    }

    /// What the names of its jobs begin with.
    #[must_use]
    pub fn prefix(&self) -> String {
        format!("{}{BETWEEN}", self.name())
    }

    /// What the job of `database` is called: the same whatever other databases there are.
    #[must_use]
    pub fn job_name(&self, database: &str) -> String {
        let plain: String = database.chars().map(job_letter).collect();
        let prefix = self.prefix();
        // One that looks as if it had a hash would be taken for another database's.
        if plain == database && plain.len() <= LONGEST && !plain.is_empty() && !is_hashed(&plain) {
            return format!("{prefix}{plain}");
        }
        let head: String = plain.chars().take(LONGEST - HASH - 1).collect();
        let hash = format!("{:016x}", xxh3_64(database.as_bytes()));
        format!("{prefix}{head}-{}", &hash[..HASH])
    }

    /// The database that a job of this section is of, where its name tells.
    #[must_use]
    pub fn database_of<'a>(&self, job: &'a str) -> Option<&'a str> {
        let database = job.strip_prefix(&self.prefix())?;
        (self.job_name(database) == job).then_some(database)
    }

    /// The job of a database. One that is not on the server any more has backups, and no next run.
    #[must_use]
    pub fn job(&self, database: &str, gone: bool) -> Job {
        let name = self.job_name(database);
        let mut job = self.template.clone();
        for source in [Some(&mut job.source), job.restore_source.as_mut()]
            .into_iter()
            .flatten()
        {
            if let SourceConfig::Postgres(connection) = source {
                connection.url.database = database.to_owned();
            }
        }
        for schedule in [&mut job.schedule, &mut job.drill.schedule] {
            *schedule = schedule.take().filter(|_| !gone).map(|it| it.of(&name));
        }
        if gone {
            job.max_age = None;
        }
        job.section = Some(self.name().to_owned());
        job.gone = gone;
        job.name = name;
        job
    }

    /// The jobs of all databases that are known.
    #[must_use]
    pub fn jobs(&self, known: &KnownDatabases) -> Vec<Job> {
        let there = known.databases.iter().map(|database| self.job(database, false));
        let gone = known.gone.iter().map(|database| self.job(database, true));
        let mut jobs: Vec<Job> = there.chain(gone).collect();
        jobs.sort_by(|one, other| one.name.cmp(&other.name));
        jobs.dedup_by(|one, other| one.name == other.name);
        jobs
    }
}

/// A failure as a value that can be kept.
#[must_use]
pub fn trouble(error: &anyhow::Error) -> Fail {
    Fail {
        exit: crate::error::exit_of(error),
        message: format!("{error:#}"),
        hint: crate::error::hint_of(error).map(str::to_owned),
    }
}

/// What to say where the name of a section stands for that of a job.
#[must_use]
pub fn ambiguous(section: &str, jobs: &[&str]) -> Fail {
    let fail = Fail::new(
        Exit::Usage,
        format!("{section} is a whole server: name the job of one database"),
    );
    match jobs {
        [] => fail.hint("none of its databases is known"),
        jobs => fail.hint(format!("its jobs are {}", jobs.join(", "))),
    }
}

fn is_hashed(name: &str) -> bool {
    let tail = name.rsplit_once('-').map(|(_, tail)| tail);
    tail.is_some_and(|tail| tail.len() == HASH && tail.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
}

fn is_pattern(name: &str) -> bool {
    name.contains(['*', '?'])
}

/// Whether `name` fits `pattern`, in which `*` stands for any text and `?` for any character.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    // Where the last `*` is, and how much of the name it has taken.
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(c) if *c == '?' || *c == name[n] => (p, n) = (p + 1, n + 1),
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    (p, n) = (at + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_those_of_a_shell() {
        for (pattern, name, fits) in [
            ("*", "", true),
            ("*", "shop", true),
            ("shop", "shop", true),
            ("shop", "shops", false),
            ("shop_*", "shop_de", true),
            ("*_test", "a_test_test", true),
            ("a*b*c", "a1b2b3c", true),
            ("a*b*c", "a1c2b", false),
            ("?hop", "shop", true),
            ("??", "ü", false),
            ("?", "ü", true),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
    }
}
