//! Where the keys to a bucket come from: every link of the AWS chain, and files.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;

use snapback::error::{Exit, exit_of};
use snapback::store::Store as _;

use crate::support::faulty_s3::{ACCESS_KEY, FaultyS3, SECRET_KEY};
use crate::support::{Run, snapback};

/// `snapback list` of a job in the server's bucket, with more keys of the store and this environment: it signs one
/// request, or fails.
pub fn list(server: &FaultyS3, more: &str, environment: &[(&str, &str)]) -> Run {
    let home = tempfile::tempdir().unwrap();
    let config = format!(
        "[stores.default.s3]\nbucket = 'bucket'\nendpoint_url = 'http://{}'\nforce_path_style = true\nregion = 'here'\n\
         {more}\n[jobs.app]\nurl = 'host={}'\n",
        server.address(),
        home.path().display()
    );
    fs::write(home.path().join("snapback.toml"), config).unwrap();
    // The machine that the test runs on may be one that has a role.
    let mut command = snapback();
    command
        .current_dir(home.path())
        .env("HOME", home.path())
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .envs(environment.iter().copied());
    Run::of(command.args(["list", "app"]))
}

/// A server that answers by the request's first line and body, and is gone with its test. Returns its URL.
fn answering(answer: impl Fn(&str, &str) -> String + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let (head, body) = request(&mut client);
            let text = answer(head.lines().next().unwrap_or_default(), &body);
            let (status, more) = if text.is_empty() {
                ("404 Not Found", "")
            } else {
                ("200 OK", "x-aws-ec2-metadata-token-ttl-seconds: 600\r\n")
            };
            let length = text.len();
            let answer =
                format!("HTTP/1.1 {status}\r\n{more}content-length: {length}\r\nconnection: close\r\n\r\n{text}");
            // A client that has gone needs no answer.
            let _ = client.write_all(answer.as_bytes());
        }
    });
    url
}

/// The head of a request, and its body.
fn request(client: &mut TcpStream) -> (String, String) {
    let (mut text, mut buffer) = (String::new(), [0; 4096]);
    loop {
        let bytes = client.read(&mut buffer).unwrap_or(0);
        text.push_str(&String::from_utf8_lossy(&buffer[..bytes]));
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            assert!(bytes > 0, "half a request: {text}");
            continue;
        };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if bytes == 0 || body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
            return (head.to_owned(), body.to_owned());
        }
    }
}

/// Temporary keys as the services of AWS give them to a machine or a container.
fn keys() -> String {
    format!(
        r#"{{"Code": "Success", "LastUpdated": "2026-01-01T00:00:00Z", "Type": "AWS-HMAC", "AccessKeyId": "{ACCESS_KEY}",
            "SecretAccessKey": "{SECRET_KEY}", "Token": "the-token", "Expiration": "2999-01-01T00:00:00Z"}}"#
    )
}

/// The session token that the last request was signed with.
fn token(server: &FaultyS3) -> Option<String> {
    let seen = server.seen();
    let token = seen.last()?.headers.get("x-amz-security-token")?;
    Some(token.to_str().unwrap().to_owned())
}

#[test]
fn keys_come_from_the_environment() {
    let server = FaultyS3::start();
    let keys = [("AWS_ACCESS_KEY_ID", ACCESS_KEY), ("AWS_SECRET_ACCESS_KEY", SECRET_KEY)];
    list(&server, "", &keys).ok();
    assert_eq!(token(&server), None);
    let run = list(&server, "", &[keys[0], ("AWS_SECRET_ACCESS_KEY", "wrong")]).code(8);
    assert!(run.stderr.contains("SignatureDoesNotMatch"), "{}", run.stderr);
}

#[test]
fn keys_come_from_a_profile_and_from_a_program_that_it_names() {
    let server = FaultyS3::start();
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| fs::write(dir.path().join(name), text).unwrap();
    write(
        "credentials",
        format!("[backup]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n"),
    );
    write(
        "keys.json",
        keys()
            .replacen('{', r#"{"Version": 1, "#, 1)
            .replace("Token", "SessionToken"),
    );
    write(
        "config",
        format!(
            "[profile program]\ncredential_process = cat {}/keys.json\n",
            dir.path().display()
        ),
    );
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (config, credentials) = (path("config"), path("credentials"));
    let files = [
        ("AWS_CONFIG_FILE", &*config),
        ("AWS_SHARED_CREDENTIALS_FILE", &*credentials),
    ];
    list(&server, "profile = 'backup'", &files).ok();
    list(&server, "profile = 'program'", &files).ok();
    assert_eq!(token(&server).as_deref(), Some("the-token"));
    list(&server, "profile = 'other'", &files).code(8);
    list(&server, "", &[files[0], files[1], ("AWS_PROFILE", "backup")]).ok();
}

#[test]
fn keys_come_from_the_role_of_a_machine_or_a_container() {
    let server = FaultyS3::start();
    let metadata = answering(|line, _| match line.split(' ').nth(1).unwrap_or_default() {
        "/latest/api/token" => "a-session".to_owned(),
        "/latest/meta-data/iam/security-credentials/" => "backup-role".to_owned(),
        "/latest/meta-data/iam/security-credentials/backup-role" => keys(),
        _ => String::new(),
    });
    let machine = [
        ("AWS_EC2_METADATA_DISABLED", "false"),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &*metadata),
    ];
    list(&server, "", &machine).ok();
    assert_eq!(token(&server).as_deref(), Some("the-token"));

    let agent = answering(|line, _| {
        if line.starts_with("GET /role ") {
            keys()
        } else {
            String::new()
        }
    });
    let server = FaultyS3::start();
    list(
        &server,
        "",
        &[("AWS_CONTAINER_CREDENTIALS_FULL_URI", &format!("{agent}/role"))],
    )
    .ok();
    assert_eq!(token(&server).as_deref(), Some("the-token"));
}

#[test]
fn keys_come_for_the_token_of_a_web_identity() {
    let server = FaultyS3::start();
    let sts = answering(|_, body| {
        if !body.contains("Action=AssumeRoleWithWebIdentity") || !body.contains("WebIdentityToken=who-i-am") {
            return String::new();
        }
        format!(
            "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>{ACCESS_KEY}</AccessKeyId>\
             <SecretAccessKey>{SECRET_KEY}</SecretAccessKey><SessionToken>the-token</SessionToken>\
             <Expiration>2999-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
        )
    });
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "who-i-am").unwrap();
    let identity = |token: &str| {
        list(
            &server,
            "",
            &[
                ("AWS_WEB_IDENTITY_TOKEN_FILE", token),
                ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/backup"),
                ("AWS_ENDPOINT_URL_STS", &sts),
            ],
        )
    };
    identity(file.path().to_str().unwrap()).ok();
    assert_eq!(token(&server).as_deref(), Some("the-token"));
    let run = identity("/nonexistent/token").code(8);
    assert!(run.stderr.contains("no credentials"), "{}", run.stderr);
}

#[tokio::test]
async fn keys_in_files_are_known_by_their_files_where_they_cannot_be_read() {
    let server = FaultyS3::start();
    let mut options = server.options();
    options.key_files = Some((
        Path::new("/nonexistent/key").into(),
        Path::new("/nonexistent/secret").into(),
    ));
    let error = snapback::store::S3::new(options).list("").await.unwrap_err();
    assert!(
        format!("{error:#}").contains("reading the S3 key file /nonexistent/key: No such file"),
        "{error:#}"
    );
    assert_eq!(exit_of(&error), Exit::Permission);
}
