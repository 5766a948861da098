//! What requests carry, where the configuration asks for it: encryption at rest, class, tags, who pays.

use bytes::Bytes;
use snapback::store::s3::{Checksums, LockMode, Sse};
use snapback::store::{S3, S3Options, Store, get, put, put_to_stay};

use crate::support::faulty_s3::{Ask, FaultyS3, Seen};

fn header<'a>(seen: &'a Seen, name: &str) -> Option<&'a str> {
    seen.headers.get(name).map(|value| value.to_str().unwrap())
}

/// Does with a bucket all that can be done with one.
async fn everything(store: &dyn Store) {
    put(store, "job/small", Bytes::from_static(b"x")).await.unwrap();
    put_to_stay(store, "job/manifest", Bytes::from_static(b"x"))
        .await
        .unwrap();
    for (path, gives_up) in [("job/large", false), ("job/other", true)] {
        let mut upload = store.create(path).await.unwrap();
        upload.keep();
        for _ in 0..5 {
            upload.write(Bytes::from(vec![7; 4 << 20])).await.unwrap();
        }
        if gives_up {
            upload.abort().await.unwrap();
        } else {
            upload.finish(Bytes::new()).await.unwrap();
        }
    }
    assert_eq!(get(store, "job/large", u64::MAX).await.unwrap().len(), 20 << 20);
    store.locked("job/large").await.unwrap();
    assert_eq!(store.list("").await.unwrap().len(), 3);
    store.delete("job/small").await.unwrap();
    store.clean("").await.unwrap();
}

#[tokio::test]
async fn new_objects_have_class_tags_and_encryption_and_every_request_says_who_pays() {
    let server = FaultyS3::start();
    let store = S3::new(S3Options {
        sse: Sse::Kms(Some("alias/backups".into())),
        storage_class: Some("REDUCED_REDUNDANCY".into()),
        tags: vec![("team".into(), "data & more".into())],
        request_payer: true,
        ..server.options()
    });
    everything(&store).await;
    let seen = server.seen();
    let mut kinds: Vec<Ask> = Vec::new();
    for request in &seen {
        let begins = matches!(request.ask, Ask::Put | Ask::Start);
        let wanted = [
            ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
            ("x-amz-tagging", "team=data%20%26%20more"),
            ("x-amz-server-side-encryption", "aws:kms"),
            ("x-amz-server-side-encryption-aws-kms-key-id", "alias/backups"),
        ];
        for (name, value) in wanted {
            assert_eq!(
                header(request, name),
                begins.then_some(value),
                "{:?} {name}",
                request.ask
            );
        }
        assert_eq!(
            header(request, "x-amz-request-payer"),
            Some("requester"),
            "{:?}",
            request.ask
        );
        if !kinds.contains(&request.ask) {
            kinds.push(request.ask);
        }
    }
    assert_eq!(kinds.len(), 10, "not all kinds of requests were made: {kinds:?}");
}

#[tokio::test]
async fn without_a_word_in_the_configuration_nothing_of_that_is_asked_for() {
    let server = FaultyS3::start();
    everything(&server.store()).await;
    let ours = [
        "x-amz-content-sha256",
        "x-amz-date",
        "x-amz-meta-snapback-upload",
        "x-amz-meta-snapback-sha256",
        "x-amz-user-agent",
    ];
    for request in server.seen() {
        let names = request.headers.keys().map(|name| name.as_str());
        let asked: Vec<&str> = names
            .filter(|name| name.starts_with("x-amz-") && !ours.contains(name))
            .collect();
        assert!(asked.is_empty(), "{:?} has {asked:?}", request.ask);
    }
    let server = FaultyS3::start();
    let store = S3::new(S3Options {
        sse: Sse::S3,
        lock: Some((LockMode::Governance, 1)),
        ..server.options()
    });
    everything(&store).await;
    for request in server.seen() {
        let begins = matches!(request.ask, Ask::Put | Ask::Start);
        let encryption = header(&request, "x-amz-server-side-encryption");
        assert_eq!(encryption, begins.then_some("AES256"), "{:?}", request.ask);
        let locks = begins && request.key != "job/small";
        let mode = header(&request, "x-amz-object-lock-mode");
        assert_eq!(mode, locks.then_some("GOVERNANCE"), "{:?} {}", request.ask, request.key);
    }
}

#[tokio::test]
async fn all_bytes_come_with_a_sum_that_the_server_checks() {
    for (checksums, with, without) in [
        (Checksums::Auto, "content-md5", "x-amz-checksum-sha256"),
        (Checksums::WhenSupported, "x-amz-checksum-sha256", "content-md5"),
    ] {
        let server = FaultyS3::start();
        let store = S3::new(S3Options {
            checksums,
            ..server.options()
        });
        everything(&store).await;
        let seen = server.seen();
        let of_bytes = seen
            .iter()
            .filter(|request| matches!(request.ask, Ask::Put | Ask::Part));
        for request in of_bytes.clone() {
            assert!(header(request, with).is_some(), "{:?} has no {with}", request.ask);
            assert_eq!(header(request, without), None, "{:?}", request.ask);
            // Our own digest is in the metadata where it is known before the bytes go.
            let digest = header(request, "x-amz-meta-snapback-sha256");
            assert_eq!(digest.is_some(), request.ask == Ask::Put);
        }
        assert!(of_bytes.count() > 4);
    }
}
