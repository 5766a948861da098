//! Accessibility, as axe-core sees the page in a real browser: in both colour schemes, on a screen and on a phone.

use std::fs;
use std::process::Command;

use serde_json::Value;

use super::site;
use crate::support::Run;
use crate::support::server::cache_dir;

/// What the page does when it is loaded: all rules, and the result as text in it.
const ASK: &str = "axe.run().then(found => { const all = document.createElement('pre'); all.id = 'axe-found';
    all.textContent = JSON.stringify({ passes: found.passes.length,
        violations: found.violations.map(it => [it.id, it.nodes.map(node => node.html + ': ' + node.failureSummary)]) });
    document.body.appendChild(all); });";

#[test]
#[ignore = "needs axe-core and chromium: tests/servers --full"]
fn axe_finds_nothing_on_the_page() {
    let site = site(&["crm", "shop"], "");
    for _ in 0..3 {
        site.snapback(&["backup", "crm"]).ok();
    }
    site.snapback(&["drill", "crm"]).ok();
    fs::rename(site.path("shop.db"), site.path("gone.db")).unwrap();
    assert_ne!(site.snapback(&["backup", "shop"]).code, Some(0));
    site.snapback(&["report", "--html", "report.html"]).ok();
    let axe =
        fs::read_to_string(cache_dir().join("axe-core-4.11.0/axe.min.js")).expect("tests/servers --full installs it");
    let page = fs::read_to_string(site.path("report.html")).unwrap();
    let page = page.replace(
        "</body>",
        &format!("<script>{axe}</script><script>{ASK}</script></body>"),
    );
    fs::write(site.path("asked.html"), page).unwrap();
    for scheme in ["0", "1"] {
        for width in ["360", "1280"] {
            let run = Run::of(
                Command::new("chromium")
                    .args([
                        "--headless",
                        "--no-sandbox",
                        "--disable-gpu",
                        "--virtual-time-budget=20000",
                        "--dump-dom",
                    ])
                    .arg(format!("--blink-settings=preferredColorScheme={scheme}"))
                    .arg(format!("--window-size={width},900"))
                    .arg(format!("file://{}", site.path("asked.html").display())),
            );
            let found = run
                .stdout
                .split("<pre id=\"axe-found\">")
                .nth(1)
                .unwrap_or_else(|| panic!("{run:?}"));
            let found = found.split("</pre>").next().unwrap();
            let found = found.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
            let found: Value = serde_json::from_str(&found).unwrap();
            assert!(found["passes"].as_u64().unwrap() > 20, "{found:#}");
            assert_eq!(found["violations"], Value::Array(Vec::new()), "{found:#}");
        }
    }
}
