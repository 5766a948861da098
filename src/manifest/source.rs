//! Which database a backup is of, and whether it is the one that somebody asks about.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{DatabaseFile, Engine};

/// The identity of a source: two databases never have the same, whatever they are called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Of which kind it is.
    #[serde(default, skip_serializing_if = "Engine::is_postgres")]
    pub engine: Engine,
    /// Of an SQLite database: its file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<DatabaseFile>,
    /// Host name, socket folder or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Name of the database.
    pub database: String,
    /// `pg_control_system().system_identifier`, where the role may read it.
    pub system_identifier: Option<u64>,
    /// OID of the database.
    pub database_oid: u32,
    /// `server_version_num`.
    pub server_version_num: u32,
    /// `server_version`.
    pub server_version: String,
}

/// Where a server is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// Host name, socket folder or address.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// A database that backups are looked for, or restored to: what its URL says, and what its server says where it was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Identity {
    /// Of which kind it is.
    pub engine: Engine,
    /// Of an SQLite database: its file, where it is there.
    pub file: Option<DatabaseFile>,
    /// Where the server may be: a URL can name several hosts.
    pub places: Vec<Place>,
    /// Name of the database.
    pub database: String,
    /// The server's system identifier.
    pub system_identifier: Option<u64>,
    /// OID of the database.
    pub database_oid: Option<u32>,
}

/// How the database of a backup is another one than the one that is asked about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Difference {
    /// It is another database: neither the name nor the OID is the same.
    pub database: bool,
    /// It is on another server.
    pub server: bool,
    /// The server has the same system identifier and another address: a standby, or a copy of the server. Of SQLite: it is
    /// another file at the same path.
    pub address: bool,
}

impl Difference {
    /// Whether it is the same database on the same server.
    #[must_use]
    pub fn is_none(self) -> bool {
        self == Difference::default()
    }
}

impl Source {
    /// Whether `other` is the same database: in the same cluster, and of the same name (a restore by swap gives
    /// the name to a new OID) or the same OID (a rename). Without the right to read the system identifier, host
    /// and port must do.
    #[must_use]
    pub fn same_database(&self, other: &Source) -> bool {
        let difference = Identity::of(other).difference(self);
        // Another file under the same path is another database.
        let other_file = self.file.is_some() && difference.address;
        !difference.database && !difference.server && !other_file
    }

    /// Where its server was reached.
    #[must_use]
    pub fn place(&self) -> Place {
        Place {
            host: self.host.clone(),
            port: self.port,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(file) => write!(f, "{} on {}", file.path.display(), self.host),
            None => write!(f, "{} on {}", self.database, self.place()),
        }
    }
}

impl Identity {
    /// That of the database of a backup.
    #[must_use]
    pub fn of(source: &Source) -> Identity {
        Identity {
            engine: source.engine,
            file: source.file.clone(),
            places: vec![source.place()],
            database: source.database.clone(),
            system_identifier: source.system_identifier,
            database_oid: Some(source.database_oid),
        }
    }

    /// How the database that `source` tells of is another one.
    #[must_use]
    pub fn difference(&self, source: &Source) -> Difference {
        if self.engine != source.engine {
            return Difference {
                database: true,
                server: true,
                address: false,
            };
        }
        if let (Some(ours), Some(theirs)) = (&self.file, &source.file) {
            let same_path = ours.path == theirs.path && self.places.iter().any(|ours| ours.host == source.host);
            let same_file = ours.is_same(theirs);
            return Difference {
                database: !same_file && !same_path,
                server: false,
                address: !same_file && same_path,
            };
        }
        let place = source.place();
        let (server, address) = match (self.system_identifier, source.system_identifier) {
            (Some(ours), Some(theirs)) => {
                let near = self.places.iter().any(|ours| ours.may_be(&place));
                (ours != theirs, ours == theirs && !near)
            }
            _ => (!self.places.iter().any(|ours| ours.is(&place)), false),
        };
        let same_oid = !server && self.database_oid == Some(source.database_oid);
        Difference {
            database: self.database != source.database && !same_oid,
            server,
            address,
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.engine == Engine::Sqlite {
            return match &self.file {
                Some(file) => write!(f, "{}", file.path.display()),
                None => f.write_str(&self.database),
            };
        }
        let places: Vec<String> = self.places.iter().map(Place::to_string).collect();
        write!(f, "{} on {}", self.database, places.join(" or "))
    }
}

/// The folders where PostgreSQL's own programs look for a socket when they are told nothing.
const USUAL_FOLDERS: [&str; 2] = ["/run/postgresql", "/tmp"];

impl Place {
    /// The place as it is compared: names of hosts know no case, and one folder has two names.
    fn plain(&self) -> String {
        let name = self.host.trim_end_matches(['.', '/']);
        match name.strip_prefix("/var/run/") {
            Some(rest) => format!("/run/{rest}"),
            None if name.starts_with('/') => name.to_owned(),
            None => name.to_ascii_lowercase(),
        }
    }

