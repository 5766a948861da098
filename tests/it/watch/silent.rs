//! Stores and servers that take a connection and never say a word: what an operator asks is answered all the same, for all that is
//! well.

use std::fmt::Write as _;
use std::fs;
use std::net::TcpListener;

use super::http::{free_port, get, metric};
use super::{Served, json, site, wait_for};

/// Where somebody listens who never speaks.
fn nobody() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut silent = Vec::new();
        while let Ok((stream, _)) = listener.accept() {
            silent.push(stream);
        }
    });
    port
}

fn bucket(port: u16) -> String {
    format!(
        "[stores.far.s3]\nbucket = \"b\"\nendpoint_url = \"http://127.0.0.1:{port}\"\nforce_path_style = true\n\
         access_key_file = \"key\"\nsecret_key_file = \"key\"\n"
    )
}

#[test]
fn a_store_and_a_server_that_never_answer_hide_nothing() {
    let site = site(&["app"], "");
    fs::write(site.path("key"), "k").unwrap();
    site.snapback(&["backup", "app"]).ok();
    let (silent, page) = (nobody(), free_port());
    let mut text = format!(
        "[http]\nlisten = \"127.0.0.1:{page}\"\n[daemon]\nstate = \"state\"\n[stores.default]\npath = \"backups\"\n{}\
         [jobs.app]\nurl = \"app.db\"\nschedule = \"0 0 1 1 *\"\nmax_age = \"1d\"\n\
         [jobs.server]\nurl = \"postgresql://u@127.0.0.1:{silent}/db\"\n",
        bucket(silent)
    );
    // So many that they are not all looked at at once: were each waited for, there would be no answer in time.
    for number in 0..80 {
        writeln!(text, "[jobs.far-{number}]\nurl = \"app.db\"\nstore = \"far\"").unwrap();
    }
    fs::write(site.path("snapback.toml"), text).unwrap();
    let served = Served::start(&site);
    wait_for("the page", || std::net::TcpStream::connect(("127.0.0.1", page)).ok());

    let (code, _, metrics) = get(page, "/metrics");
    assert_eq!(code, 200, "{metrics}");
    for (name, value) in [
        ("snapback_backup_fresh{job=\"app\"}", 1.0),
        ("snapback_store_reachable{job=\"app\",store=\"default\"}", 1.0),
        ("snapback_store_reachable{job=\"server\",store=\"default\"}", 1.0),
        ("snapback_backup_fresh{job=\"far-79\"}", 0.0),
        ("snapback_store_reachable{job=\"far-0\",store=\"far\"}", 0.0),
        ("snapback_store_reachable{job=\"far-79\",store=\"far\"}", 0.0),
    ] {
        assert_eq!(metric(&metrics, name), Some(value), "{name}: {metrics}");
    }
    assert_eq!(get(page, "/healthz").0, 200);
    assert_eq!(get(page, "/readyz").0, 200, "one store can be read");
    let (code, _, html) = get(page, "/");
    assert_eq!(code, 200);
    assert!(html.contains("it has not answered for 7 s"), "{html}");
    served.end();

    let doctor = site.snapback(&["doctor", "server", "far-0"]).code(1);
    for told in [
        "server: ERROR: connection: ",
        "far-0: ERROR: store far: it has not answered for 20 s",
    ] {
        assert!(doctor.stdout.contains(told), "{told}: {}", doctor.stdout);
    }

    // The same without a daemon.
    let (code, status) = json(&site, &["status"]);
    assert_eq!((code, &status["jobs"][0]["fresh"]), (Some(13), &true.into()));
    let error = status["jobs"][1]["stores"][0]["error"].as_str().unwrap();
    assert!(error.contains("it has not answered for 7 s"), "{error}");
}

#[test]
fn who_can_read_no_store_at_all_is_not_ready() {
    let site = site(&["app"], "");
    fs::write(site.path("key"), "k").unwrap();
    let page = free_port();
    let text = format!(
        "[http]\nlisten = \"127.0.0.1:{page}\"\n[daemon]\nstate = \"state\"\n{}\
         [jobs.app]\nurl = \"app.db\"\nstore = \"far\"\nschedule = \"0 0 1 1 *\"\nrun_missed = false\n",
        bucket(nobody())
    );
    fs::write(site.path("snapback.toml"), text).unwrap();
    let served = Served::start(&site);
    wait_for("the page", || std::net::TcpStream::connect(("127.0.0.1", page)).ok());
    let (code, _, why) = get(page, "/readyz");
    assert_eq!((code, why.as_str()), (503, "no store of any job can be read\n"));
    served.end();
}
