//! An archive on its way into a database: what all kinds of restore do alike.

use std::sync::Arc;

use super::origin::Expected;
use super::run::Prepared;
use super::watch::{Event, Step, Watch};
use crate::archive::options::RestoreOptions;
use crate::archive::reader::Reader;
use crate::engine::postgres::connect::Dsn;
use crate::engine::postgres::load::{self, Load};
use crate::error::Result;

impl Prepared<'_> {
    /// The load of an archive into the database of `dsn`, with up to `jobs` connections; tells how much it is.
    pub(super) fn load_of(
        &self,
        reader: &Arc<Reader>,
        options: RestoreOptions,
        dsn: &Dsn,
        expected: &Expected,
        jobs: usize,
    ) -> Load {
        let watch = &self.request.watch;
        let weights = expected.weights(reader.entries());
        watch.tell(Event::Total(weights.values().sum()));
        let teller = Arc::new(Teller(watch.clone()));
        let load = Load::new(Arc::clone(reader), options, dsn.clone(), jobs, weights, teller);
        load.spelled(self.content.dump.session.spelling.clone())
    }

    /// Loads by section: definitions, rows with indexes and constraints, privileges.
    pub(super) async fn load_all(&self, load: &Load) -> Result<()> {
        let watch = &self.request.watch;
        watch.step(Step::PreData).await;
        load.definitions().await?;
        watch.step(Step::Data).await;
        load.rows().await?;
        watch.step(Step::Privileges).await;
        load.privileges().await
    }
}

/// Hands on what the load tells.
pub(super) struct Teller(pub(super) Watch);

impl load::Progress for Teller {
    fn loaded(&self, bytes: u64) {
        self.0.tell(Event::Done(bytes));
    }

    fn tolerated(&self, what: String) {
        self.0.warn(format!("passed over: {what}"));
    }

    fn told(&self, what: String) {
        self.0.warn(what);
    }
}
