//! The new database, before anything is in it: like the live one, or as the archive says.

use tokio_postgres::Client;

use super::live::Live;
use super::target::{quoted, run};
use crate::archive::toc::Entry;
use crate::error::{Exit, Fail, Result};
use crate::postgres::quote::Quote;

/// What of an archive is about the database itself.
pub struct Archived<'a> {
    database: &'a Entry,
    rest: Vec<&'a Entry>,
}

impl<'a> Archived<'a> {
    /// Finds the entries that are about the database.
    ///
    /// # Errors
    /// There is none, as in archives of single tables.
    pub fn find(entries: &'a [Entry]) -> Result<Self> {
        let Some(database) = entries.iter().find(|entry| entry.desc == "DATABASE") else {
            return Err(
                Fail::new(Exit::Failure, "the archive does not say how to create its database")
                    .hint("create an empty database of that name first; the restore will replace it")
                    .into(),
            );
        };
        let about = |entry: &&Entry| {
            entry.desc == "DATABASE PROPERTIES"
                || (matches!(entry.desc.as_str(), "ACL" | "COMMENT" | "SECURITY LABEL")
                    && entry.tag.starts_with("DATABASE "))
        };
        Ok(Archived {
            database,
            rest: entries.iter().filter(about).collect(),
        })
    }

    /// `CREATE DATABASE` under another name, with its owner.
    #[must_use]
    pub fn create_statements(&self, name: &str) -> Vec<String> {
        let name = quoted(name);
        let mut statements = vec![self.renamed(&self.database.defn, &name)];
        // A script need not say whose it was.
        if !self.database.owner.is_empty() {
            let owner = quoted(&self.database.owner);
            statements.push(format!("ALTER DATABASE {name} OWNER TO {owner}"));
        }
        statements
    }

    /// What gives the database its settings, grants and comment once it is called `name`.
    #[must_use]
    pub fn property_statements(&self, name: &str) -> Vec<String> {
        let name = quoted(name);
        // The archive's grants start from the default ones, which were taken away for the time of the load.
        let mut all = vec![format!("GRANT CONNECT, TEMPORARY ON DATABASE {name} TO PUBLIC")];
        all.extend(self.rest.iter().map(|entry| self.renamed(&entry.defn, &name)));
        all
    }

    /// Whether the archive's database has the encoding `encoding`, or may have any.
    #[must_use]
    pub fn has_encoding(&self, encoding: &str) -> bool {
        let defn = &self.database.defn;
        !defn.contains("ENCODING = ") || defn.contains(&format!("ENCODING = '{encoding}'"))
    }

    /// The name of the archive's database in its statements always follows the word that says what it is.
    fn renamed(&self, sql: &str, to: &str) -> String {
        let mut sql = sql.to_owned();
        for all in [false, true] {
            let quote = Quote {
                all,
                ..Quote::standard(18)
            };
            let from = quote.id(&self.database.tag);
            for end in [" ", ";"] {
                sql = sql.replace(&format!("DATABASE {from}{end}"), &format!("DATABASE {to}{end}"));
            }
        }
        sql
    }
}

/// Creates the database `name`: like `live`, unless the archive's encoding is another; as the archive says when
/// there is no live one. Nobody but its owner is let in until it is live.
///
/// # Errors
/// Whatever the server says.
pub async fn create(client: &Client, name: &str, live: Option<&Live>, entries: &[Entry]) -> Result<()> {
    let archived = Archived::find(entries);
    let like_live = live.filter(|live| {
        let archived = archived.as_ref();
        archived.map_or(true, |archived| archived.has_encoding(&live.encoding))
    });
    match like_live {
        Some(live) => run(client, &live.create_statement(name)).await?,
        None => {
            for statement in archived?.create_statements(name) {
                run(client, &statement).await?;
            }
        }
    }
    run(
        client,
        &format!("REVOKE CONNECT, TEMPORARY ON DATABASE {} FROM PUBLIC", quoted(name)),
    )
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::toc::Section;

    #[test]
    fn statements_are_about_the_new_name() {
        let mut database = Entry::new(1, "DATABASE", "my app", Section::PreData);
        database.defn = "CREATE DATABASE \"my app\" WITH TEMPLATE = template0 ENCODING = 'UTF8';\n".to_owned();
        database.owner = "boss".to_owned();
        let mut properties = Entry::new(2, "DATABASE PROPERTIES", "my app", Section::PreData);
        properties.defn = "ALTER DATABASE \"my app\" SET work_mem TO '8MB';\n\
                           ALTER ROLE r IN DATABASE \"my app\" SET search_path TO 'x';\n"
            .to_owned();
        let mut comment = Entry::new(3, "COMMENT", "DATABASE \"my app\"", Section::None);
        comment.defn = "COMMENT ON DATABASE \"my app\" IS 'x';\n".to_owned();
        let entries = [database, properties, comment];
        let archived = Archived::find(&entries).unwrap();
        assert_eq!(
            archived.create_statements("new"),
            [
                "CREATE DATABASE \"new\" WITH TEMPLATE = template0 ENCODING = 'UTF8';\n",
                "ALTER DATABASE \"new\" OWNER TO \"boss\""
            ]
        );
        assert_eq!(
            archived.property_statements("new"),
            [
                "GRANT CONNECT, TEMPORARY ON DATABASE \"new\" TO PUBLIC",
                "ALTER DATABASE \"new\" SET work_mem TO '8MB';\n\
                 ALTER ROLE r IN DATABASE \"new\" SET search_path TO 'x';\n",
                "COMMENT ON DATABASE \"new\" IS 'x';\n"
            ]
        );
        assert!(archived.has_encoding("UTF8") && !archived.has_encoding("LATIN1"));
    }
}
