//! A throwaway S3 server on the loopback interface: `rclone serve s3`, which checks signatures; in extended runs
//! Garage, the strictest of them.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use snapback::store::{S3, S3Options};
use tempfile::TempDir;

use super::server::cache_dir;

// Of the form that Garage wants.
const ACCESS_KEY: &str = "GK0123456789abcdef01234567";
const SECRET_KEY: &str = "5eccbac50123456789abcdef0123456789abcdef0123456789abcdef01234567";
const REGION: &str = "garage";

/// A running server with an empty bucket `bucket`; stopped when it is dropped.
pub struct S3Server {
    dir: TempDir,
    scheme: &'static str,
    port: u16,
    /// What started it.
    command: Command,
    process: Child,
}

impl S3Server {
    pub fn start() -> S3Server {
        S3Server::rclone("http", &[])
    }

    /// With TLS, by the certificate and the key in these files.
    pub fn with_tls(certificate: &Path, key: &Path) -> S3Server {
        let files = ["--cert".as_ref(), certificate, "--key".as_ref(), key];
        S3Server::rclone("https", &files)
    }

    fn rclone(scheme: &'static str, more: &[&Path]) -> S3Server {
        S3Server::spawn(scheme, |dir, port| {
            fs::create_dir_all(dir.join("root/bucket")).unwrap();
            let mut command = supervised(&installed("rclone-"));
            command
                .args(["serve", "s3", "--config", "/dev/null", "--vfs-cache-mode", "off"])
                // Of what comes out of its order it keeps 256 MiB in memory, and the first part comes last.
                .args(["--multipart-streaming-buffer-limit", "0"])
                .args(["--multipart-streaming-buffer-total", "0"])
                .args(["--addr", &format!("127.0.0.1:{port}")])
                .args(["--auth-key", &format!("{ACCESS_KEY},{SECRET_KEY}")])
                .args(more)
                .arg(dir.join("root"));
            command
        })
    }

    /// Garage, which `tests/run --full` installs.
    pub fn garage() -> S3Server {
        S3Server::spawn("http", |dir, port| {
            let (folder, rpc_port) = (dir.display(), free_port());
            fs::write(
                dir.join("garage.toml"),
                format!(
                    "metadata_dir = '{folder}/meta'\ndata_dir = '{folder}/data'\ndb_engine = 'lmdb'\nreplication_factor = 1\n\
                     rpc_bind_addr = '127.0.0.1:{rpc_port}'\nrpc_secret = '{SECRET_KEY}'\n\
                     [s3_api]\ns3_region = '{REGION}'\napi_bind_addr = '127.0.0.1:{port}'\n"
                ),
            )
            .unwrap();
            let mut command = supervised(&installed("garage-").join("bin/garage"));
            command
                .arg("-c")
                .arg(dir.join("garage.toml"))
                .args(["server", "--single-node", "--default-bucket"])
                .env("GARAGE_DEFAULT_ACCESS_KEY", ACCESS_KEY)
                .env("GARAGE_DEFAULT_SECRET_KEY", SECRET_KEY)
                .env("GARAGE_DEFAULT_BUCKET", "bucket");
            command
        })
    }

    /// Garage, where it is installed.
    pub fn garage_if_installed() -> Option<S3Server> {
        find("garage-").is_some().then(S3Server::garage)
    }

    fn spawn(scheme: &'static str, command: impl Fn(&Path, u16) -> Command) -> S3Server {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("access"), format!("{ACCESS_KEY}\n")).unwrap();
        fs::write(dir.path().join("secret"), SECRET_KEY).unwrap();
        let port = free_port();
        let mut command = command(dir.path(), port);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(dir.path().join("log")).unwrap());
        let process = command.spawn().unwrap();
        let mut server = S3Server {
            dir,
            scheme,
            port,
            command,
            process,
        };
        server.wait_until_ready();
        server
    }

    /// Kills it in the middle of whatever it does, and starts it again with what it had on its disk.
    pub fn crash_and_restart(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.process = self.command.spawn().unwrap();
        self.wait_until_ready();
    }

    fn wait_until_ready(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(
                self.process.try_wait().unwrap().is_none() && Instant::now() < deadline,
                "the S3 server does not start: {}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What the server logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// The processor time that the server has used, in seconds.
    pub fn cpu_seconds(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        // Linux tells it in hundredths, whatever the kernel's own clock is.
        ticks as f64 / 100.0
    }

    /// The URL of the server.
    pub fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.port)
    }

    /// Options for a store in the server's bucket.
    pub fn options(&self, prefix: &str) -> S3Options {
        S3Options {
            bucket: "bucket".into(),
            prefix: prefix.into(),
            endpoint_url: Some(self.url()),
            region: Some(REGION.into()),
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
            "[stores.default.s3]\nbucket = 'bucket'\nprefix = '{prefix}'\nendpoint_url = '{url}'\nregion = '{REGION}'\nforce_path_style = true\n\
             access_key_file = '{dir}/access'\nsecret_key_file = '{dir}/secret'\n"
        )
    }

    /// A client of its own, for what a store does not tell.
    fn client(&self) -> aws_sdk_s3::Client {
        let config = aws_sdk_s3::Config::builder()
            .behavior_version_latest()
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .credentials_provider(aws_sdk_s3::config::Credentials::new(
                ACCESS_KEY, SECRET_KEY, None, None, "test",
            ))
            .region(aws_sdk_s3::config::Region::new(REGION))
            .endpoint_url(self.url())
            .force_path_style(true);
        aws_sdk_s3::Client::from_conf(config.build())
    }

    /// Keys of the multipart uploads that were begun and not ended.
    pub fn unfinished(&self) -> Vec<String> {
        let listed = block_on(self.client().list_multipart_uploads().bucket("bucket").send());
        let page = match listed {
            Ok(page) => page,
            // So says rclone that there are none.
            Err(error) if format!("{error:?}").contains("NoSuchUpload") => return Vec::new(),
            Err(error) => panic!("{error:?}"),
        };
        page.uploads()
            .iter()
            .filter_map(|upload| upload.key().map(str::to_owned))
            .collect()
    }

    /// Begins a multipart upload, and leaves it at that.
    pub fn begin_upload(&self, key: &str) {
        let request = self.client().create_multipart_upload().bucket("bucket").key(key);
        // The SDK does not understand rclone's answer; the upload is begun all the same.
        let _ = block_on(request.send());
        assert!(self.unfinished().contains(&key.to_owned()));
    }

    /// The folder that the bucket is; not with Garage.
    pub fn bucket(&self) -> PathBuf {
        self.dir.path().join("root/bucket")
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(future)
}

impl Drop for S3Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A server must not outlive the test that started it, even when that is killed.
fn supervised(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

fn installed(prefix: &str) -> PathBuf {
    find(prefix).unwrap_or_else(|| panic!("{prefix}… is not installed: run tests/servers, for Garage with --full"))
}

fn find(prefix: &str) -> Option<PathBuf> {
    fs::read_dir(cache_dir()).ok().and_then(|entries| {
        let mut paths = entries.flatten().map(|entry| entry.path());
        paths.find(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with(prefix))
        })
    })
}
