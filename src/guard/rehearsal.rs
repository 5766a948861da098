//! The rehearsal: the backup becomes a database of its own, the command runs against that, and it is dropped. For SQLite it is a
//! copy of the file.

use std::path::Path;

use anyhow::Context as _;
use chrono::Utc;
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use super::way_back::{in_postgres, in_sqlite, pause_at};
use super::{Report, Request};
use crate::diff::Diff;
use crate::engine::postgres::connect::Dsn;
use crate::engine::postgres::marker;
use crate::engine::postgres::recover::{self, REHEARSAL};
use crate::engine::postgres::restore_lock;
use crate::engine::postgres::target::Target;
use crate::engine::source::{self, SourceKind};
use crate::engine::sqlite::location::Location;
use crate::error::Result;
use crate::job::{Connection, Job, SourceConfig};
use crate::manifest::BackupId;
use crate::restore::{postgres, sqlite};

/// What the folders of rehearsals are called; the number of the process follows.
const FOLDER: &str = "snapback-rehearsal-";

/// Restores `id` aside, runs the command of `request` there, and looks.
pub(super) async fn run(request: &Request<'_>, id: BackupId) -> Result<Report> {
    let job = request.job.for_restores();
    match &job.source {
        SourceConfig::Postgres(connection) => on_server(request, id, &job, connection).await,
        SourceConfig::Sqlite(location) => on_copy(request, id, &job, location).await,
    }
}

async fn on_server(request: &Request<'_>, id: BackupId, job: &Job, connection: &Connection) -> Result<Report> {
    let dsn = connection.dsn()?;
    let (live, target) = (dsn.database.clone(), Target::new(dsn.clone()));
    // Nobody takes what is marked for the rest of a killed restore while this lock is held.
    let lock = restore_lock::take(target.outside(&live).await?, &live).await?;
    let client = target.outside(&live).await?;
    for leftover in recover::clean(&target, &client, &live).await? {
        (request.warn)(leftover.to_string());
    }
    let now = Utc::now();
    let taken = postgres::live::names(&client).await?;
    let name = marker::name(&live, REHEARSAL, now, |name| taken.contains(name));
    (request.step)("restoring the backup beside the live database");
    let (cancel, id_text) = (CancellationToken::new(), id.to_string());
    let mode = postgres::plan::Mode::New(&name);
    let mut prepared = in_postgres(
        request,
        job,
        &id_text,
        Some(&live),
        mode,
        postgres::watch::Watch::silent().pausing_at(pause_at(request)?),
        cancel.clone(),
    )
    .await?;
    let restored = request.signals.cancelling(&cancel, prepared.run()).await;
    restored.map_err(|error| error.context("the rehearsal needs a copy of the database"))?;
    let ran = async {
        let copy = Job {
            source: SourceConfig::Postgres(Box::new(Connection {
                url: connection.url.with_database(&name),
                password: connection.password.clone(),
            })),
            restore_source: None,
            ..job.clone()
        };
        let environment = environment_of(&dsn.with_database(&name), &live);
        request.run_and_look(id, &copy, &environment, true).await
    };
    let ran = ran.await;
    (request.step)("dropping the copy");
    let dropped = drop_copy(&target, &live, client, &name).await;
    drop(lock);
    let leftover = dropped.err().map(|error| {
        format!("the copy {name} could not be dropped; the next list, restore or rehearsal does it: {error:#}")
    });
    let mut report = match (ran, leftover) {
        (Ok(report), leftover) => Report { leftover, ..report },
        (Err(error), None) => return Err(error),
        (Err(error), Some(leftover)) => {
            (request.warn)(leftover);
            return Err(error);
        }
    };
    if let Some(found) = &mut report.diff {
        without_database(found);
    }
    Ok(report)
}

/// Drops the copy, by a session of its own where the server ended that of `client`.
async fn drop_copy(target: &Target, live: &str, client: Client, name: &str) -> Result<()> {
    let client = match client.is_closed() {
        true => target.outside(live).await?,
        false => client,
    };
    recover::drop_unfinished(target, &client, name).await
}

/// A copy has properties of its own: its name, its comment, who may connect.
fn without_database(found: &mut Diff) {
    let is_of_database = |kind: &str, name: &str| kind.starts_with("DATABASE") || name.starts_with("DATABASE ");
    found
        .objects
        .retain(|object| !is_of_database(&object.kind, &object.name));
    found.conclude();
}

/// What points a command to the copy: libpq's variables and `DATABASE_URL`.
fn environment_of(dsn: &Dsn, live: &str) -> Vec<(String, String)> {
    let mut variables = vec![
        ("PGDATABASE".to_owned(), dsn.database.clone()),
        ("PGUSER".to_owned(), dsn.user.clone()),
    ];
    if let Some(host) = dsn.hosts.first() {
        let name = host.address.as_ref().unwrap_or(&host.name);
        variables.push(("PGHOST".to_owned(), name.clone()));
        variables.push(("PGPORT".to_owned(), host.port.to_string()));
    }
    if let Some(password) = &dsn.password {
        variables.push(("PGPASSWORD".to_owned(), password.expose().to_owned()));
    }
    let url = std::env::var("DATABASE_URL").ok();
    // In the form that the application knows, where there is one: it may name a driver.
    let url = url.and_then(|url| with_database(&url, live, &dsn.database));
    variables.push(("DATABASE_URL".to_owned(), url.unwrap_or_else(|| url_of(dsn))));
    variables
}

