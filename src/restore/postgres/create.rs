//! The new database, before anything is in it: like the live one, or as the archive says.

use tokio_postgres::Client;

use super::live::Live;
use super::needs::{self, Needs};
use super::properties::{self, Properties};
use super::swap::Comment;
use crate::archive::toc::{self, Entry};
use crate::engine::postgres::target::{quoted, run};
use crate::error::{Exit, Fail, Result};
use crate::sql::quote::Quote;
use crate::sql::tokens::{Token, Tokens};

/// What of an archive is about the database itself.
pub struct Archived<'a> {
    database: &'a Entry,
    rest: Vec<&'a Entry>,
    /// Of all text.
    encoding: Option<&'a str>,
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
            encoding: toc::encoding(entries),
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

    /// What makes the database `database` like the archive's, but for its comment.
    #[must_use]
    pub fn properties(&self, database: &str) -> Properties {
        let name = quoted(database);
        let mut all = Properties {
            encoding: self.encoding.map(str::to_owned),
            ..Properties::default()
        };
        // The archive's grants start from the default ones, which were taken away for the time of the load.
        all.push(format!("GRANT CONNECT, TEMPORARY ON DATABASE {name} TO PUBLIC"));
        for statement in self.statements().filter(|statement| !is_comment(statement)) {
            all.push(self.renamed(statement, &name));
        }
        all
    }

    /// What gives the database `database` the archive's comment.
    #[must_use]
    pub fn comment(&self, database: &str) -> Option<Comment<'a>> {
        let comment = self.statements().find(|statement| is_comment(statement))?;
        Some(Comment {
            sql: self.renamed(comment, &quoted(database)),
            encoding: self.encoding,
        })
    }

    /// What the database takes for granted of the server.
    #[must_use]
    pub fn needs(&self) -> Needs {
        let mut needs = Needs::default();
        if !self.database.owner.is_empty() {
            needs.add_owner(&self.database.owner);
        }
        needs
            .tablespaces
            .extend(tablespace(&self.database.defn).map(|(name, _)| name));
        for statement in self.statements() {
            if !statement.starts_with("ALTER ") {
                needs.add_named(statement);
            }
        }
        needs
    }

    fn statements(&self) -> impl Iterator<Item = &'a str> {
        self.rest.iter().flat_map(|entry| properties::split(&entry.defn))
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

fn is_comment(statement: &str) -> bool {
    statement.starts_with("COMMENT ON DATABASE ")
}

/// The tablespace that `CREATE DATABASE` names, and the statement without it.
#[must_use]
pub fn tablespace(create: &str) -> Option<(String, String)> {
    let mut tokens = Tokens::new(create);
    tokens.find(|token| *token == Token::Word("TABLESPACE".to_owned()))?;
    let before = create[..create.len() - tokens.rest().len()].strip_suffix(" TABLESPACE")?;
    let name = tokens.nth(1).and_then(needs::name)?;
    Some((name, format!("{before}{}", tokens.rest())))
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
    fn a_tablespace_is_found_and_left_out() {
        let create = "CREATE DATABASE \"TABLESPACE a\" WITH TEMPLATE = template0 TABLESPACE = \"fast one\" OID = 7;\n";
        let without = "CREATE DATABASE \"TABLESPACE a\" WITH TEMPLATE = template0 OID = 7;\n";
        assert_eq!(tablespace(create), Some(("fast one".to_owned(), without.to_owned())));
        assert_eq!(tablespace(without), None);
    }

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
        let properties = archived.properties("new");
        assert_eq!(
            properties.settings,
            [
                "ALTER DATABASE \"new\" SET work_mem TO '8MB';",
                "ALTER ROLE r IN DATABASE \"new\" SET search_path TO 'x';"
            ]
        );
        assert_eq!(
            properties.rest,
            ["GRANT CONNECT, TEMPORARY ON DATABASE \"new\" TO PUBLIC"]
        );
        assert_eq!(
            archived.comment("new").unwrap().sql,
            "COMMENT ON DATABASE \"new\" IS 'x';"
        );
        let needs = archived.needs();
        assert_eq!(needs.owners.into_iter().collect::<Vec<_>>(), ["boss"]);
        assert!(archived.has_encoding("UTF8") && !archived.has_encoding("LATIN1"));
    }
}
