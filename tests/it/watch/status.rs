//! `snapback status`: which jobs have a fresh, proven backup, and why not.

use std::fs;

use super::{json, site, write};
use crate::support::faulty_s3::{Ask, FaultyS3};

#[test]
fn one_sentence_says_which_job_is_not_fresh_and_the_exit_code_too() {
    let site = site(&["crm", "shop"], "");
    let run = site.snapback(&["status"]).code(13);
    assert!(
        run.stdout
            .starts_with("0 of 2 databases have a fresh, proven backup; crm has none at all, shop has none at all\n"),
        "{}",
        run.stdout
    );
    site.snapback(&["backup", "crm"]).ok();
    let run = site.snapback(&["status"]).code(13);
    assert!(
        run.stdout
            .starts_with("1 of 2 databases has a fresh, proven backup; shop has none at all\n"),
        "{}",
        run.stdout
    );
    site.snapback(&["status", "crm"]).ok();
    site.snapback(&["backup", "shop"]).ok();
    let run = site.snapback(&["status"]).ok();
    assert!(
        run.stdout.starts_with("all 2 databases have a fresh, proven backup\n"),
        "{}",
        run.stdout
    );

    let (_, status) = json(&site, &["status", "crm"]);
    let (job, listed) = (&status["jobs"][0], json(&site, &["list", "crm"]).1);
    let (newest, listed) = (&job["newest"], &listed[0]["backups"][0]);
    for (ours, theirs) in [
        ("id", "id"),
        ("bytes", "bytes"),
        ("rows", "rows"),
        ("seconds", "seconds"),
        ("tables", "tables"),
    ] {
        assert_eq!(newest[ours], listed[theirs], "{ours}");
    }
    assert_eq!(
        (&newest["proven"]["how"], &newest["proven"]["at"]),
        (&listed["verified"], &listed["verified_at"])
    );
    assert_eq!(
        (&job["stores"][0]["store"], &job["stores"][0]["restorable"]),
        (&"default".into(), &1.into())
    );
    site.snapback(&["status", "nobody"]).code(3);
}

/// Makes the backup of `job` look as if it had been taken at the time of `id`.
fn move_to(site: &crate::sqlite::Site, job: &str, id: &str) {
    let folder = site.path(&format!("backups/{job}"));
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let old = name.split(['_', '.']).nth(1).unwrap().to_owned();
        let moved = folder.join(name.replace(&old, id));
        if name.ends_with(".json") {
            let text = fs::read_to_string(&path).unwrap();
            fs::write(&path, text.replace(&old, id)).unwrap();
        }
        fs::rename(&path, moved).unwrap();
    }
}

#[test]
fn what_is_too_old_is_not_fresh_by_the_schedule_or_by_what_is_configured() {
    let site = site(&["app"], "");
    site.snapback(&["backup", "app"]).ok();
    let day = |back| {
        let at = chrono::Utc::now() - chrono::TimeDelta::hours(back);
        at.format("%Y%m%dT%H%M%SZ").to_string()
    };
    for (hours, of_job, code) in [
        (40, "schedule = \"0 2 * * *\"", 0),
        (50, "schedule = \"0 2 * * *\"", 13),
        // From Friday to Monday there are three days.
        (50, "schedule = \"0 2 * * 1-5\"", 0),
        (50, "max_age = \"2d\"\nschedule = \"0 2 * * 1-5\"", 13),
        (50, "max_age = \"3d\"", 0),
        // Who says neither when it runs nor how old it may be expects nothing.
        (5000, "", 0),
    ] {
        move_to(&site, "app", &day(hours));
        write(&site, &["app"], of_job, "");
        let (found, status) = json(&site, &["status"]);
        assert_eq!(found, Some(code), "{hours} {of_job}: {status:#}");
        assert_eq!(status["jobs"][0]["why"].is_null(), code == 0, "{status:#}");
    }
}