/// `url` with another database, where it is one of the `live` database.
fn with_database(url: &str, live: &str, other: &str) -> Option<String> {
    let url = source::unwrap(url);
    if SourceKind::of(url) != SourceKind::Postgres || Dsn::parse(url).ok()?.database != live {
        return None;
    }
    let path = url.find("://")? + 3;
    let end = url[path..].find(['?', '#']).map_or(url.len(), |at| path + at);
    let slash = url[path..end].rfind('/')? + path;
    Some(format!("{}/{}{}", &url[..slash], percent_encoded(other), &url[end..]))
}

fn url_of(dsn: &Dsn) -> String {
    let password = dsn
        .password
        .as_ref()
        .map(|it| format!(":{}", percent_encoded(it.expose())));
    let (user, password) = (percent_encoded(&dsn.user), password.unwrap_or_default());
    let database = percent_encoded(&dsn.database);
    match dsn.hosts.first() {
        Some(host) if host.is_socket() => format!(
            "postgresql://{user}{password}@/{database}?host={}&port={}",
            percent_encoded(&host.name),
            host.port
        ),
        Some(host) if host.name.contains(':') => {
            format!("postgresql://{user}{password}@[{}]:{}/{database}", host.name, host.port)
        }
        Some(host) => format!("postgresql://{user}{password}@{}:{}/{database}", host.name, host.port),
        None => format!("postgresql://{user}{password}@/{database}"),
    }
}

fn percent_encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'-' | b'_' | b'.' | b'~' => encoded.push(char::from(byte)),
            byte => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

async fn on_copy(request: &Request<'_>, id: BackupId, job: &Job, live: &Location) -> Result<Report> {
    let above = std::env::temp_dir();
    tidy(&above);
    let folder = tempfile::Builder::new()
        .prefix(&format!("{FOLDER}{}-", std::process::id()))
        .tempdir_in(&above)
        .context("making a folder for the copy of the database")?;
    let path = folder.path().join(live.file_name());
    (request.step)("restoring the backup into a copy");
    let cancel = CancellationToken::new();
    let mode = sqlite::plan::Mode::New(path.clone());
    let prepared = in_sqlite(
        request,
        job,
        id.to_string(),
        mode,
        sqlite::watch::Watch::silent().pausing_at(pause_at(request)?),
        cancel.clone(),
    )
    .await?;
    let restored = request.signals.cancelling(&cancel, prepared.run()).await;
    restored.map_err(|error| error.context("the rehearsal needs a copy of the database"))?;
    let copy = Job {
        source: SourceConfig::Sqlite(Location::new(&path)),
        restore_source: None,
        ..job.clone()
    };
    let url = file_url(std::env::var("DATABASE_URL").ok().as_deref(), &path);
    let environment = [("DATABASE_URL".to_owned(), url)];
    let mut report = request.run_and_look(id, &copy, &environment, true).await?;
    let name = folder.path().display().to_string();
    report.leftover = folder.close().err().map(|error| {
        format!("the folder {name} of the copy could not be removed; the next rehearsal does it: {error}")
    });
    Ok(report)
}

/// The URL of a file, in the form that the application knows, where there is one.
fn file_url(known: Option<&str>, path: &Path) -> String {
    let path = path.display();
    match known.and_then(|url| source::scheme(source::unwrap(url))) {
        Some((scheme, _)) if scheme == "file" => format!("file:{path}"),
        Some((scheme, rest)) if SourceKind::of(&format!("{scheme}:{rest}")) == SourceKind::Sqlite => {
            let query = rest.find('?').map_or("", |at| &rest[at..]);
            format!("{scheme}:///{path}{query}")
        }
        _ => format!("sqlite:///{path}"),
    }
}

/// Removes the folders of rehearsals that were killed.
fn tidy(above: &Path) {
    for entry in std::fs::read_dir(above).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let pid = name.strip_prefix(FOLDER).and_then(|rest| rest.split('-').next());
        let is_left = pid.is_some_and(|pid| pid.parse::<u32>().is_ok() && !Path::new("/proc").join(pid).exists());
        if is_left && let Err(error) = std::fs::remove_dir_all(entry.path()) {
            tracing::debug!("{name} stays: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_copy_is_named_in_the_form_that_the_application_knows() {
        for (url, wanted) in [
            (
                "postgresql+psycopg2://u:p%40@db:5433/app?sslmode=require",
                Some("postgresql+psycopg2://u:p%40@db:5433/app_2?sslmode=require"),
            ),
            ("postgres://db/app", Some("postgres://db/app_2")),
            ("postgres://db/other", None),
            ("sqlite:///app.db", None),
        ] {
            assert_eq!(with_database(url, "app", "app_2").as_deref(), wanted);
        }
        let path = Path::new("/tmp/x/app.db");
        for (known, wanted) in [
            (None, "sqlite:////tmp/x/app.db"),
            (
                Some("sqlite+aiosqlite:///./app.db"),
                "sqlite+aiosqlite:////tmp/x/app.db",
            ),
            (Some("file:./dev.db"), "file:/tmp/x/app.db"),
            (Some("postgresql://db/app"), "sqlite:////tmp/x/app.db"),
        ] {
            assert_eq!(file_url(known, path), wanted);
        }
    }
}
