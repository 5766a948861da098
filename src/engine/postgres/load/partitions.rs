//! Partitions of tables that have very many of them.
//!
//! Each partition that a server attaches has it read the bounds of all others, which no two connections can do at once for one
//! table. So the rows of those that are attached already are loaded meanwhile: tables that are only partitions are not
//! made with the other definitions, but in a line of their own beside the rows. Where CREATE TABLE ... PARTITION OF gives exactly
//! what CREATE TABLE and ATTACH PARTITION give, it takes their place: the server reads the bounds once then, and not twice.

use std::collections::{HashMap, HashSet};

use super::rows::end_of_name;
use super::session::Loader;
use crate::archive::required::LOAD_VIA_ROOT;
use crate::archive::toc::{DumpId, Entry};
use crate::error::Result;

/// A table with fewer partitions is made at once.
const MANY: usize = 100;

/// The partitions that are made beside the rows.
#[derive(Debug, Default)]
pub(super) struct Partitions {
    /// The places of their tables and of what attaches these, in the order in which they are made.
    pub(super) all: Vec<(usize, usize)>,
    /// What has to wait for which entries, besides what it says itself.
    pub(super) earlier: HashMap<DumpId, Vec<DumpId>>,
    /// By the place of each table, that of its parent and of what attaches it.
    attached: HashMap<usize, (usize, usize)>,
}

impl Partitions {
    /// Chooses them out of the definitions at `serial`; `parallel` is what comes after these.
    pub(super) fn choose(entries: &[Entry], serial: &[usize], parallel: &[usize]) -> Partitions {
        let mut partitions = Partitions::default();
        // Rows that go through the root need all of its partitions.
        if parallel.iter().any(|at| entries[*at].defn.starts_with(LOAD_VIA_ROOT)) {
            return partitions;
        }
        let tree = Tree::new(entries, serial);
        for parent in tree.parents() {
            let lines = tree.line(parent);
            if lines.len() >= MANY && tree.has_plain_parent(parent) && tree.default_is_last(parent, &lines) {
                partitions.add(entries, &tree, parent, lines, parallel);
            }
        }
        partitions
    }

    /// Adds the partitions of a table: each is made after the one before it, and what else is about the table, or one above
    /// it, after the last.
    fn add(
        &mut self,
        entries: &[Entry],
        tree: &Tree<'_>,
        parent: DumpId,
        line: Vec<(usize, usize)>,
        parallel: &[usize],
    ) {
        let id = |(table, _): &(usize, usize)| entries[*table].dump_id;
        for pair in line.windows(2) {
            self.earlier.entry(id(&pair[1])).or_default().push(id(&pair[0]));
        }
        let above = tree.above(parent);
        for at in parallel {
            let entry = &entries[*at];
            if entry.dependencies.iter().any(|id| above.contains(id)) {
                self.earlier
                    .entry(entry.dump_id)
                    .or_default()
                    .extend(line.last().map(id));
            }
        }
        if let Some(parent) = tree.tables.get(&parent) {
            self.attached
                .extend(line.iter().map(|(table, attach)| (*table, (*parent, *attach))));
        }
        self.all.extend(line);
    }

    /// What of `serial` is left to be made before the rows.
    pub(super) fn others(&self, serial: &[usize]) -> Vec<usize> {
        let taken: HashSet<usize> = self.all.iter().flat_map(|(table, attach)| [*table, *attach]).collect();
        serial.iter().copied().filter(|at| !taken.contains(at)).collect()
    }

    /// The parent of the table at `table`, where it is one of these, and what attaches it.
    pub(super) fn parent_of(&self, table: usize) -> Option<(usize, usize)> {
        self.attached.get(&table).copied()
    }
}

/// Which tables are partitions of which.
struct Tree<'a> {
    entries: &'a [Entry],
    /// Where the tables are made.
    tables: HashMap<DumpId, usize>,
    /// The parent of each partition, and what attaches it.
    attached: HashMap<DumpId, (DumpId, usize)>,
    /// What else is made before the rows and depends on a table.
    others: HashMap<DumpId, Vec<usize>>,
}