#[test]
fn what_is_restorable_now_is_apart_from_what_happened() {
    let site = site(&["app"], "");
    write(&site, &["app"], "schedule = \"0 2 * * *\"", "");
    let id = site.snapback(&["backup", "app"]).ok().stdout.trim().to_owned();
    let today = |status: &serde_json::Value| status["jobs"][0]["days"].as_array().unwrap().last().unwrap().clone();
    let (_, before) = json(&site, &["status"]);
    assert_eq!(
        (&today(&before)["state"], &today(&before)["good"]),
        (&"good".into(), &1.into())
    );
    for entry in fs::read_dir(site.path("backups/app")).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    let (code, after) = json(&site, &["status"]);
    assert_eq!(
        (code, &after["jobs"][0]["newest"]),
        (Some(13), &serde_json::Value::Null)
    );
    assert_eq!(today(&after), today(&before), "what happened has happened");
    assert_eq!(after["jobs"][0]["runs"][0]["backup"], id.as_str());
    assert_eq!(after["jobs"][0]["why"], "there is no backup yet");
}

#[test]
fn a_damaged_backup_and_a_failed_run_are_told() {
    let site = site(&["app"], "");
    let good = site.snapback(&["backup", "app"]).ok().stdout.trim().to_owned();
    site.python("app.db", "INSERT INTO t VALUES (3, 'c')");
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let bad = site.snapback(&["backup", "app"]).ok().stdout.trim().to_owned();
    let archive = site.path(&format!("backups/app/app_{bad}.db.gz"));
    let mut bytes = fs::read(&archive).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x55;
    fs::write(&archive, bytes).unwrap();
    site.snapback(&["verify", "app", &bad]).code(6);
    fs::rename(site.path("app.db"), site.path("gone.db")).unwrap();
    let error = site.snapback(&["backup", "app"]);
    let (_, status) = json(&site, &["status"]);
    let job = &status["jobs"][0];
    assert_eq!(
        job["newest"]["id"],
        good.as_str(),
        "the one before is the newest good one"
    );
    assert_eq!(job["last_failure"]["over"], false);
    assert!(
        error.stderr.contains(job["last_failure"]["error"].as_str().unwrap()),
        "{job:#}"
    );
    let problems = job["problems"].to_string();
    assert!(
        problems.contains(&format!("the backup {bad} in default is damaged")),
        "{problems}"
    );
    assert!(problems.contains("the last backup failed"), "{problems}");
    // It is over when a backup is taken again.
    fs::rename(site.path("gone.db"), site.path("app.db")).unwrap();
    site.snapback(&["backup", "app"]).ok();
    let (_, status) = json(&site, &["status"]);
    assert_eq!(status["jobs"][0]["last_failure"]["over"], true);
}

#[test]
fn retention_says_before_what_it_deletes() {
    let site = site(&["app"], "");
    write(&site, &["app"], "schedule = \"0 2 * * *\"\nretention.keep_last = 2", "");
    for _ in 0..2 {
        site.snapback(&["backup", "app"]).ok();
        std::thread::sleep(std::time::Duration::from_millis(1100));
    }
    let (_, status) = json(&site, &["status"]);
    let store = status["jobs"][0]["stores"][0].clone();
    assert_eq!(store["deletes_now"], serde_json::json!([]));
    let next = store["deletes_next"].as_array().unwrap().clone();
    assert_eq!(next.len(), 1);
    site.snapback(&["backup", "app"]).ok();
    let (_, listed) = json(&site, &["list", "app"]);
    let ids: Vec<_> = listed[0]["backups"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["id"].clone())
        .collect();
    assert!(ids.len() == 2 && !ids.contains(&next[0]), "{ids:?} {next:?}");
}

#[test]
fn of_a_bucket_only_what_is_new_is_read() {
    let s3 = FaultyS3::start();
    let site = site(&["app"], "");
    let text = format!(
        "[daemon]\nstate = \"state\"\n{}[jobs.app]\nurl = \"app.db\"\n",
        s3.config("")
    );
    fs::write(site.path("snapback.toml"), text).unwrap();
    for _ in 0..3 {
        site.snapback(&["backup", "app"]).ok();
    }
    let (_, first) = json(&site, &["status"]);
    assert_eq!(first["jobs"][0]["backups"].as_array().unwrap().len(), 3);
    let _ = (s3.count(Ask::Get), s3.count(Ask::List));
    let (code, second) = json(&site, &["status"]);
    assert_eq!(
        (code, &second["jobs"][0]["backups"]),
        (Some(0), &first["jobs"][0]["backups"])
    );
    assert_eq!(
        (s3.count(Ask::Get), s3.count(Ask::List)),
        (0, 1),
        "one listing, and no read of what is known"
    );
    // A machine that knows nothing but the configuration and the bucket sees the same.
    fs::remove_dir_all(site.path("state")).unwrap();
    let (code, fresh) = json(&site, &["status"]);
    assert_eq!(
        (code, &fresh["jobs"][0]["backups"]),
        (Some(0), &first["jobs"][0]["backups"])
    );
    assert!(s3.count(Ask::Get) >= 3);
}

