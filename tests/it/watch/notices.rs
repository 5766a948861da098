//! Somebody is told: by webhooks of every kind, pings, mails, programs; and hooks run around runs.

use std::fs;
use std::process::Command;

use serde_json::Value;

use super::{Served, site, wait_for, write};
use crate::support::{Mails, Receiver, Run};

#[test]
fn every_service_gets_what_it_documents() {
    let receiver = Receiver::start();
    let channels = |name: &str, more: &str| {
        format!(
            "[notify.{name}]\ntype = \"{name}\"\nurl = \"{}\"\n{more}\n",
            receiver.url(&format!("/{name}"))
        )
    };
    let all: String = [
        ("slack", ""),
        ("discord", ""),
        ("teams", ""),
        ("telegram", "to = [\"-100\"]"),
        ("ntfy", "token = \"tk_1\""),
        ("gotify", "key = \"AbC\""),
        ("pagerduty", "key = \"R0UT\""),
        ("alertmanager", ""),
        (
            "webhook",
            "secret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"\nheaders = { X-Team = \"{job}\" }",
        ),
        ("uptime-kuma", ""),
        ("ping", ""),
    ]
    .iter()
    .map(|(name, more)| channels(name, more))
    .collect();
    let site = site(&["app"], &all);
    let told = |name: &str| {
        site.snapback(&["notify", "--test", name]).ok();
        let got = receiver.got();
        got.into_iter()
            .rfind(|got| got.target.starts_with(&format!("/{name}")))
            .unwrap()
    };
    let (title, message) = (
        "app: a test",
        "This is a test of snapback notify, and nothing has failed.",
    );
    let both = format!("{title}\n{message}");
    assert_eq!(told("slack").json(), serde_json::json!({ "text": both }));
    let discord = told("discord").json();
    assert_eq!(discord["content"], format!("**{title}**\n{message}"));
    assert_eq!(discord["allowed_mentions"]["parse"], serde_json::json!([]));
    let card = told("teams").json()["attachments"][0].clone();
    assert_eq!(card["contentType"], "application/vnd.microsoft.card.adaptive");
    assert_eq!(
        (&card["content"]["type"], &card["content"]["body"][1]["text"]),
        (&"AdaptiveCard".into(), &message.into())
    );
    let telegram = told("telegram").json();
    assert_eq!(
        (&telegram["chat_id"], &telegram["text"]),
        (&"-100".into(), &both.as_str().into())
    );
    let ntfy = told("ntfy");
    assert_eq!(
        (ntfy.body.as_str(), ntfy.header("title"), ntfy.header("priority")),
        (message, title, "5")
    );
    assert_eq!(ntfy.header("authorization"), "Bearer tk_1");
    let gotify = told("gotify");
    assert_eq!(
        (gotify.header("x-gotify-key"), &gotify.json()["priority"]),
        ("AbC", &5.into())
    );
    let pager = told("pagerduty").json();
    assert_eq!(
        (&pager["routing_key"], &pager["event_action"]),
        (&"R0UT".into(), &"trigger".into())
    );
    assert_eq!(
        (&pager["payload"]["severity"], &pager["dedup_key"]),
        (&"critical".into(), &"snapback-app".into())
    );
    let alert = told("alertmanager").json()[0].clone();
    assert_eq!(
        (&alert["labels"]["job"], &alert["annotations"]["description"]),
        (&"app".into(), &message.into())
    );
    let hook = told("webhook");
    assert_eq!(
        (hook.header("x-team"), &hook.json()["data"]["news"]),
        ("app", &"failed".into())
    );
    signed(&hook);
    let kuma = told("uptime-kuma");
    assert_eq!(kuma.method, "GET");
    assert!(
        kuma.target
            .starts_with("/uptime-kuma?status=down&msg=This%20is%20a%20test"),
        "{}",
        kuma.target
    );
    assert!(told("ping").target.starts_with("/ping/fail?rid="));
}

/// The signature is what Python computes by the words of Standard Webhooks.
fn signed(got: &crate::support::receiver::Got) {
    const PROGRAM: &str = "import base64, hashlib, hmac, sys\nkey = base64.b64decode('MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw')\n\
        print('v1,' + base64.b64encode(hmac.new(key, sys.argv[1].encode(), hashlib.sha256).digest()).decode())";
    let text = format!(
        "{}.{}.{}",
        got.header("webhook-id"),
        got.header("webhook-timestamp"),
        got.body
    );
    let run = Run::of(Command::new("python3").args(["-c", PROGRAM, &text])).ok();
    assert_eq!(run.stdout.trim(), got.header("webhook-signature"));
}

#[test]
fn a_mail_arrives_and_a_channel_that_reaches_nobody_fails() {
    let mails = Mails::start();
    let receiver = Receiver::start();
    receiver.answers(500);
    let more = format!(
        "[notify.mail]\ntype = \"email\"\nsmtp = \"{}\"\nfrom = \"Snapback <s@example.com>\"\nto = [\"ops@example.com\"]\n\
         [notify.down]\nurl = \"{}\"\n",
        mails.url(),
        receiver.url("/secret-path"),
    );
    let site = site(&["app"], &more);
    site.snapback(&["notify", "--test", "mail"]).ok();
    let mail = mails.got().remove(0);
    for text in [
        "MAIL FROM:<s@example.com>",
        "RCPT TO:<ops@example.com>",
        "Subject: [snapback] app: a test",
        "nothing has failed",
    ] {
        assert!(mail.contains(text), "{text}: {mail}");
    }
    let down = site.snapback(&["notify", "--test", "down"]).code(1);
    assert!(
        down.stderr.contains("down reaches nobody") && down.stderr.contains("500"),
        "{}",
        down.stderr
    );
    assert!(!down.stderr.contains("secret-path"), "{}", down.stderr);
    site.snapback(&["notify", "--test", "nobody"]).code(3);
}

#[test]
fn the_daemon_tells_of_failures_and_of_their_end_and_monitors_of_every_run() {
    let receiver = Receiver::start();
    let more = format!(
        "[notify.team]\ntype = \"webhook\"\nurl = \"{}\"\nremind_every = \"1d\"\n[notify.check]\ntype = \"ping\"\nurl = \"{}\"\n\
         [notify.program]\ntype = \"command\"\non = [\"failed\"]\ncommand = [\"sh\", \"-c\", \"echo \\\"$SNAPBACK_NEWS $SNAPBACK_JOB\\\" >> told\"]\n",
        receiver.url("/team"),
        receiver.url("/check/{job}"),
    );
    let site = site(&["app"], "");
    fs::rename(site.path("app.db"), site.path("gone.db")).unwrap();
    write(&site, &["app"], "schedule = \"* * * * * *\"\nmax_age = \"1h\"", &more);
    let served = Served::start(&site);
    let news = |word: &'static str| {
        move |got: &crate::support::receiver::Got| got.target == "/team" && got.json()["data"]["news"] == word
    };
    let failed = receiver.wait_for("the failure", news("failed"));
    assert_eq!(failed.json()["data"]["run"]["outcome"], "failed");
    let error = failed.json()["data"]["run"]["error"].clone();
    assert!(
        failed.json()["data"]["message"]
            .as_str()
            .unwrap()
            .contains(error.as_str().unwrap())
    );
    receiver.wait_for("that it is not fresh", news("not_fresh"));
    let start = receiver.wait_for("the start", |got| got.target.starts_with("/check/app/start?rid="));
    let rid = start.target.split("rid=").nth(1).unwrap().to_owned();
    receiver.wait_for("the end of the same run", |got| {
        got.target == format!("/check/app/fail?rid={rid}")
    });
    wait_for("the program", || {
        fs::read_to_string(site.path("told"))
            .ok()
            .filter(|text| text.starts_with("failed app\n"))
    });
    // However often it fails, it is told once a day.
    wait_for("more failures", || {
        let run = site.snapback(&["--json", "history", "--failed"]);
        (run.stdout.lines().count() > 3).then_some(())
    });
    let told = receiver.got().into_iter().filter(news("failed")).count();
    assert_eq!(told, 1);

    fs::rename(site.path("gone.db"), site.path("app.db")).unwrap();
    receiver.wait_for("that all is well again", news("recovered"));
    receiver.wait_for("the good run", |got| got.target.starts_with("/check/app?rid="));

    // What others run on this machine is news too.
    let more = format!(
        "[notify.team]\nurl = \"{}\"\non = [\"restore\", \"failed\"]\n",
        receiver.url("/team")
    );
    write(&site, &["app"], "schedule = \"0 0 1 1 *\"", &more);
    Run::of(Command::new("kill").args(["-HUP", &served.0.id().to_string()])).ok();
    wait_for("the new configuration", || {
        fs::read_to_string(site.path("log"))
            .ok()
            .filter(|log| log.contains("was reread"))
    });
    site.snapback(&["restore", "app", "--yes"]).ok();
    let told = receiver.wait_for("the restore", news("restore"));
    assert_eq!(told.json()["data"]["run"]["verb"], "restore");

    // A configuration that is refused is told by the channels that go on.
    fs::write(site.path("snapback.toml"), "nonsense = 1\n").unwrap();
    Run::of(Command::new("kill").args(["-HUP", &served.0.id().to_string()])).ok();
    let refused = receiver.wait_for("the refusal", |got| {
        got.target == "/team" && got.json()["data"]["run"]["verb"] == "reload"
    });
    assert!(
        refused.json()["data"]["message"].as_str().unwrap().contains("nonsense"),
        "{}",
        refused.body
    );
    served.end();
}

