//! A throwaway S3 server on the loopback interface: `rclone serve s3`, which checks signatures.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use snapback::store::{S3, S3Options};
use tempfile::TempDir;

use super::server::cache_dir;

const ACCESS_KEY: &str = "snapback-test";
const SECRET_KEY: &str = "snapback-test-secret";

/// A running server with an empty bucket `bucket`; stopped when it is dropped.
pub struct S3Server {
    dir: TempDir,
    port: u16,
    process: Child,
}

impl S3Server {
    pub fn start() -> S3Server {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("root/bucket")).unwrap();
        fs::write(dir.path().join("access"), format!("{ACCESS_KEY}\n")).unwrap();
        fs::write(dir.path().join("secret"), SECRET_KEY).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(rclone())
            .args([
                "serve",
                "s3",
                "--config",
                "/dev/null",
                "--addr",
                &format!("127.0.0.1:{port}"),
            ])
            .args([
                "--auth-key",
                &format!("{ACCESS_KEY},{SECRET_KEY}"),
                "--vfs-cache-mode",
                "off",
            ])
            .arg(dir.path().join("root"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(dir.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let mut server = S3Server { dir, port, process };
        server.wait_until_ready();
        server
    }

    fn wait_until_ready(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(
                self.process.try_wait().unwrap().is_none() && Instant::now() < deadline,
                "rclone does not start: {}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What the server logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// The URL of the server.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Options for a store in the server's bucket.
    pub fn options(&self, prefix: &str) -> S3Options {
        S3Options {
            bucket: "bucket".into(),
            prefix: prefix.into(),
            endpoint_url: Some(self.url()),
            force_path_style: true,
            key_files: Some((self.dir.path().join("access"), self.dir.path().join("secret"))),
            ..Default::default()
        }
    }

    /// A store in the server's bucket.
    pub fn store(&self, prefix: &str) -> S3 {
        S3::new(self.options(prefix))
    }

    /// The same as a section of a configuration.
    pub fn config(&self, prefix: &str) -> String {
        let (url, dir) = (self.url(), self.dir.path().display());
        format!(
            "[stores.default.s3]\nbucket = 'bucket'\nprefix = '{prefix}'\nendpoint_url = '{url}'\nforce_path_style = true\n\
             access_key_file = '{dir}/access'\nsecret_key_file = '{dir}/secret'\n"
        )
    }

    /// The folder that the bucket is.
    pub fn bucket(&self) -> PathBuf {
        self.dir.path().join("root/bucket")
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn rclone() -> PathBuf {
    let found = fs::read_dir(cache_dir()).ok().and_then(|entries| {
        let mut paths = entries.flatten().map(|entry| entry.path());
        paths.find(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("rclone-"))
        })
    });
    found.unwrap_or_else(|| panic!("rclone is not installed: run tests/servers"))
}
