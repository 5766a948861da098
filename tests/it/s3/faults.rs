//! Faults of an S3 server: what is temporary is tried again, what is permanent fails at once, and nothing leaks.

use bytes::Bytes;
use snapback::error::{Exit, exit_of, hint_of};
use snapback::store::{Locked, S3, Store, Taken, get, put, put_to_stay};

use crate::store::contract;
use crate::support::faulty_s3::{Ask, Fault, FaultyS3};

/// Bytes of two parts and a bit.
fn noise() -> Bytes {
    let byte = |n: u32| (n.wrapping_mul(2_654_435_761) >> 24) as u8;
    (0..17 << 20).map(byte).collect()
}

/// Uploads them, with a head that is rewritten.
async fn upload(store: &S3, path: &str, bytes: &Bytes) -> snapback::error::Result<()> {
    let mut upload = store.create(path).await?;
    for piece in bytes.chunks(1 << 20) {
        if let Err(error) = upload.write(Bytes::copy_from_slice(piece)).await {
            upload.abort().await?;
            return Err(error);
        }
    }
    upload.finish(bytes.slice(..10)).await.map(drop)
}

#[tokio::test]
async fn a_strict_server_keeps_the_contract() {
    let server = FaultyS3::start();
    contract(&server.store()).await;
}

#[tokio::test]
async fn what_is_temporary_is_tried_again() {
    let server = FaultyS3::start();
    let store = server.store();
    let bytes = noise();
    let faults = [
        (Ask::Start, Fault::Error(500, "InternalError")),
        (Ask::Part, Fault::Error(503, "SlowDown")),
        (Ask::Part, Fault::Error(400, "XAmzContentSHA256Mismatch")),
        (Ask::Part, Fault::Reset),
        (Ask::Part, Fault::LostAnswer),
        (Ask::Complete, Fault::Error(500, "InternalError")),
        (Ask::Head, Fault::Error(503, "ServiceUnavailable")),
        (Ask::Get, Fault::Error(500, "InternalError")),
        (Ask::Get, Fault::Reset),
    ];
    for (number, (ask, fault)) in faults.into_iter().enumerate() {
        server.fail(ask, "", 0, 1, fault.clone());
        let path = format!("job/o{number}");
        let sent = upload(&store, &path, &bytes).await;
        assert!(sent.is_ok(), "{ask:?} {fault:?}: {sent:?}");
        assert!(
            get(&store, &path, u64::MAX).await.unwrap() == bytes,
            "{ask:?} {fault:?}"
        );
        store.delete(&path).await.unwrap();
    }
    assert_eq!(server.leaked(), Vec::<String>::new());
}

#[tokio::test]
async fn a_server_that_is_silent_for_once_is_asked_again() {
    let server = FaultyS3::start();
    for ask in [Ask::Head, Ask::List] {
        server.fail(ask, "", 0, 1, Fault::Silence);
    }
    let store = server.store();
    put(&store, "job/small", Bytes::from_static(b"x")).await.unwrap();
    assert_eq!(store.list("").await.unwrap().len(), 1);
    store.delete("job/small").await.unwrap();
    assert!(store.list("").await.unwrap().is_empty());
}

#[tokio::test]
async fn what_is_permanent_fails_at_once_and_leaves_nothing() {
    let server = FaultyS3::start();
    let bytes = noise();
    let codes = [
        (400, "ExpiredToken", Exit::Failure, "renew"),
        (403, "RequestTimeTooSkewed", Exit::Permission, "clock"),
        (404, "NoSuchBucket", Exit::NotFound, "create the bucket"),
        (403, "AccessDenied", Exit::Permission, "lack a right"),
    ];
    for (status, code, exit, hint) in codes {
        for ask in [Ask::Put, Ask::Start, Ask::Part, Ask::Complete] {
            let store = server.store();
            server.fail(ask, "", 0, usize::MAX, Fault::Error(status, code));
            server.count(ask);
            let error = match ask {
                Ask::Put => put(&store, "job/small", bytes.slice(..5)).await.unwrap_err(),
                _ => upload(&store, "job/large", &bytes).await.unwrap_err(),
            };
            assert_eq!(exit_of(&error), exit, "{ask:?} {code}: {error:#}");
            assert!(hint_of(&error).unwrap().contains(hint), "{code}: {error:#}");
            // Parts are under way together; none of them is sent again.
            let asked = server.count(ask);
            assert!(
                asked == 1 || (ask == Ask::Part && asked <= 3),
                "{ask:?} {code}: asked {asked} times"
            );
            server.heal();
            assert_eq!(server.objects(), Vec::<String>::new(), "{ask:?} {code}");
            assert_eq!(server.leaked(), Vec::<String>::new(), "{ask:?} {code}");
        }
    }
}