#[test]
fn a_summary_has_a_line_for_each_job_and_what_is_wrong_first() {
    let receiver = Receiver::start();
    let more = format!(
        "[notify.team]\nurl = \"{}\"\non = [\"digest\"]\ndigest = \"* * * * * *\"\n[notify.one]\nurl = \"{}\"\njobs = [\"app\"]\n\
         on = [\"digest\"]\ndigest = \"* * * * * *\"\ntime_zone = \"Europe/Berlin\"\n",
        receiver.url("/team"),
        receiver.url("/one"),
    );
    let site = site(&["app", "shop"], "");
    fs::rename(site.path("shop.db"), site.path("gone.db")).unwrap();
    write(
        &site,
        &["app", "shop"],
        "schedule = \"* * * * * *\"\nmax_age = \"1h\"",
        &more,
    );
    // A watched daemon looks at all jobs twice in the time of the watchdog.
    let served = Served::with(&site, &[("WATCHDOG_USEC", "1000000")]);
    let backed_up = |got: &crate::support::receiver::Got| got.body.contains("app: fresh");
    let all = receiver.wait_for("the summary", |got| got.target == "/team" && backed_up(got));
    let data = &all.json()["data"];
    assert_eq!((&data["news"], &data["job"]), (&"digest".into(), &"".into()));
    assert_eq!(data["title"], "Backups: 1 of 2 is not fresh");
    let message = data["message"].as_str().unwrap();
    let lines: Vec<&str> = message.lines().collect();
    let status: Value = super::json(&site, &["status"]).1;
    assert_eq!(lines[0], status["sentence"].as_str().unwrap());
    assert!(
        lines[1].starts_with("shop: not fresh, there is no backup yet"),
        "{message}"
    );
    assert!(
        lines[1].contains("failed: ") && lines[2].starts_with("app: fresh, "),
        "{message}"
    );
    assert!(lines[2].contains(" in default"), "{message}");
    let one = receiver.wait_for("the other summary", |got| got.target == "/one" && backed_up(got));
    assert_eq!(one.json()["data"]["title"], "Backups: all are fresh");
    assert!(!one.body.contains("shop"), "{}", one.body);
    served.end();

    let refused = |keys: &str, why: &str| {
        write(&site, &["app"], "", &format!("[notify.team]\n{keys}\n"));
        let run = site.snapback(&["status"]).code(2);
        assert!(run.stderr.contains(why), "{}", run.stderr);
    };
    refused("url = \"http://x\"\non = [\"digest\"]", "digest needs the key digest");
    refused("url = \"http://x\"\ndigest = \"0 8 * MON\"", "notify.team.digest");
    refused("url = \"http://x\"\ntime_zone = \"Mars\"", "notify.team.time_zone");
    refused(
        "type = \"ping\"\nurl = \"http://x\"\ndigest = \"@weekly\"",
        "use another channel",
    );
}

