//! Event triggers of the live database: what a restore in place does is no business of theirs, and one that forbids
//! changes would forbid the restore.

use tokio_postgres::Client;

use crate::engine::postgres::any_text::{AnyText, texts};
use crate::engine::postgres::target::run;
use crate::error::{Exit, Fail, Result, hint_of};
use crate::restore::postgres::plan::Obstacle;

/// Those that would fire at statements. They have an owner, but only superusers can be one.
const ENABLED: &str = "SELECT oid, evtname::text, \
    pg_catalog.format('ALTER EVENT TRIGGER %I DISABLE', evtname), \
    pg_catalog.format('ALTER EVENT TRIGGER %I ENABLE%s', evtname, \
        CASE evtenabled WHEN 'R' THEN ' REPLICA' WHEN 'A' THEN ' ALWAYS' ELSE '' END), \
    pg_catalog.current_setting('is_superuser') = 'on' \
    FROM pg_catalog.pg_event_trigger WHERE evtenabled <> 'D' AND evtevent <> 'login' ORDER BY oid";

/// Those that fire at each login.
const AT_LOGIN: &str = "SELECT evtname::text FROM pg_catalog.pg_event_trigger \
    WHERE evtenabled <> 'D' AND evtevent = 'login' ORDER BY 1";

/// Event triggers that are off until the end of a restore, in its transaction only.
#[derive(Default)]
pub struct EventTriggers {
    /// With the statements that switch them on again as they were.
    off: Vec<(u32, String)>,
    /// The names of those that the role may not switch off.
    firing: Vec<String>,
}

impl EventTriggers {
    /// Switches them off, as far as the role may.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn switch_off(&mut self, client: &Client) -> Result<()> {
        for row in client.query(ENABLED, &[]).await? {
            if row.try_get(4)? {
                let (AnyText(disable), AnyText(enable)) = (row.try_get(2)?, row.try_get(3)?);
                run(client, &disable).await?;
                self.off.push((row.try_get(0)?, enable));
            } else {
                let AnyText(name) = row.try_get(1)?;
                self.firing.push(name);
            }
        }
        Ok(())
    }

    /// Switches those on again that are still there.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn switch_on(&self, client: &Client) -> Result<()> {
        let there = client.query("SELECT oid FROM pg_catalog.pg_event_trigger", &[]).await?;
        let there = there
            .iter()
            .map(|row| row.try_get(0))
            .collect::<Result<Vec<u32>, _>>()?;
        for (oid, enable) in &self.off {
            if there.contains(oid) {
                run(client, enable).await?;
            }
        }
        Ok(())
    }

    /// Says of a failure that it may be theirs.
    #[must_use]
    pub fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        if self.firing.is_empty() || hint_of(&error).is_some() {
            return error;
        }
        let message = format!("event triggers were on: {}", self.firing.join(", "));
        let hint = "this role may not switch event triggers off: where one is in the way, restore as a superuser, or have \
                    a superuser ALTER EVENT TRIGGER … DISABLE it for the time of the restore";
        let exit = crate::error::exit_of(&error);
        error.context(Fail::new(exit, message).hint(hint))
    }
}

/// Event triggers that would fire at the logins of the restore itself, while it keeps everybody else out of the tables.
///
/// # Errors
/// The server does not answer.
pub async fn at_login(client: &Client) -> Result<Option<Obstacle>> {
    let rows = client.query(AT_LOGIN, &[]).await?;
    let names = texts(&rows)?;
    Ok((!names.is_empty()).then(|| {
        Obstacle::new(
            Exit::Failure,
            format!(
                "event triggers fire at each login, also of the restore, and would wait for the tables that it locks: {}",
                names.join(", ")
            ),
            "ALTER EVENT TRIGGER … DISABLE them for the time of the restore, or restore with --mode swap",
        )
    }))
}
