//! One upload into several stores at once.
//!
//! Every piece goes to all of them before the next is taken, so the slowest sets the pace and no more than one piece is
//! held for it. An upload that fails is given up and noted; the others go on, and only when none is left does the
//! whole fail.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::join_all;

use super::{ObjectMeta, Upload};
use crate::error::Result;

/// Uploads of the same object into several stores.
pub struct FanOut {
    /// In the order that they were given in; `None` when it failed.
    uploads: Vec<Option<Box<dyn Upload>>>,
    outcomes: Outcomes,
}

/// What became of each upload, in the order that [`FanOut::new`] got them; `None` where nothing has yet.
#[derive(Clone)]
pub struct Outcomes(Arc<Mutex<Vec<Option<Result<ObjectMeta>>>>>);

impl Outcomes {
    /// Takes what was noted so far.
    #[must_use]
    pub fn take(&self) -> Vec<Option<Result<ObjectMeta>>> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn note(&self, place: usize, outcome: Result<ObjectMeta>) {
        let mut outcomes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(noted) = outcomes.get_mut(place) {
            *noted = Some(outcome);
        }
    }
}

impl FanOut {
    /// One upload of all of `uploads`, and where it is noted what becomes of each.
    #[must_use]
    pub fn new(uploads: Vec<Box<dyn Upload>>) -> (Self, Outcomes) {
        let none = uploads.iter().map(|_| None).collect();
        let outcomes = Outcomes(Arc::new(Mutex::new(none)));
        let fan_out = FanOut {
            uploads: uploads.into_iter().map(Some).collect(),
            outcomes: outcomes.clone(),
        };
        (fan_out, outcomes)
    }

    fn none_left() -> anyhow::Error {
        anyhow::anyhow!("no store is left to write to")
    }
}

#[async_trait]
impl Upload for FanOut {
    fn expect(&mut self, head: u64, total: u64) {
        for upload in self.uploads.iter_mut().flatten() {
            upload.expect(head, total);
        }
    }

    fn keep(&mut self) {
        for upload in self.uploads.iter_mut().flatten() {
            upload.keep();
        }
    }

    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        let writes = self.uploads.iter_mut().map(|upload| {
            let bytes = bytes.clone();
            async move {
                match upload {
                    Some(upload) => upload.write(bytes).await,
                    None => Ok(()),
                }
            }
        });
        let outcomes = join_all(writes).await;
        for (place, (upload, outcome)) in self.uploads.iter_mut().zip(outcomes).enumerate() {
            if let Err(error) = outcome {
                self.outcomes.note(place, Err(error));
                if let Some(upload) = upload.take() {
                    // The failure that came first is the one that matters.
                    let _ = upload.abort().await;
                }
            }
        }
        let any_left = self.uploads.iter().any(Option::is_some);
        any_left.then_some(()).ok_or_else(FanOut::none_left)
    }

    async fn finish(mut self: Box<Self>, head: Bytes) -> Result<ObjectMeta> {
        let finishes = self.uploads.iter_mut().enumerate().filter_map(|(place, upload)| {
            let (upload, head) = (upload.take()?, head.clone());
            Some(async move { (place, upload.finish(head).await) })
        });
        let mut finished = None;
        for (place, outcome) in join_all(finishes).await {
            if let Ok(meta) = &outcome {
                finished.get_or_insert_with(|| meta.clone());
            }
            self.outcomes.note(place, outcome);
        }
        finished.ok_or_else(FanOut::none_left)
    }

    async fn abort(mut self: Box<Self>) -> Result<()> {
        let aborts = self.uploads.iter_mut().filter_map(Option::take).map(Upload::abort);
        join_all(aborts).await.into_iter().collect()
    }
}
