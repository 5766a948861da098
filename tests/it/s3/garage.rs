//! Garage, the strictest of the S3 servers; `tests/run --full` installs it and runs these.

use bytes::Bytes;
use snapback::store::{Store, put};

use super::{goes_in_parts, the_next_run_removes_what_a_killed_upload_left, there_and_back};
use crate::store::contract;
use crate::support::s3::S3Server;

#[tokio::test]
#[ignore = "needs Garage: tests/run --full"]
async fn the_contract_holds() {
    let server = S3Server::garage();
    contract(&server.store("some/prefix")).await;
    let store = server.store("");
    goes_in_parts(&store).await;
    for n in 0..1_050 {
        put(&store, &format!("many/o{n:04}"), Bytes::from_static(b"x"))
            .await
            .unwrap();
    }
    assert_eq!(store.list("many/").await.unwrap().len(), 1_050);
}

#[test]
#[ignore = "needs Garage: tests/run --full"]
fn the_next_backup_removes_what_a_killed_upload_left() {
    the_next_run_removes_what_a_killed_upload_left(&S3Server::garage());
}

#[test]
#[ignore = "needs Garage: tests/run --full"]
fn a_job_backs_up_and_restores() {
    let bucket = S3Server::garage();
    let site = there_and_back(&bucket, |_, _, _| {});
    site.run(&["prune", "app"]).ok();
}
