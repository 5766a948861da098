//! What comes after a run: claims are taken back, what is not needed any more goes. Nothing here makes a backup less of one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::copies::Copies;
use super::watch::Step;
use super::{Noticed, Report, Request, failure};
use crate::job::Destination;
use crate::manifest::{BackupId, Manifest};
use crate::prune::{Known, Outcome, Pruning, Wishes};

/// What comes after the backup exists.
pub(super) async fn finish(
    request: &Request<'_>,
    mut copies: Copies<'_>,
    manifest: Manifest,
    noticed: Noticed,
    begun: Instant,
) -> Report {
    let mut report = Report {
        manifest,
        seconds: 0.0,
        cleaned: noticed.cleaned,
        copies: Vec::new(),
        pruned: BTreeMap::new(),
        dropped: Vec::new(),
        collapsed: noticed.collapsed,
        afterwards: Vec::new(),
    };
    if let Err(error) = copies.release().await {
        let text = format!("the claim of this run could not be removed; the next run removes it: {error:#}");
        report.afterwards.push(text);
    }
    let id = report.manifest.id;
    copies
        .clear_away(&failure(request, id, String::new()), false, false, true)
        .await;
    if request.job.prune {
        let known = noticed.found.into_iter();
        let known = known.map(|(shelf, found)| (shelf.place().to_owned(), found.into_summaries()));
        // Where this run has a copy: nothing goes where the last one failed.
        let stores: Vec<&Destination> = copies.shelves().map(|(destination, _)| destination).collect();
        let outcome = prune(request, stores, Some(id), known.collect(), false).await;
        report.dropped = outcome.databases.dropped.iter().map(|kept| kept.name.clone()).collect();
        for store in outcome.stores {
            if let Some(error) = &store.failed {
                let text = format!("retention was not applied in store {}: {error:#}", store.store);
                report.afterwards.push(text);
            }
            report.pruned.insert(store.store, store.pruned);
        }
    }
    for warning in &report.afterwards {
        request.watch.warn(warning.as_str());
    }
    make_room(request, &copies, Some(id)).await;
    report.copies = copies.made();
    report.seconds = begun.elapsed().as_secs_f64();
    report
}

/// Applies retention where the run has no copy for want of room: what goes all the same makes room for the next. That the last
/// run failed there is no reason to keep it.
pub(super) async fn make_room(request: &Request<'_>, copies: &Copies<'_>, made: Option<BackupId>) {
    let full = copies.full();
    if full.is_empty() || !request.job.prune {
        return;
    }
    for store in prune(request, full, made, Known::new(), true).await.stores {
        request.watch.warn(match (&store.failed, store.pruned.deleted.len()) {
            (Some(error), _) => format!("store {} is full, and retention fails there: {error:#}", store.store),
            (None, 0) => format!("store {} is full, and all that is in it is kept by rules", store.store),
            (None, deleted) => format!(
                "store {} is full: {deleted} backups that no rule keeps were deleted for the next run",
                store.store
            ),
        });
    }
}

async fn prune(
    request: &Request<'_>,
    stores: Vec<&Destination>,
    made: Option<BackupId>,
    known: Known,
    force: bool,
) -> Outcome {
    request.watch.step(Step::Prune).await;
    let mut protect: BTreeSet<BackupId> = request.protect.clone();
    protect.extend(made);
    let pruning = Pruning {
        stores,
        protect,
        wishes: Wishes {
            force,
            ..Wishes::default()
        },
        ..Pruning::new(request.job, &request.clock)
    };
    let outcome = pruning.run(known).await;
    outcome.databases.log(&request.job.name);
    if let Some(error) = &outcome.server {
        tracing::info!(
            job = request.job.name,
            "the server cannot be asked for replaced databases, so their safety snapshots stay: {error:#}"
        );
    }
    outcome
}
