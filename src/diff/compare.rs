//! The comparison of two sides, without any I/O.

use std::collections::{BTreeMap, BTreeSet};

use super::lines::unified;
use super::report::{Change, Contents, Diff, LargeObjectsChange, ObjectChange, TableChange, ValueChange};
use super::side::{Object, Side, Table, TableName};
use crate::names::Names;

/// All that can be told without reading a row. Tables whose hashes are not of the same columns have [`Contents::Unknown`].
pub fn compare(before: &Side, after: &Side, names: &Names) -> Diff {
    let mut diff = Diff {
        before: before.named.clone(),
        after: after.named.clone(),
        objects: objects(before, after, names),
        tables: tables(before, after, names),
        sequences: values(&before.sequences, &after.sequences, names),
        ..Diff::default()
    };
    if let (true, Some(before), Some(after)) = (names.is_all(), &before.extensions, &after.extensions) {
        // What is only on one side is an object already.
        let both = before
            .iter()
            .filter_map(|(name, version)| Some((name, version, after.get(name)?)));
        let changed = both.filter(|(_, before, after)| before != after);
        diff.extensions = changed
            .map(|(name, before, after)| ValueChange {
                name: name.clone(),
                before: Some(before.clone()),
                after: Some(after.clone()),
            })
            .collect();
    }
    if let (true, Some(before), Some(after)) = (names.is_all(), &before.large_objects, &after.large_objects)
        && before != after
    {
        diff.large_objects = Some(LargeObjectsChange {
            before: before.clone(),
            after: after.clone(),
        });
    }
    diff
}

/// The columns that a table has on both sides, in the order that they have before.
pub fn common(before: &Table, after: &Table) -> Vec<String> {
    let both = before.columns.iter().filter(|name| after.columns.contains(name));
    both.cloned().collect()
}

type Key<'a> = (&'a str, Option<&'a str>, &'a str);

fn objects(before: &Side, after: &Side, names: &Names) -> Vec<ObjectChange> {
    let mut both: BTreeMap<Key<'_>, (Vec<&str>, Vec<&str>)> = BTreeMap::new();
    // Most objects have a name of their own; operators of one name are told apart by what they are.
    for object in before.objects.iter().filter(|object| is_meant(object, names)) {
        both.entry(key(object)).or_default().0.push(&object.definition);
    }
    for object in after.objects.iter().filter(|object| is_meant(object, names)) {
        both.entry(key(object)).or_default().1.push(&object.definition);
    }
    let mut changes = Vec::new();
    for ((kind, schema, name), (mut old, mut new)) in both {
        old.retain(|text| match new.iter().position(|other| other == text) {
            Some(at) => {
                new.remove(at);
                false
            }
            None => true,
        });
        let pairs = old.len().max(new.len());
        for at in 0..pairs {
            let (old, new) = (old.get(at), new.get(at));
            changes.push(ObjectChange {
                kind: kind.to_owned(),
                schema: schema.map(str::to_owned),
                name: name.to_owned(),
                change: match (old, new) {
                    (None, _) => Change::Added,
                    (_, None) => Change::Removed,
                    _ => Change::Changed,
                },
                diff: unified(old.copied().unwrap_or_default(), new.copied().unwrap_or_default()),
            });
        }
    }
    changes
}

fn key(object: &Object) -> Key<'_> {
    (&object.kind, object.schema.as_deref(), &object.name)
}

/// Whether an object is about the tables and schemas that are meant.
fn is_meant(object: &Object, names: &Names) -> bool {
    if names.is_all() {
        return true;
    }
    match (&object.table, &object.schema) {
        (Some((schema, name)), _) => names.has(schema, name),
        _ if !names.tables.is_empty() => false,
        (None, Some(schema)) => names.has_schema(schema),
        (None, None) => object.kind == "SCHEMA" && names.has_schema(&object.name),
    }
}

fn tables(before: &Side, after: &Side, names: &Names) -> Vec<TableChange> {
    let all: BTreeSet<&TableName> = before.tables.keys().chain(after.tables.keys()).collect();
    let meant = all.into_iter().filter(|(schema, name)| names.has(schema, name));
    let change = |name: &TableName| {
        let (old, new) = (before.tables.get(name), after.tables.get(name));
        let (contents, columns) = match (old, new) {
            (Some(old), Some(new)) => contents(old, new),
            _ => (Contents::Different, None),
        };
        TableChange {
            schema: name.0.clone(),
            name: name.1.clone(),
            partition_of: new.or(old).and_then(|table| table.partition_of.clone()),
            rows_before: old.map(|table| table.rows),
            rows_after: new.map(|table| table.rows),
            contents,
            columns,
            rows: None,
        }
    };
    meant.map(change).collect()
}

