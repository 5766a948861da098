//! The HTTP side of the daemon: what it says is what `status` says, and nobody gets more than they may.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::{Served, json, site, wait_for, write};
use crate::sqlite::Site;
use crate::support::Run;
use crate::support::server::cache_dir;

/// An answer: its status, its headers in small letters, its body.
pub type Answer = (u16, String, String);

fn parse(answer: &str) -> Option<Answer> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, head.to_lowercase(), body.to_owned()))
}

/// What the server answers to a request as it stands.
fn raw(port: u16, request: &str) -> Option<Answer> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    parse(&String::from_utf8_lossy(&answer))
}

fn ask(port: u16, method: &str, path: &str, more: &str) -> Option<Answer> {
    raw(
        port,
        &format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{more}\r\n"),
    )
}

pub fn get(port: u16, path: &str) -> Answer {
    ask(port, "GET", path, "").unwrap_or_else(|| panic!("no answer to {path}"))
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A daemon with a page, and its port. Its jobs run once a year.
pub fn served(site: &Site, names: &[&str], more: &str) -> (Served, u16) {
    let port = free_port();
    let http = format!("[http]\nlisten = \"127.0.0.1:{port}\"\n{more}");
    write(site, names, "schedule = \"0 0 1 1 *\"\nmax_age = \"1d\"", &http);
    let served = Served::start(site);
    wait_for("the page", || ask(port, "GET", "/healthz", ""));
    (served, port)
}

/// The value of a metric with these labels.
pub fn metric(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map(|value| value.parse().unwrap())
}

#[test]
fn page_api_and_metrics_say_what_status_says() {
    let site = site(&["crm", "shop"], "");
    site.snapback(&["backup", "crm"]).ok();
    fs::rename(site.path("shop.db"), site.path("gone.db")).unwrap();
    let failed = site.snapback(&["backup", "shop"]);
    assert_ne!(failed.code, Some(0));
    let (served, port) = served(&site, &["crm", "shop"], "");

    let (_, status) = json(&site, &["status"]);
    let (code, headers, body) = get(port, "/api/v1/status");
    assert_eq!(code, 200, "{body}");
    assert!(headers.contains("content-type: application/json"));
    let api: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(api["sentence"], status["sentence"]);
    for (ours, theirs) in api["jobs"]
        .as_array()
        .unwrap()
        .iter()
        .zip(status["jobs"].as_array().unwrap())
    {
        for key in [
            "job",
            "fresh",
            "why",
            "backups",
            "days",
            "next_run",
            "max_age_seconds",
            "problems",
        ] {
            assert_eq!(ours[key], theirs[key], "{key}");
        }
        assert_eq!(ours["newest"]["id"], theirs["newest"]["id"]);
    }
    assert_eq!(get(port, "/api/v1/status/nobody").0, 404);

    let (code, headers, page) = get(port, "/");
    assert_eq!(code, 200);
    assert!(
        headers.contains("content-security-policy: default-src 'none'; style-src 'sha256-"),
        "{headers}"
    );
    assert!(
        !page.contains("<script") && !page.contains("http://") && !page.contains("https://"),
        "{page}"
    );
    let newest = &status["jobs"][0]["newest"];
    let size = indicatif_bytes(newest["bytes"].as_u64().unwrap());
    for text in [
        "1 of 2 databases has a fresh, proven backup; shop has none at all",
        &size,
        "2 rows",
    ] {
        assert!(page.contains(text), "{text}: {page}");
    }
    let (_, _, of_job) = get(port, "/jobs/crm");
    assert!(of_job.contains(newest["id"].as_str().unwrap()), "{of_job}");
    let run = status["jobs"][1]["runs"][0]["run"].as_i64().unwrap();
    let (_, _, of_run) = get(port, &format!("/runs/{run}"));
    assert!(of_run.contains("Why it failed"), "{of_run}");

    let (_, headers, metrics) = get(port, "/metrics");
    assert!(headers.contains("application/openmetrics-text"), "{headers}");
    let seconds = |text: &Value| {
        text.as_str()
            .unwrap()
            .parse::<chrono::DateTime<chrono::Utc>>()
            .unwrap()
            .timestamp()
    };
    #[allow(clippy::cast_precision_loss)]
    for (name, value) in [
        ("snapback_backup_fresh{job=\"crm\"}", 1.0),
        ("snapback_backup_fresh{job=\"shop\"}", 0.0),
        ("snapback_failing{job=\"shop\"}", 1.0),
        (
            "snapback_backup_size_bytes{job=\"crm\"}",
            newest["bytes"].as_f64().unwrap(),
        ),
        ("snapback_backup_rows{job=\"crm\"}", 2.0),
        (
            "snapback_backup_last_success_timestamp_seconds{job=\"crm\"}",
            seconds(&newest["at"]) as f64,
        ),
        ("snapback_backup_restorable{job=\"crm\",store=\"default\"}", 1.0),
        ("snapback_backup_restorable{job=\"shop\",store=\"default\"}", 0.0),
        ("snapback_backup_max_age_seconds{job=\"shop\"}", 86_400.0),
        ("snapback_backup_runs{job=\"shop\",kind=\"failed\"}", 1.0),
    ] {
        assert_eq!(metric(&metrics, name), Some(value), "{name}: {metrics}");
    }
    assert!(metrics.ends_with("# EOF\n"));
    assert!(get(port, "/badges/crm.svg").2.contains("backup of crm: fresh"));
    assert!(get(port, "/badges/shop.svg").2.contains("not fresh"));
    assert_eq!(get(port, "/readyz").0, 200);

    // Series go with their job, without a restart.
    let http = format!("[http]\nlisten = \"127.0.0.1:{port}\"\n");
    write(&site, &["crm"], "schedule = \"0 0 1 1 *\"", &http);
    Run::of(Command::new("kill").args(["-HUP", &served.0.id().to_string()])).ok();
    wait_for("the new configuration", || {
        let (_, _, metrics) = get(port, "/metrics");
        (!metrics.contains("shop") && metrics.contains("job=\"crm\"")).then_some(())
    });
    served.end();
}

/// What the page calls so many bytes.
pub fn indicatif_bytes(bytes: u64) -> String {
    #[allow(clippy::cast_precision_loss)]
    match bytes {
        bytes if bytes < 1024 => format!("{bytes} B"),
        bytes => format!("{:.2} KiB", bytes as f64 / 1024.0),
    }
}

#[test]
fn nothing_on_it_changes_anything_or_tells_more_than_it_should() {
    let site = site(&["app"], "");
    fs::write(site.path("token"), "sesame\n").unwrap();
    let (_served, port) = served(&site, &["app"], "token_file = \"token\"\n");
    for path in [
        "/",
        "/metrics",
        "/api/v1/status",
        "/jobs/app",
        "/badges/app.svg",
        "/nothing",
    ] {
        let (code, headers, body) = get(port, path);
        assert_eq!(code, 401, "{path}");
        assert!(
            headers.contains("www-authenticate: bearer") && !body.contains("app"),
            "{path}: {body}"
        );
        let opened = ask(port, "GET", path, "authorization: Bearer sesame\r\n").unwrap();
        assert_eq!(opened.0, if path == "/nothing" { 404 } else { 200 }, "{path}");
    }
    for path in ["/healthz", "/readyz"] {
        assert_eq!(get(port, path).0, 200, "{path}");
    }
    let with_token = "authorization: Bearer sesame\r\n";
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        let (code, headers, _) = ask(port, method, "/jobs/app", with_token).unwrap();
        assert_eq!(code, 405, "{method}");
        assert!(headers.contains("allow: get, head"), "{headers}");
    }
    for path in [
        "/../../etc/passwd",
        "/jobs/..%2f..%2fetc",
        "/jobs/%00",
        "/runs/x",
        "/badges/<script>.svg",
        "//",
    ] {
        let answer = ask(port, "GET", path, with_token);
        assert!(
            answer.is_none_or(|(code, _, body)| code >= 400 && !body.contains("root:") && !body.contains("<script>")),
            "{path}"
        );
    }
    let huge = format!("x: {}\r\n", "y".repeat(200_000));
    assert!(ask(port, "GET", "/", &huge).is_none_or(|(code, _, _)| code == 431 || code == 400));
    // Those who are slow keep nobody waiting.
    let slow: Vec<TcpStream> = (0..50)
        .map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap())
        .collect();
    assert_eq!(get(port, "/healthz").0, 200);
    drop(slow);
}

