//! An archive on its way into a database: what all kinds of restore do alike.

use std::sync::Arc;

use tokio_postgres::Client;

use super::origin::Expected;
use super::run::Prepared;
use super::target::{quoted, run};
use super::watch::{Event, Step, Watch};
use crate::archive::options::RestoreOptions;
use crate::archive::reader::Reader;
use crate::engine::postgres::any_text::AnyText;
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

    /// Gives schema `public` to the role that it belonged to, which before 15 no archive tells. Where this role may not do
    /// that, it is told.
    pub(super) async fn give_public(&self, client: &Client) -> Result<()> {
        let Some(owner) = self.content.public_owner().filter(|_| self.chosen.is_none()) else {
            return Ok(());
        };
        let name = AnyText(owner.to_owned());
        let Some(row) = client.query_opt(MAY_GIVE_PUBLIC, &[&name]).await? else {
            return Ok(());
        };
        if row.try_get::<_, Option<bool>>(0)? == Some(true) {
            return run(client, &format!("ALTER SCHEMA public OWNER TO {}", quoted(owner))).await;
        }
        self.request.watch.warn(format!(
            "schema public belonged to {owner:?}, and this role may not give it away: ALTER SCHEMA public OWNER TO {} as a \
             superuser does",
            quoted(owner)
        ));
        Ok(())
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

/// Whether schema `public` can be given to a role; no row where it is not there, or is that role's already.
const MAY_GIVE_PUBLIC: &str = "\
SELECT pg_catalog.pg_has_role(n.nspowner, 'USAGE') AND pg_catalog.pg_has_role(r.oid, 'MEMBER')
    AND pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE')
FROM pg_catalog.pg_namespace n LEFT JOIN pg_catalog.pg_roles r ON r.rolname = $1
WHERE n.nspname = 'public' AND r.oid IS DISTINCT FROM n.nspowner";

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
