//! The definition of one object, with what is built on it.

use super::Object;
use super::table::name;
use crate::error::{Exit, Fail, Result};
use crate::extract::name::choose;

/// The statements that make the object which `word` means; of a table also those of its indexes and triggers.
///
/// # Errors
/// There is none, or several.
pub fn text(word: &str, objects: &[Object]) -> Result<String> {
    let all: Vec<&Object> = objects.iter().collect();
    let object = choose(word, "object", &all, |it| name(it))?;
    let Some(sql) = &object.sql else {
        let message = format!("{} is made by a constraint of table {}", object.name, object.table);
        return Err(Fail::new(Exit::Usage, message)
            .hint(format!("the constraint is in the table: --definition {}", object.table))
            .into());
    };
    let mut text = format!("{sql};\n");
    if object.kind.ends_with("table") || object.kind == "view" {
        let built_on_it = |it: &&Object| matches!(it.kind.as_str(), "index" | "trigger") && it.table == object.name;
        for sql in objects.iter().filter(built_on_it).filter_map(|it| it.sql.as_ref()) {
            text.push_str(sql);
            text.push_str(";\n");
        }
    }
    Ok(text)
}