#[tokio::test]
async fn trouble_that_does_not_end_is_given_up_and_leaves_nothing() {
    let server = FaultyS3::start();
    let store = server.store();
    server.fail(Ask::Part, "", 1, usize::MAX, Fault::Error(503, "SlowDown"));
    let error = upload(&store, "job/large", &noise()).await.unwrap_err();
    assert!(hint_of(&error).unwrap().contains("attempts"), "{error:#}");
    server.heal();
    // The bucket is gone in the middle: there is nothing to clean up in, and that hides no other error.
    server.fail(Ask::Any, "", 6, usize::MAX, Fault::Error(404, "NoSuchBucket"));
    let error = upload(&store, "job/large", &noise()).await.unwrap_err();
    assert_eq!(exit_of(&error), Exit::NotFound, "{error:#}");
    server.heal();
    assert_eq!(server.objects(), Vec::<String>::new());
}

#[tokio::test]
async fn reads_are_resumed_at_the_byte_that_was_reached() {
    let server = FaultyS3::start();
    let store = server.store();
    let bytes = noise();
    upload(&store, "job/large", &bytes).await.unwrap();
    for fault in [Fault::CutAnswer(300_000), Fault::ShortAnswer(300_000)] {
        server.count(Ask::Get);
        // More often than would be tried without getting on.
        server.fail(Ask::Get, "", 0, 8, fault);
        let read = store.read("job/large", 5..3_000_000).await.unwrap();
        assert!(read == bytes.slice(5..3_000_000));
        assert_eq!(server.count(Ask::Get), 9);
    }
    server.fail(Ask::Get, "", 0, usize::MAX, Fault::CutAnswer(0));
    store.read("job/large", 0..10).await.unwrap_err();
}

#[tokio::test]
async fn an_answer_that_is_lost_is_no_riddle() {
    let server = FaultyS3::start();
    let store = server.store();
    // The object is there, and the second attempt is told that the name is taken or the upload unknown.
    server.fail(Ask::Put, "", 0, 1, Fault::LostAnswer);
    put(&store, "job/small", Bytes::from_static(b"ours")).await.unwrap();
    server.fail(Ask::Complete, "", 0, 1, Fault::LostAnswer);
    let bytes = noise();
    upload(&store, "job/large", &bytes).await.unwrap();
    assert!(get(&store, "job/large", u64::MAX).await.unwrap() == bytes);
    assert_eq!(server.leaked(), Vec::<String>::new());

    // Another's is not ours, however equal its bytes.
    let (first, second) = (server.store(), server.store());
    let (one, two) = (
        first.create("job/race").await.unwrap(),
        second.create("job/race").await.unwrap(),
    );
    one.finish(Bytes::new()).await.unwrap();
    server.fail(Ask::Put, "", 0, 1, Fault::LostAnswer);
    assert!(two.finish(Bytes::new()).await.unwrap_err().is::<Taken>());
}

#[tokio::test]
async fn a_conditional_put_is_tried_once_and_then_relied_upon() {
    let server = FaultyS3::start();
    let store = server.store();
    for name in ["job/a", "job/b", "job/c"] {
        put(&store, name, Bytes::from_static(b"x")).await.unwrap();
    }
    assert_eq!(server.keys(Ask::Put), ["job/a", "job/a", "job/b", "job/c"]);
}