impl<'a> Tree<'a> {
    fn new(entries: &'a [Entry], serial: &[usize]) -> Self {
        let of = |desc: &'static str| serial.iter().copied().filter(move |at| entries[*at].desc == desc);
        let tables: HashMap<_, _> = of("TABLE").map(|at| (entries[at].dump_id, at)).collect();
        let pair = |at: usize| {
            let mut on = entries[at]
                .dependencies
                .iter()
                .copied()
                .filter(|id| tables.contains_key(id));
            let (one, other) = (on.next()?, on.next()?);
            // The one that is said to belong to the other is the partition.
            match entries[tables[&one]].dependencies.contains(&other) {
                true => Some((one, (other, at))),
                false => Some((other, (one, at))),
            }
        };
        let attached: HashMap<_, _> = of("TABLE ATTACH").filter_map(pair).collect();
        let mut others: HashMap<DumpId, Vec<usize>> = HashMap::new();
        for at in serial {
            for id in &entries[*at].dependencies {
                if tables.contains_key(id) {
                    others.entry(*id).or_default().push(*at);
                }
            }
        }
        Tree {
            entries,
            tables,
            attached,
            others,
        }
    }

    /// The tables that have partitions, in the archive's order.
    fn parents(&self) -> Vec<DumpId> {
        let parents: HashSet<DumpId> = self.attached.values().map(|(parent, _)| *parent).collect();
        let mut parents: Vec<_> = parents.into_iter().collect();
        parents.sort_by_key(|id| self.tables.get(id));
        parents
    }

    /// The partitions of a table on which nothing else waits before the rows, the default one last: a server looks
    /// through the rows of that whenever another is attached.
    fn line(&self, parent: DumpId) -> Vec<(usize, usize)> {
        let plain = |(child, (of, attach)): (&DumpId, &(DumpId, usize))| {
            let table = *self.tables.get(child)?;
            let others = self.others.get(child).map_or(&[][..], Vec::as_slice);
            let is_plain = *of == parent && others.iter().all(|at| at == attach);
            is_plain.then_some((table, *attach))
        };
        let mut line: Vec<_> = self.attached.iter().filter_map(plain).collect();
        line.sort_by_key(|(table, attach)| (self.is_default(*attach), *table));
        line
    }

    fn is_default(&self, attach: usize) -> bool {
        self.entries[attach].defn.trim_end().ends_with(" DEFAULT;")
    }

    fn default_is_last(&self, parent: DumpId, line: &[(usize, usize)]) -> bool {
        let mut all = self.attached.values().filter(|(of, _)| *of == parent);
        all.all(|(_, attach)| !self.is_default(*attach) || line.iter().any(|(_, listed)| listed == attach))
    }

    /// Whether nothing is done to a table before the rows that its partitions would inherit.
    fn has_plain_parent(&self, parent: DumpId) -> bool {
        let others = self.others.get(&parent).map_or(&[][..], Vec::as_slice);
        others.iter().all(|at| {
            matches!(
                self.entries[*at].desc.as_str(),
                "COMMENT" | "FUNCTION" | "MATERIALIZED VIEW" | "PROCEDURE" | "TABLE" | "TABLE ATTACH" | "VIEW"
            )
        })
    }

    /// A table and all those that it is a partition of.
    fn above(&self, table: DumpId) -> HashSet<DumpId> {
        let mut above = HashSet::from([table]);
        let mut at = table;
        while let Some((parent, _)) = self.attached.get(&at)
            && above.insert(*parent)
        {
            at = *parent;
        }
        above
    }
}

impl Loader {
    /// Makes the partition at `table` of the table at `parent`, to which what is at `attach` attaches it.
    pub(super) async fn partition(&mut self, table: usize, (parent, attach): (usize, usize)) -> Result<()> {
        let entries = std::sync::Arc::clone(self.archive.reader.entries());
        let at_once = partition_of(&entries[parent], &entries[table], &entries[attach], self.major);
        if let Some(sql) = at_once
            && self.run_as(table, &sql).await.is_ok()
        {
            return Ok(());
        }
        self.run_all(&[table, attach]).await
    }
}

