//! Servers that give no answer, or none of an S3 server: what a person reads then is one sentence with the server, the
//! cause and what to do, in plain words.

use std::fmt::Debug;

use snapback::error::{Exit, Result, exit_of, hint_of};
use snapback::store::{S3, S3Options, Store as _, put};

use super::credentials::list;
use crate::support::faulty_s3::{Ask, Fault, FaultyS3, SECRET_KEY};
use crate::support::program::openssl;
use crate::support::s3::S3Server;

/// Makes sure that an error says `said` and hints at `hint`, in words.
#[track_caller]
fn says<T: Debug>(outcome: Result<T>, exit: Exit, said: &str, hint: &str) {
    let error = outcome.unwrap_err();
    let text = format!("{error:#}");
    assert!(text.contains(said), "{text}");
    assert!(hint_of(&error).unwrap_or_default().contains(hint), "{error:#}");
    assert_eq!(exit_of(&error), exit, "{text}");
    // What Rust prints of its values is for programmers, and may tell what nobody shall read.
    for word in ["{", "Error(", "Some(", SECRET_KEY] {
        assert!(!text.contains(word), "{text}");
    }
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_named_with_the_cause() {
    let server = FaultyS3::start();
    let url = server.options().endpoint_url.unwrap();
    let faults = [
        (Fault::Silence, format!("{url} did not answer within 2s"), "`timeout`"),
        (Fault::Reset, format!("the connection to {url} broke off: "), "network"),
        (Fault::CutAnswer(30), "the answer broke off: ".to_owned(), "network"),
    ];
    for (fault, said, hint) in faults {
        server.heal();
        server.fail(Ask::Any, "", 0, usize::MAX, fault);
        let store = server.store();
        says(store.list("").await, Exit::Failure, &said, hint);
    }
    server.heal();

    let at = |url: &str| {
        S3::new(S3Options {
            endpoint_url: Some(url.to_owned()),
            ..server.options()
        })
    };
    let closed = "http://127.0.0.1:1";
    says(
        at(closed).stat("a").await,
        Exit::Failure,
        &format!("looking for a in s3://bucket: {closed} cannot be reached: Connection refused"),
        "the server runs",
    );
    says(
        at("https://nowhere.invalid").list("").await,
        Exit::Failure,
        "the name of https://nowhere.invalid cannot be resolved",
        "name server",
    );
    let tls = url.replace("http:", "https:");
    says(
        at(&tls).list("").await,
        Exit::Failure,
        &format!("no TLS with {tls}: "),
        "http://",
    );
    says(
        at("http://half a url").list("").await,
        Exit::Failure,
        "the request cannot be made: ",
        "`endpoint_url`",
    );
}

#[tokio::test]
async fn an_answer_of_another_kind_of_server_is_told() {
    let server = FaultyS3::start();
    let store = server.store();
    server.fail(Ask::List, "", 0, 1, Fault::Document("<html>Welcome</html>".to_owned()));
    let hint = "the S3 server itself";
    says(
        store.list("").await,
        Exit::Failure,
        "listing s3://bucket: the server answered 200, and not as an S3 server does",
        hint,
    );
    server.fail(Ask::Head, "", 0, 1, Fault::Error(403, "AccessDenied"));
    says(
        store.stat("a").await,
        Exit::Permission,
        "the server answered 403 and gave no reason",
        "lack a right",
    );
}

#[tokio::test]
async fn tls_wants_a_certificate_that_is_trusted() {
    let files = tempfile::tempdir().unwrap();
    let path = |name: &str| files.path().join(name).to_str().unwrap().to_owned();
    openssl(&format!(
        "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=s3.test -addext subjectAltName=IP:127.0.0.1 \
         -addext basicConstraints=critical,CA:FALSE -keyout {} -out {}",
        path("key"),
        path("certificate")
    ));
    let server = S3Server::with_tls(&files.path().join("certificate"), &files.path().join("key"));
    says(
        server.store("").list("").await,
        Exit::Failure,
        &format!("no TLS with {}: invalid peer certificate: ", server.url()),
        "`ca_file`",
    );
    let trusting = S3::new(S3Options {
        ca_file: Some(path("certificate").into()),
        ..server.options("")
    });
    put(&trusting, "job/object", "x".into()).await.unwrap();
    assert_eq!(trusting.list("").await.unwrap().len(), 1);
}

#[test]
fn credentials_that_are_nowhere_are_told() {
    let server = FaultyS3::start();
    let run = list(&server, "", &[]).code(8);
    let broken = [("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:1/role")];
    let other = list(&server, "", &broken).code(8);
    assert_eq!(other.stderr.lines().count(), 2, "{}", other.stderr);
    assert!(
        run.stderr.contains("there are no credentials to sign with: ")
            && run.stderr.contains("hint: set AWS_ACCESS_KEY_ID"),
        "{}",
        run.stderr
    );
    assert_eq!(run.stderr.lines().count(), 2, "{}", run.stderr);
}
