//! The contract of every store, and what is particular to the local one.

use std::num::NonZeroU32;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use snapback::store::{Limited, Local, Missing, ObjectMeta, Store, Taken, get, put};

use crate::support::faulty::{Faulty, Op};

/// What `store/mod.rs` promises, tried on an empty store.
pub async fn contract(store: &dyn Store) {
    appears_only_when_finished(store).await;
    reads_ranges_and_refuses_what_is_not_there(store).await;
    never_overwrites(store).await;
    lists_by_prefix_in_order(store).await;
    knows_its_folders(store).await;
    deletes_again_and_again(store).await;
    renames_in_one_step_or_not_at_all(store).await;
    refuses_paths_that_leave_it(store).await;
    leaves_unfinished_objects_of_the_living_alone(store).await;
}

async fn appears_only_when_finished(store: &dyn Store) {
    let mut upload = store.create("one/object").await.unwrap();
    upload.write(Bytes::from_static(b"....")).await.unwrap();
    upload.write(Bytes::from_static(b"tail")).await.unwrap();
    assert_eq!(store.stat("one/object").await.unwrap(), None);
    assert!(store.list("").await.unwrap().is_empty());
    assert!(store.read("one/object", 0..1).await.is_err());

    let meta = upload.finish(Bytes::from_static(b"head")).await.unwrap();
    assert_eq!((meta.path.as_str(), meta.size), ("one/object", 8));
    assert_eq!(store.stat("one/object").await.unwrap(), Some(meta.clone()));
    // A list says no checksums.
    assert_eq!(store.list("").await.unwrap(), [ObjectMeta { checksum: None, ..meta }]);
    assert_eq!(store.read("one/object", 0..8).await.unwrap(), "headtail");

    for drop_it in [true, false] {
        let mut upload = store.create("one/given-up").await.unwrap();
        upload.write(Bytes::from_static(b"x")).await.unwrap();
        if drop_it {
            drop(upload);
        } else {
            upload.abort().await.unwrap();
        }
        assert_eq!(store.stat("one/given-up").await.unwrap(), None);
    }
}

async fn knows_its_folders(store: &dyn Store) {
    let paths = ["main.shop/a", "main.shop/b", "main.crm/a", "mainly/a", "main.file"];
    for path in paths {
        put(store, path, Bytes::from_static(b"x")).await.unwrap();
    }
    assert_eq!(store.folders("main.").await.unwrap(), ["main.crm", "main.shop"]);
    assert!(store.folders("other.").await.unwrap().is_empty());
    for path in paths {
        store.delete(path).await.unwrap();
    }
}

async fn renames_in_one_step_or_not_at_all(store: &dyn Store) {
    for path in ["names/old", "names/taken"] {
        put(store, path, Bytes::from_static(b"x")).await.unwrap();
    }
    let there = async |path: &str| store.stat(path).await.unwrap().is_some();
    let renamed = store.rename("names/old", "names/new").await.unwrap();
    assert_eq!(
        (there("names/old").await, there("names/new").await),
        (!renamed, renamed)
    );
    if renamed {
        let error = store.rename("names/new", "names/taken").await.unwrap_err();
        assert!(error.is::<Taken>() && there("names/new").await, "{error:#}");
        let error = store.rename("names/old", "names/other").await.unwrap_err();
        assert!(error.is::<Missing>(), "{error:#}");
    }
    for path in ["names/old", "names/new", "names/taken"] {
        store.delete(path).await.unwrap();
    }
    assert!(store.settle().await);
}

async fn reads_ranges_and_refuses_what_is_not_there(store: &dyn Store) {
    put(store, "ranges", Bytes::from_static(b"0123456789")).await.unwrap();
    assert_eq!(store.read("ranges", 3..6).await.unwrap(), "345");
    assert_eq!(store.read("ranges", 10..10).await.unwrap(), "");
    for range in [9..11, 11..12, 0..u64::MAX] {
        assert!(store.read("ranges", range).await.is_err());
    }
    assert!(get(store, "ranges", 9).await.is_err());
    assert_eq!(get(store, "ranges", 10).await.unwrap(), "0123456789");
    assert!(store.read("nothing", 0..0).await.unwrap_err().is::<Missing>());
    assert!(get(store, "nothing", 9).await.unwrap_err().is::<Missing>());
}

async fn never_overwrites(store: &dyn Store) {
    put(store, "taken", Bytes::from_static(b"first")).await.unwrap();
    let second = match store.create("taken").await {
        Ok(upload) => upload.finish(Bytes::new()).await.map(|_| ()),
        Err(error) => Err(error),
    };
    assert!(second.unwrap_err().is::<Taken>());
    // Two that are started before either is finished: the first to finish has the name.
    let (a, b) = (store.create("race").await.unwrap(), store.create("race").await.unwrap());
    a.finish(Bytes::new()).await.unwrap();
    assert!(b.finish(Bytes::new()).await.unwrap_err().is::<Taken>());
    assert_eq!(get(store, "taken", 9).await.unwrap(), "first");
    assert_eq!(store.list("race").await.unwrap().len(), 1);
}