/// The statement that makes a partition at once, where it gives the same as those of the two entries.
fn partition_of(parent: &Entry, table: &Entry, attach: &Entry, major: u32) -> Option<String> {
    let of = Definition::read(&parent.defn)?;
    let new = Definition::read(&table.defn)?;
    let same_place = |entry: &Entry| entry.tablespace.as_deref().unwrap_or_default().is_empty();
    let is_same = inherits_columns(&of, &new, major)
        && of.rest.starts_with("\nPARTITION BY ")
        && of.statements.trim().is_empty()
        && (new.rest.is_empty() || new.rest.starts_with("\nWITH ("))
        && same_place(parent)
        && same_place(table)
        && parent
            .tableam
            .as_ref()
            .is_none_or(|method| Some(method) == table.tableam.as_ref());
    if !is_same {
        return None;
    }
    let attach = attach.defn.strip_prefix("ALTER TABLE ONLY ")?;
    let (parent, attach) = attach.split_at(end_of_name(attach)?);
    let bound = attach.strip_prefix(" ATTACH PARTITION ")?.strip_prefix(new.name)?;
    let bound = bound.trim_end().strip_suffix(';')?;
    let Definition {
        create,
        name,
        rest,
        statements,
        ..
    } = new;
    Some(format!(
        "{create}{name} PARTITION OF {parent}{bound}{rest};{statements}"
    ))
}

/// Whether a partition has the columns that it would inherit, and no constraint of its own.
fn inherits_columns(of: &Definition<'_>, new: &Definition<'_>, major: u32) -> bool {
    let has = |columns: &str, any: &[&str]| any.iter().any(|it| columns.contains(it));
    if has(of.columns, &[" CONSTRAINT ", " CHECK "]) {
        return false;
    }
    if major < 18 || !has(of.columns, &[" NOT NULL"]) {
        return of.columns == new.columns;
    }
    // From 18 on, what forbids nulls has a name, and an inherited one that of the parent: a dump does not tell it there.
    let table = of.name.rsplit('.').next().unwrap_or_default();
    let inherited = of.columns.lines().map(|line| {
        let column = line.trim_start().split(' ').next().unwrap_or_default();
        line.replacen(
            " NOT NULL",
            &format!(" CONSTRAINT {table}_{column}_not_null NOT NULL"),
            1,
        )
    });
    let is_plain = |name: char| name.is_ascii_lowercase() || name.is_ascii_digit() || name == '_';
    table.chars().all(is_plain) && inherited.eq(new.columns.lines())
}

/// The parts of a definition of a table.
struct Definition<'a> {
    /// `CREATE TABLE `, or `CREATE UNLOGGED TABLE `.
    create: &'a str,
    name: &'a str,
    /// Between the parentheses.
    columns: &'a str,
    /// Up to the end of the first statement.
    rest: &'a str,
    /// All other statements.
    statements: &'a str,
}

impl<'a> Definition<'a> {
    fn read(text: &'a str) -> Option<Self> {
        let create = ["CREATE TABLE ", "CREATE UNLOGGED TABLE "];
        let create = create
            .iter()
            .find_map(|it| text.starts_with(it).then(|| &text[..it.len()]))?;
        let text = &text[create.len()..];
        let (name, text) = text.split_at(end_of_name(text)?);
        let text = text.strip_prefix(" (")?;
        let (columns, text) = text.split_at(end_of_columns(text)?);
        let (rest, statements) = text[1..].split_once(';')?;
        Some(Definition {
            create,
            name,
            columns,
            rest,
            statements,
        })
    }
}

