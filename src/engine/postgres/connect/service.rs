//! Service files: named sets of connection parameters (`PGSERVICE`, `~/.pg_service.conf`).

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::dsn::home;
use super::params::{self, Params, usage};
use crate::error::Result;

/// Fills in what `params` leaves open from the service that it or the environment names.
pub(super) fn fill(params: &mut Params) -> Result<()> {
    let service = params
        .get("service")
        .cloned()
        .or_else(|| std::env::var("PGSERVICE").ok())
        .filter(|service| !service.is_empty());
    let Some(service) = service else { return Ok(()) };
    for path in files(params.get("servicefile").map(String::as_str)) {
        if !path.exists() {
            continue;
        }
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        if let Some(found) = section(&text, &service, &path)? {
            for (keyword, value) in found {
                params.entry(keyword).or_insert(value);
            }
            return Ok(());
        }
    }
    Err(usage(format!("definition of service {service:?} not found")))
}

/// The user's file, then the system's.
fn files(named: Option<&str>) -> Vec<PathBuf> {
    let variable = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let user = named
        .map(PathBuf::from)
        .or_else(|| variable("PGSERVICEFILE"))
        .or_else(|| Some(home()?.join(".pg_service.conf")));
    let system = variable("PGSYSCONFDIR").unwrap_or_else(|| PathBuf::from("/etc/postgresql-common"));
    user.into_iter().chain([system.join("pg_service.conf")]).collect()
}

/// The parameters of `[service]` in a service file's text.
fn section(text: &str, service: &str, path: &Path) -> Result<Option<Params>> {
    let mut found = None;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line.strip_prefix('[') {
            if found.is_some() {
                break;
            }
            if name.strip_suffix(']') == Some(service) {
                found = Some(Params::new());
            }
        } else if let Some(params) = &mut found {
            let wrong = || format!("syntax error in service file {}, line {}", path.display(), number + 1);
            let (keyword, value) = line.split_once('=').ok_or_else(|| usage(wrong()))?;
            if keyword.trim() == "service" {
                return Err(usage(format!("{}: services cannot name services", wrong())));
            }
            params::set(params, keyword.trim(), value.trim().to_owned()).with_context(wrong)?;
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# ours\n[other]\nhost=elsewhere\n\n[shop]\nhost=db\nport=7\n[last]\nport=8\n";

    #[test]
    fn a_service_has_its_own_lines_only() {
        let params = section(FILE, "shop", Path::new("f")).unwrap().unwrap();
        assert_eq!(params.get("host").unwrap(), "db");
        assert_eq!(params.get("port").unwrap(), "7");
        assert!(section(FILE, "none", Path::new("f")).unwrap().is_none());
    }

    #[test]
    fn what_cannot_be_read_names_the_line() {
        let error = section("[a]\nhost db\n", "a", Path::new("f")).unwrap_err();
        assert_eq!(error.to_string(), "syntax error in service file f, line 2");
        assert!(section("[a]\ncolour=red\n", "a", Path::new("f")).is_err());
    }
}