#[tokio::test]
async fn checksums_go_along_where_they_are_wanted() {
    let server = FaultyS3::start();
    let mut options = server.options();
    options.checksums = snapback::store::s3::Checksums::WhenSupported;
    let store = S3::new(options);
    put(&store, "job/small", Bytes::from_static(b"x")).await.unwrap();
    assert_eq!(get(&store, "job/small", 9).await.unwrap(), "x");
    let bytes = noise();
    upload(&store, "job/large", &bytes).await.unwrap();
    assert!(get(&store, "job/large", u64::MAX).await.unwrap() == bytes);
}

#[tokio::test]
async fn a_lock_is_sent_for_what_is_to_stay_and_keeps_it() {
    let server = FaultyS3::start();
    let mut options = server.options();
    options.lock = Some((snapback::store::s3::LockMode::Compliance, 30));
    let store = S3::new(options);
    put(&store, "job/record", Bytes::from_static(b"x")).await.unwrap();
    put_to_stay(&store, "job/manifest", Bytes::from_static(b"x"))
        .await
        .unwrap();
    let mut large = store.create("job/archive").await.unwrap();
    large.keep();
    large.write(noise()).await.unwrap();
    large.finish(Bytes::new()).await.unwrap();
    let compliance = |key: &str| (key.to_owned(), "COMPLIANCE".to_owned());
    assert_eq!(server.locks(), [compliance("job/archive"), compliance("job/manifest")]);

    let error = store.delete("job/manifest").await.unwrap_err();
    let until = error.downcast_ref::<Locked>().unwrap().until.unwrap();
    let days = (until - chrono::Utc::now()).num_days();
    assert!((29..=30).contains(&days), "locked for {days} days");
    assert_eq!(
        store
            .locked("job/archive")
            .await
            .unwrap()
            .unwrap()
            .until
            .map(|at| (at - until).num_minutes()),
        Some(0)
    );
    assert_eq!(
        store.locked("job/record").await.unwrap().map(|locked| locked.path),
        None
    );
    store.delete("job/record").await.unwrap();
    // Without a lock the same answer is a lack of rights.
    put(&store, "job/other", Bytes::new()).await.unwrap();
    server.fail(Ask::Delete, "", 0, 1, Fault::Error(403, "AccessDenied"));
    assert_eq!(exit_of(&store.delete("job/other").await.unwrap_err()), Exit::Permission);
}

#[tokio::test]
async fn only_old_leftovers_of_ours_are_swept() {
    let server = FaultyS3::start();
    let upload = |key: &str, hours: i64| {
        let begun = chrono::Utc::now() - chrono::TimeDelta::hours(hours);
        format!(
            "<Upload><Key>{key}</Key><UploadId>{key}-id</UploadId><Initiated>{}</Initiated></Upload>",
            begun.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
        )
    };
    let page = |uploads: &[String], next: &str| {
        Fault::Document(format!(
            "<ListMultipartUploadsResult><Bucket>bucket</Bucket>{next}{}</ListMultipartUploadsResult>",
            uploads.concat()
        ))
    };
    let more =
        "<IsTruncated>true</IsTruncated><NextKeyMarker>k</NextKeyMarker><NextUploadIdMarker>u</NextUploadIdMarker>";
    let first = page(&[upload("ours/job/old", 30), upload("ours/job/young", 2)], more);
    let second = page(
        &[
            upload("ours/job/older", 99),
            upload("ours/.foreign", 99),
            upload("another/job/x", 99),
        ],
        "",
    );
    server.fail(Ask::Uploads, "", 0, 1, first);
    server.fail(Ask::Uploads, "", 0, 1, second);
    server.fail(Ask::Abort, "", 0, 2, Fault::Document(String::new()));
    let store = S3::new(snapback::store::S3Options {
        prefix: "ours".into(),
        ..server.options()
    });
    assert_eq!(store.clean("job/").await.unwrap(), ["job/old", "job/older"]);
    assert_eq!(server.keys(Ask::Abort), ["ours/job/old", "ours/job/older"]);
}