    fn is_socket(&self) -> bool {
        self.host.starts_with(['/', '@'])
    }

    /// Whether it is a socket, or an address that a machine has for itself.
    #[must_use]
    pub fn is_local(&self) -> bool {
        let name = self.plain();
        self.is_socket() || name == "localhost" || name == "::1" || name.starts_with("127.")
    }

    /// Whether it is the same server, as far as names tell.
    #[must_use]
    pub fn is(&self, other: &Place) -> bool {
        let usual =
            |place: &Place| place.is_local() && (!place.is_socket() || USUAL_FOLDERS.contains(&place.plain().as_str()));
        self.port == other.port && (self.plain() == other.plain() || (usual(self) && usual(other)))
    }

    /// Whether it may be the same server, of which it is known that it has the same system identifier: a pooler has another
    /// port, and a machine reaches itself in other ways than others do.
    fn may_be(&self, other: &Place) -> bool {
        self.plain() == other.plain()
            || self.is(other)
            || (self.is_local() || other.is_local()) && !(self.is_socket() && other.is_socket())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { host, port } = self;
        match self.is_socket() {
            true => write!(f, "socket {host}/.s.PGSQL.{port}"),
            false => write!(f, "{host} port {port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(host: &str, database: &str, system: Option<u64>, oid: u32) -> Source {
        Source {
            engine: Engine::Postgres,
            file: None,
            host: host.to_owned(),
            port: 5432,
            database: database.to_owned(),
            system_identifier: system,
            database_oid: oid,
            server_version_num: 150_000,
            server_version: "15.0".to_owned(),
        }
    }

    #[test]
    fn a_database_is_known_whatever_way_leads_to_it() {
        let app = source("db", "app", Some(1), 10);
        for (other, same) in [
            (source("db", "app", Some(1), 11), true),
            (source("db", "app_old", Some(1), 10), true),
            (source("db", "other", Some(1), 11), false),
            (source("db", "app", Some(2), 10), false),
            (source("elsewhere", "app", Some(1), 10), true),
            (source("DB.", "app", None, 11), true),
            (source("elsewhere", "app", None, 10), false),
            (source("db", "other", None, 11), false),
        ] {
            assert_eq!(app.same_database(&other), same, "{other:?}");
        }
    }

    #[test]
    fn another_address_is_told_apart_where_it_may_be_a_copy() {
        let difference = |here: &str, there: &str| {
            Identity::of(&source(here, "app", Some(1), 10)).difference(&source(there, "app", Some(1), 10))
        };
        for (here, there) in [
            ("localhost", "127.0.0.1"),
            ("/var/run/postgresql", "/run/postgresql"),
            ("/tmp", "/run/postgresql"),
            ("/tmp/own", "localhost"),
            ("db.example.com", "/run/postgresql"),
        ] {
            assert!(difference(here, there).is_none(), "{here} {there}");
        }
        for (here, there) in [("db1", "db2"), ("/tmp/one", "/tmp/two")] {
            assert!(difference(here, there).address, "{here} {there}");
        }
    }

    #[test]
    fn a_url_of_several_hosts_is_any_of_them() {
        let here = Identity {
            engine: Engine::Postgres,
            file: None,
            places: ["one", "two"]
                .map(|host| Place {
                    host: host.to_owned(),
                    port: 5432,
                })
                .to_vec(),
            database: "app".to_owned(),
            system_identifier: None,
            database_oid: None,
        };
        assert!(here.difference(&source("two", "app", Some(1), 10)).is_none());
        assert!(here.difference(&source("three", "app", Some(1), 10)).server);
        assert_eq!(here.to_string(), "app on one port 5432 or two port 5432");
    }
}