#[test]
fn what_could_not_be_told_is_told_after_a_restart() {
    let receiver = Receiver::start();
    receiver.answers(503);
    let more = format!(
        "[notify.team]\nurl = \"{}\"\non = [\"failed\"]\n",
        receiver.url("/team")
    );
    let site = site(&["app"], "");
    fs::rename(site.path("app.db"), site.path("gone.db")).unwrap();
    write(&site, &["app"], "schedule = \"* * * * * *\"", &more);
    let served = Served::start(&site);
    receiver.wait_for("an attempt", |got| got.target == "/team");
    served.end();
    let lost = receiver.got().remove(0).json();
    // The clock says when the next attempt is due, and the daemon looks at what waits when it starts.
    receiver.answers(200);
    let before = receiver.got().len();
    write(&site, &["app"], "schedule = \"0 0 1 1 *\"", &more);
    let served = Served::start(&site);
    let again = wait_for("the notice", || {
        let got = receiver.got();
        got.into_iter()
            .skip(before)
            .map(|got| got.json())
            .find(|told| told["data"]["run"]["run"] == lost["data"]["run"]["run"])
    });
    assert_eq!(again["data"]["message"], lost["data"]["message"]);
    served.end();
}

#[test]
fn hooks_run_around_a_run_and_one_before_it_can_stop_it() {
    let site = site(&["app"], "");
    let hook = |name: &str, more: &str| {
        format!(
            "{name} = [\"sh\", \"-c\", \"echo {name} $SNAPBACK_HOOK $SNAPBACK_JOB $SNAPBACK_OUTCOME $SNAPBACK_ROWS >> ran{more}\"]\n"
        )
    };
    let hooks = |before: &str| {
        let hooks = [
            hook("before", before),
            hook("after", ""),
            hook("on_failure", ""),
            hook("finally", ""),
        ]
        .concat();
        format!("[jobs.app.hooks]\n{hooks}")
    };
    let ran = || fs::read_to_string(site.path("ran")).unwrap_or_default();
    write(&site, &["app"], &hooks(""), "");
    site.snapback(&["backup", "app"]).ok();
    assert_eq!(
        ran(),
        "before before app\nafter after app ok 2\nfinally finally app ok 2\n"
    );
    fs::remove_file(site.path("ran")).unwrap();

    write(&site, &["app"], &hooks("; echo not today >&2; exit 3"), "");
    let failed = site.snapback(&["backup", "app"]).code(1);
    assert!(
        failed.stderr.contains("the hook before of job app") && failed.stderr.contains("not today"),
        "{}",
        failed.stderr
    );
    assert_eq!(
        ran(),
        "before before app\non_failure on_failure app failed\nfinally finally app failed\n"
    );
    let listed: Value = serde_json::from_str(&site.snapback(&["--json", "list", "app"]).ok().stdout).unwrap();
    assert_eq!(listed[0]["backups"].as_array().unwrap().len(), 1);
    assert!(
        listed[0]["failures"][0]["error"]
            .as_str()
            .unwrap()
            .contains("not today"),
        "{listed}"
    );
    // A restore takes its safety snapshot without them.
    fs::remove_file(site.path("ran")).unwrap();
    site.snapback(&["restore", "app", "--yes"]).ok();
    assert_eq!(ran(), "");
}
