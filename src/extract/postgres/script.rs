//! A whole archive as plain SQL: what `pg_restore -f -` of the server's release writes.

use std::io::Write;
use std::sync::Arc;

use chrono::NaiveDateTime;

use crate::archive::RestoreOptions;
use crate::archive::plain::Writer;
use crate::archive::reader::Reader;
use crate::error::{Result, damage};
use crate::sql::quote::Quote;

/// Writes all of the archive to `out`; `restrict_key` is for releases that write one.
///
/// # Errors
/// The archive is damaged, or `out` cannot be written to.
pub async fn write(
    reader: &Reader,
    quote: Quote,
    restrict_key: Option<String>,
    now: NaiveDateTime,
    out: &mut (dyn Write + Send),
) -> Result<()> {
    let options = RestoreOptions {
        restrict_key,
        ..RestoreOptions::default()
    };
    let mut writer = Writer::new(Arc::clone(reader.entries()), options, quote);
    out.write_all(&writer.begin(reader.header()))?;
    for id in writer.data().to_vec() {
        out.write_all(&writer.begin_data(id)?)?;
        let entry = reader.entries().iter().find(|entry| entry.dump_id == id);
        let name = entry.map_or("", |entry| entry.tag.as_str());
        let damaged = |error| damage(format_args!("the data of {name}"), error);
        if entry.is_some_and(|entry| entry.is_large_objects()) {
            let mut objects = reader.large_objects(id).await.map_err(damaged)?;
            while let Some(oid) = objects.next_object().await.map_err(damaged)? {
                out.write_all(&writer.begin_object(oid))?;
                while let Some(piece) = objects.next().await.map_err(damaged)? {
                    out.write_all(&writer.chunk(piece))?;
                }
                out.write_all(&writer.end_object())?;
            }
        } else {
            let mut rows = reader.rows(id).await.map_err(damaged)?;
            while let Some(piece) = rows.next().await.map_err(damaged)? {
                out.write_all(&writer.chunk(piece))?;
            }
        }
        out.write_all(&writer.end_data()?)?;
    }
    out.write_all(&writer.finish(now)?)?;
    Ok(())
}
