//! The manifests for Kubernetes: its schemas take them, and the program what they give it.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::restore::project;
use crate::support::server::cache_dir;
use crate::support::{Run, snapback};

/// Python with kubernetes-validate and its reader of YAML.
fn python() -> Command {
    let mut python = Command::new("python3");
    python.env("PYTHONPATH", cache_dir().join("kubernetes-validate-1.37.0"));
    python
}

/// The manifests that there are, apart from the one of an operator, for which Kubernetes has no schema.
fn manifests() -> Vec<PathBuf> {
    let entries = fs::read_dir(project("deploy/kubernetes")).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| !file.ends_with("servicemonitor.yml"));
    files.push(project("deploy/guard/kubernetes-job.yml"));
    files
}

fn validate(version: &str, file: &PathBuf) -> Run {
    let mut check = python();
    check.args(["-m", "kubernetes_validate", "--strict", "-k", version]);
    Run::of(check.arg(file))
}

#[test]
fn the_schemas_of_old_and_new_clusters_take_the_manifests() {
    let files = manifests();
    assert!(files.len() >= 6, "{files:?}");
    for version in ["1.29", "1.37"] {
        for file in &files {
            let run = validate(version, file).ok();
            let said = run.stdout + &run.stderr;
            // A kind without a schema is only told.
            assert!(said.contains("passed for resource") && !said.contains("WARN"), "{said}");
        }
    }
    // The check is one that can fail.
    let dir = tempfile::tempdir().unwrap();
    let broken = dir.path().join("broken.yml");
    let text = fs::read_to_string(project("deploy/kubernetes/deployment.yml")).unwrap();
    fs::write(&broken, text.replace("replicas:", "replicaz:")).unwrap();
    validate("1.37", &broken).code(1);
}

/// All documents of the folder.
fn documents() -> Vec<Value> {
    let program = "import glob, json, sys, yaml\n\
                   print(json.dumps([d for f in sorted(glob.glob(sys.argv[1] + '/*.yml')) for d in yaml.safe_load_all(open(f))]))";
    let mut read = python();
    let run = Run::of(read.args(["-c", program]).arg(project("deploy/kubernetes"))).ok();
    serde_json::from_str(&run.stdout).unwrap()
}

fn find<'a>(documents: &'a [Value], kind: &str) -> &'a Value {
    documents.iter().find(|document| document["kind"] == kind).unwrap()
}

#[test]
fn the_program_takes_what_the_manifests_give_it() {
    let documents = documents();
    let text = find(&documents, "ConfigMap")["data"]["config.toml"].as_str().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config.toml");
    fs::write(&config, text).unwrap();
    Run::of(snapback().arg("--config").arg(&config).args(["config", "check"])).ok();
    // Each file that the configuration names is in the Secret.
    let secrets = find(&documents, "Secret")["stringData"].as_object().unwrap();
    let named: Vec<&str> = text.split("/run/secrets/snapback/").skip(1).collect();
    assert_eq!(named.len(), secrets.len());
    for name in named {
        let name = name.split('"').next().unwrap();
        assert!(secrets.contains_key(name), "{name}");
    }

    let deployment = &find(&documents, "Deployment")["spec"]["template"];
    let run = &find(&documents, "CronJob")["spec"]["jobTemplate"]["spec"]["template"];
    for pod in [deployment, run] {
        let container = &pod["spec"]["containers"][0];
        // A configuration that leads nowhere: whatever is said then, the command line is understood.
        let nowhere = dir.path().join("nowhere.toml");
        fs::write(
            &nowhere,
            "[stores.default]\npath = 'b'\n[jobs.app]\nurl = 'host=/nowhere'\n",
        )
        .unwrap();
        let arguments = container["args"]
            .as_array()
            .unwrap()
            .iter()
            .map(|word| word.as_str().unwrap());
        let arguments: Vec<String> = arguments
            .map(|word| word.replace("/etc/snapback/config.toml", nowhere.to_str().unwrap()))
            .collect();
        let said = Run::of(snapback().args(&arguments)).stderr;
        let wanted = match arguments[0] == "serve" {
            true => "no job has a schedule",
            false => "/nowhere",
        };
        assert!(said.contains(wanted), "{said}");
        // Each volume that is mounted is there.
        let volumes: Vec<&Value> = pod["spec"]["volumes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| &it["name"])
            .collect();
        for mount in container["volumeMounts"].as_array().unwrap() {
            assert!(volumes.contains(&&mount["name"]), "{mount}");
        }
    }

    // What finds the daemon finds it by its labels and its port.
    let labels = deployment["metadata"]["labels"].as_object().unwrap();
    let service = find(&documents, "Service");
    let policy = find(&documents, "NetworkPolicy");
    for selector in [
        &service["spec"]["selector"],
        &policy["spec"]["podSelector"]["matchLabels"],
    ] {
        for (name, value) in selector.as_object().unwrap() {
            assert_eq!(labels.get(name), Some(value));
        }
    }
    let monitor = &find(&documents, "ServiceMonitor")["spec"];
    for (name, value) in monitor["selector"]["matchLabels"].as_object().unwrap() {
        assert_eq!(service["metadata"]["labels"].get(name), Some(value));
    }
    let port = &service["spec"]["ports"][0];
    assert_eq!(monitor["endpoints"][0]["port"], port["name"]);
    let listens = text
        .split("listen = \"0.0.0.0:")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    assert_eq!(port["port"].to_string(), listens);
    assert_eq!(
        deployment["spec"]["containers"][0]["ports"][0]["containerPort"].to_string(),
        listens
    );
    assert_eq!(policy["spec"]["ingress"][0]["ports"][0]["port"].to_string(), listens);
}
