//! Every number on the page of a job is the one that the API and `status --json` tell.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;

use super::http::{get, indicatif_bytes, served};
use super::{json, site};

/// What stands between `from` and `to`, each time that they come.
fn between<'a>(html: &'a str, from: &str, to: &str) -> Vec<&'a str> {
    let parts = html.split(from).skip(1);
    parts.map(|part| part.split(to).next().unwrap()).collect()
}

/// The text of a piece of the page.
fn text(html: &str) -> String {
    html.split('<')
        .enumerate()
        .map(|(at, part)| {
            if at == 0 {
                part
            } else {
                part.split_once('>').map_or("", |(_, text)| text)
            }
        })
        .collect()
}

/// The time in a piece of the page, as machines read it.
fn instant(html: &str) -> i64 {
    let time = between(html, "datetime=\"", "\"")[0];
    time.parse::<chrono::DateTime<chrono::Utc>>().unwrap().timestamp()
}

fn told(value: &Value) -> i64 {
    let time = value.as_str().unwrap();
    time.parse::<chrono::DateTime<chrono::Utc>>().unwrap().timestamp()
}

fn id_time(id: &Value) -> i64 {
    id.as_str()
        .unwrap()
        .parse::<snapback::manifest::BackupId>()
        .unwrap()
        .time()
        .timestamp()
}

fn seconds(value: &Value) -> String {
    format!("{:.1} s", value.as_f64().unwrap())
}

fn bytes(value: &Value) -> String {
    indicatif_bytes(value.as_u64().unwrap())
}

/// The rows of the table with this heading in its first column, as pieces of HTML.
fn table<'a>(page: &'a str, heading: &str) -> Vec<Vec<&'a str>> {
    let tables = between(page, "<table>", "</table>");
    let is_it = |table: &&&str| between(table, "<th scope", "</th>")[0].ends_with(&format!(">{heading}"));
    let table = tables
        .iter()
        .find(is_it)
        .unwrap_or_else(|| panic!("no table of {heading}: {page}"));
    let body = between(table, "<tbody>", "</tbody>")[0];
    let cells = |row: &'a str| {
        let cells = between(row, "<td", "</td>").into_iter();
        cells.map(|cell| cell.split_once('>').unwrap().1).collect()
    };
    between(body, "<tr>", "</tr>").into_iter().map(cells).collect()
}

#[test]
fn every_number_on_the_page_is_the_apis() {
    let site = site(&["crm", "shop"], "");
    for label in ["first", "second", "third"] {
        site.snapback(&["backup", "crm", "--label", label]).ok();
    }
    site.snapback(&["verify", "crm", "latest", "--full"]).ok();
    fs::rename(site.path("shop.db"), site.path("gone.db")).unwrap();
    assert_ne!(site.snapback(&["backup", "shop"]).code, Some(0));
    fs::rename(site.path("gone.db"), site.path("shop.db")).unwrap();
    site.snapback(&["backup", "shop"]).ok();
    let (daemon, port) = served(&site, &["crm", "shop"], "");
    let (_, status) = json(&site, &["status"]);
    for name in ["crm", "shop"] {
        let job: Value = serde_json::from_str(&get(port, &format!("/api/v1/status/{name}")).2).unwrap();
        let by_verb = status["jobs"]
            .as_array()
            .unwrap()
            .iter()
            .find(|it| it["job"] == name)
            .unwrap();
        for key in [
            "backups",
            "runs",
            "days",
            "next_run",
            "max_age_seconds",
            "last_failure",
            "outcomes",
        ] {
            assert_eq!(job[key], by_verb[key], "{name} {key}");
        }
        let (_, _, page) = get(port, &format!("/jobs/{name}"));
        let newest = &job["newest"];
        let facts: BTreeMap<&str, &str> = between(&page, "<dt>", "</dd>")
            .into_iter()
            .map(|fact| fact.split_once("</dt><dd>").unwrap())
            .collect();
        assert_eq!(instant(facts["Newest"]), told(&newest["at"]));
        assert_eq!(instant(facts["Proven"]), told(&newest["proven"]["at"]));
        assert!(facts["Proven"].starts_with(newest["proven"]["how"].as_str().unwrap()));
        assert_eq!(
            facts["Size"],
            format!("{}, {} rows", bytes(&newest["bytes"]), newest["rows"])
        );
        assert_eq!(facts["Took"], seconds(&newest["seconds"]));
        assert_eq!((facts["Max age"], &job["max_age_seconds"]), ("1 d", &86_400.0.into()));
        assert_eq!(instant(facts["Next run"]), told(&job["next_run"]));

        let of_stores = table(&page, "Store");
        let stores = job["stores"].as_array().unwrap();
        assert_eq!(of_stores.len(), stores.len());
        for (row, store) in of_stores.iter().zip(stores) {
            assert_eq!(
                (row[0], row[1]),
                (store["store"].as_str().unwrap(), store["at"].as_str().unwrap())
            );
            assert_eq!(instant(row[3]), id_time(&store["newest"]));
            assert_eq!(
                (row[4], row[5]),
                (
                    store["restorable"].to_string().as_str(),
                    bytes(&store["bytes"]).as_str()
                )
            );
            assert_eq!(row[7], store["deletes_next"].as_array().unwrap().len().to_string());
        }
        let of_backups = table(&page, "Backup");
        let backups = job["backups"].as_array().unwrap();
        assert_eq!(of_backups.len(), backups.len());
        for (row, backup) in of_backups.iter().zip(backups) {
            assert_eq!(
                (text(row[0]).as_str(), row[1]),
                (backup["id"].as_str().unwrap(), backup["kind"].as_str().unwrap())
            );
            assert_eq!(
                (row[2], row[3]),
                (bytes(&backup["bytes"]).as_str(), backup["rows"].to_string().as_str())
            );
            assert_eq!(
                (row[4], instant(row[5])),
                (seconds(&backup["seconds"]).as_str(), told(&backup["proven"]["at"]))
            );
        }
        let of_runs = table(&page, "Began");
        let runs = job["runs"].as_array().unwrap();
        assert_eq!(of_runs.len(), runs.len());
        for (row, run) in of_runs.iter().zip(runs) {
            assert_eq!(instant(row[0]), told(&run["started"]));
            assert_eq!(
                (text(row[1]).as_str(), row[2]),
                (run["verb"].as_str().unwrap(), run["outcome"].as_str().unwrap())
            );
            assert_eq!(row[3], seconds(&run["seconds"]));
            assert!(row[1].contains(&format!("/runs/{}\"", run["run"])));
        }
        let days = job["days"].as_array().unwrap();
        let drawn = between(&page, "<rect class=\"", "</title></rect>");
        assert_eq!((drawn.len(), days.len()), (30, 30));
        for (rect, day) in drawn.iter().zip(days) {
            let (date, state) = (day["date"].as_str().unwrap(), day["state"].as_str().unwrap());
            assert!(
                rect.starts_with(&format!("{state}\"")) && rect.contains(&format!("<title>{date}: ")),
                "{rect}"
            );
            assert!(
                rect.ends_with(&format!("{} good, {} failed", day["good"], day["failed"])),
                "{rect}"
            );
        }
    }
    daemon.end();
}
