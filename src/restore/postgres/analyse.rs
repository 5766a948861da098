//! Statistics for the planner, so that the new database is not slow when it becomes live.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;

use super::watch::Watch;
use crate::archive::toc::Entry;
use crate::engine::postgres::load::early;
use crate::engine::postgres::target::{Target, UNTIMED, run};
use crate::error::Result;

/// Schemas and names of the tables whose columns' statistics an archive brought along, as those of 18 may.
#[must_use]
pub fn brought(entries: &[Entry]) -> (Vec<&str>, Vec<&str>) {
    let statistics = entries.iter().filter(|entry| {
        entry.desc == "STATISTICS DATA" && entry.defn.contains("pg_catalog.pg_restore_attribute_stats(")
    });
    statistics
        .filter_map(|entry| Some((entry.namespace.as_deref()?, entry.tag.as_str())))
        .unzip()
}

/// Gathers the statistics of every table and materialized view of `database` over up to `jobs` connections, but for
/// those that were `brought`, of which only extended statistics never are, and those that are gathered already. A table whose statistics cannot be had - one of its partitions may be a foreign table out of reach - is told.
///
/// # Errors
/// The server cannot be reached.
pub async fn analyse(
    target: &Target,
    database: &str,
    jobs: usize,
    (brought, gathered): ((Vec<&str>, Vec<&str>), &BTreeSet<early::Name>),
    watch: &Watch,
) -> Result<()> {
    let client = target.session(database).await?;
    run(&client, UNTIMED).await?;
    let (schemas, names): (Vec<&str>, Vec<&str>) = gathered.iter().map(|(s, t)| (s.as_str(), t.as_str())).unzip();
    // The largest come first, which are popped from the end. The root of a partition tree takes its partitions
    // along. Whoever builds an index writes down how large the table is; to ask for the size opens each of them.
    let rows = client
        .query(
            "SELECT c.oid, c.relkind = 'p' OR s.bytes > 1048576 \
             FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace, \
             LATERAL (SELECT CASE WHEN c.relpages > 0 THEN c.relpages * \
             pg_catalog.current_setting('block_size')::int8 ELSE pg_catalog.pg_relation_size(c.oid) END) AS s(bytes) \
             WHERE c.relkind IN ('r', 'm', 'p') AND NOT c.relispartition AND c.relpersistence <> 't' \
             AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') \
             AND (EXISTS (SELECT 1 FROM pg_catalog.pg_statistic_ext e WHERE e.stxrelid = c.oid) OR NOT EXISTS \
             (SELECT 1 FROM ROWS FROM (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[])) AS brought(s, t) \
             WHERE brought.s = n.nspname AND brought.t = c.relname)) \
             AND NOT EXISTS \
             (SELECT 1 FROM ROWS FROM (pg_catalog.unnest($3::text[]), pg_catalog.unnest($4::text[])) AS gathered(s, t) \
             WHERE gathered.s = n.nspname AND gathered.t = c.relname) \
             ORDER BY CASE c.relkind WHEN 'p' THEN 0 ELSE 1 END DESC, s.bytes",
            &[&brought.0, &brought.1, &schemas, &names],
        )
        .await?;
    let tables = rows
        .iter()
        .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
        .collect::<Result<Vec<(u32, bool)>>>()?;
    let together = together(&tables);
    let workers = jobs.clamp(1, together.len().max(1));
    let together = Arc::new(Mutex::new(together));
    let work = (0..workers).map(async |_| {
        let client = target.session(database).await?;
        run(&client, UNTIMED).await?;
        run(&client, "SET vacuum_cost_delay = 0").await?;
        loop {
            let next = together.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some(oids) = next else {
                return Ok::<_, anyhow::Error>(());
            };
            if oids.len() > 1 && client.batch_execute(&statement(&oids)).await.is_ok() {
                continue;
            }
            for oid in oids {
                let Err(error) = client.batch_execute(&statement(&[oid])).await else {
                    continue;
                };
                let Some(error) = error.as_db_error() else {
                    return Err(error).context("gathering statistics");
                };
                watch.warn(format!(
                    "no statistics of the table with OID {oid}: {}",
                    error.message()
                ));
            }
        }
    });
    futures_util::future::try_join_all(work).await?;
    Ok(())
}

/// Small tables whose statistics are gathered with one statement, at most.
const TOGETHER: usize = 40;

/// The tables in the order in which they were, small ones many together.
fn together(tables: &[(u32, bool)]) -> Vec<Vec<u32>> {
    let mut together: Vec<Vec<u32>> = Vec::new();
    let mut open = false;
    for (oid, large) in tables {
        match together
            .last_mut()
            .filter(|last| open && !large && last.len() < TOGETHER)
        {
            Some(last) => last.push(*oid),
            None => together.push(vec![*oid]),
        }
        open = !large;
    }
    together
}

/// Gathers the statistics of tables. They are known by number: a name may be text in no encoding that the driver knows.
fn statement(oids: &[u32]) -> String {
    let oids: Vec<_> = oids.iter().map(u32::to_string).collect();
    let oids = oids.join(", ");
    format!(
        "DO $snapback$ DECLARE it pg_catalog.regclass; BEGIN \
         FOREACH it IN ARRAY ARRAY[{oids}]::pg_catalog.regclass[] LOOP \
         EXECUTE pg_catalog.format('ANALYZE %s', it); END LOOP; END $snapback$"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_tables_go_together() {
        let tables: Vec<(u32, bool)> = (1..=45)
            .map(|oid| (oid, false))
            .chain([(50, true), (51, false), (52, true)])
            .collect();
        let cut = together(&tables);
        let sizes: Vec<usize> = cut.iter().map(Vec::len).collect();
        assert_eq!(sizes, [40, 5, 1, 1, 1]);
        assert_eq!(cut.concat(), tables.iter().map(|(oid, _)| *oid).collect::<Vec<_>>());
    }
}