#[test]
fn a_store_that_is_away_hides_nothing_of_the_other() {
    let site = site(&["app"], "");
    let text = "[daemon]\nstate = \"state\"\n[stores.near]\npath = \"near\"\n[stores.far]\npath = \"far\"\n\
                [jobs.app]\nurl = \"app.db\"\nstores = [\"near\", \"far\"]\n";
    fs::write(site.path("snapback.toml"), text).unwrap();
    site.snapback(&["backup", "app"]).ok();
    fs::remove_dir_all(site.path("far")).unwrap();
    fs::write(site.path("far"), "no folder").unwrap();
    let (code, status) = json(&site, &["status"]);
    let stores = status["jobs"][0]["stores"].as_array().unwrap();
    let far = stores.iter().find(|store| store["store"] == "far").unwrap();
    assert!(far["error"].is_string() && far["fresh"] == false, "{status:#}");
    let near = stores.iter().find(|store| store["store"] == "near").unwrap();
    assert!(near["error"].is_null() && near["fresh"] == true, "{status:#}");
    assert_eq!(code, Some(0), "there is a fresh, proven backup");
    assert!(
        status["jobs"][0]["problems"]
            .to_string()
            .contains("the store far cannot be read"),
        "{status:#}"
    );
}

#[test]
fn next_says_what_runs_when_in_the_zone_of_the_job() {
    let site = site(&["app"], "");
    site.snapback(&["next"]).code(3);
    write(
        &site,
        &["app"],
        "schedule = \"30 3 * * *\"\ntime_zone = \"Asia/Kolkata\"",
        "",
    );
    let (_, due) = json(&site, &["next", "app", "-n", "3"]);
    let due = due.as_array().unwrap();
    assert_eq!(due.len(), 3);
    for due in due {
        let local = due["local"].as_str().unwrap();
        assert!(local.ends_with("T03:30:00+05:30"), "{local}");
        assert!(due["at"].as_str().unwrap().ends_with("T22:00:00Z"), "{due}");
    }
    let text = site.snapback(&["next"]).ok().stdout;
    assert!(text.contains("03:30 IST"), "{text}");
}

#[test]
fn a_drill_that_passed_is_the_newest_proof() {
    let site = site(&["app"], "");
    let check = |text: &str| write(&site, &["app"], &format!("drill_checks = [\"{text}\"]"), "");
    check("SELECT count(*) = 2 FROM t");
    site.snapback(&["backup", "app"]).ok();
    site.snapback(&["verify", "--full", "app"]).ok();
    let proven = || json(&site, &["status"]).1["jobs"][0]["newest"]["proven"].clone();
    assert_eq!(proven()["how"], "full");
    site.snapback(&["drill", "app"]).ok();
    let drilled = json(&site, &["list", "app"]).1[0]["backups"][0]["drill"].clone();
    assert_eq!((&proven()["how"], &proven()["at"]), (&"drill".into(), &drilled["at"]));
    let text = site.snapback(&["status"]).ok().stdout;
    assert!(text.contains("shown by a drill, "), "{text}");
    site.snapback(&["report", "--html", "report.html"]).ok();
    let page = fs::read_to_string(site.path("report.html")).unwrap();
    assert!(page.contains("shown by a drill, "));
    // The time is to the second, and of two drills in one the last one counts.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    check("SELECT count(*) = 7 FROM t");
    assert_ne!(site.snapback(&["drill", "app"]).code, Some(0));
    assert_eq!(proven()["how"], "full");
    // A restore of all of it, as this machine remembers it.
    site.snapback(&["restore", "app", "--yes"]).ok();
    assert_eq!(proven()["how"], "restore");
}
