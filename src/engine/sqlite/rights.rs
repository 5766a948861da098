//! Who may do what with a database file: its mode, its owner and group, and its label, by which SELinux decides.

use std::fs::{File, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};
use std::path::Path;

use rustix::fs::{XattrFlags, fsetxattr, getxattr};

use crate::manifest::SqliteFacts;

/// Where the kernel keeps the label of a file (xattr(7)).
const LABEL: &str = "security.selinux";
/// No label is longer.
const LONGEST: usize = 4096;

/// What a file has of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rights {
    mode: u32,
    uid: u32,
    gid: u32,
    label: Option<String>,
}

impl Rights {
    /// Those of the file that was backed up.
    #[must_use]
    pub fn of(facts: &SqliteFacts) -> Rights {
        Rights {
            mode: facts.mode,
            uid: facts.uid,
            gid: facts.gid,
            label: facts.label.clone(),
        }
    }
}

/// Adds those of the file at `path` to what is known of it.
pub fn read(facts: &mut SqliteFacts, path: &Path) {
    if let Ok(metadata) = std::fs::metadata(path) {
        facts.mode = metadata.mode() & 0o7777;
        facts.uid = metadata.uid();
        facts.gid = metadata.gid();
    }
    let mut label = Vec::with_capacity(LONGEST);
    if getxattr(path, LABEL, rustix::buffer::spare_capacity(&mut label)).is_ok() {
        label.truncate(label.iter().position(|byte| *byte == 0).unwrap_or(label.len()));
        facts.label = String::from_utf8(label).ok().filter(|label| !label.is_empty());
    }
}

/// Gives a new file the rights of the one that was backed up, as far as this process may.
pub fn give(file: &File, rights: Option<&Rights>) {
    let mode = rights.map_or(0o644, |rights| rights.mode);
    if let Some(Rights { uid, gid, label, .. }) = rights {
        // Only root may give files away, and for others it is theirs.
        let _ = fchown(file, Some(*uid), Some(*gid));
        if let Some(label) = label {
            // With the zero at its end that the kernel's own have. Where there is no SELinux, nobody needs it.
            let value = [label.as_bytes(), &[0]].concat();
            if let Err(error) = fsetxattr(file, LABEL, &value, XattrFlags::empty()) {
                tracing::debug!("the new file did not get its label {label}: {error}");
            }
        }
    }
    if let Err(error) = file.set_permissions(Permissions::from_mode(mode)) {
        tracing::warn!("the new file is readable by nobody else: {error}");
    }
}