/// Where the parenthesis closes that stands open before `text`; strings with escapes or in dollars are not read.
fn end_of_columns(text: &str) -> Option<usize> {
    let (mut depth, mut quote) = (0, None);
    for (at, byte) in text.bytes().enumerate() {
        match (byte, quote) {
            (b'\\' | b'$', _) => return None,
            (b'\'' | b'"', None) => quote = Some(byte),
            (_, Some(open)) if byte == open => quote = None,
            (_, Some(_)) => {}
            (b'(', None) => depth += 1,
            (b')', None) if depth == 0 => return Some(at),
            (b')', None) => depth -= 1,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::toc::Section;

    fn entry(id: DumpId, desc: &str, dependencies: &[DumpId], defn: &str) -> Entry {
        let mut entry = Entry::new(id, desc, format!("e{id}"), Section::PreData);
        entry.dependencies = dependencies.to_vec();
        entry.defn = defn.to_owned();
        entry
    }

    fn made(parent: &str, table: &str, major: u32) -> Option<String> {
        let attach = "ALTER TABLE ONLY s.p ATTACH PARTITION s.\"a (1\" FOR VALUES IN (';');\n";
        let (parent, table) = (entry(1, "TABLE", &[], parent), entry(2, "TABLE", &[1], table));
        partition_of(&parent, &table, &entry(3, "TABLE ATTACH", &[2, 1], attach), major)
    }

    #[test]
    fn a_partition_with_the_columns_of_its_parent_is_made_at_once() {
        let columns = "(\n    a numeric(3,1) NOT NULL,\n    b text DEFAULT ')''('::text\n)";
        let parent = format!("CREATE TABLE s.p {columns}\nPARTITION BY LIST (a);\n");
        let more = "ALTER TABLE ONLY s.\"a (1\" ALTER COLUMN b SET STORAGE MAIN;\n";
        let table = format!("CREATE UNLOGGED TABLE s.\"a (1\" {columns}\nWITH (fillfactor='70');\n{more}");
        assert_eq!(
            made(&parent, &table, 17).as_deref(),
            Some(
                "CREATE UNLOGGED TABLE s.\"a (1\" PARTITION OF s.p FOR VALUES IN (';')\nWITH (fillfactor='70');\n\
                 ALTER TABLE ONLY s.\"a (1\" ALTER COLUMN b SET STORAGE MAIN;\n"
            )
        );
        // What forbids nulls has a name there, which may be another one.
        assert_eq!(made(&parent, &table, 18), None);
        let named = table.replace(" NOT NULL", " CONSTRAINT p_a_not_null NOT NULL");
        assert!(made(&parent, &named, 18).is_some());
        assert_eq!(made(&parent, &named, 17), None);
        for other in [
            table.replace("numeric", "decimal"),
            table.replace("\n)", ",\n    CONSTRAINT c CHECK ((a > 1))\n)"),
            table.replace("WITH (", "PARTITION BY LIST (b) WITH ("),
        ] {
            assert_eq!(made(&parent, &other, 17), None, "{other}");
        }
        let changed = format!("{parent}ALTER TABLE ONLY s.p ALTER COLUMN b SET STORAGE MAIN;\n");
        assert_eq!(made(&changed, &table, 17), None);
    }

    #[test]
    fn partitions_of_a_large_tree_stand_in_a_line_with_the_default_last() {
        let mut entries = vec![entry(1, "TABLE", &[], ""), entry(2, "TABLE", &[1], "")];
        entries.push(entry(
            3,
            "TABLE ATTACH",
            &[2, 1],
            "ALTER TABLE ONLY e1 ATTACH PARTITION e2 DEFAULT;\n",
        ));
        for id in (4..4 + 2 * MANY as DumpId).step_by(2) {
            entries.push(entry(id, "TABLE", &[1], ""));
            entries.push(entry(
                id + 1,
                "TABLE ATTACH",
                &[id, 1],
                "ALTER TABLE ONLY e1 ATTACH PARTITION e FOR VALUES;\n",
            ));
        }
        // Somebody looks at one of them.
        entries.push(entry(900, "VIEW", &[4], ""));
        entries.push(entry(901, "INDEX", &[1], ""));
        let last = entries.len() - 1;
        let serial: Vec<usize> = (0..last).collect();
        let partitions = Partitions::choose(&entries, &serial, &[last]);
        assert_eq!(partitions.all.first(), Some(&(5, 6)));
        assert_eq!(partitions.all.last(), Some(&(1, 2)));
        assert_eq!(partitions.all.len(), MANY);
        assert_eq!(partitions.others(&serial), [0, 3, 4, last - 1]);
        assert_eq!(partitions.earlier[&2], [DumpId::try_from(2 * MANY + 2).unwrap()]);
        assert_eq!(partitions.earlier[&901], [2]);
        assert_eq!(partitions.parent_of(1), Some((0, 2)));
        // With fewer, and where rows go through the root, all are made at once.
        assert!(Partitions::choose(&entries, &serial[..100], &[last]).all.is_empty());
        entries[last].defn = LOAD_VIA_ROOT.to_owned();
        assert!(Partitions::choose(&entries, &serial, &[last]).all.is_empty());
    }
}