/// Whether the tables have the same rows, as far as their hashes tell; and the only columns that were compared.
fn contents(old: &Table, new: &Table) -> (Contents, Option<Vec<String>>) {
    let columns = common(old, new);
    let is_all = old.columns.len() == columns.len() && new.columns.len() == columns.len();
    let only = (!is_all).then(|| columns.clone());
    if old.rows != new.rows {
        return (Contents::Different, only);
    }
    let (Some(old_hash), Some(new_hash)) = (&old.hash, &new.hash) else {
        return (Contents::Unknown, only);
    };
    match old.hashed == new.hashed && (is_all || !columns.is_empty()) {
        true if old_hash == new_hash => (Contents::Same, only),
        true => (Contents::Different, only),
        // No row is the same as no row, whatever its columns.
        false if old.rows == 0 => (Contents::Same, only),
        false => (Contents::Unknown, only),
    }
}

fn values(
    before: &BTreeMap<TableName, String>,
    after: &BTreeMap<TableName, String>,
    names: &Names,
) -> Vec<ValueChange> {
    let all: BTreeSet<&TableName> = before.keys().chain(after.keys()).collect();
    let differ = all.into_iter().filter(|name| before.get(*name) != after.get(*name));
    let meant = differ.filter(|(schema, name)| names.has(schema, name));
    meant
        .map(|name| ValueChange {
            name: format!("{}.{}", name.0, name.1),
            before: before.get(name).cloned(),
            after: after.get(name).cloned(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(name: &str, definition: &str) -> Object {
        Object {
            kind: "TABLE".to_owned(),
            schema: Some("public".to_owned()),
            name: name.to_owned(),
            definition: definition.to_owned(),
            table: Some(("public".to_owned(), name.to_owned())),
        }
    }

    #[test]
    fn objects_are_told_apart_by_their_definitions() {
        let side = |objects: &[(&str, &str)]| Side {
            objects: objects.iter().map(|(name, text)| object(name, text)).collect(),
            ..Side::default()
        };
        let before = side(&[
            ("gone", "a"),
            ("same", "b"),
            ("other", "one\ntwo"),
            ("+", "x"),
            ("+", "y"),
        ]);
        let after = side(&[
            ("same", "b"),
            ("other", "one\nthree"),
            ("new", "c"),
            ("+", "y"),
            ("+", "z"),
        ]);
        let found = compare(&before, &after, &Names::default()).objects;
        let told: Vec<_> = found
            .iter()
            .map(|it| (it.name.as_str(), it.change, it.diff.as_str()))
            .collect();
        assert_eq!(
            told,
            [
                ("+", Change::Changed, "-x\n+z\n"),
                ("gone", Change::Removed, "-a\n"),
                ("new", Change::Added, "+c\n"),
                ("other", Change::Changed, " one\n-two\n+three\n"),
            ]
        );
        let names = Names {
            tables: vec!["new".to_owned()],
            schemas: Vec::new(),
        };
        assert_eq!(compare(&before, &after, &names).objects.len(), 1);
    }

    #[test]
    fn hashes_of_other_columns_tell_nothing() {
        let table = |rows, hash: &str, hashed: &[&str], columns: &[&str]| Table {
            rows,
            hash: Some(hash.to_owned()),
            hashed: hashed.iter().map(|it| (*it).to_owned()).collect(),
            columns: columns.iter().map(|it| (*it).to_owned()).collect(),
            ..Table::default()
        };
        let old = table(2, "1", &["a", "b"], &["a", "b"]);
        for (new, wanted, part) in [
            (table(2, "1", &["a", "b"], &["a", "b"]), Contents::Same, false),
            (table(2, "2", &["a", "b"], &["a", "b"]), Contents::Different, false),
            (table(2, "1", &["a", "b"], &["a", "b", "c"]), Contents::Same, true),
            (table(2, "1", &["a"], &["a"]), Contents::Unknown, true),
            (table(3, "1", &["a"], &["a"]), Contents::Different, true),
        ] {
            let (contents, columns) = contents(&old, &new);
            assert_eq!((contents, columns.is_some()), (wanted, part), "{new:?}");
        }
    }
}
