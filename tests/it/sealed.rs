//! Encrypted backups: what they give away, who opens them, and that the stock `age` does.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::backup::House;
use crate::backup::killed::paused_at;
use crate::restore::Site;
use crate::support::s3::S3Server;
use crate::support::{Run, Server, snapback};

/// A new key pair: the file of the secret key, and the public key.
fn keygen(folder: &Path, name: &str) -> (PathBuf, String) {
    let file = folder.join(name);
    let run = Run::of(snapback().arg("keygen").arg("-o").arg(&file)).ok();
    (file, run.stdout.trim().to_owned())
}

fn ssh_keygen(folder: &Path, kind: &str) -> (PathBuf, String) {
    let file = folder.join(kind);
    Run::of(
        Command::new("ssh-keygen")
            .args(["-q", "-t", kind, "-N", "", "-C", "anna@laptop", "-f"])
            .arg(&file),
    )
    .ok();
    let public = fs::read_to_string(file.with_extension("pub")).unwrap();
    (file, public.trim().to_owned())
}

/// What the stock `age` makes of an encrypted file.
fn age(key: &Path, sealed: &Path) -> Vec<u8> {
    let mut age = Command::new("age");
    let output = age.arg("-d").arg("-i").arg(key).arg(sealed).output().unwrap();
    assert!(
        output.status.success(),
        "{sealed:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

/// Restores an opened archive with the stock pg_restore in parallel, and compares the dumps.
fn restores_in_parallel(server: &Server, archive: &Path, database: &str) {
    server.create_database("stock");
    let mut restore = server.tool("pg_restore");
    restore.args(server.connection_args("stock")).arg("-j2").arg(archive);
    Run::of(&mut restore).ok();
    let dump = |database| server.pg_dump(database, &["--restrict-key=x"]);
    assert!(dump("stock") == dump(database), "the restored database is another");
}

fn texts(key: &Path) -> String {
    key.to_str().unwrap().to_owned()
}

/// `[jobs.app.encryption]` with these recipients, and more lines.
fn encryption(recipients: &[&str], more: &str) -> String {
    format!("retention.keep_last = 3\n[jobs.app.encryption]\nrecipients = {recipients:?}\n{more}\n")
}

#[test]
fn keys_are_made_as_age_makes_them_and_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let (file, public) = keygen(folder.path(), "key");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(&file).unwrap();
    assert!(
        text.contains(&format!("# public key: {public}\nAGE-SECRET-KEY-1")),
        "{text}"
    );
    assert_eq!(
        Run::of(Command::new("age-keygen").arg("-y").arg(&file))
            .ok()
            .stdout
            .trim(),
        public
    );
    let again = Run::of(snapback().arg("keygen").arg("-o").arg(&file)).code(2);
    assert!(again.stderr.contains("never overwritten"), "{}", again.stderr);
    assert_eq!(fs::read_to_string(&file).unwrap(), text);

    let public_of = |file: &Path| Run::of(snapback().arg("keygen").arg("-y").arg(file));
    assert_eq!(public_of(&file).ok().stdout.trim(), public);
    let (ssh, public) = ssh_keygen(folder.path(), "ed25519");
    assert!(public.starts_with(public_of(&ssh).ok().stdout.trim()), "{public}");
    // Whoever is encrypted for is checked with the configuration.
    let config = folder.path().join("snapback.toml");
    let job = "[stores.default]\npath = \"b\"\n[jobs.app]\nurl = \"app\"\n[jobs.app.encryption]\nrecipients_file = \"names\"\n";
    fs::write(&config, job).unwrap();
    let check = || Run::of(snapback().args(["config", "check", "--config"]).arg(&config));
    for (names, told) in [("# nobody\n", "names nobody"), ("# anna\nage1x\n", "line 2")] {
        fs::write(folder.path().join("names"), names).unwrap();
        let run = check().code(2);
        assert!(
            run.stderr.contains(told) && run.stderr.contains("names: "),
            "{}",
            run.stderr
        );
    }
    fs::write(folder.path().join("names"), public).unwrap();
    check().ok();
    let printed = Run::of(snapback().arg("keygen")).ok().stdout;
    assert!(printed.lines().last().unwrap().starts_with("AGE-SECRET-KEY-1"));
}

#[test]
fn an_encrypted_backup_gives_nothing_away_and_opens_with_each_key() {
    let house = House::new();
    let folder = tempfile::tempdir().unwrap();
    let keys = [
        keygen(folder.path(), "key"),
        ssh_keygen(folder.path(), "ed25519"),
        ssh_keygen(folder.path(), "rsa"),
    ];
    let public: Vec<&str> = keys.iter().map(|(_, public)| public.as_str()).collect();
    house.configure(&encryption(&public, ""));
    let id = house.backup();
    let sealed = house.file(&id, "dump.age");
    let names = ["dump.age", "globals.sql.age", "json"].map(|end| format!("app_{id}.{end}"));
    assert_eq!(house.files(), names);

    // Without any key it is listed, looked at by its bytes, and shown as far as it may be.
    let listed = house.json(&["list"]);
    let backup = &listed[0]["backups"][0];
    assert_eq!((&backup["tables"], &backup["rows"]), (&2.into(), &1000.into()));
    let verified = house.run(&["verify"]).ok().stdout;
    assert!(verified.contains("of encrypted bytes"), "{verified}");
    let shown = house.run(&["show"]).ok().stdout;
    assert!(shown.contains("anna@laptop") && !shown.contains("customer"), "{shown}");
    let closed = house.run(&["verify", "--full"]).code(9);
    assert!(closed.stderr.contains(public[0]), "{}", closed.stderr);
    // What failed runs and looks leave does not tell either.
    house.configure(&encryption(
        &public,
        "[jobs.app.dump]\ntables = [\"customer\", \"costumer\"]",
    ));
    assert!(house.run(&["backup"]).code(3).stderr.contains("costumer"));
    house.configure(&encryption(&public, ""));
    for name in house.files() {
        let bytes = fs::read(house.folder().join(&name)).unwrap();
        let tells = |word: &str| bytes.windows(word.len()).any(|window| window == word.as_bytes());
        assert!(!tells("customer") && !tells("costumer"), "{name}");
    }

    // A copy is the same to the byte, so it takes no key either.
    let stores = "[stores.far]\npath = \"far\"\n";
    house.configure(&format!(
        "stores = [\"default\", \"far\"]\n{}{stores}",
        encryption(&public, "")
    ));
    house.run(&["copy", "app", &id, "--to", "far"]).ok();
    for name in &names {
        let far = house.dir.path().join("far/app").join(name);
        assert!(
            fs::read(far).unwrap() == fs::read(house.folder().join(name)).unwrap(),
            "{name}"
        );
    }

    let opened = age(&keys[0].0, &sealed);
    for (key, _) in &keys {
        assert!(age(key, &sealed) == opened, "{key:?}");
        let full = house.run(&["verify", "--full", "--identity", &texts(key)]).ok().stdout;
        assert_eq!(
            full.matches("all 1,000 rows of 2 tables").count(),
            2,
            "in both stores: {full}"
        );
    }
    let archive = folder.path().join("opened.dump");
    fs::write(&archive, opened).unwrap();
    restores_in_parallel(&house.server, &archive, "app");
    let globals = age(&keys[1].0, &house.file(&id, "globals.sql.age"));
    assert!(String::from_utf8(globals).unwrap().contains("CREATE ROLE postgres;"));
    let shown = house.json(&["show", "--identity", &texts(&keys[2].0)]);
    assert_eq!(shown["tables"][0]["name"], "customer");
}

#[test]
fn a_wrong_key_damage_or_a_key_that_others_may_read_is_told() {
    let house = House::new();
    let folder = tempfile::tempdir().unwrap();
    let ((key, public), (stranger, strange)) = (keygen(folder.path(), "key"), keygen(folder.path(), "other"));
    let identity = |key: &Path| format!("identity_file = {key:?}");
    // Keys that shall open the backups are tried before the work, not after it.
    house.configure(&encryption(&[&public], &identity(&stranger)));
    let run = house.run(&["backup"]).code(9);
    assert!(
        run.stderr.contains(&public) && run.stderr.contains(&strange),
        "{}",
        run.stderr
    );
    house.configure(&encryption(&[&public], &identity(&key)));
    let id = house.backup();
    let databases = house.server.psql("postgres", "SELECT count(*) FROM pg_database");
    house.configure(&encryption(&[&public], &identity(&stranger)));
    for args in [
        &["verify"][..],
        &["verify", "--full"],
        &["restore", "--yes"],
        &["restore", "--dry-run"],
        &["show"],
    ] {
        // What is not encrypted is shown all the same.
        let run = house.run(args).code(if args == ["show"] { 0 } else { 9 });
        assert!(
            run.stderr.contains(&public) && run.stderr.contains(&strange),
            "{}",
            run.stderr
        );
    }
    assert_eq!(
        house.server.psql("postgres", "SELECT count(*) FROM pg_database"),
        databases
    );

    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    let mut command = house.command(&["verify", "--full"]);
    let run = Run::of(command.env("SNAPBACK_IDENTITY_FILE", &key)).ok();
    assert!(run.stderr.contains("chmod 600"), "{}", run.stderr);

    let sealed = house.file(&id, "dump.age");
    let mut bytes = fs::read(&sealed).unwrap();
    let at = bytes.len() - 100;
    bytes[at] ^= 1;
    fs::write(&sealed, bytes).unwrap();
    let run = house.run(&["verify", "--full", "--identity", &texts(&key)]).code(6);
    assert!(
        run.stderr.contains("SHA-256") && run.stderr.contains("encrypted chunk"),
        "{}",
        run.stderr
    );
    house
        .run(&["restore", "--yes", &id, "--identity", &texts(&key)])
        .code(6);
}

#[test]
fn encrypted_backups_are_killed_cleaned_up_restored_and_pruned_as_others_are() {
    let house = House::new();
    let (key, public) = keygen(house.dir.path(), "key");
    let encrypted = encryption(&[&public], "identity_file = \"key\"");
    house.configure(&encrypted);
    house.backup();
    let mut killed = paused_at(&house, "publish");
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert_eq!(house.listed().len(), 1);
    let id = house.backup();
    assert_eq!(house.files().len(), 2 * 3, "{:?}", house.files());

    house.server.psql("app", "DELETE FROM customer WHERE id > 10");
    house.run(&["restore", "--yes", &id]).ok();
    assert_eq!(house.server.psql("app", "SELECT count(*) FROM customer"), "1000");
    // The snapshot of what was replaced is as secret, and opens as well.
    let listed = house.json(&["list"]);
    let safety = &listed[0]["backups"][0];
    assert_eq!((&safety["kind"], &safety["rows"]), (&"safety".into(), &10.into()));
    house.run(&["verify", "--full", safety["id"].as_str().unwrap()]).ok();
    assert!(
        !house.files().iter().any(|name| name.ends_with(".dump")),
        "{:?}",
        house.files()
    );
    // Who makes and deletes backups needs no key.
    fs::remove_file(key).unwrap();
    house.configure(
        &encrypted
            .replace("keep_last = 3", "keep_last = 1")
            .replace("identity_file", "# "),
    );
    house.backup();
    house.run(&["prune"]).ok();
    assert_eq!(
        house.listed().len(),
        3,
        "the newest, and the two that the restore holds"
    );
}

#[test]
fn a_passphrase_in_a_file_is_enough_and_manifests_may_be_open() {
    let house = House::new();
    let secret = house.dir.path().join("passphrase");
    fs::write(&secret, "correct horse\n").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    house.configure(
        "globals = false\n[jobs.app.encryption]\npassphrase_file = \"passphrase\"\nencrypt_manifest = false\n",
    );
    house.backup();
    let manifest = house.json(&["show"]);
    assert_eq!(manifest["encryption"]["recipients"][0], "passphrase");
    assert_eq!(manifest["tables"][0]["name"], "customer");
    house.run(&["verify", "--full"]).ok();
    fs::write(&secret, "battery staple\n").unwrap();
    let run = house.run(&["verify", "--full"]).code(9);
    assert!(
        run.stderr.contains("with a passphrase, and the one at hand is another")
            && run.stderr.contains("passphrase_file of the job must have"),
        "{}",
        run.stderr
    );
    assert!(
        !run.stderr.contains("horse") && !run.stderr.contains("staple"),
        "{}",
        run.stderr
    );
    fs::remove_file(&secret).unwrap();
    assert!(house.run(&["backup"]).code(2).stderr.contains("passphrase file"));
}

#[test]
fn an_encrypted_backup_goes_to_s3_in_parts_and_comes_back_from_there() {
    let bucket = S3Server::start();
    let site = Site::new(15, "app");
    site.use_store(&bucket.config("nightly"));
    let folder = tempfile::tempdir().unwrap();
    let (key, public) = keygen(folder.path(), "key");
    site.configure(&format!(
        "[jobs.app.encryption]\nrecipients = \"{public}\"\nidentity_file = {key:?}"
    ));
    let server = &site.server;
    server.psql(
        "app",
        "CREATE TABLE t AS SELECT n, (SELECT string_agg(gen_random_uuid()::text, '') FROM generate_series(1, 20) WHERE n > 0) AS noise
         FROM generate_series(1, 40000) n; ALTER TABLE t ADD PRIMARY KEY (n)",
    );
    let id = site.backup();
    let stored = bucket.bucket().join("nightly/app").join(format!("app_{id}.dump.age"));
    assert!(
        fs::metadata(&stored).unwrap().len() > 9 << 20,
        "the archive is too small for this test"
    );
    // The head was sealed last, with the offsets in it: stock pg_restore finds its way in parallel.
    let archive = folder.path().join("opened.dump");
    fs::write(&archive, age(&key, &stored)).unwrap();
    restores_in_parallel(server, &archive, "app");
    site.run(&["verify", "app", "--full"]).ok();

    let before = server.pg_dump("app", &["--restrict-key=x"]);
    server.psql("app", "DELETE FROM t WHERE n % 2 = 0");
    site.restore(&[&id]);
    assert!(server.pg_dump("app", &["--restrict-key=x"]) == before);
    // What was downloaded restores too, without its store.
    let file = stored.to_str().unwrap();
    site.run(&[
        "restore", "--yes", "--from", file, "--mode", "new", "--as", "beside", "--to", "app",
    ])
    .ok();
    assert_eq!(server.psql("beside", "SELECT count(*) FROM t"), "40000");
}
