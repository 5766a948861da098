//! The S3 store on a real server: the contract of every store, and what is particular to it.

mod credentials;
mod faults;
mod garage;
mod history;
mod program;
mod requests;
mod slow;
mod unanswered;

use std::process::Stdio;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::Value;
use snapback::error::{Exit, exit_of, hint_of};
use snapback::store::{S3, Store, get, put};

use crate::restore::Site;
use crate::store::contract;
use crate::support::s3::S3Server;
use crate::support::{Run, Server};

#[tokio::test]
async fn s3_store_keeps_the_contract() {
    let server = S3Server::start();
    contract(&server.store("some/prefix")).await;
    assert!(
        !server.bucket().join("one").exists(),
        "something was written outside the prefix"
    );
}

#[tokio::test]
async fn large_objects_go_in_parts_and_their_head_is_rewritten() {
    goes_in_parts(&S3Server::start().store("")).await;
}

async fn goes_in_parts(store: &S3) {
    // More than two parts of 8 MiB, in pieces that do not divide them; the head spans the first part's end.
    let whole: Vec<u8> = (0..21 << 20)
        .map(|n: u32| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let head = vec![7_u8; 9 << 20];
    let mut upload = store.create("job/large").await.unwrap();
    upload.expect(head.len() as u64, whole.len() as u64);
    for piece in whole.chunks(700_001) {
        upload.write(Bytes::copy_from_slice(piece)).await.unwrap();
    }
    let meta = upload.finish(Bytes::from(head.clone())).await.unwrap();
    assert_eq!(meta.size, whole.len() as u64);

    let read = get(store, "job/large", u64::MAX).await.unwrap();
    assert!(read[..head.len()] == head && read[head.len()..] == whole[head.len()..]);
    let range = (9 << 20) - 5..(9 << 20) + 5;
    assert_eq!(
        store.read("job/large", range).await.unwrap(),
        [&head[..5], &whole[9 << 20..(9 << 20) + 5]].concat()
    );
}

#[tokio::test]
async fn a_given_up_upload_leaves_nothing() {
    let server = S3Server::start();
    let store = server.store("");
    let mut upload = store.create("job/large").await.unwrap();
    for _ in 0..5 {
        upload.write(Bytes::from(vec![0; 8 << 20])).await.unwrap();
    }
    upload.abort().await.unwrap();
    assert!(store.list("").await.unwrap().is_empty());
    // Nothing is left to sweep either, though that would only be swept after a day.
    assert_eq!(store.clean("").await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn listing_goes_past_one_page() {
    let server = S3Server::start();
    for n in 0..1_200 {
        std::fs::create_dir_all(server.bucket().join("job")).unwrap();
        std::fs::write(server.bucket().join(format!("job/o{n:04}")), "x").unwrap();
    }
    let listed = server.store("").list("job/").await.unwrap();
    assert_eq!(listed.len(), 1_200);
    assert!(listed.is_sorted_by(|a, b| a.path < b.path));
}

#[tokio::test]
async fn errors_say_what_to_do() {
    let server = S3Server::start();
    let mut options = server.options("");
    options.bucket = "nowhere".into();
    let store = S3::new(options);
    let error = put(&store, "object", Bytes::from_static(b"x")).await.unwrap_err();
    assert_eq!(exit_of(&error), Exit::NotFound, "{error:#}");

    let wrong = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(wrong.path(), "wrong").unwrap();
    let mut options = server.options("");
    let (access, _) = options.key_files.unwrap();
    options.key_files = Some((access, wrong.path().into()));
    let store = S3::new(options);
    let error = store.list("").await.unwrap_err();
    assert_eq!(exit_of(&error), Exit::Permission, "{error:#}");
    assert!(hint_of(&error).unwrap().contains("AWS_SECRET_ACCESS_KEY"), "{error:#}");

    let mut options = server.options("");
    options.endpoint_url = Some("http://127.0.0.1:1".into());
    options.attempts = Some(2);
    let store = S3::new(options);
    let error = store.stat("object").await.unwrap_err();
    assert!(hint_of(&error).unwrap().contains("endpoint_url"), "{error:#}");
}

/// A table of so many rows that do not compress: 300 bytes of archive each.
pub fn noise(rows: u32) -> String {
    format!(
        "CREATE TABLE t AS
         SELECT n, (SELECT string_agg(gen_random_uuid()::text, '') FROM generate_series(1, 20) WHERE n > 0) AS noise
         FROM generate_series(1, {rows}) n; ALTER TABLE t ADD PRIMARY KEY (n)"
    )
}

/// The whole way with the real program: the database goes to the bucket and comes back from it. `between` gets the
/// server, the id of the backup and the digest of the rows.
fn there_and_back(bucket: &S3Server, between: impl Fn(&Server, &str, &str)) -> Site {
    let site = Site::new(15, "app");
    site.use_store(&bucket.config("nightly"));
    let server = &site.server;
    server.psql("app", &noise(60_000));
    let before = server.psql("app", DIGEST);
    let id = site.backup();
    // A digest of the whole would come from reading it back: the server showed by itself that it has the archive.
    let json = |args: &[&str]| serde_json::from_str::<Value>(&site.run(args).ok().stdout).unwrap();
    let manifest = json(&["show", "app", "--json"]);
    assert!(manifest["archive"]["head"].is_object(), "{manifest}");
    assert_eq!(json(&["verify", "app", "--json"])[0]["bytes_read"], 0);
    site.run(&["verify", "app", "--full"]).ok();
    between(server, &id, &before);
    server.psql("app", "DELETE FROM t WHERE n % 2 = 0");
    // Nothing is put aside: there is no folder for temporary files.
    let mut restore = site.command(&["restore", "app", "--yes", &id]);
    Run::of(restore.env("TMPDIR", "/nonexistent")).ok();
    assert_eq!(server.psql("app", DIGEST), before);
    site
}

/// Kills a backup in the middle of its upload: the next one removes what that left, and nothing of others.
fn the_next_run_removes_what_a_killed_upload_left(bucket: &S3Server) {
    let site = Site::new(15, "app");
    site.use_store(&format!(
        "[stores.default]\nmax_upload_rate = \"4MiB\"\n{}",
        bucket.config("nightly")
    ));
    site.server.psql("app", &noise(100_000));
    let another = "nightly/app/app_20200101T000000Z.dump";
    bucket.begin_upload(another);
    let mut run = site
        .command(&["backup", "app"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while bucket.unfinished().len() < 2 {
        assert!(
            Instant::now() < deadline && run.try_wait().unwrap().is_none(),
            "no upload is begun"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    run.kill().unwrap();
    run.wait().unwrap();
    assert_eq!(bucket.unfinished().len(), 2);
    site.reconfigure("max_upload_rate", "# max_upload_rate");
    let report: Value = serde_json::from_str(&site.run(&["backup", "app", "--json"]).ok().stdout).unwrap();
    assert!(report.to_string().contains("the killed run"), "{report}");
    assert_eq!(bucket.unfinished(), [another]);
}

#[test]
fn the_next_backup_removes_what_a_killed_upload_left() {
    the_next_run_removes_what_a_killed_upload_left(&S3Server::start());
}

const DIGEST: &str = "SELECT count(*), sum(hashtext(t::text)::bigint) FROM t";

#[test]
fn a_job_backs_up_to_s3_and_restores_from_there() {
    let bucket = S3Server::start();
    there_and_back(&bucket, |server, id, digest| {
        let stored = bucket.bucket().join("nightly/app").join(format!("app_{id}.dump"));
        assert!(
            std::fs::metadata(&stored).unwrap().len() > 17 << 20,
            "the archive is too small for this test"
        );
        // The first part went last, with the offsets in it: stock pg_restore finds its way in parallel.
        server.create_database("stock");
        let mut restore = server.tool("pg_restore");
        restore.args(server.connection_args("stock")).arg("-j2").arg(&stored);
        Run::of(&mut restore).ok();
        assert_eq!(server.psql("stock", DIGEST), digest);
    });
}

#[test]
fn a_folder_has_a_digest_that_others_compute_and_a_bucket_its_own_checksum() {
    let bucket = S3Server::start();
    let site = Site::new(15, "app");
    site.use_store(&bucket.config(""));
    site.configure("stores = ['folder', 'default']\n[stores.folder]\npath = 'near'");
    site.server.psql("app", &noise(32_000));
    let id = site.backup();
    let near = site.folder().join(format!("near/app/app_{id}.dump"));
    let far = bucket.bucket().join(format!("app/app_{id}.dump"));
    let manifest: Value = serde_json::from_slice(&std::fs::read(near.with_extension("json")).unwrap()).unwrap();
    let digest = Run::of(std::process::Command::new("sha256sum").arg(&near)).ok().stdout;
    assert!(
        digest.starts_with(manifest["archive"]["sha256"].as_str().unwrap()),
        "{manifest}"
    );

    let read = |store: &str| {
        let run = site.run(&["verify", "app", &id, "--store", store, "--json"]).ok();
        serde_json::from_str::<Value>(&run.stdout).unwrap()[0]["bytes_read"].clone()
    };
    assert_eq!((read("default"), read("folder") == 0), (0.into(), false));
    // This server's ETag at HEAD is the MD5 of what lies there now.
    let mut bytes = std::fs::read(&far).unwrap();
    bytes[9 << 20] ^= 1;
    std::fs::write(&far, &bytes).unwrap();
    let run = site.run(&["verify", "app", &id, "--store", "default"]).code(6);
    assert!(run.stderr.contains("its SHA-256 is"), "{}", run.stderr);
    // A copy takes its place, and the store shows that it has it.
    let run = site.run(&["copy", "app", &id, "--to", "default"]).ok();
    assert!(run.stdout.contains("in place of a damaged copy"), "{}", run.stdout);
    assert!(std::fs::read(&far).unwrap() == std::fs::read(&near).unwrap());
    site.run(&["verify", "app", "--all", "--full"]).ok();
}
