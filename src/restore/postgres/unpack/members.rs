//! The dump among the files in a zip or tar file: the only one, the one that was named, or an archive in directory format.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt as _;

use anyhow::Context as _;
use tempfile::TempDir;

use super::{Bounded, Dump, SourceReader, Unpacking, copy};
use crate::error::{Exit, Fail, Result};

/// What an archive in directory format has.
const TOC: &str = "toc.dat";

/// Names that are told in a question.
const TOLD: usize = 20;

/// What is taken out.
enum Choice {
    /// The file of this name.
    File(String),
    /// The files directly in this folder, whose name ends with a slash where it has one.
    Folder(String),
}

pub(super) fn of_zip(unpacking: &Unpacking, from: SourceReader) -> Result<Dump> {
    let mut zip = zip::ZipArchive::new(from).map_err(|error| unpacking.explain(error.into()))?;
    let mut names = BTreeSet::new();
    for at in 0..zip.len() {
        let file = zip.by_index_raw(at).map_err(|error| unpacking.explain(error.into()))?;
        if file.is_file() && file.size() > 0 {
            if file.encrypted() {
                return Err(unpacking.damaged("it is protected by a password; unpack it by hand"));
            }
            let name = file.name().map_err(|error| unpacking.explain(error.into()))?;
            names.insert(name.into_owned());
        }
    }
    match choose(unpacking, &names)? {
        Choice::File(name) => {
            let mut file = zip.by_name(&name).map_err(|error| unpacking.explain(error.into()))?;
            Ok(Dump::File(
                unpacking.spool(&std::env::temp_dir(), |out| copy(&mut file, out))?,
            ))
        }
        Choice::Folder(prefix) => {
            let folder = folder()?;
            for name in names.iter().filter_map(|name| child(name, &prefix).map(|_| name)) {
                let mut file = zip.by_name(name).map_err(|error| unpacking.explain(error.into()))?;
                put(unpacking, &folder, child(name, &prefix).unwrap_or_default(), &mut file)?;
            }
            Ok(Dump::Folder(folder))
        }
    }
}

pub(super) fn of_tar(unpacking: &Unpacking, from: SourceReader) -> Result<Dump> {
    let mut tar = tar::Archive::new(from);
    let mut names = BTreeSet::new();
    for entry in tar
        .entries_with_seek()
        .map_err(|error| unpacking.explain(error.into()))?
    {
        let entry = entry.map_err(|error| unpacking.explain(error.into()))?;
        if entry.header().entry_type().is_file() && entry.size() > 0 {
            names.insert(name_of(&entry)?);
        }
    }
    let choice = choose(unpacking, &names)?;
    let mut from = tar.into_inner();
    std::io::Seek::rewind(&mut from)?;
    let mut tar = tar::Archive::new(from);
    let folder = folder()?;
    for entry in tar.entries_with_seek()? {
        let mut entry = entry.map_err(|error| unpacking.explain(error.into()))?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let name = name_of(&entry)?;
        match &choice {
            Choice::File(wanted) if *wanted == name => {
                return Ok(Dump::File(
                    unpacking.spool(&std::env::temp_dir(), |out| copy(&mut entry, out))?,
                ));
            }
            Choice::File(_) => {}
            Choice::Folder(prefix) => {
                if let Some(child) = child(&name, prefix) {
                    put(unpacking, &folder, child, &mut entry)?;
                }
            }
        }
    }
    Ok(Dump::Folder(folder))
}

fn name_of<R: Read>(entry: &tar::Entry<'_, R>) -> Result<String> {
    Ok(String::from_utf8_lossy(&entry.path_bytes()).into_owned())
}

/// The name of a file that is directly in the folder `prefix`.
fn child<'a>(name: &'a str, prefix: &str) -> Option<&'a str> {
    let rest = name.strip_prefix(prefix)?;
    (!rest.is_empty() && rest != ".." && !rest.contains(['/', '\\'])).then_some(rest)
}

fn folder() -> Result<TempDir> {
    tempfile::Builder::new()
        .prefix("snapback-")
        .tempdir()
        .context("making a folder to unpack into")
}

fn put(unpacking: &Unpacking, folder: &TempDir, name: &str, from: &mut impl Read) -> Result<()> {
    let path = folder.path().join(name);
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    let file = file.with_context(|| format!("unpacking into {}", path.display()))?;
    let mut out = Bounded::new(file, folder.path());
    copy(from, &mut out).map_err(|error| unpacking.explain(error))
}

/// Which of `names` is the dump.
fn choose(unpacking: &Unpacking, names: &BTreeSet<String>) -> Result<Choice> {
    let is_toc = |name: &&String| name.as_str() == TOC || name.ends_with("/toc.dat");
    let folders: Vec<String> = names
        .iter()
        .filter(is_toc)
        .map(|name| name.trim_end_matches(TOC).to_owned())
        .collect();
    let in_folder = |name: &str| folders.iter().any(|folder| child(name, folder).is_some());
    let noise = |name: &str| {
        name.split('/')
            .any(|part| part.starts_with('.') && part != "." || part == "__MACOSX")
    };
    let files = names.iter().filter(|name| !in_folder(name) && !noise(name));
    let all: Vec<Choice> = (folders.iter().cloned().map(Choice::Folder))
        .chain(files.cloned().map(Choice::File))
        .collect();
    let wanted: Vec<Choice> = match &unpacking.member {
        None => all,
        Some(member) => all.into_iter().filter(|choice| choice.is_called(member)).collect(),
    };
    let mut wanted = wanted.into_iter();
    match (wanted.next(), wanted.next()) {
        (Some(only), None) => Ok(only),
        (None, _) => Err(nothing(unpacking, names)),
        (Some(first), Some(second)) => {
            let mut called: Vec<String> = [first, second].into_iter().chain(wanted).map(Choice::name).collect();
            let count = called.len();
            called.truncate(TOLD);
            let message = format!("{} holds {count} files: {}", unpacking.file, called.join(", "));
            Err(Fail::new(Exit::Usage, message)
                .hint("name the one to restore with --member NAME")
                .into())
        }
    }
}

fn nothing(unpacking: &Unpacking, names: &BTreeSet<String>) -> anyhow::Error {
    let Some(member) = &unpacking.member else {
        return unpacking.damaged("there is no file in it");
    };
    let names: Vec<&str> = names.iter().take(TOLD).map(String::as_str).collect();
    let message = format!("{} holds no {member:?}", unpacking.file);
    Fail::new(Exit::NotFound, message)
        .hint(format!("it holds {}", names.join(", ")))
        .into()
}

impl Choice {
    fn name(self) -> String {
        match self {
            Choice::File(name) => name,
            Choice::Folder(name) if name.is_empty() => TOC.to_owned(),
            Choice::Folder(name) => name.trim_end_matches('/').to_owned(),
        }
    }

    fn is_called(&self, wanted: &str) -> bool {
        let name = match self {
            Choice::File(name) | Choice::Folder(name) => name.trim_end_matches('/'),
        };
        let wanted = wanted.trim_end_matches('/');
        name == wanted || name.rsplit('/').next() == Some(wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_directly_in_a_folder_are_its_children() {
        assert_eq!(child("dump/toc.dat", "dump/"), Some("toc.dat"));
        assert_eq!(child("toc.dat", ""), Some("toc.dat"));
        for name in ["dump/a/b", "other/toc.dat", "dump/..", "dump/"] {
            assert_eq!(child(name, "dump/"), None, "{name}");
        }
    }
}
