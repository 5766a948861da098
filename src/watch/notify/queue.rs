//! What is still to be told, in the history, so that it survives a restart; and what was told, so that it is not told too often.

use chrono::{DateTime, Utc};
use rusqlite::{OptionalExtension as _, params};

use super::news::Notice;
use crate::error::Result;
use crate::watch::history::History;

/// A notice that waits for its channel.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// Its number.
    pub number: i64,
    /// The channel.
    pub channel: String,
    /// How often it was tried.
    pub attempts: u32,
    /// Since when it waits.
    pub made: DateTime<Utc>,
    /// What it tells.
    pub notice: Notice,
}

impl History {
    /// Lets `notice` wait for its channel.
    ///
    /// # Errors
    /// The file cannot be written to.
    pub fn enqueue(&self, channel: &str, notice: &Notice, now: DateTime<Utc>) -> Result<()> {
        let text = serde_json::to_string(notice)?;
        self.database().execute(
            "INSERT INTO notice (channel, due, attempts, made, text) VALUES (?1, ?2, 0, ?2, ?3)",
            params![channel, now.timestamp_millis(), text],
        )?;
        Ok(())
    }

    /// What is due now, the oldest first.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn due(&self, now: DateTime<Utc>) -> Result<Vec<Waiting>> {
        let database = self.database();
        let mut found = database.prepare(
            "SELECT notice, channel, attempts, made, text FROM notice WHERE due <= ?1 ORDER BY notice LIMIT 100",
        )?;
        let rows = found.query_map([now.timestamp_millis()], |row| {
            let text: String = row.get(4)?;
            Ok(serde_json::from_str(&text).ok().map(|notice| Waiting {
                number: row.get(0).unwrap_or_default(),
                channel: row.get(1).unwrap_or_default(),
                attempts: row.get(2).unwrap_or_default(),
                made: DateTime::from_timestamp_millis(row.get(3).unwrap_or_default()).unwrap_or_default(),
                notice,
            }))
        })?;
        Ok(rows.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
    }

    /// It was told, or nobody will be told any more.
    ///
    /// # Errors
    /// The file cannot be written to.
    pub fn dequeue(&self, number: i64) -> Result<()> {
        self.database()
            .execute("DELETE FROM notice WHERE notice = ?1", [number])?;
        Ok(())
    }

    /// It is tried again at `due`.
    ///
    /// # Errors
    /// The file cannot be written to.
    pub fn delay(&self, number: i64, attempts: u32, due: DateTime<Utc>) -> Result<()> {
        self.database().execute(
            "UPDATE notice SET attempts = ?2, due = ?3 WHERE notice = ?1",
            params![number, attempts, due.timestamp_millis()],
        )?;
        Ok(())
    }

    /// When `channel` last told this of a job.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn told(&self, channel: &str, job: &str, news: &str) -> Result<Option<DateTime<Utc>>> {
        let query = "SELECT at FROM told WHERE channel = ?1 AND job = ?2 AND news = ?3";
        let at: Option<i64> = self
            .database()
            .query_row(query, params![channel, job, news], |row| row.get(0))
            .optional()?;
        Ok(at.and_then(DateTime::from_timestamp_millis))
    }

    /// `channel` tells this of a job now.
    ///
    /// # Errors
    /// The file cannot be written to.
    pub fn tells(&self, channel: &str, job: &str, news: &str, now: DateTime<Utc>) -> Result<()> {
        self.database().execute(
            "INSERT OR REPLACE INTO told (channel, job, news, at) VALUES (?1, ?2, ?3, ?4)",
            params![channel, job, news, now.timestamp_millis()],
        )?;
        Ok(())
    }

    /// All is well with a job: whatever comes next is new. Of `news` only, where it is given.
    ///
    /// # Errors
    /// The file cannot be written to.
    pub fn forget_told(&self, channel: &str, job: &str, news: Option<&str>) -> Result<()> {
        self.database().execute(
            "DELETE FROM told WHERE channel = ?1 AND job = ?2 AND (?3 IS NULL OR news = ?3)",
            params![channel, job, news],
        )?;
        Ok(())
    }
}
