//! Who owns what is made: whoever owns the folder that it lies in.
//!
//! Who runs a verb as root must not keep the service from its own backups: what root makes there can be read and deleted by root
//! alone, and the next run of the service would fail at it.

use std::fs::File;
use std::os::unix::fs::{MetadataExt as _, fchown, lchown};
use std::path::Path;

/// Gives a file that was just made at `path` to whoever owns its folder.
///
/// # Errors
/// It cannot be given away.
pub fn of_its_folder(file: &File, path: &Path) -> std::io::Result<()> {
    match to_whom(path)? {
        Some((user, group)) => fchown(file, Some(user), Some(group)),
        None => Ok(()),
    }
}

/// Gives a folder that was just made to whoever owns the folder that it lies in.
///
/// # Errors
/// It cannot be given away.
pub fn of_the_folder_above(folder: &Path) -> std::io::Result<()> {
    match to_whom(folder)? {
        Some((user, group)) => lchown(folder, Some(user), Some(group)),
        None => Ok(()),
    }
}

/// Who owns the folder of `path`, where we are root and it is not root's.
fn to_whom(path: &Path) -> std::io::Result<Option<(u32, u32)>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new(".")).metadata()?;
    Ok((folder.uid() != 0).then(|| (folder.uid(), folder.gid())))
}
