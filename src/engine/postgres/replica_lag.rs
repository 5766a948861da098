//! How far the replicas of a server are behind. What it measures itself (`replay_lag`) is nothing until a replica has answered once,
//! and stays at the last value for a while when all is quiet; so it is also remembered when the log had reached what.

use std::collections::VecDeque;
use std::time::Duration;

use super::connect::session::{Query, Session};
use crate::error::Result;

/// How many points of the log are remembered.
const POINTS: usize = 4096;

/// What a server says of its replicas at one moment.
#[derive(Clone, Debug, Default)]
pub struct Replicas {
    /// The end of its log, in bytes.
    pub written: u64,
    /// Those that follow.
    pub following: Vec<Replica>,
    /// How many there are of which the role may know nothing.
    pub hidden: usize,
}

/// One replica, as its server sees it.
#[derive(Clone, Debug)]
pub struct Replica {
    /// What it calls itself, and where it is.
    pub name: String,
    /// How far it has replayed the log, in bytes.
    pub replayed: u64,
    /// How long that took last, by the server's measure.
    pub measured: Option<Duration>,
}

impl Replicas {
    /// Asks a server. One that is a standby itself tells of the replicas that follow it.
    ///
    /// # Errors
    /// The server's.
    pub async fn read(session: &Session) -> Result<Replicas> {
        let query = Query::new(
            "SELECT (CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() \
                     ELSE pg_catalog.pg_current_wal_lsn() END - '0/0'::pg_catalog.pg_lsn)::pg_catalog.int8 AS written, \
                    r.pid IS NULL AS none, r.pid IS NOT NULL AND r.state IS NULL AS hidden, \
                    pg_catalog.concat_ws(' at ', nullif(r.application_name, ''), coalesce(pg_catalog.host(r.client_addr), 'this machine')) AS name, \
                    (r.replay_lsn - '0/0'::pg_catalog.pg_lsn)::pg_catalog.int8 AS replayed, \
                    (extract(epoch FROM r.replay_lag) * 1000)::pg_catalog.int8 AS measured \
             FROM (SELECT 1) one LEFT JOIN pg_catalog.pg_stat_replication r ON r.state IS NULL OR r.state IN ('streaming', 'catchup')",
        );
        let mut found = Replicas::default();
        for row in session.rows(&query).await? {
            found.written = row.opt_long("written")?.unwrap_or_default().cast_unsigned();
            if row.bool("hidden")? {
                found.hidden += 1;
            }
            // What only receives the log, as an archive does, replays nothing.
            let Some(replayed) = row.opt_long("replayed")? else {
                continue;
            };
            let measured = row.opt_long("measured")?;
            found.following.push(Replica {
                name: row.text("name")?,
                replayed: replayed.cast_unsigned(),
                measured: measured.map(|ms| Duration::from_millis(u64::try_from(ms).unwrap_or_default())),
            });
        }
        Ok(found)
    }
}

/// How far a replica is behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lag {
    /// The replica.
    pub replica: String,
    /// Since when there is something that it has not replayed.
    pub behind: Duration,
}

/// Follows the replicas of a server.
#[derive(Debug, Default)]
pub struct Lags {
    /// Ends of the log and when they were seen, the oldest first.
    seen: VecDeque<(Duration, u64)>,
}

impl Lags {
    /// Takes in what the server said at `now`, a time since any beginning: the replica that is the furthest behind.
    pub fn look(&mut self, now: Duration, replicas: &Replicas) -> Option<Lag> {
        let slowest = replicas.following.iter().map(|replica| replica.replayed).min();
        let Some(slowest) = slowest else {
            self.seen.clear();
            return None;
        };
        while self.seen.front().is_some_and(|(_, written)| *written <= slowest) {
            self.seen.pop_front();
        }
        let is_new = self.seen.back().is_none_or(|(_, written)| *written < replicas.written);
        if is_new && replicas.written > slowest && self.seen.len() < POINTS {
            self.seen.push_back((now, replicas.written));
        }
        let lag = |replica: &Replica| {
            if replica.replayed >= replicas.written {
                return Duration::ZERO;
            }
            let missed = self.seen.iter().find(|(_, written)| *written > replica.replayed);
            let seen = missed.map_or(Duration::ZERO, |(at, _)| now.saturating_sub(*at));
            seen.max(replica.measured.unwrap_or_default())
        };
        let lags = replicas.following.iter().map(|replica| Lag {
            replica: replica.name.clone(),
            behind: lag(replica),
        });
        lags.max_by_key(|lag| lag.behind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(written: u64, replicas: &[(&str, u64, Option<u64>)]) -> Replicas {
        let replica = |(name, replayed, measured): &(&str, u64, Option<u64>)| Replica {
            name: (*name).to_owned(),
            replayed: *replayed,
            measured: measured.map(Duration::from_secs),
        };
        Replicas {
            written,
            following: replicas.iter().map(replica).collect(),
            hidden: 0,
        }
    }

    #[test]
    fn a_replica_is_behind_since_the_log_had_what_it_lacks() {
        let mut lags = Lags::default();
        let mut behind = |second: u64, replicas: &Replicas| {
            let lag = lags.look(Duration::from_secs(second), replicas);
            lag.map(|lag| (lag.replica, lag.behind.as_secs()))
        };
        assert_eq!(behind(0, &at(100, &[])), None);
        assert_eq!(behind(1, &at(100, &[("a", 100, None)])), Some(("a".into(), 0)));
        // One stands still, while the log grows.
        let still = |second: u64, written| (second, at(written, &[("a", written, None), ("b", 100, None)]));
        for (second, written, expected) in [(2, 200, 0), (5, 300, 3), (9, 300, 7)] {
            let (second, replicas) = still(second, written);
            let name = if expected == 0 { "a or b" } else { "b" };
            let found = behind(second, &replicas).unwrap();
            assert_eq!(found.1, expected);
            assert!(name.contains(&found.0), "{found:?}");
        }
        // It has what was seen at 2, and not what was seen at 5.
        assert_eq!(behind(10, &at(300, &[("b", 250, None)])), Some(("b".into(), 5)));
        assert_eq!(behind(11, &at(300, &[("b", 300, None)])), Some(("b".into(), 0)));
    }

    #[test]
    fn the_server_knows_of_what_was_before_and_a_quiet_one_says_old_things() {
        let mut lags = Lags::default();
        let first = lags.look(Duration::ZERO, &at(200, &[("a", 100, Some(40))]));
        assert_eq!(first.unwrap().behind, Duration::from_secs(40));
        let caught_up = lags.look(Duration::from_secs(2), &at(200, &[("a", 200, Some(40))]));
        assert_eq!(caught_up.unwrap().behind, Duration::ZERO);
    }
}