#[test]
fn it_can_be_a_socket_in_a_folder_and_is_for_those_who_may() {
    let site = site(&["app"], "");
    let (_served, port) = served(&site, &["app"], "allow_from = [\"192.0.2.0/24\"]\n");
    assert_eq!(get(port, "/healthz").0, 403);

    let socket = site.path("http.sock");
    write(
        &site,
        &["app"],
        "schedule = \"0 0 1 1 *\"",
        &format!("[http]\nlisten = \"{}\"\n", socket.display()),
    );
    let _served = Served::start(&site);
    let answer = wait_for("the socket", || {
        let mut stream = UnixStream::connect(&socket).ok()?;
        stream
            .write_all(b"GET /api/v1/status HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            .ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        parse(&answer)
    });
    assert_eq!(answer.0, 200);
    assert!(
        answer.2.contains("app has no fresh, proven backup at all"),
        "{}",
        answer.2
    );
}

#[test]
fn the_report_is_one_file_that_needs_nothing_else() {
    let site = site(&["app"], "");
    let id = site.snapback(&["backup", "app"]).ok().stdout.trim().to_owned();
    site.snapback(&["report", "--html", "report.html"]).ok();
    let page = fs::read_to_string(site.path("report.html")).unwrap();
    assert!(
        page.contains(&id) && page.contains("app has a fresh, proven backup"),
        "{page}"
    );
    for foreign in ["<script", "src=", "http://", "https://", "href=\"/"] {
        assert!(!page.contains(foreign), "{foreign}");
    }
}

#[test]
fn the_rules_for_prometheus_fire_when_they_should() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/monitoring");
    Run::of(Command::new(cache_dir().join("promtool")).current_dir(folder).args([
        "check",
        "rules",
        "snapback.rules.yml",
    ]))
    .ok();
    Run::of(Command::new(cache_dir().join("promtool")).current_dir(folder).args([
        "test",
        "rules",
        "snapback.rules.test.yml",
    ]))
    .ok();
    // What the daemon says is what Prometheus reads, and has all that rules and dashboard ask for.
    let site = site(&["app"], "");
    site.snapback(&["backup", "app"]).ok();
    let (_served, port) = served(&site, &["app"], "");
    let (_, _, metrics) = get(port, "/metrics");
    let names: std::collections::BTreeSet<&str> = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .filter_map(|line| line.split(' ').next())
        .collect();
    for file in ["snapback.rules.yml", "grafana-dashboard.json"] {
        let text = fs::read_to_string(format!("{folder}/{file}")).unwrap();
        let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
        let words = text.split(|c| !is_name(c)).filter(|word| word.starts_with("snapback_"));
        let used: Vec<&str> = words.collect();
        assert!(!used.is_empty());
        for name in used {
            assert!(names.contains(name), "{file} asks for {name}: {names:?}");
        }
    }
}
