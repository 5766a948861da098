//! Where the history of runs lies: in the state folder of the service, or else of whoever runs Snapback.

use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

use super::Environment;

/// What is written instead of a folder where there is to be no history.
pub(super) const NONE: &str = "none";

/// The folder of the service, and the configuration that is the service's.
const SERVICE: [&str; 2] = ["/var/lib/snapback", "/etc/snapback/config.toml"];

/// The file for the history of a configuration that came from `file`.
pub(super) fn history(state: Option<&Path>, file: Option<&Path>, environment: &Environment) -> Option<PathBuf> {
    if let Some(state) = state {
        return (state != Path::new(NONE)).then(|| state.join("history.db"));
    }
    // systemd separates several by colons.
    let set = |name: &str| environment.get(name).filter(|value| !value.is_empty());
    if let Some(folder) = set("STATE_DIRECTORY").and_then(|folders| folders.split(':').next()) {
        return Some(Path::new(folder).join("history.db"));
    }
    let [folder, configuration] = SERVICE.map(Path::new);
    if file == Some(configuration) && folder.is_dir() {
        return Some(folder.join("history.db"));
    }
    let own = set("XDG_STATE_HOME").map(PathBuf::from);
    let own = own.or_else(|| set("HOME").map(|home| Path::new(home).join(".local/state")))?;
    // Somebody may have several configurations, and jobs of the same name in them.
    let about = match file {
        Some(file) => file.canonicalize().ok()?,
        None => std::env::current_dir().ok()?,
    };
    let number = xxh3_64(about.as_os_str().as_encoded_bytes());
    Some(own.join("snapback").join(format!("history-{number:016x}.db")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_the_one_that_is_named_or_the_one_of_the_service_or_of_the_user() {
        let environment = |pairs: &[(&str, &str)]| -> Environment {
            let owned = pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            owned.collect()
        };
        let service = environment(&[("STATE_DIRECTORY", "/var/lib/a:/var/lib/b"), ("HOME", "/root")]);
        assert_eq!(history(None, None, &service), Some("/var/lib/a/history.db".into()));
        assert_eq!(
            history(Some(Path::new("/s")), None, &service),
            Some("/s/history.db".into())
        );
        assert_eq!(history(Some(Path::new("none")), None, &service), None);
        assert_eq!(history(None, None, &Environment::new()), None);
        let user = environment(&[("HOME", "/home/anna")]);
        let [first, second] = ["/etc/passwd", "/etc/group"].map(|file| history(None, Some(Path::new(file)), &user));
        assert!(first.as_ref().unwrap().starts_with("/home/anna/.local/state/snapback"));
        assert_ne!(first, second);
    }
}
