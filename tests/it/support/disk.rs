//! A disk that is soon full.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A file system of its own, in a mount namespace of its own: gone when this is. Needs no root, but the right to
/// make user namespaces.
pub struct SmallDisk {
    /// Lives in the namespace and does nothing; others reach the disk through it.
    holder: Child,
    folder: PathBuf,
    path: PathBuf,
}

impl SmallDisk {
    /// `mib` MiB, mounted over `folder`, which nobody else notices. `command` starts a program as the user who is to
    /// use it.
    pub fn mount(command: fn(&Path) -> Command, folder: &Path, mib: u32) -> SmallDisk {
        let mut holder = command(Path::new("unshare"))
            .args(["--user", "--map-root-user", "--mount", "sh", "-c"])
            .arg("mount -t tmpfs -o size=\"$1\"m,mode=700 tmpfs \"$2\" && echo mounted && exec cat")
            .args(["sh", &mib.to_string()])
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        BufReader::new(holder.stdout.take().unwrap())
            .read_line(&mut said)
            .unwrap();
        assert_eq!(said, "mounted\n", "a tmpfs in a user namespace cannot be had");
        let path = format!("/proc/{}/root{}", holder.id(), folder.display()).into();
        SmallDisk {
            holder,
            folder: folder.to_owned(),
            path,
        }
    }

    /// A program that sees the disk under the name of the folder that it is mounted over, which it runs in.
    pub fn inside(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--user", "--mount", "--preserve-credentials", "--target"])
            .arg(self.holder.id().to_string())
            .args(["sh", "-c", "cd \"$1\" && shift && exec \"$@\"", "sh"])
            .arg(&self.folder)
            .arg(program);
        command
    }

    /// Where it is for those outside of the namespace.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
