//! The OpenAPI document of `/api/v1`: real answers have its form, no field more and none less.

use std::fs;
use std::process::Command;

use serde_json::{Map, Value};

use super::http::{get, served};
use super::site;
use crate::support::Run;
use crate::support::server::cache_dir;

/// What is wrong with `value` by the schema, with where it is.
fn wrong(document: &Value, schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    if let Some(name) = schema["$ref"].as_str() {
        let pointed = document
            .pointer(name.trim_start_matches('#'))
            .unwrap_or_else(|| panic!("{name}"));
        return wrong(document, pointed, value, at, found);
    }
    if let Some(either) = schema["oneOf"].as_array() {
        let fits = |one: &&Value| {
            let mut found = Vec::new();
            wrong(document, one, value, at, &mut found);
            found.is_empty()
        };
        if either.iter().filter(fits).count() == 1 {
            return;
        }
        // The first one says what is wrong.
        return wrong(document, &either[0], value, at, found);
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        several => several
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one.as_str().unwrap())
            .collect(),
    };
    let is = |one: &&str| match *one {
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "null" => value.is_null(),
        other => panic!("{other}"),
    };
    if !types.iter().any(is) {
        return found.push(format!("{at} is {value}, and no {types:?}"));
    }
    match value {
        Value::Object(fields) => object(document, schema, fields, at, found),
        Value::Array(items) => {
            for (number, item) in items.iter().enumerate() {
                wrong(document, &schema["items"], item, &format!("{at}[{number}]"), found);
            }
        }
        Value::String(text) => {
            let known = schema["enum"].as_array();
            if known.is_some_and(|known| !known.contains(value)) {
                found.push(format!("{at} is {text:?}, which is no value of it"));
            }
            let reads = match schema["format"].as_str() {
                Some("date-time") => chrono::DateTime::parse_from_rfc3339(text).is_ok(),
                Some("date") => text.parse::<chrono::NaiveDate>().is_ok(),
                _ => schema["pattern"].is_null() || text.parse::<snapback::manifest::BackupId>().is_ok(),
            };
            if !reads {
                found.push(format!("{at} is {text:?}, which has another form"));
            }
        }
        _ => {}
    }
}

fn object(document: &Value, schema: &Value, fields: &Map<String, Value>, at: &str, found: &mut Vec<String>) {
    for required in schema["required"].as_array().into_iter().flatten() {
        if !fields.contains_key(required.as_str().unwrap()) {
            found.push(format!("{at} lacks {required}"));
        }
    }
    for (name, value) in fields {
        let at = format!("{at}.{name}");
        match (&schema["properties"][name], &schema["additionalProperties"]) {
            (Value::Null, Value::Bool(false) | Value::Null) => found.push(format!("{at} is not in the document")),
            (Value::Null, others) => wrong(document, others, value, &at, found),
            (known, _) => wrong(document, known, value, &at, found),
        }
    }
}

#[test]
fn answers_have_the_form_that_the_document_says() {
    let site = site(&["crm", "shop", "never"], "");
    site.snapback(&["backup", "crm", "--label", "first"]).ok();
    site.snapback(&["backup", "shop"]).ok();
    site.snapback(&["verify", "crm", "--full"]).ok();
    site.snapback(&["drill", "crm"]).ok();
    site.snapback(&["restore", "crm", "--yes"]).ok();
    fs::rename(site.path("shop.db"), site.path("gone.db")).unwrap();
    assert_ne!(site.snapback(&["backup", "shop"]).code, Some(0));
    let section = "[jobs.main]\nserver_url = \"host=/nowhere\"\n";
    let (daemon, port) = served(&site, &["crm", "shop", "never"], section);

    let (code, headers, text) = get(port, "/api/v1/openapi.json");
    assert!(code == 200 && headers.contains("application/json"), "{headers}");
    let document: Value = serde_json::from_str(&text).unwrap();
    let mut asked = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        let schema = &methods["get"]["responses"]["200"]["content"]["application/json"]["schema"];
        let jobs: &[&str] = if path.contains("{job}") {
            &["crm", "shop", "never"]
        } else {
            &[""]
        };
        for job in jobs {
            let (code, _, body) = get(port, &path.replace("{job}", job));
            assert_eq!(code, 200, "{path}");
            if path.ends_with("openapi.json") {
                continue;
            }
            let mut found = Vec::new();
            wrong(
                &document,
                schema,
                &serde_json::from_str(&body).unwrap(),
                path,
                &mut found,
            );
            assert!(found.is_empty(), "{found:#?}");
            asked += 1;
        }
    }
    assert_eq!(asked, 4);
    // The test itself can fail.
    let mut answer: Value = serde_json::from_str(&get(port, "/api/v1/status").2).unwrap();
    answer["jobs"][0]["more"] = 1.into();
    answer["jobs"][0]["fresh"] = "yes".into();
    answer["jobs"][1].as_object_mut().unwrap().remove("days");
    let schema = &document["components"]["schemas"]["Status"];
    let mut found = Vec::new();
    wrong(&document, schema, &answer, "status", &mut found);
    assert_eq!(found.len(), 3, "{found:#?}");
    daemon.end();
}

#[test]
#[ignore = "takes a minute, and schemathesis, which tests/servers --full installs"]
fn schemathesis_finds_nothing_in_the_api() {
    let site = site(&["crm", "shop"], "");
    site.snapback(&["backup", "crm", "--label", "first"]).ok();
    fs::write(site.path("token"), "hush").unwrap();
    let tool = cache_dir().join("schemathesis-4.32.5");
    for (more, token) in [
        ("", None),
        ("token_file = \"token\"\n", Some("Authorization: Bearer hush")),
    ] {
        let (daemon, port) = served(&site, &["crm", "shop"], more);
        let url = format!("http://127.0.0.1:{port}");
        // The document itself is wanted with the token too, and asked for by the tool without.
        let document = site.path("openapi.json");
        fs::copy("src/watch/http/openapi.json", &document).unwrap();
        let mut run = Command::new("python3");
        run.current_dir(site.dir.path())
            .env("PYTHONPATH", &tool)
            .arg(tool.join("bin/schemathesis"));
        run.args(["run", "openapi.json", "--url", &url, "--checks", "all"]);
        run.args(["--continue-on-failure", "--max-examples", "100"])
            .env("NO_COLOR", "1");
        run.args(
            token
                .map_or(&[] as &[&str], |_| &["--header"])
                .iter()
                .copied()
                .chain(token),
        );
        let run = Run::of(&mut run);
        assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
        assert!(
            run.stdout.contains("No issues found") && !run.stdout.contains(" 0 passed"),
            "{}",
            run.stdout
        );
        daemon.end();
    }
}