async fn lists_by_prefix_in_order(store: &dyn Store) {
    for path in ["list/b", "list/a/2", "list/a/1", "list/ab", "lists"] {
        put(store, path, Bytes::new()).await.unwrap();
    }
    let listed = async |prefix| {
        let found = store.list(prefix).await.unwrap();
        found.into_iter().map(|meta| meta.path).collect::<Vec<_>>()
    };
    assert_eq!(listed("list/").await, ["list/a/1", "list/a/2", "list/ab", "list/b"]);
    assert_eq!(listed("list/a").await, ["list/a/1", "list/a/2", "list/ab"]);
    assert_eq!(listed("list").await.len(), 5);
    assert!(listed("no/such").await.is_empty());
}

async fn deletes_again_and_again(store: &dyn Store) {
    put(store, "gone/soon", Bytes::new()).await.unwrap();
    store.delete("gone/soon").await.unwrap();
    assert_eq!(store.stat("gone/soon").await.unwrap(), None);
    store.delete("gone/soon").await.unwrap();
    store.delete("never/was").await.unwrap();
    put(store, "gone/soon", Bytes::new()).await.unwrap();
}

async fn refuses_paths_that_leave_it(store: &dyn Store) {
    for path in ["../x", "/x", "a/../../x", "", "a//b", ".x"] {
        assert!(store.create(path).await.is_err(), "{path:?}");
        assert!(store.read(path, 0..0).await.is_err(), "{path:?}");
        assert!(store.delete(path).await.is_err(), "{path:?}");
    }
}

async fn leaves_unfinished_objects_of_the_living_alone(store: &dyn Store) {
    let upload = store.create("alive/object").await.unwrap();
    assert!(store.clean("").await.unwrap().is_empty());
    upload.finish(Bytes::new()).await.unwrap();
}

#[tokio::test]
async fn local_store_keeps_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    contract(&Local::new(dir.path().join("deep/root"))).await;
}

#[tokio::test]
async fn the_contract_holds_through_a_decorator() {
    let dir = tempfile::tempdir().unwrap();
    contract(&Faulty::new(Local::new(dir.path()), Op::Read, usize::MAX)).await;
}

#[tokio::test]
async fn a_limited_store_keeps_the_contract_and_its_limit() {
    let dir = tempfile::tempdir().unwrap();
    let rate = NonZeroU32::new(1 << 20);
    let store = Limited::new(Arc::new(Local::new(dir.path())), rate, rate);
    contract(&store).await;
    // A quarter of a second's bytes may pass at once, in each direction.
    let begun = Instant::now();
    put(&store, "job/large", Bytes::from(vec![7; 1 << 20])).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(700), "{:?}", begun.elapsed());
    let begun = Instant::now();
    assert_eq!(get(&store, "job/large", u64::MAX).await.unwrap().len(), 1 << 20);
    assert!(begun.elapsed() >= Duration::from_millis(700), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_failure_at_any_operation_leaves_no_object() {
    for op in [Op::Create, Op::Write, Op::Finish] {
        let dir = tempfile::tempdir().unwrap();
        let store = Faulty::new(Local::new(dir.path()), op, 0);
        let error = put(&store, "job/object", Bytes::from_static(b"bytes"))
            .await
            .unwrap_err();
        assert!(error.to_string().contains("was made to fail"), "{error:#}");
        assert!(files(dir.path()).is_empty(), "{op:?} left {:?}", files(dir.path()));
        put(&store, "job/object", Bytes::from_static(b"bytes")).await.unwrap();
    }
}

#[tokio::test]
async fn objects_and_folders_are_private() {
    let dir = tempfile::tempdir().unwrap();
    let store = Local::new(dir.path().join("root"));
    put(&store, "job/object", Bytes::new()).await.unwrap();
    let mode = |path: &str| std::fs::metadata(dir.path().join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!(["root", "root/job", "root/job/object"].map(mode), [0o700, 0o700, 0o600]);
}

#[tokio::test]
async fn leftovers_of_the_dead_are_ignored_and_cleaned() {
    let dir = tempfile::tempdir().unwrap();
    let store = Local::new(dir.path());
    put(&store, "job/kept", Bytes::new()).await.unwrap();
    // What a killed process leaves: nobody holds the lock of such a file.
    std::fs::write(dir.path().join("job/.object.4711-0.partial"), "half").unwrap();
    std::fs::write(dir.path().join("job/.foreign"), "not ours").unwrap();
    std::fs::create_dir(dir.path().join("lost+found")).unwrap();
    assert_eq!(store.list("").await.unwrap().len(), 1);
    assert!(store.clean("other/").await.unwrap().is_empty());
    assert_eq!(store.clean("job/").await.unwrap(), ["job/object"]);
    assert_eq!(files(dir.path()), ["job/.foreign", "job/kept"]);
}

/// All files below `root`, also hidden ones.
fn files(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}
